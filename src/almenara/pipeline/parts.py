"""Some rows of a segment: taken out for a detector, and what it said put back at their places.

Rows are ordered by series, and nearly all of them are judged: those that are not, the hub's own for the most part, lie
in a few places. So the others are a few long slices, which are copied whole, or not at all where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from almenara.model.batch import Batch, Verdict

#: More slices than so many are shorter than what a copy of each costs.
FEW = 256


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """`count` of `n` rows: those in the slices of `bounds`, int64[k, 2], or, where it is None, those at `at`."""

    n: int
    count: int
    bounds: np.ndarray | None
    at: np.ndarray | None = None

    def positions(self) -> np.ndarray:
        """int64[count]."""
        if self.bounds is None:
            return np.asarray(self.at)
        return np.concatenate([np.arange(start, end) for start, end in self.bounds])

    def take(self, batch: Batch) -> Batch:
        """These rows of a batch; the batch itself where they are all of its rows."""
        if self.count == self.n:
            return batch
        return Batch(batch.series, self._of(batch.id), self._of(batch.time), self._of(batch.value))

    def spread(self, said: Verdict) -> Verdict:
        """What was said of these rows, as a verdict of all n; of the others it says nothing. ValueError where it is of
        another number of rows.

        What was expected is asked of few rows, those over the limit, so it stays where it is, `Spread`."""
        if len(said) != self.count:
            raise ValueError(f"a verdict of {len(said)} rows for {self.count} rows to judge")
        if self.count == self.n:
            return said
        score = np.empty(self.n)
        self.put(score, np.asarray(said.score, np.float64), np.nan)
        share = np.asarray(said.share, np.float64)
        one_for_all = share.strides == (0,) and share[0] == 1.0  # as where each row is judged alone
        told = (np.asarray(column, np.float64) for column in (said.yhat, said.lower, said.upper))
        yhat, lower, upper = (Spread(self, column, np.nan) for column in told)
        cause = Spread(self, np.asarray(said.cause, np.int16), -1)
        shares = np.broadcast_to(1.0, self.n) if one_for_all else np.asarray(Spread(self, share, 1.0))
        at = self.positions() if said.notes else ()
        notes = {int(at[k]): text for k, text in said.notes.items()}
        return Verdict(score, yhat, lower, upper, shares, cause, notes=notes)

    def where(self, at: np.ndarray) -> np.ndarray:
        """int64[k]: which of these rows, in their order, the rows at `at` of all are; -1 for others."""
        if self.bounds is None:
            return _where_in(np.asarray(self.at), at)
        start, end = self.bounds.T
        before = np.cumsum(end - start) - (end - start)
        slice_ = np.maximum(np.searchsorted(start, at, "right") - 1, 0)
        inside = (at >= start[slice_]) & (at < end[slice_])
        return np.where(inside, at - start[slice_] + before[slice_], -1)

    def _of(self, column: np.ndarray) -> np.ndarray:
        if self.bounds is None:
            return np.asarray(column)[self.at]
        if len(self.bounds) == 1:
            return np.asarray(column)[self.bounds[0, 0] : self.bounds[0, 1]]
        return np.concatenate([column[start:end] for start, end in self.bounds])

    def put(self, out: np.ndarray, some: np.ndarray, rest: float) -> None:
        """Fill `out`, of all rows, with `some`, of these, and else with `rest`."""
        if self.bounds is None:
            out[:] = rest
            out[self.at] = some
            return
        before = taken = 0
        for start, end in self.bounds.tolist():
            out[before:start] = rest
            out[start:end] = some[taken : taken + end - start]
            before, taken = end, taken + end - start
        out[before:] = rest


class Spread:
    """A column of all rows that is kept as that of some of them; indexed as an array is, with `rest` elsewhere."""

    def __init__(self, rows: Rows, some: np.ndarray, rest: float):
        self._rows, self._some, self._rest = rows, some, rest
        self.dtype = some.dtype

    def __len__(self) -> int:
        return self._rows.n

    def __getitem__(self, at: Any) -> Any:
        """One value for a number, else an array."""
        wanted = np.arange(self._rows.n)[at] if isinstance(at, slice) else np.asarray(at)
        wanted = np.flatnonzero(wanted) if wanted.dtype == np.bool_ else wanted
        if wanted.size and not -self._rows.n <= wanted.min() <= wanted.max() < self._rows.n:
            raise IndexError(f"row {wanted.min()} to {wanted.max()} of {self._rows.n}")
        where = self._rows.where(wanted % self._rows.n)
        return np.where(where < 0, self.dtype.type(self._rest), self._some[where])[()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows."""
        out = np.empty(self._rows.n, self.dtype)
        self._rows.put(out, self._some, self._rest)
        return out if dtype is None else out.astype(dtype, copy=False)


def _where_in(rising: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The position of each in `rising`, int64[k]; -1 where it is not there."""
    at = np.minimum(np.searchsorted(rising, wanted), len(rising) - 1)
    return np.where(rising[at] == wanted, at, -1)


def rows_of(mine: np.ndarray, count: int) -> Rows:
    """The rows where `mine`, bool[n], is true; `count` of them, 1 or more."""
    n = len(mine)
    if count == n:
        return Rows(n, n, np.array([[0, n]]))
    edges = np.flatnonzero(mine[1:] != mine[:-1]) + 1
    if len(edges) > 2 * FEW:
        return Rows(n, count, None, np.flatnonzero(mine))
    edges = np.concatenate(([0] if mine[0] else [], edges, [n] if mine[-1] else [])).astype(np.int64)
    return Rows(n, count, edges.reshape(-1, 2))
