"""Rows stored lately, kept in memory, so that rows which are a little late need no look-up in the store.

Two senders of the same series are seldom in step: rows of the one come after newer ones of the other, a second late.
Asking the store for them costs more than all the rest of their way; what came within the last segments is known here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from almenara._compiled import njit
from almenara.analysis.runs import starts
from almenara.model.batch import Batch
from almenara.model.errors import StoreError
from almenara.pipeline.account import NEVER, NOTHING_ODD, Became, became, match
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.segment import SEGMENT_ROWS, Segment
from almenara.plugin.contracts import Selection, Store, StoreReader

#: Segments that are kept, and rows of them; the last one always is.
SEGMENTS, ROWS = 64, SEGMENT_ROWS

_FOREVER = np.iinfo(np.int64).max

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """A stored segment: rows [starts[k], starts[k + 1]) are of series ids[k]; last[k]: its last one before."""

    ids: np.ndarray
    starts: np.ndarray
    last: np.ndarray
    time: np.ndarray
    value: np.ndarray


class Recent:
    """What is known of rows by (series, time) without asking the store; for the flush thread."""

    def __init__(self) -> None:
        self._parts: deque[_Part] = deque()  # the newest first

    def add(self, ids: np.ndarray, starts: np.ndarray, last: np.ndarray, batch: Batch) -> None:
        """A segment is stored. ids: int32[k], its series; starts: int64[k], their first rows; last: int64[k], the time
        of the last row that the store had of each before, NEVER where it had none."""
        time, value = np.asarray(batch.time), np.asarray(batch.value)
        self._parts.appendleft(_Part(ids, np.append(starts, len(batch)), last, time, value))
        rows = 0
        for kept, part in enumerate(self._parts):
            rows += len(part.time)
            if kept and (rows > ROWS or kept >= SEGMENTS):
                while len(self._parts) > kept:
                    self._parts.pop()
                break

    def clear(self) -> None:
        """Rows were stored, or deleted, that are not known here."""
        self._parts.clear()

    def find(self, id: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(bool[n] whether it is known if the row is there, bool[n] whether it is, float64[n] its value), of rows
        asked for by int32[n] and int64[n].

        Rows of a series later than the last one before the oldest part that has the series are in parts, or nowhere.
        """
        there, value = np.zeros(len(id), np.bool_), np.full(len(id), np.nan)
        known_after = np.full(len(id), _FOREVER)
        for part in self._parts:
            at = np.minimum(np.searchsorted(part.ids, id), len(part.ids) - 1)
            known_after = np.where(part.ids[at] == id, part.last[at], known_after)
            rows = np.flatnonzero((part.ids[at] == id) & ~there)
            hit = locate(part.time, part.starts[at[rows]], part.starts[at[rows] + 1], time[rows])
            rows, hit = rows[hit >= 0], hit[hit >= 0]
            there[rows], value[rows] = True, part.value[hit]
        return there | (time > known_after), there, value


def locate(time: np.ndarray, start: np.ndarray, end: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """int64[k]: the position of wanted[k] in time[start[k]:end[k]], which rises; -1 where it is not there."""
    if not len(start) == len(end) == len(wanted):
        raise ValueError(f"columns differ in length: start {len(start)}, end {len(end)}, wanted {len(wanted)}")
    if len(start) and not 0 <= start.min() <= end.max() <= len(time):
        raise ValueError(f"ranges from {start.min()} to {end.max()} of {len(time)} times")
    return _locate(time, start, end, wanted)


@njit(cache=True, nogil=True)
def _locate(time, start, end, wanted):  # type: ignore[no-untyped-def]
    found = np.full(len(wanted), -1, np.int64)
    for k in range(len(wanted)):
        low, high = start[k], end[k]
        while low < high:
            middle = (low + high) // 2
            if time[middle] < wanted[k]:
                low = middle + 1
            else:
                high = middle
        if low < end[k] and time[low] == wanted[k]:
            found[k] = low
    return found


class Accountant:
    """Tells what becomes of the rows of a segment, from what came lately and from the store; for the flush thread."""

    def __init__(self, index: SeriesIndex, store: Store):
        self._index, self._store, self._recent = index, store, Recent()
        self._reader: StoreReader | None = None
        self._next: tuple[np.ndarray, np.ndarray, np.ndarray, Batch] | None = None
        self.asked = 0  # rows that the store was asked for

    def became(self, segment: Segment, batch: Batch) -> Became:
        """What becomes of the rows of a segment that the store does not have yet; `batch`: the same rows, sorted.
        Raises StoreError."""
        self._next = None
        if not len(batch):
            return NOTHING_ODD
        id, time = np.asarray(batch.id), np.asarray(batch.time)
        begins = starts(id)
        ids = id[begins]
        self._reader = self._reader or self._store.reader()
        known = self._reader.last(Selection(self._index, ids))
        last = np.full(len(ids), NEVER, np.int64)
        last[np.searchsorted(ids, known.id)] = known.time
        self._next = ids, begins, last, batch
        if segment.n == len(batch) and not (time[begins] <= last).any():
            return NOTHING_ODD  # the usual case: each row is later than all of its series before it
        c, n = segment.columns, segment.n
        kept = np.diff(begins, append=len(batch))
        return became(c.id[:n], c.time[:n], c.value[:n], ids, kept, last, self._find)

    def stored(self, segment: Segment) -> None:
        """The segment that was asked about last is stored now, or one that was not asked about."""
        if self._next is not None:
            self._recent.add(*self._next)
            self._next = None
        elif segment.n:
            self._recent.clear()

    def _find(self, id: np.ndarray, time: np.ndarray) -> Rows:
        """The rows that are there of those asked for, as `Find` wants it."""
        known, there, value = self._recent.find(id, time)
        rest = np.flatnonzero(~known)
        if len(rest):
            if self._reader is None:
                raise StoreError("the store has no reader")
            self.asked += len(rest)
            rows = self._reader.find(self._index, id[rest], time[rest])
            at = rest[match(id[rest], time[rest], np.asarray(rows.id), np.asarray(rows.time))]
            there[at], value[at] = True, np.asarray(rows.value)
        return id[there], time[there], value[there]

    def close(self) -> None:
        """Give the reader back."""
        if self._reader is not None:
            self._reader.close()
