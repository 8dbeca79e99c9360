"""Flapping: which alarms came and went so often lately that one more message would say nothing."""

from __future__ import annotations

import sqlite3

from almenara.alarm.tables import Key
from almenara.model.time import HOUR_NS

#: An alarm flaps while it was resolved so many times within so long; it is calm as soon as it was fewer times.
FLAPS, WITHIN_NS = 3, HOUR_NS
#: So many alarms are remembered before those that are calm are looked for.
_MOST = 10_000

SCHEMA = """
-- Which notifier was told, when, that an alarm flaps; while it does it is not told again.
CREATE TABLE IF NOT EXISTS flapping_told (
    rule TEXT NOT NULL, series BLOB NOT NULL, notifier TEXT NOT NULL, time INTEGER NOT NULL,
    PRIMARY KEY (rule, series, notifier)) WITHOUT ROWID;
"""


class Flapping:
    """When alarms were last resolved. The journal has it too: a restart knows the same."""

    def __init__(self) -> None:
        self._ends: dict[Key, tuple[int, ...]] = {}  # times of data in ns, rising
        self._most = _MOST

    def load(self, connection: sqlite3.Connection) -> None:
        """Take up what the journal says; times are compared with each other, so the newest tells what is lately."""
        query = """SELECT rule, series, time FROM alarm_journal WHERE state = 'resolved'
            AND time > (SELECT max(time) FROM alarm_journal) - ? ORDER BY time"""
        for rule, series, time in connection.execute(query, (WITHIN_NS,)):
            self.put((rule, series), (*self._ends.get((rule, series), ()), time))

    def resolved(self, key: Key, time: int) -> tuple[Key, tuple[int, ...]]:
        """This alarm was resolved. Gives what to put to take it back."""
        if len(self._ends) > self._most:  # those that are calm for long are forgotten
            self._ends = {k: ends for k, ends in self._ends.items() if time - ends[-1] < WITHIN_NS}
            self._most = max(_MOST, 2 * len(self._ends))
        before = self._ends.get(key, ())
        self._ends[key] = (*(t for t in before if time - t < WITHIN_NS), time)
        return key, before

    def put(self, key: Key, ends: tuple[int, ...]) -> None:
        """These are the times at which it was resolved."""
        if ends:
            self._ends[key] = ends
        else:
            self._ends.pop(key, None)

    def times(self, key: Key, now_ns: int) -> int:
        """How often the alarm came and went lately, where that is flapping; else 0."""
        ends = self._ends.get(key)
        if ends is None or len(ends) < FLAPS:
            return 0
        lately = sum(now_ns - t < WITHIN_NS for t in ends)
        return lately if lately >= FLAPS else 0
