"""The compiled inner loops of expressions: windows over rows, and groups of series.

Only the public wrappers are called from outside; they check lengths and dtypes, since a kernel given unequal arrays
writes past the end. Sums are compensated as in Prometheus (Neumaier, "Rundungsfehleranalyse", ZAMM 1974), so both
give the same digits.
"""

from __future__ import annotations

import numpy as np

from almenara._compiled import njit

#: What `reduce_windows` computes. RESETS: what counter resets in the window took away.
SUM, AVG, MIN, MAX, STDDEV, RESETS, QUANTILE = range(7)
REDUCTIONS = {
    "sum_over_time": SUM,
    "avg_over_time": AVG,
    "min_over_time": MIN,
    "max_over_time": MAX,
    "stddev_over_time": STDDEV,
    "quantile_over_time": QUANTILE,
}
#: What `aggregate` computes, as numbers above (and COUNT).
COUNT = 7
AGGREGATES = {"sum": SUM, "avg": AVG, "min": MIN, "max": MAX, "count": COUNT}


def window_bounds(
    offsets: np.ndarray, time: np.ndarray, ends: np.ndarray, window: int
) -> tuple[np.ndarray, np.ndarray]:
    """First row and row after the last of each window (end - window, end]: int64[k, t] twice, k series, t ends.

    offsets: int64[k + 1]; time: int64[n], rising within a series; ends: int64[t], rising. Raises ValueError.
    """
    _check_offsets(offsets, len(time))
    if time.dtype != np.int64 or ends.dtype != np.int64:
        raise ValueError(f"time and ends must be int64; got {time.dtype}, {ends.dtype}")
    low = np.empty((len(offsets) - 1, len(ends)), np.int64)
    high = np.empty_like(low)
    _window_bounds(offsets, time, ends, window, low, high)
    return low, high


def reduce_windows(value: np.ndarray, low: np.ndarray, high: np.ndarray, what: int, q: float = 0.0) -> np.ndarray:
    """float64[k, t]: sum, mean... of value[low:high] for each window; NaN for empty ones. value has no NaN.

    low, high: int64[k, t] from `window_bounds`. q: the quantile, for QUANTILE. Raises ValueError.
    """
    if low.shape != high.shape or low.dtype != np.int64 or high.dtype != np.int64 or value.dtype != np.float64:
        raise ValueError("low and high must be int64 of one shape, and value float64")
    if low.size and (low.min() < 0 or high.max() > len(value)):
        raise ValueError(f"windows reach past the {len(value)} rows")
    low, high = np.ascontiguousarray(low), np.ascontiguousarray(high)
    longest = int((high - low).max()) if low.size else 0
    out = np.empty(low.shape)
    scratch = np.empty(longest if what == QUANTILE else 0)
    _reduce_windows(np.ascontiguousarray(value), low, high, what, q, scratch, out)
    return out


