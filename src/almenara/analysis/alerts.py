"""Where an anomaly begins: rows over the limit counted, so that one that comes and goes is one anomaly with one alert.

The rule: an anomaly begins at a row with a score of 1 or more that has no such row among the `QUIET_ROWS` judged rows
of its series before it; it goes on until so many rows in a row are below 1. Rows that were not judged (score NaN, as
of missing values) count for nothing. It looks only back, and does not depend on how rows were cut into batches.
A compiled kernel; its slow twin is in tests/naive.py.
"""

from __future__ import annotations

import numpy as np

from almenara.analysis.compiled import bare

#: So many judged rows below the limit end an anomaly.
QUIET_ROWS = 7


class Anomalies:
    """The anomaly that each series is in, by series id. rows: int32[series], its rows over the limit so far, 0 none;
    calm: int8[series], judged rows below the limit since the last one over."""

    def __init__(self, series: int = 0):
        self.rows, self.calm = np.zeros(series, np.int32), np.zeros(series, np.int8)

    def step(self, id: np.ndarray, score: np.ndarray) -> np.ndarray:
        """int32[n]: of each row over the limit which one of its anomaly it is, 1 where it begins (its *alert*); 0 for
        other rows.

        id: int32[n]; score: float64[n], NaN = not judged; the rows of each series in order of time.
        """
        id, score = np.ascontiguousarray(id, np.int32), np.ascontiguousarray(score, np.float64)
        if len(id) != len(score):
            raise ValueError(f"columns differ in length: id {len(id)}, score {len(score)}")
        nth = np.zeros(len(id), np.int32)
        if len(id):
            if id.min() < 0:
                raise ValueError(f"series id must not be negative; got {id.min()}")
            self._reserve(int(id.max()) + 1)
            _step(id, score, self.rows, self.calm, nth)
        return nth

    def state(self) -> dict[str, np.ndarray]:
        """Copies of `rows` and `calm`."""
        return {"rows": self.rows.copy(), "calm": self.calm.copy()}

    def restore(self, rows: np.ndarray, calm: np.ndarray) -> None:
        """Go on from what `state` gave. Raises ValueError where they do not belong together."""
        if len(rows) != len(calm):
            raise ValueError(f"columns differ in length: rows {len(rows)}, calm {len(calm)}")
        self.rows, self.calm = np.array(rows, np.int32), np.array(calm, np.int8)

    def adopt(self, id: np.ndarray, other: Anomalies) -> None:
        """Have these series, int32[k], each once, be in the anomalies that they are in in `other`."""
        if len(id):
            n = int(id.max()) + 1
            self._reserve(n)
            other._reserve(n)
            self.rows[id], self.calm[id] = other.rows[id], other.calm[id]

    def _reserve(self, n: int) -> None:
        have = len(self.rows)
        if n > have:
            more = max(n, have * 3 // 2) - have
            self.rows = np.concatenate((self.rows, np.zeros(more, np.int32)))
            self.calm = np.concatenate((self.calm, np.zeros(more, np.int8)))


@bare
def _step(id, score, rows, calm, nth):  # type: ignore[no-untyped-def]
    for k in range(len(id)):
        i, s = id[k], score[k]
        if s >= 1.0:
            rows[i] += 1
            calm[i] = 0
            nth[k] = rows[i]
        elif s < 1.0 and rows[i] > 0:
            calm[i] += 1
            if calm[i] >= QUIET_ROWS:
                rows[i] = 0


def spans(nth: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(first, last, worst, rows) of the anomalies in rows ordered by (id, time), int64[k]: where each begins and ends,
    its row with the highest score, and how many of its rows are over the limit. nth: what `Anomalies.step` gave, of
    which 0, 1 and more are told apart. What goes on from rows before these is left out."""
    over = np.flatnonzero(nth)
    starts = np.flatnonzero(nth[over] == 1)
    if not len(starts):
        return (np.empty(0, np.int64),) * 4
    over = over[starts[0] :]
    starts = starts - starts[0]
    ends = np.append(starts[1:], len(over))
    group = np.repeat(np.arange(len(starts)), ends - starts)
    worst = over[np.lexsort((score[over], group))[ends - 1]]
    return over[starts], over[ends - 1], worst, ends - starts
