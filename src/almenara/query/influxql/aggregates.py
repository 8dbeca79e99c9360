"""InfluxQL's functions of many rows, over segments: each segment is the rows of one group in one window of time.

Rows are ordered by segment, then by time. starts: int64[k], where each of k segments begins; none is empty.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from almenara.query.influxql.windows import Windows

#: Functions that choose one of the rows, so that its time and its other fields can be told.
SELECTORS = ("first", "last", "max", "min", "percentile")
AGGREGATES = ("count", "integral", "mean", "median", "mode", "spread", "stddev", "sum")


class Segments:
    """n rows in k segments. time: int64[n]; value: float64[n], none of them NaN."""

    def __init__(self, starts: np.ndarray, time: np.ndarray, value: np.ndarray):
        self.starts, self.time, self.value = starts, time, value
        self.counts = np.diff(np.append(starts, len(value)))
        self.owner = np.repeat(np.arange(len(starts)), self.counts)

    def chosen(self, name: str, percent: float = 0.0) -> np.ndarray:
        """int64[k]: the row that a selector chooses of each segment, -1 none."""
        if name == "percentile":
            return self._percentile(percent)
        order = {
            "first": (-self.value, self.time),
            "last": (-self.value, -self.time),
            "max": (self.time, -self.value),
            "min": (self.time, self.value),
        }[name]
        return np.lexsort((*order, self.owner))[self.starts]

    def _percentile(self, percent: float) -> np.ndarray:
        """Nearest rank, as InfluxDB has it: the row at floor(n * percent / 100 + 0.5), counted from 1."""
        by_value = np.lexsort((self.value, self.owner))
        rank = np.floor(self.counts * percent / 100 + 0.5).astype(np.int64) - 1
        right = (rank >= 0) & (rank < self.counts)
        return np.where(right, by_value[self.starts + np.where(right, rank, 0)], -1)

    def aggregated(self, name: str) -> np.ndarray:
        """float64[k]: one value a segment; NaN where there is none."""
        return _FUNCTIONS[name](self)

    def distinct(self) -> np.ndarray:
        """int64[m]: the rows with a value that their segment did not have before, in order."""
        order = np.lexsort((np.arange(len(self.value)), self.value, self.owner))
        value, owner = self.value[order], self.owner[order]
        first = np.ones(len(order), np.bool_)
        first[1:] = (value[1:] != value[:-1]) | (owner[1:] != owner[:-1])
        return np.sort(order[first])

    def top(self, n: int, smallest: bool) -> np.ndarray:
        """int64[m]: the n rows of each segment with the largest (or smallest) values, in order of time."""
        order = np.lexsort((self.time, self.value if smallest else -self.value, self.owner))
        rank = np.arange(len(order)) - self.starts[self.owner]
        return np.sort(order[rank < n])


def _count(s: Segments) -> np.ndarray:
    return s.counts.astype(np.float64)


def _sum(s: Segments) -> np.ndarray:
    return np.add.reduceat(s.value, s.starts)


def _mean(s: Segments) -> np.ndarray:
    return _sum(s) / s.counts


def _spread(s: Segments) -> np.ndarray:
    return np.maximum.reduceat(s.value, s.starts) - np.minimum.reduceat(s.value, s.starts)


def _stddev(s: Segments) -> np.ndarray:
    squares = np.add.reduceat((s.value - _mean(s)[s.owner]) ** 2, s.starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(np.where(s.counts > 1, squares / (s.counts - 1), np.nan))


def _median(s: Segments) -> np.ndarray:
    value = s.value[np.lexsort((s.value, s.owner))]
    return (value[s.starts + (s.counts - 1) // 2] + value[s.starts + s.counts // 2]) / 2


def _mode(s: Segments) -> np.ndarray:
    """The most frequent value; of several the one that came first, or the smallest where no value comes twice."""
    order = np.lexsort((s.time, s.value, s.owner))
    value, owner, time = s.value[order], s.owner[order], s.time[order]
    change = np.ones(len(order), np.bool_)
    change[1:] = (value[1:] != value[:-1]) | (owner[1:] != owner[:-1])
    runs = np.flatnonzero(change)
    lengths = np.diff(np.append(runs, len(order)))
    began = np.where(lengths > 1, time[runs], 0)  # runs are ordered by value
    best = np.lexsort((began, -lengths, owner[runs]))
    firsts = np.searchsorted(owner[runs][best], np.arange(len(s.starts)))
    return value[runs[best[firsts]]]


_FUNCTIONS: dict[str, Callable[[Segments], np.ndarray]] = {
    "count": _count, "mean": _mean, "median": _median, "mode": _mode, "spread": _spread, "stddev": _stddev,
    "sum": _sum,
}  # fmt: skip


def integral(
    group: np.ndarray, time: np.ndarray, value: np.ndarray, windows: Windows | None, unit_ns: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(group, number of the window, area under the line through the points) of what has an area.

    Rows are ordered by (group, time); of rows at one time the last counts. A piece that crosses into another window is
    cut where the first of them ends; windows that it passes over have none. Without windows the number is 0.
    """
    keep = np.ones(len(time), np.bool_)
    keep[:-1] = (group[1:] != group[:-1]) | (time[1:] != time[:-1])
    group, time, value = group[keep], time[keep], value[keep]
    number = np.zeros(len(time), np.int64) if windows is None else windows.number(time)
    joined = np.flatnonzero(group[1:] == group[:-1])
    before, after = joined, joined + 1
    cut = time[after] if windows is None else np.minimum(time[after], windows.start(number[before] + 1))
    part = (cut - time[before]) / (time[after] - time[before])
    at_cut = value[before] + (value[after] - value[before]) * part
    first = 0.5 * (value[before] + at_cut) * ((cut - time[before]) / unit_ns)
    second = 0.5 * (at_cut + value[after]) * ((time[after] - cut) / unit_ns)
    # Every window with a point has an area, if only 0.
    groups = np.concatenate((group, group[before], group[after]))
    numbers = np.concatenate((number, number[before], number[after]))
    areas = np.concatenate((np.zeros(len(group)), first, second))
    order = np.lexsort((numbers, groups))
    groups, numbers, areas = groups[order], numbers[order], areas[order]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (groups[1:] != groups[:-1]) | (numbers[1:] != numbers[:-1])
    starts = np.flatnonzero(fresh)
    return groups[starts], numbers[starts], np.add.reduceat(areas, starts) if len(starts) else areas