def lines(
    time: np.ndarray, value: np.ndarray, low: np.ndarray, high: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(slope a second, level at the window's end) of the line of least squares through value[low:high] of each window:
    float64[k, t] twice, NaN for windows of fewer than two rows. value has no NaN.

    low, high: int64[k, t] from `window_bounds`, with `ends`, int64[t]. Raises ValueError.
    """
    if low.shape != high.shape or low.shape[1] != len(ends) or len(time) != len(value):
        raise ValueError(f"shapes differ: {low.shape}, {high.shape}, {len(ends)} ends; {len(time)}, {len(value)} rows")
    columns = [np.ascontiguousarray(one, np.int64) for one in (time, low, high, ends)]
    time, low, high, ends = columns
    if low.size and (low.min() < 0 or high.max() > len(value)):
        raise ValueError(f"windows reach past the {len(value)} rows")
    slope, level = np.full(low.shape, np.nan), np.full(low.shape, np.nan)
    _lines(time, np.ascontiguousarray(value, np.float64), low, high, ends, slope, level)
    return slope, level


def aggregate(values: np.ndarray, present: np.ndarray, group: np.ndarray, groups: int, what: int) -> np.ndarray:
    """float64[groups, t]: sum, mean... at each time over the series of each group that are present; NaN where none is.

    values: float64[k, t]; present: bool[k, t]; group: int64[k], below `groups`. Raises ValueError.
    """
    if values.shape != present.shape or len(group) != len(values) or group.dtype != np.int64:
        raise ValueError(f"shapes differ: values {values.shape}, present {present.shape}, group {group.shape}")
    if values.dtype != np.float64 or present.dtype != np.bool_:
        raise ValueError(f"values must be float64 and present bool; got {values.dtype}, {present.dtype}")
    if len(group) and not 0 <= group.min() <= group.max() < groups:
        raise ValueError(f"group numbers must be in [0, {groups})")
    result = np.full((groups, values.shape[1]), np.nan)
    carry, count = np.zeros_like(result), np.zeros(result.shape, np.int64)
    _aggregate(np.ascontiguousarray(values), np.ascontiguousarray(present), group, what, result, carry, count)
    if what == COUNT:
        return np.where(count > 0, count, np.nan)
    if what == AVG:
        for g, j in np.argwhere(np.isinf(result)):  # a sum may overflow where the mean does not
            column = values[(group == g) & present[:, j], j]
            if np.isfinite(column).all():
                result[g, j] = (column / len(column)).sum()
    return result


def _check_offsets(offsets: np.ndarray, rows: int) -> None:
    if offsets.dtype != np.int64 or len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != rows:
        raise ValueError(f"offsets must be int64 from 0 to {rows}")
    if np.any(offsets[1:] < offsets[:-1]):
        raise ValueError("offsets must not fall")


@njit(cache=True, nogil=True)
def _window_bounds(offsets, time, ends, window, low, high):  # type: ignore[no-untyped-def]
    for i in range(len(offsets) - 1):
        lo = hi = offsets[i]
        stop = offsets[i + 1]
        for j in range(len(ends)):
            while hi < stop and time[hi] <= ends[j]:
                hi += 1
            while lo < hi and time[lo] <= ends[j] - window:
                lo += 1
            low[i, j] = lo
            high[i, j] = hi


@njit(cache=True, nogil=True, inline="always")
def _add(x, total, carry):  # type: ignore[no-untyped-def]
    new = total + x
    if np.isinf(new):
        return new, 0.0
    if abs(total) >= abs(x):
        return new, carry + ((total - new) + x)
    return new, carry + ((x - new) + total)


@njit(cache=True, nogil=True)
def _mean(value, lo, hi):  # type: ignore[no-untyped-def]
    # A sum that overflows goes on as a running mean, as in Prometheus 3.
    total = carry = mean = 0.0
    running = False
    for i in range(lo, hi):
        n = float(i - lo + 1)
        if not running:
            new, new_carry = _add(value[i], total, carry)
            if n == 1.0 or not np.isinf(new):
                total, carry = new, new_carry
                continue
            running = True
            mean = total / (n - 1.0)
            carry /= n - 1.0
        q = (n - 1.0) / n
        mean, carry = _add(value[i] / n, q * mean, q * carry)
    if running:
        return mean + carry
    n = float(hi - lo)
    return total / n + carry / n


@njit(cache=True, nogil=True)
def _deviation(value, lo, hi):  # type: ignore[no-untyped-def]
    # Welford's method, compensated.
    count = mean = mean_carry = squares = squares_carry = 0.0
    for i in range(lo, hi):
        count += 1.0
        delta = value[i] - (mean + mean_carry)
        mean, mean_carry = _add(delta / count, mean, mean_carry)
        squares, squares_carry = _add(delta * (value[i] - (mean + mean_carry)), squares, squares_carry)
    return np.sqrt((squares + squares_carry) / count)


@njit(cache=True, nogil=True)
def _quantile(value, lo, hi, q, scratch):  # type: ignore[no-untyped-def]
    # The caller has checked 0 <= q <= 1. Shell sort: a compiled np.sort takes seconds to compile.
    n = hi - lo
    for i in range(n):
        scratch[i] = value[lo + i]
    gap = n // 2
    while gap > 0:
        for i in range(gap, n):
            x = scratch[i]
            j = i
            while j >= gap and scratch[j - gap] > x:
                scratch[j] = scratch[j - gap]
                j -= gap
            scratch[j] = x
        gap = gap // 2
    rank = q * (n - 1)
    below = int(np.floor(rank))
    above = min(n - 1, below + 1)
    weight = rank - below
    return scratch[below] * (1.0 - weight) + scratch[above] * weight


@njit(cache=True, nogil=True)
def _reduce_windows(value, low, high, what, q, scratch, out):  # type: ignore[no-untyped-def]
    for i in range(low.shape[0]):
        for j in range(low.shape[1]):
            lo, hi = low[i, j], high[i, j]
            if lo >= hi:
                out[i, j] = np.nan
                continue
            result = value[lo]
            if what == SUM:
                total = carry = 0.0
                for k in range(lo, hi):
                    total, carry = _add(value[k], total, carry)
                result = total if np.isinf(total) else total + carry
            elif what == AVG:
                result = _mean(value, lo, hi)
            elif what == MIN:
                for k in range(lo + 1, hi):
                    result = min(result, value[k])
            elif what == MAX:
                for k in range(lo + 1, hi):
                    result = max(result, value[k])
            elif what == STDDEV:
                result = _deviation(value, lo, hi)
            elif what == RESETS:
                result = 0.0
                for k in range(lo + 1, hi):
                    if value[k] < value[k - 1]:
                        result += value[k - 1]
            else:
                result = _quantile(value, lo, hi, q, scratch)
            out[i, j] = result


@njit(cache=True, nogil=True)
def _aggregate(values, present, group, what, result, carry, count):  # type: ignore[no-untyped-def]
    for i in range(values.shape[0]):
        g = group[i]
        for j in range(values.shape[1]):
            if not present[i, j]:
                continue
            v = values[i, j]
            count[g, j] += 1
            if count[g, j] == 1:
                result[g, j] = v
            elif what in (SUM, AVG):
                result[g, j], carry[g, j] = _add(v, result[g, j], carry[g, j])
            elif what == MIN:
                if v < result[g, j] or np.isnan(result[g, j]):
                    result[g, j] = v
            elif what == MAX and (v > result[g, j] or np.isnan(result[g, j])):
                result[g, j] = v
    if what in (SUM, AVG):
        for g in range(result.shape[0]):
            for j in range(result.shape[1]):
                if not np.isinf(result[g, j]):
                    result[g, j] += carry[g, j]
                if what == AVG and count[g, j] > 0:
                    result[g, j] /= count[g, j]


@njit(cache=True, nogil=True)
def _lines(time, value, low, high, ends, slope, level):  # type: ignore[no-untyped-def]
    for i in range(low.shape[0]):
        for j in range(low.shape[1]):
            lo, n = low[i, j], high[i, j] - low[i, j]
            if n < 2:
                continue
            first, flat = value[lo], True
            sum_x = sum_y = sum_xy = sum_xx = 0.0
            c_x = c_y = c_xy = c_xx = 0.0
            for k in range(lo, lo + n):
                x, y = (time[k] - ends[j]) / 1e9, value[k]
                flat = flat and y == first
                sum_x, c_x = _add(x, sum_x, c_x)
                sum_y, c_y = _add(y, sum_y, c_y)
                sum_xy, c_xy = _add(x * y, sum_xy, c_xy)
                sum_xx, c_xx = _add(x * x, sum_xx, c_xx)
            if flat:
                slope[i, j] = np.nan if np.isinf(first) else 0.0
                level[i, j] = np.nan if np.isinf(first) else first
                continue
            sum_x, sum_y, sum_xy, sum_xx = sum_x + c_x, sum_y + c_y, sum_xy + c_xy, sum_xx + c_xx
            slope[i, j] = (sum_xy - sum_x * sum_y / n) / (sum_xx - sum_x * sum_x / n)
            level[i, j] = sum_y / n - slope[i, j] * sum_x / n
