"""How much more often do anomalies of two series begin together than chance has it? Counted from when they began.

Begins of one series that follow each other within `EPISODE` steps are one episode. An episode of a meets one of b when
they begin within a tolerance of each other, each at most one. Chance: if b knew nothing of a, a moment would lie
within the tolerance of one of b's with q = 1 - exp(-rate of b * 2 * tolerance), so that k or more of n meet with the
tail of a binomial distribution. The *lift* is k over n * q.

Compiled kernels; their slow twins are in tests/naive.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from almenara.analysis.compiled import bare
from almenara.analysis.correlation import ALPHA

#: Times are whole steps of the caller's, minutes say; begins of one series nearer than this are one episode.
EPISODE = 10
#: Once is no pattern.
LEAST_TOGETHER = 2
#: Of the episodes of the one that has fewer, at least so many must be together.
LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Together:
    """How anomalies of n series began together with those of m others, [n, m]. count: how often; of: how many episodes
    the one with fewer has; lift: how many times what chance has; p: the chance of so many or more, of this pair alone.
    """

    count: Any
    of: Any
    lift: Any
    p: Any

    def begins(self, tries: int, alpha: float = ALPHA) -> Any:
        """bool[n, m]: which ones begin together more often than chance has it, of so many pairs tried."""
        often = (self.count >= LEAST_TOGETHER) & (self.count >= LEAST_SHARE * self.of)
        return often & (self.p * max(1, tries) <= alpha)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """k pairs of series whose anomalies begin together, the surest first: int64[k] a, b with a < b, count and of;
    float64[k] lift and p, the chance of one like it anywhere if nothing began together."""

    a: Any
    b: Any
    count: Any
    of: Any
    lift: Any
    p: Any

    def __len__(self) -> int:
        return len(self.a)


def histories(id: Any, at: Any, series: int) -> tuple[Any, Any]:
    """(int64[k], begins of all series one after the other, in order; int64[series + 1], where those of each are).

    id: int[k], which series; at: int64[k], when, in steps; in any order. Raises ValueError.
    """
    id, at = np.asarray(id, np.int64), np.asarray(at, np.int64)
    if len(id) != len(at) or (len(id) and not 0 <= id.min() <= id.max() < series):
        raise ValueError(f"histories: {len(id)} ids of {series} series, {len(at)} times")
    order = np.lexsort((at, id))
    id, at = id[order], at[order]
    first = np.ones(len(id), np.bool_)
    first[1:] = (id[1:] != id[:-1]) | (np.diff(at) > EPISODE)
    ends = np.zeros(series + 1, np.int64)
    ends[1:] = np.cumsum(np.bincount(id[first], minlength=series))
    return at[first], ends


def cooccur(x: tuple[Any, Any], y: tuple[Any, Any], span: Any, tolerance: int) -> Together:
    """How each series of x goes with each of y, both as `histories` gives them. span: float64[n, m], how many steps
    long both were watched, or one number for all; tolerance: how many steps apart is still together. Raises ValueError.
    """
    if tolerance < 0 or tolerance >= EPISODE:
        raise ValueError(f"cooccur: the tolerance must be at least 0 and below {EPISODE} steps; got {tolerance}")
    n, m = len(x[1]) - 1, len(y[1]) - 1
    spans = np.ascontiguousarray(np.broadcast_to(np.asarray(span, np.float64), (n, m)))
    count, of = np.zeros((n, m), np.int32), np.zeros((n, m), np.int32)
    lift, p = np.zeros((n, m)), np.ones((n, m))
    _meet(x[0], x[1], y[0], y[1], spans, tolerance, count, of, lift, p)
    return Together(count, of, lift, p)


@bare
def _meet(at_x, ends_x, at_y, ends_y, span, tolerance, count, of, lift, p):  # type: ignore[no-untyped-def]
    for i in range(len(ends_x) - 1):
        for j in range(len(ends_y) - 1):
            a, end_a, b, end_b = ends_x[i], ends_x[i + 1], ends_y[j], ends_y[j + 1]
            n_a, n_b, k = end_a - a, end_b - b, 0
            while a < end_a and b < end_b:
                apart = at_y[b] - at_x[a]
                if apart > tolerance:
                    a += 1
                elif apart < -tolerance:
                    b += 1
                else:
                    k, a, b = k + 1, a + 1, b + 1
            few, many = min(n_a, n_b), max(n_a, n_b)
            count[i, j], of[i, j] = k, few
            if k and span[i, j] > 0:
                q = 1.0 - np.exp(-many * (2.0 * tolerance + 1.0) / span[i, j])
                lift[i, j], p[i, j] = k / (few * q), _tail(k, few, q)


@bare
def _tail(k, n, q):  # type: ignore[no-untyped-def]
    """The chance of k or more of n, each with chance q."""
    if q >= 1.0:
        return 1.0
    term, total = 1.0, 0.0  # term: the chance of exactly e of n
    for e in range(k):
        term *= (n - e) / (e + 1) * q
    term *= (1.0 - q) ** (n - k)
    for e in range(k, n + 1):
        total += term
        term *= (n - e) / (e + 1) * q / (1.0 - q)
    return min(1.0, total)


def pairs(id: Any, at: Any, series: int, span: float, tolerance: int, *, alpha: float = ALPHA) -> Pairs:
    """All pairs of so many series whose anomalies begin together. id, at: as `histories` wants them; span: how many
    steps long all were watched."""
    begins, ends = histories(id, at, series)
    active = np.flatnonzero(np.diff(ends) >= LEAST_TOGETHER)  # others can be in no pair
    tries, found = max(1, len(active) * (len(active) - 1) // 2), []
    for k, a in enumerate(active.tolist()):
        rest = active[k + 1 :]
        if not len(rest):
            break
        one = begins[ends[a] : ends[a + 1]], np.array([0, ends[a + 1] - ends[a]])
        other = _of(begins, ends, rest)
        together = cooccur(one, other, span, tolerance)
        for j in np.flatnonzero(together.begins(tries, alpha)[0]).tolist():
            row = (together.count[0, j], together.of[0, j], together.lift[0, j], together.p[0, j] * tries)
            found.append((a, int(rest[j]), *row))
    found.sort(key=lambda row: (row[5], row[0], row[1]))
    table = np.array(found, np.float64).reshape(len(found), 6).T
    a, b, count, of = table[:4].astype(np.int64)
    return Pairs(a, b, count, of, table[4], table[5])


def _of(begins: Any, ends: Any, series: Any) -> tuple[Any, Any]:
    """The histories of some of the series, which rise."""
    sizes = ends[series + 1] - ends[series]
    where = np.repeat(ends[series] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    return begins[where], np.concatenate(([0], np.cumsum(sizes)))
