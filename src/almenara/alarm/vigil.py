"""The vigil: when alarms were last decided, on disk. After an outage it is known how long nobody was watching."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo

from almenara.alarm.tables import SCHEMA, reading, transaction
from almenara.model.alarm import Fact, Notice
from almenara.model.errors import Refused, StoreError
from almenara.model.time import DAY_NS, MINUTE_NS, NS

log = logging.getLogger(__name__)

#: The time of the last decision is written so often: an outage is known to so many seconds.
WRITE_S = 5.0
#: A shorter time is no outage worth telling: a restart takes some seconds.
SHORTEST_NS = MINUTE_NS
#: Who was not told of an outage within so long is not told any more.
TOLD_WITHIN_NS = 7 * DAY_NS
#: A message that waits so long is stuck, whatever it waits for.
STUCK_NS = 10 * MINUTE_NS


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which nobody was watching, in ns."""

    id: int
    since: int
    until: int

    def words(self, zone: tzinfo = UTC) -> str:
        """Such as "from 2026-11-22 02:10 to 03:25 UTC (75 minutes)"."""
        since, until = (datetime.fromtimestamp(t // NS, zone) for t in (self.since, self.until))
        same_day = since.date() == until.date()
        end = until.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M")
        return f"from {since:%Y-%m-%d %H:%M} to {end} {until.tzname()} ({_length(self.until - self.since)})"


def _length(ns: int) -> str:
    """A length that people say: minutes up to two hours, then hours, from two days on days."""
    minutes = max(1, round(ns / MINUTE_NS))
    if minutes < 120:
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    hours = ns / (60 * MINUTE_NS)
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


class Vigil:
    """`tick` is for the one thread that decides alarms, once a second; the rest is for any thread."""

    def __init__(self, database: Callable[[], sqlite3.Connection], clock: Callable[[], int]):
        """Raises StoreError."""
        self._clock, self._lock = clock, threading.Lock()
        with reading():
            self._db = database()
            self._db.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost some ticks: the outage begins earlier
            self._db.executescript(SCHEMA)
            row = self._db.execute("SELECT tick FROM vigil").fetchone()
            last = self._db.execute("SELECT id, since, until FROM outage ORDER BY id DESC LIMIT 1").fetchone()
        self.ticked_ns: int = row[0] if row else 0  # when alarms were decided last, by this run or the one before
        self.last: Outage | None = Outage(*last) if last else None
        now = clock()
        away = bool(row) and now - row[0] >= SHORTEST_NS
        self.before: Outage | None = Outage(0, row[0], now) if away else None  # the one that this start ends
        self._began = False
        self._ticked_s = self._written_s = _awake_s()

    def tick(self) -> None:
        """Alarms are decided up to now. What cannot be written is written with the next tick."""
        now, now_s = self._clock(), _awake_s()
        # Within a run real time counts: a demo's clock runs faster, and clocks are set.
        away = (
            now - self.ticked_ns if not self._began else min(now - self.ticked_ns, round((now_s - self._ticked_s) * NS))
        )
        if self.ticked_ns and away >= SHORTEST_NS:
            self._note(self.ticked_ns, now)
        if not self._began or now_s - self._written_s >= WRITE_S:
            self._write(now)
            self._written_s = now_s
        self._began, self.ticked_ns, self._ticked_s = True, now, now_s

    def close(self) -> None:
        """The last tick, and let go of the file."""
        if self._began:
            self._write(self.ticked_ns)
        with self._lock:
            self._db.close()

    def stuck(self) -> str:
        """What of the outbox does not get out, in words; empty when all does. Raises StoreError."""
        now = self._clock()
        query = """SELECT notifier, count(*), min(queued), max(error) FROM outbox
            WHERE outcome = '' AND (max(due, queued) < ?1 OR (tries > 0 AND queued < ?1)) GROUP BY notifier"""
        with self._lock, reading():
            found = self._db.execute(query, (now - STUCK_NS,)).fetchall()
        return "; ".join(
            f"{name}: {count} message{'s wait' if count > 1 else ' waits'} for {_length(now - queued)}"
            + (f": {error}" if error else "")
            for name, count, queued, error in found
        )

    def _write(self, now: int) -> None:
        with contextlib.suppress(StoreError, Refused), self._lock, transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO vigil VALUES (1, ?)", (now,))

    def _note(self, since: int, until: int) -> None:
        try:
            with self._lock, transaction(self._db):
                cursor = self._db.execute("INSERT INTO outage (since, until) VALUES (?, ?)", (since, until))
            self.last = Outage(int(cursor.lastrowid or 0), since, until)
        except (StoreError, Refused) as error:
            log.warning("an outage cannot be written down: %s", error)
            self.last = Outage(0, since, until)
        log.warning("nobody was watching %s", self.last.words())


def _awake_s() -> float:
    """A clock that nobody sets, and that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def untold(connection: sqlite3.Connection, notifier: str, now_ns: int) -> list[Outage]:
    """Outages that this notifier was not told of yet, oldest first."""
    query = """SELECT id, since, until FROM outage WHERE until > ?
        AND id > coalesce((SELECT outage FROM outage_told WHERE notifier = ?), 0) ORDER BY id"""
    return [Outage(*row) for row in connection.execute(query, (now_ns - TOLD_WITHIN_NS, notifier))]


def told(connection: sqlite3.Connection, notifier: str, outage: Outage) -> None:
    """This notifier knows of all outages up to this one."""
    connection.execute("INSERT OR REPLACE INTO outage_told VALUES (?, ?)", (notifier, outage.id))


def with_outages(notice: Notice, outages: Sequence[Outage], zone: tzinfo = UTC) -> Notice:
    """The same message, which also says that nobody was watching: the latest outage, and how many were before it."""
    if not outages:
        return notice
    more = f", and {len(outages) - 1} times before" if len(outages) > 1 else ""
    return replace(notice, facts=(*notice.facts, Fact("Nobody was watching", outages[-1].words(zone) + more)))
