"""GROUP BY time(): which window a time lies in, and what stands in windows without rows (fill)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from almenara.model.errors import QueryTooLarge
from almenara.model.time import NS
from almenara.query.influxql.transforms import Points

#: Values of one answer, groups x windows: past it a statement is refused.
MAX_CELLS = 2_000_000


class Windows:
    """Windows of every_ns, the first of them at offset_ns after midnight, by the clock of a zone."""

    def __init__(self, every_ns: int, offset_ns: int = 0, zone: ZoneInfo | None = None):
        self.every_ns, self._offset_ns, self._zone = every_ns, offset_ns, zone

    @property
    def aligned(self) -> bool:
        """Whether they begin at multiples of their length since 1970."""
        return self._offset_ns == 0 and self._zone is None

    def number(self, time: np.ndarray) -> np.ndarray:
        """int64[n]: the window that each time (ns) lies in."""
        return (time + self._ahead(time) - self._offset_ns) // self.every_ns

    def start(self, number: np.ndarray) -> np.ndarray:
        """int64[n]: when windows begin, ns."""
        local = number * self.every_ns + self._offset_ns
        return local - self._ahead(local - self._ahead(local))

    def _ahead(self, time: np.ndarray) -> np.ndarray:
        """int64[n]: how far the zone's clock is ahead of UTC."""
        if self._zone is None or not len(time):
            return np.zeros(len(time), np.int64)
        edges, ahead = _offsets(self._zone, int(time.min()), int(time.max()))
        return ahead[np.searchsorted(edges, time, "right")]


def _offsets(zone: ZoneInfo, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """(int64[c], int64[c + 1]): when the clock is changed between two times, and how far it is ahead around that."""

    def ahead(second: int) -> int:
        delta = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=second)).astimezone(zone).utcoffset()
        return round((delta or timedelta()).total_seconds()) * NS

    at, stop = start // NS - 86_400, end // NS + 86_400
    edges, found = [], [ahead(at)]
    while at < stop:
        later = at + 7 * 86_400
        if ahead(later) != found[-1]:
            low, high = at, later
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if ahead(middle) == found[-1] else (low, middle)
            edges.append(high * NS)
            found.append(ahead(high))
            at = high
        else:
            at = later
    return np.array(edges, np.int64), np.array(found, np.int64)


@dataclass(frozen=True, slots=True)
class Filling:
    """What stands in empty windows.

    fill: null, previous, linear or a number. counts: values are whole numbers, and an empty window counts 0.
    """

    fill: str | float
    counts: bool
    descending: bool


def filled(points: Points, windows: Windows, span: tuple[int | None, int], filling: Filling) -> Points:
    """A point for every window of every group that has one, from the first window of the span to its last.

    points: ordered by (group, time), times are starts of windows. span: (start, end) in ns, both included; without a
    start a group begins with its first point. Raises QueryTooLarge.
    """
    if not len(points):
        return points
    groups, at = np.unique(points.group, return_inverse=True)
    number = windows.number(points.time)
    first = int(number.min()) if span[0] is None else int(windows.number(np.array([span[0]], np.int64))[0])
    last = int(windows.number(np.array([span[1]], np.int64))[0])
    width = max(last, int(number.max())) - first + 1
    if width * len(groups) > MAX_CELLS:
        raise QueryTooLarge(
            f"{len(groups):,} series of {width:,} windows are more than {MAX_CELLS:,} values; "
            "use a larger interval, a shorter range, or fill(none)"
        )
    value = np.full((len(groups), width), np.nan)
    there = np.zeros(value.shape, np.bool_)
    row = np.full(value.shape, -1)
    value[at, number - first] = points.value
    there[at, number - first] = True
    if points.row is not None:
        row[at, number - first] = points.row
    _fill(value, there, filling)
    starts = windows.start(np.arange(first, first + width))
    found = Points(
        np.repeat(groups, width),
        np.tile(starts, len(groups)),
        value.ravel(),
        None if points.row is None else row.ravel(),
    )
    if span[0] is None:
        began = np.maximum.accumulate(there, axis=1)
        found = found.take(began.ravel())
    return found


def _fill(value: np.ndarray, there: np.ndarray, filling: Filling) -> None:
    """Fill float64[g, w] where `there` is false, in place."""
    fill = filling.fill
    if fill == "null" and not filling.counts:
        return
    if fill == "null" or isinstance(fill, float | int):
        number = 0.0 if fill == "null" else float(fill)
        value[~there] = np.trunc(number) if filling.counts else number
        return
    if fill == "previous":
        if filling.descending:
            value, there = value[:, ::-1], there[:, ::-1]
        known = np.where(there, np.arange(value.shape[1]), -1)
        last = np.maximum.accumulate(known, axis=1)
        rows = np.broadcast_to(np.arange(len(value))[:, None], value.shape)
        value[:] = np.where(last >= 0, value[rows, np.maximum(last, 0)], np.nan)
        return
    for row, known in zip(value, there, strict=True):  # linear; by group, not by row
        at = np.flatnonzero(known & ~np.isnan(row))
        if len(at):
            where = np.arange(len(row))
            between = (where >= at[0]) & (where <= at[-1]) & ~known
            line = np.interp(where[between], at, row[at])
            row[between] = np.trunc(line) if filling.counts else line
