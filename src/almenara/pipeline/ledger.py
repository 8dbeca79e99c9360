"""The ledger: what became of every row of every source, so that received = stored + duplicate + overwritten + rejected
+ dropped, whatever happens to the hub.

A segment is counted just before it is stored, from the log record of each commit and from what the store has by then
(`account.py`). Its figures go to hub.db in one transaction; one that stands there is not counted again when a restart
stores it again. Payloads of which nothing was committed are noted within a second.
"""

from __future__ import annotations

import json
import sqlite3
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from almenara.pipeline import keys, sources
from almenara.pipeline.account import Became
from almenara.pipeline.database import Database
from almenara.pipeline.keys import Keys
from almenara.pipeline.notes import BEST_EFFORT, Key, Notes
from almenara.pipeline.sources import Names, Remarks, SourceStatus

#: Columns of the figures.
FIGURES = (
    "payloads", "received", "stored", "late", "duplicate", "overwritten", "rejected", "dropped", "events",
    "best_effort_rows", "first_ns", "last_ns",
)  # fmt: skip
_AT = {name: at for at, name in enumerate(FIGURES)}
_FIRST, _LAST = _AT["first_ns"], _AT["last_ns"]
_SUMS = slice(0, _FIRST)
#: What rows can become; each row received becomes exactly one of these.
OUTCOMES = ("stored", "duplicate", "overwritten", "rejected", "dropped")
#: Reasons come from plugins: so many are told apart.
MAX_REASONS = 200
OTHER_REASON = "other"
#: So many segments stand in hub.db before they become one sum.
_FOLD = 256

_HEAD = struct.Struct("<II")  # sources, length of the words
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS ledger_segment (seq INTEGER PRIMARY KEY, figures BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS ledger_sum (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, "
    "figures BLOB NOT NULL);" + sources.SCHEMA + keys.SCHEMA
)

#: (outcome, source, reason) -> rows
Reasons = dict[tuple[str, int, str], int]


@dataclass(slots=True, eq=False)
class Figures:
    """Figures by source: number int32[k], sorted, and int64[k, 12], the columns FIGURES; rows by reason."""

    number: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))
    table: np.ndarray = field(default_factory=lambda: np.empty((0, len(FIGURES)), np.int64))
    reasons: Reasons = field(default_factory=dict)

    def add(self, other: Figures) -> None:
        """Take in the figures of a later segment."""
        number = np.union1d(self.number, other.number).astype(np.int32)
        if len(number) > len(self.number):
            table = np.zeros((len(number), len(FIGURES)), np.int64)
            table[np.searchsorted(number, self.number)] = self.table
            self.number, self.table = number, table
        at = np.searchsorted(number, other.number)
        first, mine = other.table[:, _FIRST], self.table[at, _FIRST]
        self.table[at, _SUMS] += other.table[:, _SUMS]
        self.table[at, _FIRST] = np.where((mine > 0) & ((first == 0) | (mine < first)), mine, first)
        self.table[at, _LAST] = np.maximum(self.table[at, _LAST], other.table[:, _LAST])
        known = {reason for _, _, reason in self.reasons}
        for (outcome, source, reason), rows in other.reasons.items():
            word = reason if reason in known or len(known) < MAX_REASONS else OTHER_REASON
            known.add(word)
            self.reasons[outcome, source, word] = self.reasons.get((outcome, source, word), 0) + rows

    def encode(self) -> bytes:
        """As they stand in hub.db."""
        words = json.dumps([[*key, rows] for key, rows in self.reasons.items()]).encode()
        return b"".join([_HEAD.pack(len(self.number), len(words)), self.number.tobytes(), self.table.tobytes(), words])

    @classmethod
    def decode(cls, body: bytes) -> Figures:
        """What `encode` gave."""
        n, length = _HEAD.unpack_from(body)
        at = _HEAD.size + 4 * n
        number = np.frombuffer(body, np.int32, n, _HEAD.size).copy()
        table = np.frombuffer(body, np.int64, n * len(FIGURES), at).reshape(n, len(FIGURES)).copy()
        words = json.loads(body[len(body) - length :])
        return cls(number, table, {(outcome, source, reason): rows for outcome, source, reason, rows in words})


