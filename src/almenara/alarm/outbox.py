"""The outbox: what is to be told to whom, on disk before anybody tries, until it is confirmed or given up."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace

from almenara.alarm import incidents
from almenara.model.alarm import Incident, NoticeKind, Severity, State
from almenara.model.time import HOUR_NS

#: Nothing is put off for longer: a message that is due later than that is due now, the clock was set back.
FARTHEST_NS = HOUR_NS

SCHEMA = """
-- What a row of the outbox says besides the table that older versions made. more: further incidents, of a digest.
CREATE TABLE IF NOT EXISTS outbox_about (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, reason TEXT NOT NULL, policy TEXT NOT NULL, step INTEGER NOT NULL,
    more TEXT NOT NULL, fell_back INTEGER NOT NULL DEFAULT 0);
"""


@dataclass(frozen=True, slots=True)
class Message:
    """One row of the outbox: times in ns.

    incident: 0 for a letter, which is about none (`almenara.alarm.letters`). kind: why people are told; reason: what
    is to be said of that, a sentence or empty. policy: by which they are told, step: of its escalation. more: further
    incidents, in a digest.
    """

    id: int
    notifier: str
    incident: int
    state: State
    upto: int
    queued: int
    due: int
    tries: int
    kind: NoticeKind = NoticeKind.FIRING
    reason: str = ""
    policy: str = ""
    step: int = 0
    more: tuple[int, ...] = ()
    fell_back: bool = False

    @property
    def about(self) -> str:
        """What it is about, for the log."""
        return f"incident {self.incident}" if self.incident else "a report"


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is to be queued. gathered: it waits for the others of its digest."""

    notifier: str
    incident: int
    state: State
    kind: NoticeKind
    reason: str = ""
    policy: str = ""
    step: int = 0
    gathered: bool = False
    more: tuple[int, ...] = ()


def add(connection: sqlite3.Connection, one: Draft, upto: int, now_ns: int) -> int:
    """Queue a message, in the transaction that decides it; gives its id. One without an incident has number 0."""
    query = "INSERT INTO outbox (notifier, incident, state, upto, queued) VALUES (?,?,?,?,?)"
    id = int(connection.execute(query, (one.notifier, one.incident, one.state.value, upto, now_ns)).lastrowid or 0)
    connection.execute(
        "INSERT INTO outbox_about (id, kind, reason, policy, step, more) VALUES (?,?,?,?,?,?)",
        (id, one.kind.value, one.reason, one.policy, one.step, json.dumps(one.more)),
    )
    return id


_COLUMNS = """o.id, notifier, incident, state, upto, queued, due, tries, kind, coalesce(reason, ''),
    coalesce(policy, ''), coalesce(step, 0), coalesce(more, '[]'), coalesce(fell_back, 0)"""


def _message(row: Sequence) -> Message:
    id, name, incident, state, upto, queued, due, tries, kind, reason, policy, step, more, fell_back = row
    return Message(
        id, name, incident, State(state), upto, queued, due, tries, NoticeKind(kind or state), reason, policy, step,
        tuple(json.loads(more)), bool(fell_back),
    )  # fmt: skip


_FIRST_OF_ITS_INCIDENT = """NOT EXISTS (SELECT 1 FROM outbox e
    WHERE e.incident = o.incident AND e.notifier = o.notifier AND e.outcome = '' AND e.id < o.id)"""


def next_due(connection: sqlite3.Connection, notifier: str, now_ns: int) -> Message | None:
    """The oldest message of this notifier that is due, but never one before an older one of the same incident."""
    query = f"""SELECT {_COLUMNS} FROM outbox o LEFT JOIN outbox_about a ON a.id = o.id
        WHERE notifier = ? AND outcome = '' AND (due <= ? OR due > ?) AND {_FIRST_OF_ITS_INCIDENT}
        ORDER BY o.id LIMIT 1"""
    row = connection.execute(query, (notifier, now_ns, now_ns + FARTHEST_NS)).fetchone()
    return None if row is None else _message(row)


def is_waiting(connection: sqlite3.Connection, notifier: str) -> bool:
    """Whether this notifier is still to have anything."""
    query = "SELECT 1 FROM outbox WHERE notifier = ? AND outcome = '' LIMIT 1"
    return connection.execute(query, (notifier,)).fetchone() is not None


def have(connection: sqlite3.Connection, message: Message) -> set[str]:
    """Notifiers whose outbox has the same news of the same incident."""
    query = "SELECT DISTINCT notifier FROM outbox WHERE incident = ? AND upto >= ? AND state = ?"
    return {name for (name,) in connection.execute(query, (message.incident, message.upto, message.state.value))}


def fell_back(connection: sqlite3.Connection, message: Message) -> None:
    """Those who stand in for its notifier have it."""
    connection.execute("UPDATE outbox_about SET fell_back = 1 WHERE id = ?", (message.id,))


def incident_of(connection: sqlite3.Connection, message: Message) -> Incident | None:
    """The incident as it was when the message was queued; who took it on as it is now."""
    for found in incidents.read(connection, [message.incident], message.upto):
        return replace(found, state=message.state, resolved=found.resolved if message.state is State.RESOLVED else 0)
    return None


def more_of(connection: sqlite3.Connection, message: Message) -> tuple[Incident, ...]:
    """The further incidents of a digest, as they were."""
    found = incidents.read(connection, message.more, message.upto)
    return tuple(one if _is_over(one) else replace(one, state=State.FIRING, resolved=0) for one in found)


def _is_over(incident: Incident) -> bool:
    return all(alarm.last.state is State.RESOLVED for alarm in incident.members)


def before(connection: sqlite3.Connection, message: Message) -> Incident | None:
    """The incident as the last message told this notifier of it; None: it is the first."""
    query = "SELECT max(upto) FROM outbox WHERE incident = ? AND notifier = ? AND id < ?"
    upto = connection.execute(query, (message.incident, message.notifier, message.id)).fetchone()[0]
    found = [] if upto is None else incidents.read(connection, [message.incident], upto)
    return replace(found[0], severity=_worst(found[0])) if found else None


def _worst(incident: Incident) -> Severity:
    return max((alarm.last.severity for alarm in incident.members), key=lambda one: one.rank)


def put_off(connection: sqlite3.Connection, message: Message, due_ns: int, error: str) -> None:
    """It did not work: try again at `due_ns`."""
    connection.execute("UPDATE outbox SET due=?, tries=tries+1, error=? WHERE id=?", (due_ns, error, message.id))


def close(connection: sqlite3.Connection, message: Message, outcome: str, now_ns: int, error: str = "") -> None:
    """It is over: `sent` or `given up`."""
    connection.execute(
        "UPDATE outbox SET outcome=?, done=?, tries=tries+1, error=? WHERE id=?", (outcome, now_ns, error, message.id)
    )
