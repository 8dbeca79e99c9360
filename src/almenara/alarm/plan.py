"""`Plan`: all that one moment decides of who is told of what; it is so only when it is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from almenara.alarm import lines, outbox, telling
from almenara.alarm.outbox import Draft
from almenara.alarm.tables import Key
from almenara.alarm.telling import Case, Row
from almenara.model.alarm import NoticeKind


@dataclass(slots=True)
class Plan:
    """What one moment decides. upto: the newest change that messages tell of."""

    now: int
    upto: int
    cases: dict[int, Case] = field(default_factory=dict)
    rows: dict[tuple[int, telling.RowKey], Row] = field(default_factory=dict)  # to be written
    drafts: list[Draft] = field(default_factory=list)
    lines: list[tuple[int, int, str, str, str]] = field(default_factory=list)
    over: list[int] = field(default_factory=list)  # incidents whose acknowledgement is over
    flaps: set[tuple[Key, str]] = field(default_factory=set)
    calm: set[tuple[Key, str]] = field(default_factory=set)
    undo: list[Callable[[], object]] = field(default_factory=list)

    def say(self, incident: int, kind: str, who: str, text: str) -> None:
        """Leave a line."""
        self.lines.append((incident, self.now, kind, who, text))

    def put(self, case: Case, row: Row) -> None:
        """Change a row."""
        if case.rows.get(row.key) != row:
            case.rows[row.key] = row
            self.rows[case.id, row.key] = row

    def gather(self) -> None:
        """One notice for all that goes into one digest."""
        digests: dict[tuple[str, str], dict[int, Draft]] = {}
        for one in self.drafts:
            if one.gathered:  # what came and went just now is in it once, as resolved
                digests.setdefault((one.policy, one.notifier), {})[one.incident] = one
        self.drafts = [one for one in self.drafts if not one.gathered]
        for found in digests.values():
            several = sorted(found.values(), key=lambda one: (-self.cases[one.incident].severity.rank, one.incident))
            more = tuple(one.incident for one in several[1:])
            self.drafts.append(replace(several[0], kind=NoticeKind.DIGEST, more=more))

    def __bool__(self) -> bool:
        return bool(self.rows or self.drafts or self.lines or self.over or self.calm)

    def write(self, connection: sqlite3.Connection) -> None:
        """All of it, in the transaction that the connection is in."""
        for draft in self.drafts:
            outbox.add(connection, draft, self.upto, self.now)
        telling.write(connection, self.rows.values())
        for line in self.lines:
            lines.write(connection, *line)
        connection.executemany(
            "UPDATE incident SET who=NULL, acknowledged=NULL, note=NULL, until=NULL WHERE id=?",
            [(id,) for id in self.over],
        )
        calm = [(*key, notifier) for key, notifier in self.calm]
        connection.executemany("DELETE FROM flapping_told WHERE rule=? AND series=? AND notifier=?", calm)
        told = [(*key, notifier, self.now) for key, notifier in self.flaps]  # perhaps anew, of one that was calm
        connection.executemany("INSERT OR REPLACE INTO flapping_told VALUES (?,?,?,?)", told)
