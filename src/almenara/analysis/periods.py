"""Which periods repeat in a series? Found in its spectrum, then checked by predicting each part of it from the others.

A period has to pass two tests that do not know each other:

- *Spectrum*: the power at its frequency and multiples against the power between them. A power law is fitted to what
  lies between, so noise of any colour (white, drifting, a random walk) is no evidence; false-alarm level as `Z_MIN`.
- *Prediction*: the series, less its moving average over one period, is folded; every block of it must be predicted by
  the others' fold. Two faults that happen to be as far apart as a period would be do not pass that.

Missing values are left out of both. Compiled kernels; their slow twins are in tests/naive.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from almenara.analysis.folding import DIVISORS, less_profile, profile_of, strongest
from almenara.model.time import NS

LEAST, VALUES_MAX = 64, 4096  # even values searched at once
ROWS_MAX = 1 << 22  # even steps that a series is cut into, at most
CLIP = 8.0  # of values, in mean absolute deviations
HUGE = 1e100


@dataclass(frozen=True, slots=True)
class Period:
    """A period found. period_s: its length; gain: share of the variance, less slower movements, that it predicts;
    z: how sure, in standard deviations; profile: float64[BINS], its shape around 0 from phase 0, which is at
    origin_ns."""

    period_s: float
    gain: float
    z: float
    origin_ns: int
    profile: Any


def find_periods(time: Any, value: Any, *, most: int = 4) -> list[Period]:
    """The periods that repeat in a series, the one that predicts most first; an empty list where there is none.

    time: int64[n] ns UTC, rising; value: float64[n], NaN = missing; rows may be irregular. Looked for from 3 usual
    steps of time to a quarter of the whole. A multiple or a part of a period found is not told again.

    Raises ValueError where the columns do not fit.
    """
    times, values = np.asarray(time, np.int64), np.asarray(value, np.float64)
    if times.ndim != 1 or times.shape != values.shape:
        raise ValueError(f"find_periods: time {times.shape} and value {values.shape} differ in shape")
    if (np.diff(times) < 0).any():
        raise ValueError("find_periods: time goes back; rows must be in order of time")
    came = np.isfinite(values)
    times, values = times[came], values[came]
    if len(times) < LEAST or times[0] == times[-1]:
        return []
    rows, step_ns = _even(times, values)
    found, width = list[Period](), 1
    while len(rows) // width >= LEAST and len(found) < most:
        first, period = _one(rows, width, step_ns, int(times[0]))
        told = period is not None and any(_alike(period.period_s, other.period_s) for other in found)
        if period is None or told:
            width *= 2
            continue
        less_profile(rows, -first, period.period_s * NS / step_ns, period.profile)
        found.append(period)
    return sorted(found, key=lambda period: -period.gain)


def _even(times: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, int]:
    """(means of values in even steps from times[0] on, NaN where none came; the step in ns, as rows usually come)."""
    steps = np.diff(times)
    span = int(times[-1] - times[0])
    step_ns = max(int(np.median(steps[steps > 0])), span // ROWS_MAX, 1)
    at = (times - times[0]) // step_ns
    counts, sums = np.bincount(at), np.bincount(at, weights=np.clip(values, -HUGE, HUGE))
    return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0), step_ns


def _one(rows: np.ndarray, width: int, step_ns: int, start_ns: int) -> tuple[int, Period | None]:
    """(row at which phase 0 is, the strongest period) in the latest VALUES_MAX means of `width` rows each."""
    n = min(len(rows) // width, VALUES_MAX)
    first = len(rows) - n * width
    blocks = rows[first:].reshape(n, width)
    counts = (~np.isnan(blocks)).sum(axis=1)
    means = np.divide(np.nansum(blocks, axis=1), counts, out=np.full(n, np.nan), where=counts > 0)
    middle = np.nanmedian(means)
    bound = CLIP * np.nanmean(np.abs(means - middle))
    means = np.clip(means, middle - bound, middle + bound)
    period, gain, z = strongest(means, width * step_ns / NS, False)
    if period == 0.0:
        return first, None
    origin_ns = start_ns + first * step_ns
    return first, Period(period * width * step_ns / NS, gain, z, origin_ns, profile_of(means, period))


def _alike(a: float, b: float) -> bool:
    """Is one the other or, to 1 %, a small multiple of it?"""
    ratio = max(a, b) / min(a, b)
    return round(ratio) <= DIVISORS and abs(ratio / round(ratio) - 1) < 0.01
