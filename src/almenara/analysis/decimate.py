"""Fewer rows for a chart as wide as so many pixels, without losing a peak: the extremes of every pixel stay."""

from __future__ import annotations

import numpy as np


def extremes(
    time: np.ndarray, value: np.ndarray, start: int, end: int, buckets: int, keep: np.ndarray | None = None
) -> np.ndarray:
    """Which rows to draw: of every bucket the lowest, the highest and one missing row, so that lines and gaps stay.

    time: int64[n], sorted, in [start, end), ns. value: float64[n], NaN = missing. [start, end) is cut into at most
    `buckets` equal parts. keep: bool[n], rows to draw in any case. The first and the last row always stay. Returns
    int64[k], rising. Raises ValueError for unequal lengths, unsorted times or times outside [start, end).
    """
    n = len(time)
    if len(value) != n or (keep is not None and len(keep) != n):
        raise ValueError(
            f"columns differ in length: time {n}, value {len(value)}"
            + (f", keep {len(keep)}" if keep is not None else "")
        )
    if buckets < 1 or end <= start:
        raise ValueError(f"expected start < end and at least one bucket; got [{start}, {end}) in {buckets}")
    if n == 0:
        return np.empty(0, np.int64)
    if np.any(time[1:] < time[:-1]) or time[0] < start or time[-1] >= end:
        raise ValueError(f"expected sorted times in [{start}, {end}); got {time[0]} to {time[-1]}")
    bucket = (time - start) // -(-(end - start) // buckets)
    order = np.lexsort((value, bucket))  # NaN sorts last within its bucket
    first = np.flatnonzero(np.concatenate(([True], bucket[1:] != bucket[:-1])))
    present = np.add.reduceat((~np.isnan(value)).astype(np.int64), first)
    size = np.diff(np.append(first, n))
    lowest = order[first[present > 0]]
    highest = order[(first + present - 1)[present > 0]]
    missing = order[(first + present)[present < size]]
    always = np.flatnonzero(keep) if keep is not None else np.empty(0, np.int64)
    return np.unique(np.concatenate((lowest, highest, missing, always, [0, n - 1])).astype(np.int64))
