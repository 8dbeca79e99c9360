"""Functions of a range selector: `rate`, `increase`, `avg_over_time`... over all windows of all series at once.

Source: https://prometheus.io/docs/prometheus/latest/querying/functions/ and `promql/functions.go` of Prometheus 3.
"""

from __future__ import annotations

import numpy as np

from almenara.model.time import NS
from almenara.query import kernels
from almenara.query.source import Rows

#: Series x times worked on at once: what a block needs in between stays near 20 MB.
BLOCK = 250_000


def over_windows(
    function: str, rows: Rows, ends: np.ndarray, window_ns: int, parameter: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """(values float64[k, t], present bool[k, t]) of one of expression.FUNCTIONS over windows (end - window, end].

    rows: without NaN, except for last_over_time. ends: int64[t] ns, rising. parameter: see `expression.Call`.
    """
    values = np.empty((len(rows.labels), len(ends)))
    present = np.empty(values.shape, bool)
    size = max(1, BLOCK // len(ends))
    for first in range(0, len(values), size):
        block = slice(first, first + size)
        some = rows.block(block)
        low, high = kernels.window_bounds(some.offsets, some.time, ends, window_ns)
        values[block], present[block] = _block(function, some, low, high, ends, window_ns / NS, parameter)
    return values, present


def _block(
    function: str, rows: Rows, low: np.ndarray, high: np.ndarray, ends: np.ndarray, range_s: float, parameter: float
) -> tuple[np.ndarray, np.ndarray]:
    """As `over_windows`. low, high: int64[k, t], first row and row after the last of each window."""
    count = high - low
    if function in ("rate", "increase", "delta"):
        values = _extrapolated(function, rows, low, high, ends, range_s)
        return values, count > 1
    if function == "irate":
        return _instant_rate(rows, low, high), count > 1
    if function == "count_over_time":
        return count.astype(np.float64), count > 0
    if function == "present_over_time":
        return np.ones(count.shape), count > 0
    if function == "last_over_time":
        return _take(rows.value, high - 1), count > 0
    if function in ("deriv", "predict_linear"):
        slope, level = kernels.lines(rows.time, rows.value, low, high, ends)
        return slope if function == "deriv" else level + slope * parameter, count > 1
    if function == "quantile_over_time" and not 0 <= parameter <= 1:
        outside = np.nan if np.isnan(parameter) else np.copysign(np.inf, parameter)
        return np.full(count.shape, outside), count > 0
    return kernels.reduce_windows(rows.value, low, high, kernels.REDUCTIONS[function], parameter), count > 0


def _take(column: np.ndarray, at: np.ndarray) -> np.ndarray:
    """column[at], anything where `at` lies outside (no window there)."""
    if not len(column):
        return np.zeros(at.shape, column.dtype)
    return column[np.clip(at, 0, len(column) - 1)]


def _instant_rate(rows: Rows, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The rate between the last two samples of each window, a second."""
    last, before = _take(rows.value, high - 1), _take(rows.value, high - 2)
    seconds = (_take(rows.time, high - 1) - _take(rows.time, high - 2)) / NS
    with np.errstate(all="ignore"):
        return np.where(last < before, last, last - before) / seconds


def _extrapolated(
    function: str, rows: Rows, low: np.ndarray, high: np.ndarray, ends: np.ndarray, range_s: float
) -> np.ndarray:
    """rate, increase, delta: the change between first and last sample, extrapolated to the ends of the window.

    An end further from its sample than 1.1 times the mean distance of samples counts as half that distance, and a
    counter is not followed back below 0.
    """
    first, last = _take(rows.value, low), _take(rows.value, high - 1)
    first_ns, last_ns = _take(rows.time, low), _take(rows.time, high - 1)
    with np.errstate(all="ignore"):
        change = last - first
        sampled = (last_ns - first_ns) / NS
        between = sampled / (high - low - 1)
        to_start = (first_ns - (ends - round(range_s * NS))) / NS
        to_start = np.where(to_start >= between * 1.1, between / 2, to_start)
        if function != "delta":
            change = change + kernels.reduce_windows(rows.value, low, high, kernels.RESETS)
            to_zero = sampled * (first / change)
            to_start = np.where((change > 0) & (first >= 0) & (to_zero < to_start), to_zero, to_start)
        to_end = (ends - last_ns) / NS
        to_end = np.where(to_end >= between * 1.1, between / 2, to_end)
        result = change * ((sampled + to_start + to_end) / sampled)
        return result / range_s if function == "rate" else result
