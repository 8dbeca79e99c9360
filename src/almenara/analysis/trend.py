"""When a trend crosses a limit, with an interval: "the disk is full in 2 days, 80 % sure between 1.6 and 2.7 days".

The line is Theil and Sen's (the median of the slopes between all pairs: a burst or a cleaned disk does not bend it)
through medians of equal parts of the history. What remains is taken as an autoregression of order 1, from white noise
to a random walk, and drawn again many times with its own steps (a sieve bootstrap: P. Bühlmann, "Sieve bootstrap for
time series", Bernoulli 3, 1997): each draw gives another line and another future, and so another time of crossing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Parts of the history whose medians the line goes through; fewer where rows are few.
PARTS = (40, 20, 10)
#: So much of the parts must have rows; the others lie between their neighbours.
FULL = 0.75
#: Futures drawn a series, and how far they reach, in times of the horizon.
DRAWS, REACH = 200, 4.0
#: The interval that is told, and how sure it must be that there is a trend at all.
EARLY, LATE, SURE = 0.1, 0.9, 0.95
#: What remains is taken as a random walk where it is nearly one: of few parts nobody can tell.
NEARLY_A_WALK = 0.8
_SEED = 20_261_122


@dataclass(frozen=True, slots=True, eq=False)
class Crossings:
    """Of k series: bool[k] known, enough history; bool[k] crosses, beyond the limit now or by the trend within the
    horizon; float64[k] level now; seconds until the crossing, the median and both ends of the interval (0: it is beyond
    now; inf: not as far as was looked; NaN: not worked out, since it is far)."""

    known: np.ndarray
    crosses: np.ndarray
    level: np.ndarray
    median_s: np.ndarray
    early_s: np.ndarray
    late_s: np.ndarray


def crossings(values: np.ndarray, step_s: float, limit: float, above: bool, within_s: float) -> Crossings:
    """When each series goes above (or below) a limit.

    values: float64[k, n], n >= 1, at equal distances of step_s, the last column now; NaN where there is none. Raises
    ValueError.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not step_s > 0 or not within_s > 0:
        raise ValueError(f"values must be [k, n], step and horizon above 0; got {values.shape}, {step_s}, {within_s}")
    if not above:
        values, limit = -values, -limit
    k = len(values)
    found = {name: np.full(k, np.nan) for name in ("level", "median_s", "early_s", "late_s")}
    known, crosses = np.zeros(k, np.bool_), np.zeros(k, np.bool_)
    rng = np.random.default_rng(_SEED)
    for i in range(k):
        one = _parted(values[i], step_s)
        if one is None:
            continue
        parts, part_s = one
        known[i] = True
        last = values[i][~np.isnan(values[i])][-1]
        found["level"][i] = last
        if last > limit:
            crosses[i], found["median_s"][i], found["early_s"][i], found["late_s"][i] = True, 0.0, 0.0, 0.0
        elif _may_cross(parts, limit, within_s / part_s):
            at, crosses[i] = _drawn(parts, part_s, limit, within_s, rng)
            found["early_s"][i], found["median_s"][i], found["late_s"][i] = at
    found["level"] = found["level"] if above else -found["level"]
    return Crossings(known, crosses, **found)


def _parted(values: np.ndarray, step_s: float) -> tuple[np.ndarray, float] | None:
    """(medians of equal parts from the first value to now, seconds of a part); None where there is too little."""
    there = np.flatnonzero(~np.isnan(values))
    if not len(there) or len(values) - there[0] < len(values) / 3:
        return None
    values = values[there[0] :]
    for count in PARTS:
        part = len(values) // count
        if part == 0:
            continue
        kept = values[len(values) - part * count :].reshape(count, part)
        some = ~np.isnan(kept).all(axis=1)
        if some.mean() < FULL or not some[-1]:
            continue
        medians = np.array([np.nanmedian(row) if full else np.nan for row, full in zip(kept, some, strict=True)])
        at = np.arange(count)
        return np.interp(at, at[some], medians[some]), part * step_s
    return None


