"""How far series were from what was expected, a byte a minute for the last half day: what folding compares.

A residual is (value - yhat) in half bands, so that series of any unit compare. The mean of each minute is kept as one
byte, minutes in the outer axis: the rows of a segment, ordered by series, then write to memory in its order.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from almenara._compiled import njit
from almenara.model.batch import Batch, Verdict
from almenara.model.time import MINUTE_NS

#: Minutes kept.
KEPT = 720
#: Parts of a half band in one step of a byte, which then reaches from -4 to 4.
STEPS = 32.0
MISSING = -128
_NEVER = -1_000_000  # a minute before all others


@njit(cache=True, nogil=True, error_model="numpy")
def _add(id, time, value, yhat, lower, upper, most, newest, minute, total, count, ring):  # type: ignore[no-untyped-def]
    """Whether the rows are in order of series; else those from there on are left out."""
    kept, k = len(ring), 0
    while k < len(id) and id[k] < most:
        i = id[k]
        now, sum_, n = minute[i], total[i], count[i]
        begin, end = now * MINUTE_NS, (now + 1) * MINUTE_NS
        while k < len(id) and id[k] == i:
            far, t = 2.0 * (value[k] - yhat[k]) / (upper[k] - lower[k]), time[k]
            k += 1
            if not (abs(far) < np.inf) or t < begin:
                continue
            if t >= end:  # what divides is slow, and seldom comes
                if n and now > newest - kept:
                    ring[now % kept, i] = np.int8(max(-127, min(127, round(STEPS * sum_ / n))))
                now = t // MINUTE_NS
                begin, end = now * MINUTE_NS, (now + 1) * MINUTE_NS
                sum_, n = 0.0, 0
            sum_ += min(max(far, -4.0), 4.0)
            n += 1
        minute[i], total[i], count[i] = now, sum_, n
        if k < len(id) and id[k] < i:
            return False
    return True


class Residuals:
    """The residuals of all series by id, up to a limit of memory; for the flush thread."""

    def __init__(self, megabytes: float):
        self.most = int(megabytes * 1e6 / KEPT)  # series
        self._newest = _NEVER
        self._n = 0
        self._minute = np.zeros(0, np.int64)
        self._total, self._count = np.zeros(0), np.zeros(0, np.int64)
        self._ring = np.zeros((KEPT, 0), np.int8)

    def step(self, batch: Batch, verdict: Verdict) -> None:
        """Take in rows ordered by (id, time). A minute is kept once a row of a later one comes."""
        if not len(batch) or not self.most:
            return
        id, time = np.asarray(batch.id), np.asarray(batch.time)
        self._reserve(min(int(id[-1]) + 1, self.most))
        self._go_on(int(time.max()) // MINUTE_NS)
        columns = (verdict.judged(batch), verdict.yhat, verdict.lower, verdict.upper)
        if any(len(column) != len(id) for column in columns) or id[0] < 0:
            raise ValueError(f"residuals: expected columns of one length, {len(id)}, and ids of 0 or more")
        value, yhat, lower, upper = (np.ascontiguousarray(column, np.float64) for column in columns)
        in_order = _add(
            np.ascontiguousarray(id, np.int32), np.ascontiguousarray(time, np.int64), value, yhat, lower, upper,
            self.most, self._newest, self._minute, self._total, self._count, self._ring,
        )  # fmt: skip
        if not in_order:
            raise ValueError("residuals: rows must be in order of series")

    def of(self, ids: np.ndarray, before: int) -> np.ndarray:
        """float32[k, KEPT]: residuals of these series in the minutes before minute `before`, the newest last; NaN where
        there is none, as of ids that are -1."""
        found = np.full((len(ids), KEPT), np.nan, np.float32)
        there = np.flatnonzero((ids >= 0) & (ids < self._n))
        if self._newest == _NEVER or not len(there):
            return found
        minutes = np.arange(max(before, self._newest + 1) - KEPT, before)
        minutes = minutes[minutes <= self._newest]
        taken = self._ring[np.ix_(minutes % KEPT, ids[there])].T
        found[np.ix_(there, minutes - (before - KEPT))] = np.where(taken == MISSING, np.nan, taken / np.float32(STEPS))
        return found

    def _reserve(self, n: int) -> None:
        if n <= self._n:
            return
        if n > len(self._minute):
            size = min(self.most, max(n, len(self._minute) * 3 // 2))
            more = size - len(self._minute)
            self._minute = np.concatenate((self._minute, np.full(more, _NEVER, np.int64)))
            self._total = np.concatenate((self._total, np.zeros(more)))
            self._count = np.concatenate((self._count, np.zeros(more, np.int64)))
            self._ring = np.concatenate((self._ring, np.full((KEPT, more), MISSING, np.int8)), axis=1)
        self._n = n

    def _go_on(self, newest: int) -> None:
        """Forget the minutes whose places newer ones take."""
        if newest <= self._newest:
            return
        first = max(self._newest + 1, newest - KEPT + 1)
        self._ring[np.arange(first, newest + 1) % KEPT] = MISSING
        self._newest = newest

    def state(self) -> dict[str, np.ndarray]:
        """Copies of all there is."""
        n = self._n
        return {
            "residual_newest": np.array([self._newest], np.int64),
            "residual_minute": self._minute[:n].copy(),
            "residual_total": self._total[:n].copy(),
            "residual_count": self._count[:n].copy(),
            "residual_ring": self._ring[:, :n].copy(),
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave; where it had more series, or there is none of it, with what fits."""
        if "residual_ring" not in arrays or arrays["residual_ring"].shape[0] != KEPT:
            return
        n = min(self.most, arrays["residual_ring"].shape[1])
        self._newest, self._n = int(arrays["residual_newest"][0]), n
        self._minute, self._total, self._count = (
            np.array(arrays[f"residual_{name}"][:n]) for name in ("minute", "total", "count")
        )
        self._ring = np.array(arrays["residual_ring"][:, :n])
