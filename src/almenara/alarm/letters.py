"""Letters: messages about no incident, such as the weekly noise report; written when they are queued in the outbox."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from almenara.alarm import outbox
from almenara.alarm.outbox import Draft
from almenara.model.alarm import Fact, Incident, Notice, NoticeKind, Severity, State

SCHEMA = """
-- What a row of the outbox without an incident says. topic, time: what it is about; nobody gets the same twice.
CREATE TABLE IF NOT EXISTS outbox_letter (
    id INTEGER PRIMARY KEY, topic TEXT NOT NULL, time INTEGER NOT NULL, title TEXT NOT NULL, facts TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is told. topic: such as "noise"; time: ns, which one of that topic it is."""

    topic: str
    time: int
    title: str
    facts: tuple[Fact, ...]

    def notice(self, id: int, link: str) -> Notice:
        """The same for a notifier."""
        nothing = Incident(0, self.time, State.RESOLVED, Severity.WARNING, ())
        return Notice(id, NoticeKind.DIGEST, nothing, self.title, self.facts, link, self.topic, subject=self.title)


def queue(connection: sqlite3.Connection, one: Letter, notifiers: Sequence[str], now_ns: int) -> int:
    """Queue a letter for those who have not got it, in the transaction of the caller; gives for how many."""
    had = "SELECT notifier FROM outbox o JOIN outbox_letter l ON l.id = o.id WHERE topic = ? AND time = ?"
    known = {name for (name,) in connection.execute(had, (one.topic, one.time))}
    rest = [name for name in dict.fromkeys(notifiers) if name not in known]
    facts = json.dumps([[fact.name, fact.text, fact.link] for fact in one.facts])
    for name in rest:
        id = outbox.add(connection, Draft(name, 0, State.RESOLVED, NoticeKind.DIGEST), 0, now_ns)
        connection.execute(
            "INSERT INTO outbox_letter (id, topic, time, title, facts) VALUES (?,?,?,?,?)",
            (id, one.topic, one.time, one.title, facts),
        )
    return len(rest)


def read(connection: sqlite3.Connection, id: int) -> Letter | None:
    """What a row of the outbox says; None where it is no letter."""
    row = connection.execute("SELECT topic, time, title, facts FROM outbox_letter WHERE id = ?", (id,)).fetchone()
    if row is None:
        return None
    topic, time, title, facts = row
    return Letter(topic, time, title, tuple(Fact(*fact) for fact in json.loads(facts)))
