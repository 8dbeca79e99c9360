"""Which hours of which series a rollup does not know yet: marked by every append, wiped when the rollup was made.

One (series, hour) is one int64, `id << 32 | hour + 2**31`, so that a set of them is a sorted array, its rows of one
series lie together, and set operations are numpy's.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
from numpy.typing import NDArray

from almenara._compiled import njit

HOUR_NS = 3_600_000_000_000
_SHIFT, _ZERO, _LOW = 32, 1 << 31, (1 << 32) - 1
_MAX_CHUNKS = 8

Pairs = NDArray[np.int64]


def pairs_of(id: NDArray, time: NDArray) -> Pairs:
    """The (series, hour) pairs of rows, sorted, each once."""
    id, time = np.ascontiguousarray(id), np.ascontiguousarray(time, np.int64)
    if len(id) != len(time):
        raise ValueError(f"columns differ in length: id {len(id)}, time {len(time)}")
    found = np.empty(len(id), np.int64)
    return found[: _pairs(id, time, found)].copy()


@njit(cache=True, nogil=True)
def _pairs(id, time, found):  # type: ignore[no-untyped-def]
    """Rows come sorted by (id, time), so equal pairs lie side by side: only the first of each hour is divided."""
    count, before, since, until = 0, np.int64(-1), np.int64(0), np.int64(0)
    for k in range(len(id)):
        i = np.int64(id[k])
        if i == before and since <= time[k] < until:
            continue
        hour = time[k] // HOUR_NS
        before, since, until = i, hour * HOUR_NS, (hour + 1) * HOUR_NS
        found[count] = (i << _SHIFT) | (hour + _ZERO)
        count += 1
    return count


def split_pairs(pairs: Pairs) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The ids and hours (since 1970) of pairs."""
    return (pairs >> _SHIFT).astype(np.uint32), (pairs & _LOW) - _ZERO


def _without(pairs: Pairs, known: Pairs) -> Pairs:
    """Those of `pairs` that are not in the sorted `known`."""
    if not len(known):
        return pairs
    at = np.minimum(np.searchsorted(known, pairs), len(known) - 1)
    return pairs[known[at] != pairs]


class Dirty:
    """Pairs in two generations, so that those still being written to are left alone: `fresh` since the last `age`."""

    def __init__(self) -> None:
        self._old: Pairs = np.empty(0, np.int64)
        self._fresh: Pairs = np.empty(0, np.int64)
        self._chunks: list[Pairs] = []
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self.save())

    def add(self, pairs: Pairs) -> None:
        """Mark sorted pairs."""
        with self._lock:
            pairs = _without(pairs, self._fresh)
            if len(pairs):
                self._chunks.append(pairs)
            if len(self._chunks) > _MAX_CHUNKS:
                self._compact()

    def ripe(self) -> Pairs:
        """Pairs that were left alone since the last `age` and whose hour is not the newest, by hour."""
        with self._lock:
            self._compact()
            if not len(self._old):
                return self._old
            newest = max(int((part & _LOW).max()) for part in (self._old, self._fresh) if len(part))
            ripe = _without(self._old, self._fresh)
            ripe = ripe[(ripe & _LOW) < newest]
        return ripe[np.argsort(ripe & _LOW, kind="stable")]

    def age(self, done: Pairs) -> None:
        """Take out `done`, and begin a new generation."""
        with self._lock:
            self._compact()
            self._old = np.union1d(_without(self._old, np.sort(done)), self._fresh)
            self._fresh = np.empty(0, np.int64)

    def hours(self, id: NDArray[np.int32], first: int, end: int) -> NDArray[np.int64]:
        """The hours in [first, end) that are dirty for any of these ids, sorted, each once."""
        with self._lock:
            parts = [self._old, self._fresh, *self._chunks]
        base = id.astype(np.int64) << _SHIFT
        found = []
        for part in parts:
            low, high = np.searchsorted(part, base + (first + _ZERO)), np.searchsorted(part, base + (end + _ZERO))
            n = high - low
            at = np.repeat(low - np.append(0, np.cumsum(n)[:-1]), n) + np.arange(n.sum()) if len(n) else n
            found.append((part[at] & _LOW) - _ZERO)
        return np.unique(np.concatenate(found))

    def save(self) -> Pairs:
        """All pairs, sorted."""
        with self._lock:
            self._compact()
            return np.union1d(self._old, self._fresh)

    def _compact(self) -> None:
        if self._chunks:
            self._fresh = np.unique(np.concatenate([self._fresh, *self._chunks]))
            self._chunks = []
