"""Which series move together, and how much later one than the other? Lagged rank correlation, with its significance.

Meant for residuals (value less what was expected): values of series with a common day move together whatever they are.

- *Robust*: Spearman's, ranks in place of residuals, so that one fault of all of them at the same time weighs little.
- *Lag-aware*: the strongest of all lags within a limit counts, and pays for having been chosen (Bonferroni).
- *Honest on slow series*: neighbouring values repeat each other, so the number of values that counts is the effective
  one, n / (1 + 2 sum of the products of both autocorrelations) (Bartlett 1935; Pyper and Peterman 1998). Of a walk or
  a trend little is left, and it proves nothing.

Ranks are compiled, the rest is matrix products. Slow twins are in tests/naive.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from almenara.analysis.compiled import kernel

#: Fewer values that both have prove nothing, nor do fewer effective ones.
LEAST_ROWS, LEAST_EFFECTIVE = 60, 20.0
#: Autocorrelation is looked at up to a quarter of the span, and up to so many steps.
MEMORY_MAX = 256
#: Variance of Fisher's z of a rank correlation, times the degrees of freedom (Fieller, Hartley and Pearson 1957).
RANK_VARIANCE = 1.06
#: Weaker ones are no moving together, however sure.
LEAST_R = 0.5
#: Chance that any of all pairs looked at is found where nothing moves together.
ALPHA = 1e-3

_TILE = 64  # series compared with all others at once
_CHUNK = 512  # series transformed at once


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """n series on one grid of t even steps, as `correlate` wants them. unit: float32[n, t], ranks around 0 with
    variance 1, 0 where there is no value; known: float32[n, t], 1 where there is one; memory: float32[n, k],
    autocorrelation at 1 to k steps."""

    unit: Any
    known: Any
    memory: Any

    def __len__(self) -> int:
        return len(self.unit)

    def take(self, rows: Any) -> Ranked:
        """Some of the series."""
        return Ranked(self.unit[rows], self.known[rows], self.memory[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """How n series move with m others, [n, m]. r: the correlation at the strongest lag, -1 to 1; lag: how many steps
    the second follows the first (below 0: it leads); effective: how many values count; z: how sure, in standard
    deviations, 0 where there is too little; lags: how many lags were tried; known: whether there was enough to say."""

    r: Any
    lag: Any
    effective: Any
    z: Any
    lags: int
    known: Any

    def moves(self, tries: int, alpha: float = ALPHA, least_r: float = LEAST_R) -> Any:
        """bool[n, m]: which ones move together, of so many pairs tried."""
        return (self.z >= limit_of(tries * self.lags, alpha)) & (np.abs(self.r) >= least_r)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """k pairs of series that move together, the strongest first: int64[k] a and b with a < b; float64[k] r; int64[k]
    lag, how many steps b follows a; float64[k] p, the chance of one like it anywhere if nothing moved together."""

    a: Any
    b: Any
    r: Any
    lag: Any
    p: Any

    def __len__(self) -> int:
        return len(self.a)


def to_grid(id: Any, time: Any, value: Any, step_ns: int) -> tuple[Any, int]:
    """(float64[n, t], the time of its first column): rows as means of even steps, NaN where a series has none.

    id: int[k] from 0 on; time: int64[k] ns, in any order; value: float64[k], NaN = missing. Raises ValueError.
    """
    id, time, value = np.asarray(id, np.int64), np.asarray(time, np.int64), np.asarray(value, np.float64)
    if not len(id) == len(time) == len(value) or step_ns <= 0:
        raise ValueError(f"to_grid: columns of {len(id)}, {len(time)}, {len(value)} rows; step {step_ns} ns")
    if not len(id):
        return np.empty((0, 0)), 0
    if id.min() < 0:
        raise ValueError(f"to_grid: id must not be negative; got {id.min()}")
    first = int(time.min()) // step_ns
    n, t = int(id.max()) + 1, int(time.max()) // step_ns - first + 1
    there = np.isfinite(value)
    at = id[there] * t + (time[there] // step_ns - first)
    count = np.bincount(at, minlength=n * t)
    total = np.bincount(at, value[there], minlength=n * t)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (total / count).reshape(n, t), first * step_ns


def ranked(residuals: Any) -> Ranked:
    """Series ready to be compared; residuals: float[n, t] on one grid, NaN = missing. Raises ValueError."""
    values = np.ascontiguousarray(residuals, np.float32)
    if values.ndim != 2:
        raise ValueError(f"residuals must have two axes, series and time; got {values.ndim}")
    unit, known = np.zeros(values.shape, np.float32), np.zeros(values.shape, np.float32)
    _rank(values, unit, known)
    return Ranked(unit, known, _memory(unit))


@kernel
def _rank(values, unit, known):  # type: ignore[no-untyped-def]
    for i in range(len(values)):
        row = values[i]
        there = np.flatnonzero(np.isfinite(row))
        m = len(there)
        order = there[np.argsort(row[there])]
        square, k = 0.0, 0
        while k < m:  # of equal values each has the mean of their ranks
            end = k + 1
            while end < m and row[order[end]] == row[order[k]]:
                end += 1
            rank = 0.5 * (k + end - 1) - 0.5 * (m - 1)
            square += (end - k) * rank * rank
            for e in range(k, end):
                unit[i, order[e]] = rank
                known[i, order[e]] = 1.0
            k = end
        if square > 0:
            scale = np.sqrt(m / square)
            for e in range(m):
                unit[i, there[e]] *= scale


def _memory(unit: Any) -> Any:
    """float32[n, k]: the autocorrelation of each series at 1 to k steps, less of it where there are gaps."""
    n, t = unit.shape
    most, size = min(t // 4, MEMORY_MAX), 1 << max(1, 2 * t - 1).bit_length()
    found = np.zeros((n, most), np.float32)
    for first in range(0, n, _CHUNK):
        part = unit[first : first + _CHUNK]
        spectrum = np.fft.rfft(part, size)
        power = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)
        found[first : first + _CHUNK] = power[:, 1 : most + 1] / np.maximum(power[:, :1], 1e-6)
    return found


def correlate(x: Ranked, y: Ranked, most_lag: int) -> Match:
    """How each series of x moves with each of y, at the strongest of the lags from -most_lag to most_lag steps. Raises
    ValueError."""
    t = x.unit.shape[1]
    if y.unit.shape[1] != t or most_lag < 0:
        raise ValueError(f"correlate: grids of {t} and {y.unit.shape[1]} steps, most_lag {most_lag}")
    lags = np.array(sorted(range(-most_lag, most_lag + 1), key=lambda lag: (abs(lag), lag)))
    n, r = _at_lags(x, y, lags)
    enough = n >= LEAST_ROWS
    sure = np.where(enough, np.arctanh(np.minimum(np.abs(r), 0.9999)) * np.sqrt(n), -1.0)
    best = sure.argmax(axis=2)[..., None]  # of equal ones the one with the shortest lag
    r, n, known = (np.take_along_axis(one, best, 2)[..., 0] for one in (r, n, enough))
    effective = n / np.maximum(1.0, 1.0 + 2.0 * (x.memory @ y.memory.T))
    free = np.maximum(effective - 3.0, 0.0) / RANK_VARIANCE
    z = np.arctanh(np.minimum(np.abs(r), 0.9999)) * np.sqrt(free)
    z = np.where(known & (effective >= LEAST_EFFECTIVE), z, 0.0)
    return Match(np.where(known, r, 0.0), lags[best[..., 0]], effective, z, len(lags), known)


def _at_lags(x: Ranked, y: Ranked, lags: Any) -> tuple[Any, Any]:
    """(how many values both have, their correlation), float32[n, m, lags]."""
    units, knowns = _shifted(y.unit, lags), _shifted(y.known, lags)
    shape = len(x), len(y), len(lags)
    product = (x.unit @ units).reshape(shape)
    n = (x.known @ knowns).reshape(shape)
    of_x, of_y = (x.unit**2 @ knowns).reshape(shape), (x.known @ units**2).reshape(shape)
    scale = np.sqrt(of_x * of_y)
    return n, np.clip(np.divide(product, scale, out=np.zeros(shape, np.float32), where=scale > 1e-6), -1.0, 1.0)


def _shifted(columns: Any, lags: Any) -> Any:
    """float32[t, m * lags]: each series moved back by each lag, with 0 where it then has nothing."""
    m, t = columns.shape
    found = np.zeros((t, m, len(lags)), np.float32)
    for k, lag in enumerate(lags.tolist()):
        if abs(lag) < t:
            found[max(0, -lag) : t - max(0, lag), :, k] = columns[:, max(0, lag) : t + min(0, lag)].T
    return found.reshape(t, m * len(lags))


def pairs(x: Ranked, most_lag: int, *, alpha: float = ALPHA, least_r: float = LEAST_R) -> Pairs:
    """All pairs of series that move together."""
    tries = max(1, len(x) * (len(x) - 1) // 2)
    found = list(_tiles(x, most_lag, tries, alpha, least_r))
    empty = np.empty(0, np.int64)
    a, b, r, lag, z = (np.concatenate(one) for one in zip((empty, empty, empty, empty, empty), *found, strict=True))
    order = np.lexsort((b, a, -np.abs(r)))
    p = np.array([chance_of(one, tries * (2 * most_lag + 1)) for one in z[order].tolist()], np.float64)
    return Pairs(a[order], b[order], r[order].astype(np.float64), lag[order], p)


def _tiles(x: Ranked, most_lag: int, tries: int, alpha: float, least_r: float) -> Iterator[tuple[Any, ...]]:
    for first in range(0, len(x), _TILE):
        # The tile with itself and all behind it: each pair once, and lags of both signs at once.
        match = correlate(x.take(slice(first, None)), x.take(slice(first, first + _TILE)), most_lag)
        later, tile = np.nonzero(match.moves(tries, alpha, least_r))
        kept = later > tile
        later, tile = later[kept], tile[kept]
        yield first + tile, first + later, match.r[later, tile], -match.lag[later, tile], match.z[later, tile]


def limit_of(tries: int, alpha: float = ALPHA) -> float:
    """How many standard deviations one of so many tries must be away for a chance of alpha, on either side."""
    return NormalDist().inv_cdf(1.0 - min(alpha / max(1, tries), 1.0) / 2.0)


def chance_of(z: float, tries: int) -> float:
    """The chance that any of so many tries is z standard deviations or more away, on either side."""
    return min(1.0, tries * math.erfc(z / math.sqrt(2.0)))
