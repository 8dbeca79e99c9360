"""Incidents: alarms that people are told of together. For now those of one rule that fire within a minute.

An alarm's membership is a row of its own, so folding can be taken back and every member stays listed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from almenara.alarm.tables import CHANGE_COLUMNS, Key, change_of
from almenara.model.alarm import Acknowledgement, Alarm, Incident, Severity, State, Transition
from almenara.model.time import MINUTE_NS

#: Alarms of one rule that fire within this time of each other's first are one incident.
TOGETHER_NS = MINUTE_NS

_RANK = {severity: rank for rank, severity in enumerate(Severity)}


def worse(a: Severity, b: Severity) -> Severity:
    """The worse of two severities."""
    return max(a, b, key=_RANK.__getitem__)


@dataclass(slots=True)
class Open:
    """An incident with at least one alarm that is not resolved."""

    id: int
    rule: str
    since: int  # when the condition of its first alarm became true
    opened: int  # when that alarm fired
    severity: Severity
    alarms: set[Key] = field(default_factory=set)  # not resolved yet
    told: set[str] = field(default_factory=set)  # notifiers that hear of it

    def copy(self) -> Open:
        """A copy that can be changed and thrown away."""
        return replace(self, alarms=set(self.alarms), told=set(self.told))


@dataclass(slots=True)
class Fold:
    """What changes mean for incidents: nothing is changed before it is written and taken over.

    members: (incident, key, number of the change). fired: what made an incident grow.
    """

    next_id: int
    touched: dict[int, Open] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)
    resolved: dict[int, int] = field(default_factory=dict)  # incident -> when
    members: list[tuple[int, Key, int]] = field(default_factory=list)
    of: dict[Key, int] = field(default_factory=dict)  # incident of each alarm that changed in one
    newest: dict[str, int] = field(default_factory=dict)  # by rule
    fired: dict[int, list[Transition]] = field(default_factory=dict)


class Incidents:
    """The open incidents, in memory as in the database; for the flush thread."""

    def __init__(self) -> None:
        self.open: dict[int, Open] = {}
        self.of: dict[Key, int] = {}  # incident of each alarm that is open
        self.newest: dict[str, int] = {}  # by rule
        self.next_id = 1

    def load(self, connection: sqlite3.Connection) -> None:
        """Take up what a former run left."""
        query = "SELECT id, rule, since, opened, severity FROM incident WHERE state = 'firing' ORDER BY id"
        for id, rule, since, opened, severity in connection.execute(query):
            self.open[id] = Open(id, rule, since, opened, Severity(severity))
        # Of those that are resolved, too: what fires joins the newest or none.
        self.newest = dict(connection.execute("SELECT rule, max(id) FROM incident GROUP BY rule"))
        for rule, series, id in connection.execute("SELECT rule, series, incident FROM alarm_state WHERE incident > 0"):
            self.of[rule, series] = id
            self.open[id].alarms.add((rule, series))
        for id, incident in self.open.items():
            rows = connection.execute("SELECT DISTINCT notifier FROM outbox WHERE incident = ?", (id,))
            incident.told = {name for (name,) in rows}
        self.next_id = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM incident").fetchone()[0]

    def fold(self, changes: Sequence[tuple[int, Transition]]) -> Fold:
        """What these (number, change) mean, in their order."""
        fold = Fold(self.next_id)
        for number, change in changes:
            key = (change.rule, change.series.key)
            id = fold.of.get(key, self.of.get(key, 0))
            if not id and change.state is State.FIRING:
                id = self._join(fold, key, change)
            if id:
                fold.members.append((id, key, number))
                fold.of[key] = id
                self._update(fold, id, key, change)
        return fold

    def _touch(self, fold: Fold, id: int) -> Open:
        if id not in fold.touched:
            fold.touched[id] = self.open[id].copy()
        return fold.touched[id]

    def _join(self, fold: Fold, key: Key, change: Transition) -> int:
        """The incident that an alarm belongs to when it fires."""
        id = fold.newest.get(change.rule, self.newest.get(change.rule, 0))
        is_open = (id in fold.touched or id in self.open) and id not in fold.resolved
        if not is_open or abs(change.time - self._touch(fold, id).opened) >= TOGETHER_NS:
            id = fold.newest[change.rule] = fold.next_id
            fold.next_id += 1
            fold.touched[id] = Open(id, change.rule, change.since, change.time, change.severity)
            fold.opened.add(id)
        incident = self._touch(fold, id)
        incident.alarms.add(key)
        incident.since = min(incident.since, change.since)
        fold.fired.setdefault(incident.id, []).append(change)
        return incident.id

    def _update(self, fold: Fold, id: int, key: Key, change: Transition) -> None:
        incident = self._touch(fold, id)
        incident.severity = worse(incident.severity, change.severity)
        if change.state is State.RESOLVED:
            incident.alarms.discard(key)
            fold.of[key] = 0
            if not incident.alarms:
                fold.resolved[id] = change.time

    def take_over(self, fold: Fold) -> None:
        """It is written: it is so from now on."""
        self.next_id = fold.next_id
        self.newest |= fold.newest
        for id, incident in fold.touched.items():
            if id in fold.resolved:
                self.open.pop(id, None)
            else:
                self.open[id] = incident
        for key, id in fold.of.items():
            if id:
                self.of[key] = id
            else:
                self.of.pop(key, None)


def write(connection: sqlite3.Connection, fold: Fold) -> None:
    """The rows of `incident` and `incident_member`."""
    for id, one in fold.touched.items():
        state = State.RESOLVED if id in fold.resolved else State.FIRING
        values = (one.since, state.value, one.severity.value, fold.resolved.get(id, 0), id)
        if id in fold.opened:
            connection.execute(
                "INSERT INTO incident (since, state, severity, resolved, id, rule, opened) VALUES (?,?,?,?,?,?,?)",
                (*values, one.rule, one.opened),
            )
        else:
            connection.execute("UPDATE incident SET since=?, state=?, severity=?, resolved=? WHERE id=?", values)
    connection.executemany(
        "INSERT INTO incident_member VALUES (?,?,?,?,?) ON CONFLICT DO UPDATE SET last = excluded.last",
        [(id, *key, number, number) for id, key, number in fold.members],
    )


_AS_OF = """
    SELECT j.* FROM incident_member m JOIN alarm_journal j ON j.id = CASE WHEN m.last <= ?2 THEN m.last ELSE (
        SELECT max(id) FROM alarm_journal WHERE rule = m.rule AND series = m.series AND id <= ?2) END
    WHERE m.incident = ?1 AND m.joined <= ?2 ORDER BY m.joined"""
_LATEST = 2**62


def read(connection: sqlite3.Connection, ids: Sequence[int], upto: int = _LATEST) -> list[Incident]:
    """Incidents as they were after the change numbered `upto`."""
    found = []
    for id in ids:
        row = connection.execute(
            "SELECT since, state, severity, resolved, who, acknowledged, note, until FROM incident WHERE id = ?", (id,)
        ).fetchone()
        if row is None:
            continue
        since, state, severity, resolved, who, acknowledged, note, until = row
        changes = [change_of(r[1 : CHANGE_COLUMNS + 1]) for r in connection.execute(_AS_OF, (id, upto))]
        taken = Acknowledgement(who, acknowledged, note, until) if who is not None else None
        members = tuple(Alarm(change, id) for change in changes)
        found.append(Incident(id, since, State(state), Severity(severity), members, taken, resolved))
    return found
