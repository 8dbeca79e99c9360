"""Going on after a restart: states of alarms from hub.db, the rest from a snapshot and from segments stepped again.

hub.db has every alarm as it was at its last change. What moves on inside a state (last row, last true row) is in the
snapshot that the hub writes beside what detectors learned, and is brought up to date by the segments after it.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from almenara.alarm.answers import AnswerMachine
from almenara.alarm.changes import Change
from almenara.alarm.pace import Pace
from almenara.alarm.states import Machine
from almenara.alarm.tables import CHANGE_COLUMNS, Key, change_of
from almenara.model.alarm import Alarm, Transition
from almenara.model.time import MINUTE_NS, WEEK_NS

#: Alarms of the past that a restart looks at.
MOST_FIRED = 100_000
#: Raised when the meaning of the snapshot's arrays changes.
FORMAT = 1
_COLUMNS = {"code": np.int8, "since": np.int64, "last_true": np.int64, "worst": np.float64, "said": np.bool_}


def open_alarms(db: sqlite3.Connection) -> dict[Key, Alarm]:
    """Alarms that are open, each with its last change."""
    rows = db.execute("SELECT s.incident, j.* FROM alarm_state s JOIN alarm_journal j ON j.id = s.journal")
    found = {}
    for incident, _, *columns in rows:
        change = change_of(columns[:CHANGE_COLUMNS])
        found[change.rule, change.series.key] = Alarm(change, incident or None)
    return found


def numbers(db: sqlite3.Connection) -> tuple[int, int]:
    """(the last segment that is decided, -1 none; the number of the next change)."""
    decided = db.execute("SELECT seq FROM alarm_decided").fetchone()
    return decided[0] if decided else -1, db.execute("SELECT coalesce(max(id), 0) + 1 FROM alarm_journal").fetchone()[0]


def known(db: sqlite3.Connection, change: Transition) -> int | None:
    """The number of a change that the journal has already."""
    row = db.execute(
        "SELECT id FROM alarm_journal WHERE rule=? AND series=? AND since=? AND state=?",
        (change.rule, change.series.key, change.since, change.state.value),
    ).fetchone()
    return row[0] if row else None


def fired(db: sqlite3.Connection) -> list[tuple[bytes, int]]:
    """(series, since when) of the alarms that fired last, as far as anybody wants to know what began together."""
    return db.execute(
        "SELECT series, since FROM alarm_journal WHERE state = 'firing' ORDER BY id DESC LIMIT ?", (MOST_FIRED,)
    ).fetchall()


def usual(db: sqlite3.Connection, rule: str, before_ns: int) -> float:
    """How many alarms of a rule fired in a minute, on the whole, in the week before a time."""
    query = "SELECT sum(rule = ? AND state = 'firing'), min(time) FROM alarm_journal WHERE time >= ? AND time < ?"
    count, first = db.execute(query, (rule, before_ns - WEEK_NS, before_ns)).fetchone()
    return count / ((before_ns - first) / MINUTE_NS) if count else 0.0


def write_states(
    db: sqlite3.Connection, seq: int, changes: Sequence[tuple[int, Change]], incident_of: Callable[[Key], int],
    columns_of: Callable[[Key, int], tuple[Any, ...]],
) -> None:  # fmt: skip
    """Bring `alarm_state` up to date by (number, change) in their order."""
    last = {change.key: (number, change) for number, change in changes}
    db.executemany(
        "DELETE FROM alarm_state WHERE rule = ? AND series = ?", [key for key, (_, one) in last.items() if one.is_over]
    )
    db.executemany(
        "INSERT OR REPLACE INTO alarm_state VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        [
            (*key, *columns_of(key, one.id), number, incident_of(key), seq)
            for key, (number, one) in last.items()
            if not one.is_over
        ],
    )


def state(seq: int, pace: Pace, machines: Mapping[str, Machine]) -> dict[str, np.ndarray]:
    """Arrays for a snapshot: last and gap by series id; of each open alarm its rule (index into names) and columns."""
    open = [(machine, machine.open()) for machine in machines.values() if not isinstance(machine, AnswerMachine)]
    found = {
        name: np.concatenate([np.zeros(0, dtype), *(machine.columns[c][ids] for machine, ids in open)])
        for c, (name, dtype) in enumerate(_COLUMNS.items())
    }
    return {
        "format": np.array([FORMAT], np.int64),
        "seq": np.array([seq], np.int64),
        **{name: column.copy() for name, column in pace.columns.items()},
        "names": _json([machine.rule.name for machine, _ in open]),
        "own": _json(_own(machines)),
        "rule": np.repeat(np.arange(len(open), dtype=np.int32), [len(ids) for _, ids in open]),
        "id": np.concatenate([np.zeros(0, np.int32), *(ids for _, ids in open)]),
        **found,
    }


def _json(what: object) -> np.ndarray:
    return np.frombuffer(json.dumps(what).encode(), np.uint8).copy()


def _own(machines: Mapping[str, Machine]) -> list[tuple[Any, ...]]:
    """(rule, key, *columns) of open alarms whose series the index does not know."""
    return [
        (name, machine.series.keys[id].hex(), *(column[id].item() for column in machine.columns))
        for name, machine in machines.items()
        if isinstance(machine, AnswerMachine)
        for id in machine.open().tolist()
    ]


def checked(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The arrays, if this version can read them. Raises ValueError, KeyError."""
    if arrays["format"].tolist() != [FORMAT]:
        raise ValueError(f"snapshot of alarms: found format {arrays['format'].tolist()}, expected [{FORMAT}]")
    n = len(arrays["id"])
    if any(len(arrays[name]) != n for name in ("rule", *_COLUMNS)) or len(arrays["last"]) != len(arrays["gap"]):
        raise ValueError("snapshot of alarms: columns differ in length")
    return arrays


