"""`Silences`: all silences and maintenance windows; they say which alarms people are told nothing of now, and why.

Every change is in hub.db before it counts. An edit that would change what a silence once was ends it and makes
another, as Alertmanager does, so what held in the past stays readable.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from almenara.alarm.silence import SILENCE, Silence, checked, silence_of, silence_row, with_windows
from almenara.alarm.tables import reading, transaction
from almenara.model.errors import NoSuchSilence, SilenceError
from almenara.model.time import DAY_NS, LATEST_NS, NS

#: The most silences that are not over.
MAX_SILENCES = 10_000
#: How long silences that are over stay readable, and how many of them, the latest.
KEPT_NS, MAX_KEPT = 90 * DAY_NS, 10_000
#: Label sets whose silences are remembered; past it all are forgotten at once.
MAX_REMEMBERED = 20_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS silence (
    id TEXT PRIMARY KEY, matchers TEXT NOT NULL, starts INTEGER NOT NULL, ends INTEGER NOT NULL, who TEXT NOT NULL,
    comment TEXT NOT NULL, windows TEXT NOT NULL, updated INTEGER NOT NULL) WITHOUT ROWID;
-- Who did what to a silence: created, changed, expired.
CREATE TABLE IF NOT EXISTS silence_change (
    id INTEGER PRIMARY KEY, silence TEXT NOT NULL, time INTEGER NOT NULL, kind TEXT NOT NULL, who TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS silence_change_silence ON silence_change (silence);
"""


@dataclass(frozen=True, slots=True)
class Changed:
    """What somebody did to a silence, and when (ns): created, changed or expired."""

    time: int
    kind: str
    who: str


