"""Where the line of a chart must not go on: times without rows that are clearly longer than is usual there.

What is usual is taken from the rows next to a gap, for a series may come every minute in one part of a chart (history
that was imported) and every second in another.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_NEIGHBOURS = (
    5  # distances on each side; of these the second longest counts, so that another gap does not hide this one
)
_TIMES = 3


def gaps(time: np.ndarray, pixel: float = 0) -> tuple[np.ndarray, float]:
    """The middle of every gap, int64[k], and how far away the next row may come for the line to go on to it.

    time: int64[n], rising; both answers are in its unit. pixel: what is no wider than one is no gap. A gap is longer
    than three times what is usual on both of its sides and in the whole. The distance is inf for fewer than two rows.
    """
    steps = np.diff(np.asarray(time, np.int64))
    n = len(steps)
    if n == 0:
        return steps, np.inf
    middle = (n - 1) // 2
    usual = np.partition(steps, middle)[middle]
    none = np.zeros(_NEIGHBOURS, np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(np.concatenate((none, steps, none)), _NEIGHBOURS)
    around = np.maximum(np.partition(windows, _NEIGHBOURS - 2, axis=1)[:, _NEIGHBOURS - 2], usual)
    before, after = around[:n], around[_NEIGHBOURS + 1 :]
    limit = np.maximum(_TIMES * np.maximum(before, after), pixel)
    at = np.flatnonzero(steps > limit)
    return time[at] + steps[at] // 2, float(max(_TIMES * around[n], pixel))


def with_gaps(time: np.ndarray, columns: Mapping[str, np.ndarray], middles: np.ndarray) -> dict[str, np.ndarray]:
    """`time` and float columns of its length, with a row of NaN at each of `middles`, so that lines and bands break."""
    at = np.searchsorted(time, middles)
    found = {name: np.insert(column, at, np.nan) for name, column in columns.items()}
    return {"time": np.insert(time, at, middles), **found}


def lone(value: np.ndarray) -> np.ndarray:
    """int64[k]: rows with a value between rows without one (or the ends), of which a line shows nothing."""
    known = np.concatenate(([False], ~np.isnan(value), [False]))
    return np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])
