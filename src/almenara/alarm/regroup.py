"""Taking folding back by hand: alarms out of an incident into one of their own, and two incidents into one."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from almenara.alarm import incidents, lines
from almenara.alarm.grouping import Incidents
from almenara.alarm.incidents import Fold, Member, Open, worse
from almenara.alarm.tables import CHANGE_COLUMNS, Key, change_of
from almenara.model.alarm import Transition
from almenara.model.errors import IncidentError
from almenara.model.series import Series


@dataclass(frozen=True, slots=True)
class _In:
    """A member: the changes with which it came in and that it had last, and their numbers."""

    key: Key
    joined: int
    last: int
    lag_ns: int
    first_change: Transition
    last_change: Transition


@dataclass(frozen=True, slots=True)
class Regrouped:
    """What a person changes: said: a line for each incident."""

    fold: Fold
    said: Mapping[int, str]


def split(
    db: sqlite3.Connection, room: Incidents, incident: int, keys: Collection[Key], who: str, last: int
) -> Regrouped:  # fmt: skip
    """Take alarms out of an open incident; together they are a new one, of which people are told. last: the number of
    the last change of all. Raises IncidentError."""
    members, found = _members(db, room, incident), set(keys)
    if unknown := sorted(found - {one.key for one in members}):
        rule, series = unknown[0]
        raise IncidentError(f"incident {incident} has no alarm of {rule} for {Series.from_key(series)}")
    if not found or len(found) == len(members):
        raise IncidentError(f"incident {incident}: expected some of its {len(members)} alarms; got {len(found)}")
    if not found & room.open[incident].alarms:
        raise IncidentError(f"incident {incident}: these alarms are resolved already")
    fold = Fold(room.next_id)
    old, moved = room.touch(fold, incident), [one for one in members if one.key in found]
    new = room.begin(fold, moved[0].first_change)
    _move(room, fold, old, new, moved, f"taken out of incident {incident} by {who}", last)
    room.settle_anew(fold, old, [(one.first_change, one.lag_ns) for one in members if one.key not in found])
    if not old.alarms:
        fold.resolved[incident] = max(one.last_change.time for one in members)
    alarms = "one of its alarms" if len(found) == 1 else f"{len(found)} of its alarms"
    said = {incident: f"{alarms} taken out, into incident {new.id}", new.id: f"taken out of incident {incident}"}
    return Regrouped(fold, said)


def join(db: sqlite3.Connection, room: Incidents, incident: int, other: int, who: str, last: int) -> Regrouped:
    """Put the alarms of an open incident, `other`, into `incident`. Raises IncidentError."""
    if incident == other:
        raise IncidentError(f"incident {incident} cannot be joined to itself")
    here, moved = _members(db, room, incident), _members(db, room, other)
    fold = Fold(room.next_id)
    into, old = room.touch(fold, incident), room.touch(fold, other)
    _move(room, fold, old, into, moved, f"joined from incident {other} by {who}", last)
    all_of_them = sorted([*here, *moved], key=lambda one: one.joined)
    room.settle_anew(fold, into, [(one.first_change, one.lag_ns) for one in all_of_them])
    fold.merged[other] = incident
    said = {incident: f"incident {other} joined to it", other: f"joined to incident {incident}"}
    return Regrouped(fold, said)


def write(db: sqlite3.Connection, made: Regrouped, who: str, now_ns: int) -> None:
    """The rows of it, in the transaction that the connection is in."""
    incidents.write(db, made.fold)
    moved = [(id, *key) for key, id in made.fold.of.items()]
    db.executemany("UPDATE alarm_state SET incident = ? WHERE rule = ? AND series = ?", moved)
    for id, text in made.said.items():
        lines.write(db, id, now_ns, "joined" if made.fold.merged else "split", who, text)


def _members(db: sqlite3.Connection, room: Incidents, incident: int) -> list[_In]:
    """Those of an open incident, in the order in which they came in."""
    if incident not in room.open:
        raise IncidentError(f"incident {incident} is not open")
    query = """SELECT m.rule, m.series, m.joined, m.last, m.lag, f.*, l.* FROM incident_member m
        JOIN alarm_journal f ON f.id = m.joined JOIN alarm_journal l ON l.id = m.last
        WHERE m.incident = ? AND m.out = 0 ORDER BY m.joined"""
    found = []
    for rule, series, joined, last, lag_ns, *rows in db.execute(query, (incident,)):
        first, latest = rows[1 : CHANGE_COLUMNS + 1], rows[CHANGE_COLUMNS + 2 :]
        found.append(_In((rule, series), joined, last, lag_ns, change_of(first), change_of(latest)))
    return found


def _move(
    room: Incidents, fold: Fold, old: Open, new: Open, moved: Iterable[_In], reason: str, last: int
) -> None:  # fmt: skip
    """Have members be in another incident. Messages that wait tell of the old one as it was."""
    for one in moved:
        fold.out.append((old.id, one.key, last + 1))
        fold.members.append(Member(new.id, one.key, one.joined, one.last, reason))
        new.severity = worse(new.severity, one.last_change.severity)
        if one.key in old.alarms:
            old.alarms.discard(one.key)
            fold.of[one.key] = new.id
            room.add(fold, new, one.first_change)
            fold.fired[new.id][-1] = one.last_change