class Silences:
    """Safe from every thread. What it gives are values that do not change."""

    def __init__(
        self, database: Callable[[], sqlite3.Connection], timezone: str = "UTC", maintenance: Iterable[Silence] = (),
        clock: Callable[[], int] = time.time_ns,
    ):  # fmt: skip
        """timezone: whose hours windows follow and sentences name. Raises StoreError or DiskFull."""
        self._timezone, self._zone, self._clock = timezone, ZoneInfo(timezone), clock
        self._writing = threading.Lock()  # of the database; whoever holds both took this one first
        # Of what is in memory, never held while the database is waited for: who decides alarms asks in a transaction.
        self._lock = threading.Lock()
        with reading():
            self._db = database()
            self._db.executescript(SCHEMA)
            rows = self._db.execute(f"SELECT {SILENCE} FROM silence").fetchall()
        self._all = {one.id: with_windows(one, timezone) for one in map(silence_of, rows)}
        self._last_end = 0  # when the last one is over
        self._in_order: list[Silence] = []
        self._remembered: dict[frozenset[tuple[str, str]], tuple[int, tuple[str, ...]]] = {}
        self.replace_maintenance(maintenance)

    # --- what holds

    def reason_of(self, labels: Mapping[str, str], now_ns: int) -> str | None:
        """Why people are told nothing of an alarm of these labels now, in a sentence; None: they are told."""
        found = self.holding(labels, now_ns)
        if not found:
            return None
        longest = max(found, key=lambda one: (one.span_at(now_ns) or (0, 0))[1])
        span = longest.span_at(now_ns)
        head = f"maintenance {longest.name}" if longest.name else f"silence of {longest.who}"
        until = f" until {self._clock_time(span[1])}" if span and span[1] < LATEST_NS else ""
        return head + until + (f": {longest.comment}" if longest.comment else "")

    def holding(self, labels: Mapping[str, str], now_ns: int) -> list[Silence]:
        """The silences that hold for an alarm of these labels now."""
        if now_ns >= self._last_end:
            return []
        with self._lock:
            ids = self._matching(labels)
            found = [self._all[id] for id in ids if id in self._all]
        return [one for one in found if one.span_at(now_ns) is not None]

    def all(self) -> list[Silence]:
        """Every silence that is known, those of the configuration too, by when they begin."""
        with self._lock:
            return sorted(self._all.values(), key=lambda one: (one.starts, one.id))

    def get(self, id: str) -> Silence:
        """One silence. Raises NoSuchSilence."""
        with self._lock:
            return self._known(id)

    def history(self, id: str) -> list[Changed]:
        """What was done to a silence, oldest first. Raises StoreError."""
        with self._writing, reading():
            query = "SELECT time, kind, who FROM silence_change WHERE silence = ? ORDER BY id"
            return [Changed(*row) for row in self._db.execute(query, (id,)).fetchall()]

    # --- what people do

    def put(self, wanted: Silence, by: str = "") -> Silence:
        """Make a silence, or, with the id of one, change it; gives what holds then, which may have another id.

        A silence that is over, or that would begin at another time or match other alarms than it did, is not changed:
        it ends, and another begins. by: who does it, where that is not `wanted.who`. Raises NoSuchSilence,
        SilenceError, StoreError or DiskFull; then nothing has changed.
        """
        with self._writing:
            now, by = self._clock(), by or wanted.who
            before = self._known(wanted.id) if wanted.id else None
            if before is not None and before.name:
                raise SilenceError(f"silence {before.id} is [maintenance.{before.name}] of the configuration")
            if before is not None and _may_change(before, wanted, now):
                one = checked(replace(wanted, updated=now), self._timezone)
                self._write([(one, "changed")], now, by)
                return one
            starts = max(wanted.starts, now)
            one = replace(wanted, id=str(uuid.uuid4()), starts=starts, updated=now)
            one = checked(one, self._timezone)
            if before is None and sum(s.ends > now for s in self._all.values()) >= MAX_SILENCES:
                raise SilenceError(f"there are {MAX_SILENCES} silences already; expire some")
            ended = [] if before is None or before.ends <= now else [(_expired(before, now), "expired")]
            self._write([*ended, (one, "created")], now, by)
            return one

    def expire(self, id: str, by: str = "") -> Silence:
        """End a silence now. Raises NoSuchSilence, SilenceError, StoreError or DiskFull."""
        with self._writing:
            before, now = self._known(id), self._clock()
            if before.name:
                raise SilenceError(f"silence {id} is [maintenance.{before.name}] of the configuration")
            if before.ends <= now:
                raise SilenceError(f"silence {id} already expired")
            one = _expired(before, now)
            self._write([(one, "expired")], now, by)
            return one

    def replace_maintenance(self, maintenance: Iterable[Silence]) -> None:
        """Go on with other maintenance windows of the configuration."""
        with self._writing, self._lock:
            self._all = {id: one for id, one in self._all.items() if not one.name} | {m.id: m for m in maintenance}
            self._arrange()

    def close(self) -> None:
        """Close the database."""
        with self._writing:
            self._db.close()

    # --- inside

    def _known(self, id: str) -> Silence:
        if id not in self._all:
            raise NoSuchSilence("silence not found")
        return self._all[id]

    def _write(self, changes: list[tuple[Silence, str]], now: int, by: str) -> None:
        places = ",".join("?" * len(SILENCE.split(", ")))
        over = sorted((one for one in self._all.values() if one.ends < now), key=lambda one: one.ends)
        old = {one.id for one in (*over[:-MAX_KEPT], *(one for one in over if one.ends < now - KEPT_NS))}
        with transaction(self._db):
            for one, kind in changes:
                self._db.execute(f"INSERT OR REPLACE INTO silence ({SILENCE}) VALUES ({places})", silence_row(one))
                self._db.execute(
                    "INSERT INTO silence_change (silence, time, kind, who) VALUES (?,?,?,?)", (one.id, now, kind, by)
                )
            for table, column in (("silence", "id"), ("silence_change", "silence")):
                self._db.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(id,) for id in old])
        with self._lock:
            kept = {id: one for id, one in self._all.items() if id not in old}
            self._all = kept | {one.id: one for one, _ in changes}
            self._arrange([one for one, kind in changes if kind == "created"])

    def _arrange(self, new: list[Silence] | None = None) -> None:
        """new: silences that were made; None: others may be gone, and what was remembered counts no more."""
        now = self._clock()
        self._last_end = max((one.ends for one in self._all.values()), default=0)
        alive = [one for one in self._all.values() if one.ends > now]
        if new is None or len(self._in_order) > 2 * len(alive) + 16:
            self._in_order = alive
            self._remembered.clear()
        else:
            self._in_order += new

    def _matching(self, labels: Mapping[str, str]) -> tuple[str, ...]:
        """Ids of silences about these labels. What was found before is remembered; only newer ones are tried."""
        key = frozenset(labels.items())
        seen, found = self._remembered.get(key, (0, ()))
        if seen < len(self._in_order):
            found += tuple(one.id for one in self._in_order[seen:] if one.matches(labels))
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = len(self._in_order), found
        return found

    def _clock_time(self, at_ns: int) -> str:
        return f"{datetime.fromtimestamp(at_ns // NS, UTC).astimezone(self._zone):%Y-%m-%d %H:%M}"


def _may_change(before: Silence, wanted: Silence, now: int) -> bool:
    """Whether a silence can become another one without a change of what it was."""
    if before.matchers != wanted.matchers or before.windows != wanted.windows:
        return False
    if before.ends <= now:
        return False
    if before.starts <= now:
        return before.starts // NS == wanted.starts // NS and wanted.ends >= now
    return wanted.starts >= now


def _expired(one: Silence, now: int) -> Silence:
    return replace(one, starts=min(one.starts, now), ends=now, updated=now)
