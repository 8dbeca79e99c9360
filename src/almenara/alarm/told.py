"""What people look up of an incident: who was told of it and who is still to be, and what became of its alarms."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from almenara.alarm.stages import Silencing
from almenara.alarm.tables import CHANGE, CHANGE_COLUMNS, change_of
from almenara.model.alarm import Incident, NoticeKind, State, Transition, labels_of


@dataclass(frozen=True, slots=True)
class Told:
    """One message of the outbox; times in ns, 0: not yet.

    outcome: "waiting", "sent" or "given up". due: when it is tried next. error: what the last try failed of. reason:
    why people are told now, a sentence or empty.
    """

    id: int
    incident: int
    notifier: str
    kind: NoticeKind
    reason: str
    policy: str
    queued: int
    due: int
    tries: int
    outcome: str
    done: int
    error: str


#: The outcomes that may be asked for.
OUTCOMES = ("waiting", "sent", "given up")

_TOLD = """SELECT o.id, incident, notifier, coalesce(kind, state), coalesce(reason, ''), coalesce(policy, ''), queued,
    due, tries, outcome, done, error FROM outbox o LEFT JOIN outbox_about a ON a.id = o.id"""


def read(connection: sqlite3.Connection, limit: int, incident: int = 0, outcome: str = "") -> list[Told]:
    """The latest messages, newest first. incident: 0 for all; outcome: empty for all."""
    where, values = ["1"], list[object]()
    if incident:
        where.append("incident = ?")
        values.append(incident)
    if outcome:
        where.append("outcome = ?")
        values.append("" if outcome == "waiting" else outcome)
    query = f"{_TOLD} WHERE {' AND '.join(where)} ORDER BY o.id DESC LIMIT ?"
    return [_told(row) for row in connection.execute(query, (*values, limit))]


def _told(row: Sequence) -> Told:
    id, incident, notifier, kind, reason, policy, queued, due, tries, outcome, done, error = row
    return Told(
        id, incident, notifier, NoticeKind(kind), reason, policy, queued, due, tries, outcome or "waiting", done, error
    )  # fmt: skip


def changes(connection: sqlite3.Connection, incident: int, limit: int) -> list[Transition]:
    """Changes of the alarms of an incident since they came in, the latest ones, newest first."""
    columns = ", ".join(f"j.{name}" for name in CHANGE.split(", "))
    query = f"""SELECT {columns} FROM incident_member m JOIN alarm_journal j ON j.rule = m.rule AND j.series = m.series
        AND j.id BETWEEN m.joined AND m.last WHERE m.incident = ? AND m.out = 0 ORDER BY j.id DESC LIMIT ?"""
    return [change_of(row[:CHANGE_COLUMNS]) for row in connection.execute(query, (incident, limit))]


def common_labels(incident: Incident) -> dict[str, str]:
    """The labels that all alarms of an incident have, but how bad they are: what one would silence it by."""
    labels = [labels_of(alarm.last) for alarm in incident.members]
    if not labels:
        return {}
    return {k: v for k, v in labels[0].items() if k != "severity" and v and all(o.get(k) == v for o in labels[1:])}


def silenced(incident: Incident, silences: Silencing, now_ns: int) -> tuple[list[str], bool]:
    """Why people are told nothing of some of its alarms that go on, each reason once; and whether that is all of
    them."""
    going_on = [alarm.last for alarm in incident.members if alarm.last.state is not State.RESOLVED]
    reasons = [silences.reason_of(labels_of(change), now_ns) for change in going_on]
    found = dict.fromkeys(reason for reason in reasons if reason)
    return list(found), bool(reasons) and all(reasons)
