"""A book in a test whose clock the test moves, and what stands in its outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alarm.book_case import T0, Table, book, database, rows
from almenara.alarm.policies import Policies, Policy
from almenara.alarm.rules import Rule
from almenara.alarm.silence import Silence
from almenara.alarm.silences import Silences
from almenara.model.time import NS
from almenara.query import Matcher

HOT = Rule("hot", "cpu > 90")


class Story:
    """A book whose clock the test moves; `told` says what was queued since the last time it was asked."""

    def __init__(self, path: Path, *policies: Policy, rules: Iterable[Rule] = (HOT,), notifiers: Any = (), **more: Any):
        self.path, self.rules, self.seq, self.second, self.seen = path, tuple(rules), 0, 0.0, 0
        self.table = Table(20)
        names = {name for one in policies for name in one.notify} | {n for p in policies for n in p.fallback}
        names |= {name for one in policies for step in one.escalate for name in step.notify}
        self.policies = Policies(policies, dict.fromkeys(sorted(names), ()) | dict(notifiers), **more)
        self.open()

    def open(self) -> None:
        connect = database(self.path)
        self.book = book(
            self.path, self.table, *self.rules, notifiers=self.policies, clock=self.clock,
            silences=Silences(connect, clock=self.clock),
        )  # fmt: skip

    def clock(self) -> int:
        return T0 + round(self.second * NS)

    def silence(self, host: int, until: float) -> None:
        matcher = Matcher("host", "=", str(host))
        self.book.silences.put(Silence("", (matcher,), T0, T0 + round(until * NS), "ana", "a new pump"))

    def restart(self) -> None:
        self.book.close()
        self.open()

    def at(self, second: float, *hosts: int, value: float = 95) -> list[tuple[str, ...]]:
        """Rows of these hosts at this second; then what is told, as (notifier, kind, state)."""
        self.second = second
        if hosts:
            self.seq += 1
            self.book.step(self.seq, *rows(self.table, [(host, second, value) for host in hosts]), 0)
        return self.told()

    def calm(self, second: float, *hosts: int) -> list[tuple[str, ...]]:
        return self.at(second, *hosts, value=5)

    def tick(self, second: float, alive: Iterable[int] = ()) -> list[tuple[str, ...]]:
        """The clock says so; `alive` hosts have a row that still is over the limit."""
        told = self.at(second, *alive)
        self.book.tick(T0 + round(second * NS))
        return told + self.told()

    def told(self) -> list[tuple[str, ...]]:
        return [(name, kind) for name, kind, _, _ in self.messages()]

    def messages(self) -> list[tuple[str, str, int, str]]:
        """(notifier, kind, incident, reason) since the last call."""
        query = """SELECT o.id, notifier, kind, incident, reason FROM outbox o JOIN outbox_about USING (id)
            WHERE o.id > ? ORDER BY o.id"""
        with sqlite3.connect(self.path) as db:
            found = db.execute(query, (self.seen,)).fetchall()
        self.seen = max([self.seen, *(row[0] for row in found)])
        return [tuple(row[1:]) for row in found]

    def lines(self, incident: int = 1) -> list[tuple[str, str]]:
        return [(line.kind, line.who) for line in self.book.lines(incident)]
