"""When each series last had a row, and how often it usually has one: what says that a series has fallen silent."""

from __future__ import annotations

import numpy as np

from almenara._compiled import njit
from almenara.model.time import MINUTE_NS

#: A series is silent when it had no row for so many of its usual gaps, and for at least so long.
GAPS = 3
LEAST_NS = 5 * MINUTE_NS


@njit(cache=True, nogil=True)
def _advance(id, time, value, fresh_from, last, gap, live):  # type: ignore[no-untyped-def]
    for i in range(len(id)):
        k, t = id[i], time[i]
        live[i] = t >= fresh_from and t > last[k] and value[i] == value[i]
        if not live[i]:
            continue
        if last[k] > 0:
            seen = float(t - last[k])
            if gap[k] == 0:
                gap[k] = seen
            else:  # one long outage does not become the usual gap
                gap[k] += (min(seen, 4 * gap[k]) - gap[k]) / 8
        last[k] = t


def each_once(id: np.ndarray) -> np.ndarray:
    """int32[k]: the series of rows int32[n], of which those of one series are beside each other."""
    id = np.ascontiguousarray(id, np.int32)
    found = np.empty(len(id), np.int32)
    return found[: _each_once(id, found)].copy()


@njit(cache=True, nogil=True)
def _each_once(id, found):  # type: ignore[no-untyped-def]
    count = 0
    for k in range(len(id)):
        if k == 0 or id[k] != id[k - 1]:
            found[count] = id[k]
            count += 1
    return count


class Pace:
    """By series id: time of the last row (0 = none yet), and the usual gap in ns (0 = not known yet)."""

    def __init__(self) -> None:
        self.last = np.zeros(0, np.int64)
        self.gap = np.zeros(0)

    def reserve(self, n: int) -> None:
        """Have room for ids below n."""
        have = len(self.last)
        if n > have:
            more = max(n, have * 3 // 2) - have
            self.last = np.concatenate((self.last, np.zeros(more, np.int64)))
            self.gap = np.concatenate((self.gap, np.zeros(more)))

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
            _advance(*columns, values, fresh_from_ns, self.last, self.gap, live)
        return live

    def limit(self, id: np.ndarray) -> np.ndarray:
        """int64[k]: silence of these series in ns past which they count as silent."""
        return np.maximum(GAPS * self.gap[id], LEAST_NS).astype(np.int64)
