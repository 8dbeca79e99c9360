"""Passes over rows ordered by (series, time), compiled: where each series begins, and where a score crosses the limit.

In numpy each makes several arrays as long as the rows, whose memory costs more than the looking.
"""

from __future__ import annotations

import numpy as np

from almenara._compiled import njit


def starts(id: np.ndarray) -> np.ndarray:
    """int64[k]: the first row of each series; id: int32[n], rows of one series beside each other."""
    id = np.ascontiguousarray(id, np.int32)
    found = np.empty(len(id), np.int64)
    return found[: _starts(id, found)].copy()


@njit(cache=True, nogil=True)
def _starts(id, found):  # type: ignore[no-untyped-def]
    count = 0
    for k in range(len(id)):
        if k == 0 or id[k] != id[k - 1]:
            found[count] = k
            count += 1
    return count


def crossings(id: np.ndarray, score: np.ndarray, over: np.ndarray, *, keep_unsaid: bool) -> np.ndarray:
    """int64[k]: rows with a score of 1 or more, and the first with a lower one behind such a row of the same series.

    id: int32[n], rows of one series beside each other; score: float64[n]. over: bool[series], whether the last row so
    far was over; it moves on. keep_unsaid: a missing score leaves it as it is, else it counts as one that is not over.
    """
    id, score = np.ascontiguousarray(id, np.int32), np.ascontiguousarray(score, np.float64)
    if len(id) != len(score):
        raise ValueError(f"columns differ in length: id {len(id)}, score {len(score)}")
    if len(id) and not 0 <= int(id.min()) <= int(id.max()) < len(over):
        raise ValueError(f"series {id.min()} to {id.max()} of {len(over)}")
    found = np.empty(len(id), np.int64)
    return found[: _crossings(id, score, over, keep_unsaid, found)].copy()


@njit(cache=True, nogil=True)
def _crossings(id, score, over, keep_unsaid, found):  # type: ignore[no-untyped-def]
    count, before = 0, False
    for k in range(len(id)):
        i, now = id[k], score[k] >= 1.0
        if k == 0 or i != id[k - 1]:
            before = over[i]
        if now or (before and score[k] < 1.0):
            found[count] = k
            count += 1
        before = now
        if not keep_unsaid or score[k] == score[k]:
            over[i] = now
    return count
