"""What `bench/detection.py` puts beside our detector: two textbook scores, and detectors of `river` and `pyod`.

Each is a function from a Corpus to float64[n], high where a row is unusual, NaN where it is not judged. The textbook
scores are on our scale, log p / log p_limit, with p of a Gaussian, so that their calibration can be measured too.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from detection_corpora import Corpus
from numba import njit

from almenara.analysis.calendars import seconds_of_week, zone

BIN_S, BINS = 900, 672
LAGS = 8


@njit(cache=True)
def _score_of(z, p_limit):
    """log p / log p_limit of a two-sided Gaussian."""
    z = abs(z)
    if z < 20:
        p = math.log(math.erfc(z / math.sqrt(2.0)))
    else:
        p = -0.5 * z * z - math.log(z * math.sqrt(math.pi / 2))
    return min(p / math.log(p_limit), 1e6)


@njit(cache=True)
def _seasonal_z(id, week_bin, value, p_limit, out):
    count, mean = np.zeros(BINS), np.zeros(BINS)
    errors, square = np.zeros(24), np.zeros(24)
    for k in range(len(id)):
        if k == 0 or id[k] != id[k - 1]:
            count[:], mean[:], errors[:], square[:] = 0, 0, 0, 0
        b, y = week_bin[k], value[k]
        hour = b // 4 % 24
        if math.isnan(y):
            continue
        away = y - mean[b]
        if count[b] > 0:
            if errors[hour] >= 5:
                sd = math.sqrt(square[hour] / errors[hour])
                out[k] = _score_of(away / max(sd, 1e-9 * abs(mean[b]) + 1e-12), p_limit)
            errors[hour] += 1
            square[hour] += away * away
        count[b] += 1
        mean[b] += away / count[b]


def seasonal_z(corpus: Corpus, p_limit: float) -> np.ndarray:
    """Deviation from the mean of all rows of the same quarter of an hour of the week so far, in the standard deviation
    of such deviations in the same hour of the day."""
    out = np.full(len(corpus.id), np.nan)
    week_bin = seconds_of_week(corpus.time, zone(corpus.timezone)) // BIN_S
    _seasonal_z(corpus.id, week_bin, corpus.value, p_limit, out)
    return out


def rolling_mad(corpus: Corpus, p_limit: float, window: int = 1440) -> np.ndarray:
    """Deviation from the median of the last 1440 rows, in 1.4826 times their median absolute deviation."""
    import pandas as pd

    out = np.full(len(corpus.id), np.nan)
    for series in np.unique(corpus.id):
        rows = corpus.id == series
        values = pd.Series(corpus.value[rows])
        middle = values.rolling(window, min_periods=30).median().shift(1)
        away = (values - middle).abs()
        spread = 1.4826 * away.rolling(window, min_periods=30).median().shift(1)
        z = (away / np.maximum(spread, 1e-9 * middle.abs() + 1e-12)).to_numpy()
        out[rows] = [math.nan if math.isnan(one) else _score_of(one, p_limit) for one in z]
    return out


def half_space_trees(corpus: Corpus, p_limit: float) -> np.ndarray:
    """river.anomaly.HalfSpaceTrees, 10 trees, on the value and its change, each scaled to 0..1; learns every row."""
    from river.anomaly import HalfSpaceTrees

    out = np.full(len(corpus.id), np.nan)
    for series in np.unique(corpus.id):
        rows = np.flatnonzero(corpus.id == series)
        value = corpus.value[rows]
        model = HalfSpaceTrees(n_trees=10, height=6, window_size=250, seed=1)
        low = high = last = value[0]
        steps = 1e-12
        for k, y in zip(rows.tolist(), value.tolist(), strict=True):
            low, high, steps = min(low, y), max(high, y), max(steps, abs(y - last))
            x = {"value": (y - low) / (high - low or 1.0), "change": 0.5 + 0.5 * (y - last) / steps}
            out[k] = model.score_one(x)
            model.learn_one(x)
            last = y
    return out


def _windows(corpus: Corpus, make: Callable[[], object]) -> np.ndarray:
    """A pyod model a series on windows of the last LAGS rows, fitted once on what comes before `first_ns`."""
    out = np.full(len(corpus.id), np.nan)
    for series in np.unique(corpus.id):
        rows = np.flatnonzero(corpus.id == series)
        value = corpus.value[rows]
        scale = value.std() or 1.0
        windows = np.lib.stride_tricks.sliding_window_view((value - value.mean()) / scale, LAGS)
        ends = rows[LAGS - 1 :]
        learn = corpus.time[ends] < corpus.first_ns
        model = make()
        model.fit(windows[learn])
        out[ends[~learn]] = model.decision_function(windows[~learn])
    return out


def ecod(corpus: Corpus, p_limit: float) -> np.ndarray:
    """pyod.models.ecod.ECOD on windows of 8 rows."""
    from pyod.models.ecod import ECOD

    return _windows(corpus, ECOD)


def isolation_forest(corpus: Corpus, p_limit: float) -> np.ndarray:
    """pyod.models.iforest.IForest, 50 trees, on windows of 8 rows."""
    from pyod.models.iforest import IForest

    return _windows(corpus, lambda: IForest(n_estimators=50, random_state=1))


TEXTBOOK = {"z by time of week": seasonal_z, "rolling MAD": rolling_mad}
PACKAGED = {"river HST": half_space_trees, "pyod ECOD": ecod, "pyod IForest": isolation_forest}