def attach(
    db: sqlite3.Connection, series: Any, pace: Pace, machines: Mapping[str, Machine],
    snapshot: Mapping[str, np.ndarray] | None,
) -> Heard:  # fmt: skip
    """Give alarms of the database to their series, and what the snapshot knows better than it to alarms. Gives what
    the database knows of the last rows of series."""
    find = getattr(series, "find", None) or series.keys.find
    rows = db.execute("SELECT rule, series, code, since, last_true, worst, said, last, seq FROM alarm_state").fetchall()
    ids = find([row[1] for row in rows]).tolist() if rows else []
    inside, own, heard = _inside(snapshot), _inside_own(snapshot), []
    if snapshot is not None:
        pace.restore(snapshot)
    pace.reserve(len(series))
    for (rule, key, code, since, last_true, worst, said, last, seq), id in zip(rows, ids, strict=True):
        machine = machines.get(rule)
        values = (code, since, last_true, np.nan if worst is None else worst, bool(said))
        if isinstance(machine, AnswerMachine):
            newer = own.get((rule, key), values)
            place = machine.place(key)
            machine.put(place, newer if newer[:2] == values[:2] else values)
            machine.last[place] = last
            continue
        if machine is None or id < 0:
            continue
        heard.append((seq, id, last))
        if snapshot is not None and seq <= snapshot["seq"][0]:
            newer = inside.get((rule, id), values)
            values = newer if newer[:2] == values[:2] else values
        machine.put(id, values)
    return Heard(heard)


class Heard:
    """When series had their last row, as it was written with their alarms: (segment, series id, time).

    Without a snapshot nothing else says which rows are late. It is taken up only when the segment is behind us: while
    segments up to it are stepped again, their rows still bring alarms of the same series up to date that were written
    earlier.
    """

    def __init__(self, rows: Sequence[tuple[int, int, int]] = ()):
        self._rows = sorted(rows)

    def take_up(self, pace: Pace, seq: int | None = None) -> None:
        """Have the pace know of what was written before segment `seq`; None: of all."""
        n = len(self._rows) if seq is None else bisect_left(self._rows, (seq,))
        for _, id, last in self._rows[:n]:
            pace.heard(id, last)
        del self._rows[:n]


def _inside(snapshot: Mapping[str, np.ndarray] | None) -> dict[tuple[str, int], tuple[Any, ...]]:
    if snapshot is None:
        return {}
    names = json.loads(snapshot["names"].tobytes())
    columns = zip(*(snapshot[name].tolist() for name in _COLUMNS), strict=True)
    return {
        (names[rule], id): values
        for rule, id, values in zip(snapshot["rule"].tolist(), snapshot["id"].tolist(), columns, strict=True)
    }


def _inside_own(snapshot: Mapping[str, np.ndarray] | None) -> dict[Key, tuple[Any, ...]]:
    """The same of alarms with series of their own, by key; a snapshot of before there were any has none."""
    if snapshot is None or "own" not in snapshot:
        return {}
    return {(rule, bytes.fromhex(key)): tuple(values) for rule, key, *values in json.loads(snapshot["own"].tobytes())}