def figures_of(notes: Sequence[Notes], became: Became, k: int) -> Figures:
    """The figures of a segment: the notes of its commits in their order, and what became of its rows. k: sources."""
    table = np.zeros((k, len(FIGURES)), np.int64)
    marked = np.concatenate([note.source for note in notes])
    source, rows = marked & ~BEST_EFFORT, np.concatenate([note.rows for note in notes]).astype(np.int64)
    kept = _sum(source, rows, k)
    table[:, _AT["payloads"]] = np.bincount(source, minlength=k)
    eager = (marked & BEST_EFFORT) != 0
    table[:, _AT["best_effort_rows"]] = _sum(source[eager], rows[eager], k)
    ends = np.cumsum(rows)
    for name in ("duplicate", "overwritten", "late"):
        if len(at := getattr(became, name)):
            table[:, _AT[name]] = np.bincount(source[np.searchsorted(ends, at, "right")], minlength=k)
    table[:, _AT["stored"]] = kept - table[:, _AT["duplicate"]] - table[:, _AT["overwritten"]]
    table[:, _AT["received"]] = kept
    reasons: Reasons = {}
    for note in notes:
        _add_words(note, table, reasons)
    times = np.repeat([note.received_ns for note in notes], [len(note.source) for note in notes])
    first = np.full(k, np.iinfo(np.int64).max)
    np.minimum.at(first, source, times)
    np.maximum.at(table[:, _LAST], source, times)
    table[:, _FIRST] = np.where(table[:, _LAST] > 0, first, 0)
    number = np.flatnonzero(table.any(axis=1)).astype(np.int32)
    return Figures(number, table[number], reasons)


def _add_words(note: Notes, table: np.ndarray, reasons: Reasons) -> None:
    for outcome, tallies in (("rejected", note.rejected), ("dropped", note.dropped)):
        for source, reason, n in tallies:
            table[source, [_AT[outcome], _AT["received"]]] += n
            reasons[outcome, source, reason] = reasons.get((outcome, source, reason), 0) + n
    for source, _ in note.events:
        table[source, [_AT["events"], _AT["stored"], _AT["received"]]] += 1


