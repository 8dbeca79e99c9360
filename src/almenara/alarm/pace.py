"""When each series last had a row, and how often it usually has one: what says that a series is silent, or stale."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from almenara._compiled import njit
from almenara.model.time import DAY_NS, MINUTE_NS

#: A series is silent when it had no row for so many of its usual gaps, and for at least so long.
GAPS = 3
LEAST_NS = 5 * MINUTE_NS
#: A series is stale past a multiple of its usual gap that a rule says, and past so many times its longest one of late,
#: once it is known for so many times as long; after GONE_NS it is taken as gone for good.
LONGEST, KNOWN, GONE_NS = 3.0, 20, 7 * DAY_NS
#: So many gaps without a longer one bring the longest one of late down to the usual one.
_FADE = 512.0


@njit(cache=True, nogil=True)
def _advance(id, time, value, fresh_from, last, gap, far, first, live):  # type: ignore[no-untyped-def]
    for i in range(len(id)):
        k, t = id[i], time[i]
        live[i] = t >= fresh_from and t > last[k] and value[i] == value[i]
        if not live[i]:
            continue
        if last[k] > 0:
            seen = float(t - last[k])
            if gap[k] == 0:
                gap[k] = far[k] = seen
            else:  # one long outage becomes neither the usual gap nor the longest one
                if seen <= LONGEST * max(far[k], gap[k]):
                    far[k] = max(seen, far[k] - (far[k] - gap[k]) / _FADE)
                else:
                    far[k] *= 1.25
                gap[k] += (min(seen, 4 * gap[k]) - gap[k]) / 8
        else:
            first[k] = t
        last[k] = t


class Pace:
    """By series id: time of the last row (0 = none yet) and of the first one, the usual gap in ns (0 = not known yet)
    and the longest one of late."""

    def __init__(self) -> None:
        self.last, self.first = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.gap, self.far = np.zeros(0), np.zeros(0)

    def reserve(self, n: int) -> None:
        """Have room for ids below n."""
        have = len(self.last)
        if n > have:
            more = max(n, have * 3 // 2) - have
            self.last, self.first = (np.concatenate((c, np.zeros(more, np.int64))) for c in (self.last, self.first))
            self.gap, self.far = (np.concatenate((column, np.zeros(more))) for column in (self.gap, self.far))

    def step(self, id: np.ndarray, time: np.ndarray, value: np.ndarray, fresh_from_ns: int) -> np.ndarray:
        """bool[n]: which rows count. Not those of before `fresh_from_ns`, those that are late, and missing values.

        id: int32[n], time: int64[n], value: float64[n], ordered by (id, time).
        """
        columns = (np.ascontiguousarray(id, np.int32), np.ascontiguousarray(time, np.int64))
        values = np.ascontiguousarray(value, np.float64)
        n = len(id)
        if not n == len(time) == len(value):
            raise ValueError(f"columns differ in length: id {n}, time {len(time)}, value {len(value)}")
        live = np.empty(n, np.bool_)
        if n:
            if columns[0].min() < 0:
                raise ValueError(f"series id must not be negative; got {columns[0].min()}")
            self.reserve(int(columns[0].max()) + 1)
            _advance(*columns, values, fresh_from_ns, self.last, self.gap, self.far, self.first, live)
        return live

    def heard(self, id: int, time_ns: int) -> None:
        """A series is known to have had a row then, and nothing else of it."""
        self.first[id] = self.first[id] or time_ns
        self.last[id] = max(self.last[id], time_ns)

    def set_back(self, now_ns: int) -> None:
        """The clock was set back: no row is from the future, or those that come now would be late until it is past."""
        np.minimum(self.last, now_ns, out=self.last)
        np.minimum(self.first, now_ns, out=self.first)

    def limit(self, id: np.ndarray) -> np.ndarray:
        """int64[k]: silence of these series in ns past which they count as silent."""
        return np.maximum(GAPS * self.gap[id], LEAST_NS).astype(np.int64)

    def stale_limit(self, gaps: float) -> np.ndarray:
        """int64[series]: silence in ns past which each is stale, `gaps` being the multiple of its usual gap."""
        return np.maximum(np.maximum(gaps * self.gap, LONGEST * self.far), LEAST_NS).astype(np.int64)

    def stale(self, now_ns: int, heard_from_ns: int, gaps: float) -> np.ndarray:
        """bool[series]: which are stale, and not gone for good. heard_from_ns: silence counts from then at the
        earliest."""
        limit = self.stale_limit(gaps)
        known = (self.gap > 0) & (self.last - self.first >= KNOWN * limit)
        return known & (now_ns - np.maximum(self.last, heard_from_ns) > limit) & (now_ns - self.last < GONE_NS)

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """All of it, for a snapshot."""
        return {"last": self.last, "gap": self.gap, "far": self.far, "first": self.first}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from `columns`; a snapshot of before series could be stale has no `far` and no `first`."""
        self.last, self.gap = np.array(arrays["last"], np.int64), np.array(arrays["gap"], np.float64)
        self.far = np.array(arrays.get("far", self.gap), np.float64)
        self.first = np.array(arrays.get("first", self.last), np.int64)
        if len({len(column) for column in self.columns.values()}) != 1:  # a kernel writes to all of them
            raise ValueError(f"pace: columns differ in length: { {n: len(c) for n, c in self.columns.items()} }")