def _may_cross(parts: np.ndarray, limit: float, horizon: float) -> bool:
    """Could it be, looked at very generously? Most series are far from any limit, and cost no draws."""
    m = len(parts)
    time = np.arange(m) - (m - 1) / 2
    slope = (parts * time).sum() / (time * time).sum()
    rest = parts - parts.mean() - slope * time
    size = float(np.sqrt((rest * rest).sum() / (m - 2)))
    steepest = slope + 10 * size / np.sqrt((time * time).sum()) + 3 * np.std(np.diff(parts)) / np.sqrt(m)
    return bool(parts[-1] + 5 * size + max(steepest, 0.0) * horizon >= limit and steepest > 0)


def line_of(parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(slope a part, level at the last part) of Theil and Sen's line through each row of float64[b, m]."""
    m = parts.shape[1]
    low, high = np.triu_indices(m, 1)
    slope = np.median((parts[:, high] - parts[:, low]) / (high - low), axis=1)
    back = np.arange(m) - (m - 1.0)
    return slope, np.median(parts - slope[:, None] * back, axis=1)


def _noise(rest: np.ndarray) -> tuple[float, np.ndarray]:
    """(how much of what remains goes on from part to part, the steps besides): an autoregression of order 1."""
    m = len(rest)
    size = float((rest[:-1] * rest[:-1]).sum())
    goes_on = float((rest[1:] * rest[:-1]).sum()) / size if size > 0 else 0.0
    goes_on += (2 + 4 * goes_on) / m  # what a fitted line takes away
    goes_on = 1.0 if goes_on >= NEARLY_A_WALK else max(goes_on, 0.0)
    steps = rest[1:] - goes_on * rest[:-1]
    return goes_on, (steps - steps.mean()) * np.sqrt(m / (m - 3))


def _drawn(
    parts: np.ndarray, part_s: float, limit: float, within_s: float, rng: np.random.Generator
) -> tuple[tuple[float, float, float], bool]:
    """((early, median, late) in s, does it cross within the horizon) from futures that could as well be."""
    m = len(parts)
    back = np.arange(m) - (m - 1.0)
    slope, level = (float(one[0]) for one in line_of(parts[None, :]))
    goes_on, steps = _noise(parts - level - slope * back)
    noise = np.empty((DRAWS, m))
    noise[:, 0] = rng.choice(steps, DRAWS) / np.sqrt(max(1 - goes_on**2, 0.05)) if goes_on < 1 else 0.0
    for at in range(1, m):
        noise[:, at] = goes_on * noise[:, at - 1] + rng.choice(steps, DRAWS)
    again_slope, again_level = line_of(level + slope * back + noise)
    drawn_slope, drawn_level = 2 * slope - again_slope, 2 * level - again_level
    ahead = max(2, min(400, int(np.ceil(REACH * within_s / part_s)) + 1))
    stride = max(1.0, REACH * within_s / part_s / 400)  # parts a step; a far horizon is looked at less finely
    rest = parts[-1] - drawn_level
    path = np.empty((DRAWS, ahead))
    for at in range(ahead):
        spread = np.sqrt(stride) if goes_on == 1.0 else 1.0
        rest = goes_on**stride * rest + spread * rng.choice(steps, DRAWS)
        path[:, at] = drawn_level + drawn_slope * (at + 1) * stride + rest
    times = _first_above(path, parts[-1], limit) * stride * part_s
    quantiles = np.quantile(times, [EARLY, 0.5, LATE], method="inverted_cdf").tolist()
    by_line = (limit - level) / slope * part_s if slope > 0 else np.inf
    sure = np.mean(drawn_slope > 0) >= SURE and by_line <= 1.5 * within_s
    return tuple(quantiles), bool(sure and quantiles[1] <= within_s)


def _first_above(path: np.ndarray, now: float, limit: float) -> np.ndarray:
    """float64[b]: steps until each path, which begins at `now`, is above the limit, between two by a straight line; inf
    where it never is."""
    over = path > limit
    first = over.argmax(axis=1)
    rows = np.arange(len(path))
    after = path[rows, first]
    before = np.where(first > 0, path[rows, np.maximum(first - 1, 0)], now)
    share = np.clip((limit - before) / np.where(after > before, after - before, 1.0), 0, 1)
    return np.where(over.any(axis=1), first + share, np.inf)