def _sum(source: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """Rows by source, exact: sums of float64 are up to 2**53."""
    return np.bincount(source, weights=rows, minlength=k).astype(np.int64)


class Ledger:
    """All figures. `count` and `fold` are the flush thread's, `names.keep` and `keys` the commit thread's."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]):
        """Open the tables. Raises StoreError or DiskFull."""
        self._db = Database(connect, _SCHEMA)
        self.names, self.keys, self.sources = Names(self._db), Keys(self._db), Remarks()
        self._lock = threading.Lock()
        self._total, self.pending = Figures(), Pending()
        self.counted = 0  # the last segment that was counted
        self._segments = 0
        self._load()

    def _load(self) -> None:
        with self._db.read() as db:
            summed = db.execute("SELECT seq, figures FROM ledger_sum").fetchone()
            rest = db.execute("SELECT seq, figures FROM ledger_segment ORDER BY seq").fetchall()
        if summed:
            self.counted, self._total = summed[0], Figures.decode(summed[1])
        for seq, body in rest:
            self._total.add(Figures.decode(body))
            self.counted = seq
        self._segments = len(rest)

    # --- what happens

    def count(self, seq: int, notes: Sequence[Notes], became: Became) -> None:
        """Count segment `seq`, durably: afterwards it is never counted again. Raises StoreError or DiskFull."""
        named: list[tuple[Key, int]] = [(note.key, note.received_ns) for note in notes if note.key is not None]
        figures = figures_of(notes, became, self._room(notes)) if notes else Figures()
        with self._db.write() as db:
            db.execute("INSERT INTO ledger_segment VALUES (?, ?)", (seq, figures.encode()))
            if named:
                self.keys.keep(db, named)
        self.keys.kept(named)
        with self._lock:
            self._total.add(figures)
            self.counted = seq
        self._segments += 1
        if self._segments >= _FOLD:
            self.fold()

    def _room(self, notes: Sequence[Notes]) -> int:
        """One more than the highest source there is: a log may come from a hub whose hub.db is gone."""
        highest = max((int((n.source & ~BEST_EFFORT).max()) for n in notes if len(n.source)), default=0)
        return max(len(self.names), highest + 1)

    def fold(self) -> None:
        """Make one sum of what stands in hub.db by segment. Raises StoreError or DiskFull."""
        body = self._total.encode()
        with self._db.write() as db:
            db.execute("INSERT OR REPLACE INTO ledger_sum VALUES (1, ?, ?)", (self.counted, body))
            db.execute("DELETE FROM ledger_segment WHERE seq <= ?", (self.counted,))
        self._segments = 0

    def lost(self, name: str, outcome: str, reason: str, rows: int, payloads: int = 1) -> None:
        """Rows that never reach a commit: `rejected`, nothing in their payload could be read; `dropped`, taken from a
        sender and not kept."""
        self.pending.add((outcome, self.names.number(name), reason), rows, payloads)

    def take_up(self, seq: int, notes: Iterable[Notes]) -> None:
        """A segment that a former run left: its keys may stand nowhere else."""
        if seq > self.counted:
            for note in notes:
                if note.key is not None:
                    self.keys.put(note.key)

    def close(self) -> None:
        """Let go of hub.db."""
        self._db.close()

    # --- how it stands

    def statuses(self) -> list[SourceStatus]:
        """Every source as it stands, problems first, then the latest first."""
        with self._lock:
            number, table, reasons = self._total.number.tolist(), self._total.table.tolist(), dict(self._total.reasons)
        remarks = self.sources.all()
        found = {}
        for source, row in zip(number, table, strict=True):
            figures = {name: row[at] for name, at in _AT.items() if name not in ("rejected", "dropped")}
            found[source] = SourceStatus(name=self.names.name(source), **figures)
        for (outcome, source, reason), rows in reasons.items():
            getattr(found[source], outcome)[reason] += rows
        by_name = {one.name: one for one in found.values()}
        for name, remark in remarks.items():
            one = by_name.setdefault(name, SourceStatus(name, first_ns=remark.at_ns))
            one.last_ns = max(one.last_ns, remark.at_ns)
            one.problem, one.remedy, one.last_rejected = remark.problem, remark.remedy, remark.last_rejected
        return sorted(by_name.values(), key=lambda s: (not s.problem, -s.last_ns))

    def by_kind(self) -> Mapping[tuple[str, str], int]:
        """(kind of source, outcome) -> rows; a kind is the link a source came by."""
        with self._lock:
            number, table = self._total.number.tolist(), self._total.table.copy()
        found: Counter[tuple[str, str]] = Counter()
        for source, row in zip(number, table, strict=True):
            kind = self.names.name(source).partition(":")[0]
            for outcome in (*OUTCOMES, "late"):
                found[kind, outcome] += int(row[_AT[outcome]])
        return found


class Pending:
    """Rows lost, on their way into the log; safe from every thread. Bounded by the number of sources and reasons."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, int, str], list[int]] = {}

    def add(self, what: tuple[str, int, str], rows: int, payloads: int) -> None:
        """Count more."""
        with self._lock:
            some = self._found.setdefault(what, [0, 0])
            some[0] += rows
            some[1] += payloads

    def take(self, now_ns: int) -> Notes | None:
        """All of it, as notes."""
        with self._lock:
            found, self._found = self._found, {}
        if not found:
            return None
        numbers, payloads = [number for _, number, _ in found], [some[1] for some in found.values()]
        source = np.repeat(np.array(numbers, np.int32), payloads)

        def of(outcome: str) -> Iterable[tuple[int, str, int]]:
            return ((number, reason, some[0]) for (what, number, reason), some in found.items() if what == outcome)

        zero = np.zeros(len(source), np.int32)
        return Notes(source, zero, now_ns, tuple(of("rejected")), tuple(of("dropped")))

    def give_back(self, notes: Notes) -> None:
        """They could not be committed: keep them for the next time."""
        payloads = Counter((notes.source & ~BEST_EFFORT).tolist())
        for outcome, tallies in (("rejected", notes.rejected), ("dropped", notes.dropped)):
            for source, reason, rows in tallies:
                self.add((outcome, source, reason), rows, payloads.pop(source, 0))
