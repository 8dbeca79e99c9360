"""Incidents: alarms that people are told of together. What they are, and their rows in hub.db.

An alarm's membership is a row of its own, with the reason for it, so folding can be taken back and every member stays
listed. Who belongs where is decided in `almenara.alarm.grouping`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from almenara.alarm.folding import Leader
from almenara.alarm.tables import CHANGE_COLUMNS, Key, change_of
from almenara.model.alarm import Acknowledgement, Alarm, Incident, Severity, State, Transition
from almenara.model.time import MINUTE_NS

#: What an alarm is found by: a kind of likeness, and what is alike.
Token = tuple[str, str, str | bytes]

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
    latest: int = 0  # when the last alarm joined
    leaders: tuple[Leader, ...] = ()  # the first few members, with which others are compared

    def copy(self) -> Open:
        """A copy that can be changed and thrown away."""
        return replace(self, alarms=set(self.alarms))

    def is_near(self, time: int, window_ns: int) -> bool:
        """Whether an alarm of this time fires together with the first or the latest."""
        return min(abs(time - self.opened), abs(time - self.latest)) <= window_ns


class Member(NamedTuple):
    """A row of membership. joined: the number of the change with which the alarm came in, if it is new there; last:
    that of its last one."""

    incident: int
    key: Key
    joined: int
    last: int
    reason: str = ""
    lag_ns: int = 0


@dataclass(slots=True)
class Fold:
    """What changes mean for incidents: nothing is changed before it is written and taken over.

    members: of alarms that changed. fired: what made an incident grow. out: (incident, alarm, number of the next
    change) of alarms that were taken out. merged: incidents all of whose alarms went over to another one.
    """

    next_id: int
    touched: dict[int, Open] = field(default_factory=dict)
    opened: set[int] = field(default_factory=set)
    resolved: dict[int, int] = field(default_factory=dict)  # incident -> when
    members: list[Member] = field(default_factory=list)
    of: dict[Key, int] = field(default_factory=dict)  # incident of each alarm that changed in one
    fired: dict[int, list[Transition]] = field(default_factory=dict)
    out: list[tuple[int, Key, int]] = field(default_factory=list)
    merged: dict[int, int] = field(default_factory=dict)
    at: dict[Token, list[int]] = field(default_factory=dict)  # where alarms that are alike joined
    joined: dict[bytes, int] = field(default_factory=dict)  # incident of each series that fired
    rules: set[str] = field(default_factory=set)  # of alarms that joined
    anew: set[int] = field(default_factory=set)  # incidents of which `at` has everything


def write(connection: sqlite3.Connection, fold: Fold) -> None:
    """The rows of `incident` and `incident_member`."""
    for id, one in fold.touched.items():
        state = State.RESOLVED if id in fold.resolved or id in fold.merged else State.FIRING
        ended = fold.resolved.get(id, one.latest if id in fold.merged else 0)
        values = (one.since, state.value, one.severity.value, ended, id)
        if id in fold.opened:
            connection.execute(
                "INSERT INTO incident (since, state, severity, resolved, id, rule, opened) VALUES (?,?,?,?,?,?,?)",
                (*values, one.rule, one.opened),
            )
        else:
            connection.execute("UPDATE incident SET since=?, state=?, severity=?, resolved=? WHERE id=?", values)
    connection.executemany(
        "UPDATE incident_member SET out = ? WHERE incident = ? AND rule = ? AND series = ?",
        [(number, id, *key) for id, key, number in fold.out],
    )
    connection.executemany(
        "INSERT INTO incident_member (incident, rule, series, joined, last, reason, lag) VALUES (?,?,?,?,?,?,?) "
        "ON CONFLICT DO UPDATE SET last = excluded.last, out = 0, "
        "reason = CASE WHEN out THEN excluded.reason ELSE reason END",
        [(one.incident, *one.key, one.joined, one.last, one.reason, one.lag_ns) for one in fold.members],
    )


def joined(connection: sqlite3.Connection) -> Iterator[tuple[int, Transition, int]]:
    """(incident, the change with which an alarm came in, its lag in ns) of all members of open incidents, in order."""
    query = """SELECT m.incident, m.lag, j.* FROM incident_member m JOIN incident i ON i.id = m.incident
        JOIN alarm_journal j ON j.id = m.joined WHERE i.state = 'firing' AND m.out = 0 ORDER BY m.joined, m.incident"""
    for incident, lag_ns, _, *columns in connection.execute(query):
        yield incident, change_of(columns[:CHANGE_COLUMNS]), lag_ns


# Of each member: why, its lag, since when and how bad at worst, and its change numbered at most ?2.
_AS_OF = """
    SELECT m.reason, m.lag, (SELECT since FROM alarm_journal WHERE id = m.joined),
        (SELECT max(score) FROM alarm_journal WHERE rule = m.rule AND series = m.series
            AND id BETWEEN m.joined AND min(m.last, ?2)), j.*
    FROM incident_member m JOIN alarm_journal j ON j.id = CASE WHEN m.last <= ?2 THEN m.last ELSE (
        SELECT max(id) FROM alarm_journal WHERE rule = m.rule AND series = m.series AND id <= ?2) END
    WHERE m.incident = ?1 AND m.joined <= ?2 AND (m.out = 0 OR m.out > ?2) ORDER BY m.joined"""
_LATEST = 2**62


class _Row(NamedTuple):
    alarm: Alarm
    lag_ns: int
    since: int
    score: float


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
        rows = [
            _Row(
                Alarm(change_of(columns[:CHANGE_COLUMNS]), id, reason), lag_ns, began, -1.0 if worst is None else worst
            )
            for reason, lag_ns, began, worst, _, *columns in connection.execute(_AS_OF, (id, upto))
        ]
        taken = Acknowledgement(who, acknowledged, note, until) if who is not None else None
        first, strongest = (_first(rows), _strongest(rows)) if rows else (None, None)
        members = tuple(row.alarm for row in rows)
        found.append(Incident(id, since, State(state), Severity(severity), members, taken, resolved, first, strongest))
    return found


def _first(rows: Sequence[_Row]) -> Alarm:
    """The member that was likely the first: by when it began, and within a minute by the lags that were measured."""
    earliest = min(row.since for row in rows)
    early = [row for row in rows if row.since - earliest <= MINUTE_NS]
    return min(early, key=lambda row: (row.lag_ns, row.since)).alarm


def _strongest(rows: Sequence[_Row]) -> Alarm:
    """The member with the highest score; where no detector judged, the most severe."""
    return max(rows, key=lambda row: (row.score, _RANK[row.alarm.last.severity])).alarm
