"""InfluxQL's functions from one row to the next: differences, derivatives, running sums and averages.

Points come ordered by group, and within one as the statement orders them; a point that is missing (NaN) is passed over.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from almenara.model.time import NS

TRANSFORMS = (
    "cumulative_sum", "derivative", "difference", "elapsed", "moving_average", "non_negative_derivative",
    "non_negative_difference",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """n points. group: int64[n], never falling; time: int64[n] ns; value: float64[n], NaN = null.

    row: int64[n], the row that a selector chose, -1 none; None where rows were not chosen.
    """

    group: np.ndarray
    time: np.ndarray
    value: np.ndarray
    row: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.group)

    def take(self, which: np.ndarray) -> Points:
        """Some of them: an index or a mask."""
        row = None if self.row is None else self.row[which]
        return Points(self.group[which], self.time[which], self.value[which], row)


def transformed(name: str, points: Points, parameter: int) -> Points:
    """The points of a transformation. parameter: ns of its unit, or how many points a moving average takes."""
    points = points.take(~np.isnan(points.value))
    if name == "cumulative_sum":
        return _running(points)
    if name == "moving_average":
        return _moving(points, parameter)
    if name == "elapsed":
        after = _after(points)
        steps = np.diff(points.time)[after - 1]
        whole = np.abs(steps) // max(parameter, 1) * np.sign(steps)
        return Points(points.group[after], points.time[after], whole.astype(np.float64))
    return _stepped(name, points, parameter or NS)


def _after(points: Points) -> np.ndarray:
    """Points that have one before them in their group."""
    return np.flatnonzero(points.group[1:] == points.group[:-1]) + 1


def _stepped(name: str, points: Points, unit_ns: int) -> Points:
    """Differences and derivatives; of points at one time the first counts."""
    fresh = np.ones(len(points), np.bool_)
    fresh[1:] = (points.group[1:] != points.group[:-1]) | (points.time[1:] != points.time[:-1])
    points = points.take(fresh)
    after = _after(points)
    value = np.diff(points.value)[after - 1]
    if name.endswith("derivative"):
        value = value / (np.abs(np.diff(points.time)[after - 1]) / unit_ns)
    found = Points(points.group[after], points.time[after], value)
    return found.take(value >= 0) if name.startswith("non_negative") else found


def _running(points: Points) -> Points:
    value = np.empty_like(points.value)
    for rows in _slices(points):  # by group: one sum over all would lose digits of a small group after a large one
        np.cumsum(points.value[rows], out=value[rows])
    return Points(points.group, points.time, value)


def _moving(points: Points, n: int) -> Points:
    kept, values = [], []
    for rows in _slices(points):
        if rows.stop - rows.start >= n:
            kept.append(np.arange(rows.start + n - 1, rows.stop))
            values.append(np.lib.stride_tricks.sliding_window_view(points.value[rows], n).mean(axis=1))
    which = np.concatenate(kept) if kept else np.zeros(0, np.int64)
    return Points(points.group[which], points.time[which], np.concatenate(values) if values else np.zeros(0))


def _slices(points: Points) -> list[slice]:
    if not len(points):
        return []
    edges = [0, *(np.flatnonzero(np.diff(points.group)) + 1).tolist(), len(points)]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]
