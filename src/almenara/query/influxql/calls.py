"""One function of many rows over one measurement: reads what it needs, and gives its points, empty windows filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from almenara.model.series import label_name
from almenara.model.time import NS
from almenara.query.influxql.aggregates import SELECTORS, Segments, integral
from almenara.query.influxql.frame import Chosen, Frame
from almenara.query.influxql.names import Source
from almenara.query.influxql.syntax import Call, Duration, Expr, Number, Ref
from almenara.query.influxql.transforms import TRANSFORMS, Points, transformed
from almenara.query.influxql.where import LATEST, Span
from almenara.query.influxql.windows import Filling, Windows, filled

_NO_POINTS = Points(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64)))
#: Series x seconds of which rows are read as they are: quicker than having the store add up a few.
_FEW = 5_000_000
#: Function -> how the store makes it of a window: what it adds up to over several series, and how.
_IN_STORE = {
    "sum": ("sum", np.add),
    "count": ("count", np.add),
    "min": ("min", np.minimum),
    "max": ("max", np.maximum),
}


class Groups:
    """GROUP BY's tags: numbers of groups, given as they come up."""

    def __init__(self, keys: Sequence[str]):
        self.keys = list(keys)
        self._labels = [label_name(key) for key in keys]
        self._numbers: dict[tuple[str, ...], int] = {}
        self._texts: list[tuple[str, ...]] = []

    def numbers(self, tags: Sequence[Mapping[str, str]]) -> np.ndarray:
        """int64[k]: the group of each set of tags."""
        found = np.empty(len(tags), np.int64)
        for at, one in enumerate(tags):
            texts = tuple(one.get(label, "") for label in self._labels)
            if texts not in self._numbers:
                self._numbers[texts] = len(self._texts)
                self._texts.append(texts)
            found[at] = self._numbers[texts]
        return found

    def of(self, frame: Frame) -> np.ndarray:
        """int64[n]: the group of each row."""
        return self.numbers(frame.tags)[frame.owner]

    def texts(self, number: int) -> tuple[str, ...]:
        """The tags of a group."""
        return self._texts[number]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a statement asks of its functions. span: its end is known. alone: there is one function only."""

    span: Span
    windows: Windows | None
    fill: str | float
    descending: bool
    alone: bool

    @property
    def start(self) -> int:
        """Where reading begins, ns."""
        return 0 if self.span.start is None else self.span.start

    @property
    def end(self) -> int:
        """The last time that is read, ns."""
        return LATEST if self.span.end is None else self.span.end

    def wider(self, windows: int) -> Asked:
        """The same from so many windows earlier on; later, where the newest come first."""
        if self.windows is None:
            return self
        by = windows * self.windows.every_ns
        if self.descending:
            span = Span(self.span.start, self.end + by)
        else:
            span = Span(None if self.span.start is None else self.span.start - by, self.end)
        return Asked(span, self.windows, self.fill, self.descending, self.alone)


class Rows(Protocol):
    """The rows of one measurement."""

    source: Source
    groups: Groups

    def frame(self, fields: Mapping[str, str], start: int, end: int) -> Frame:
        """Rows of fields in [start, end) that fulfil the condition."""

    def chosen(self, fields: Mapping[str, str]) -> tuple[Chosen, Expr | None]:
        """Series, and what is left to ask of their rows."""

    def fields_in(self, exprs: Sequence[Expr]) -> dict[str, str]: ...


def points_of(
    call: Call, asked: Asked, rows: Rows, aside: Mapping[str, str], loose: bool
) -> tuple[Points, Frame | None]:
    """The points of a function, ordered by group and as the statement orders time; and, where other fields or tags of
    the chosen rows are wanted (`aside`, `loose`), the rows that `Points.row` points into."""
    if call.name not in TRANSFORMS:
        return _Call(call, asked, rows, aside, loose).points()
    inside = call.args[0]
    parameter = _parameter(call, asked)
    if not isinstance(inside, Call):
        raw = _Call(call, asked, rows, aside, loose).raw()
        return transformed(call.name, raw, parameter), None
    extra = {"moving_average": parameter - 1, "cumulative_sum": 0}.get(call.name, 1)
    points, _ = _Call(inside, asked.wider(extra), rows, {}, False).points()
    return transformed(call.name, points, parameter), None


def _parameter(call: Call, asked: Asked) -> int:
    """ns of a unit, or how many points."""
    if len(call.args) > 1:
        given = call.args[1]
        return given.ns if isinstance(given, Duration) else int(given.value) if isinstance(given, Number) else 0
    if call.name == "elapsed":
        return 1
    return asked.windows.every_ns if asked.windows is not None and call.name.endswith("derivative") else NS


class _Call:
    def __init__(self, call: Call, asked: Asked, rows: Rows, aside: Mapping[str, str], loose: bool):
        self.call, self.asked, self.rows = call, asked, rows
        inside = call.args[0]
        self.counts_distinct = isinstance(inside, Call)
        ref = inside.args[0] if isinstance(inside, Call) else inside
        self.field = ref.name if isinstance(ref, Ref) else ""
        self.fields = rows.fields_in([ref])
        self.aside, self.loose = aside, loose

    def points(self) -> tuple[Points, Frame | None]:
        if not self.fields:
            return _NO_POINTS, None
        found = self._from_store()
        frame: Frame | None = None
        if found is None:
            frame = self._frame()
            found = self._reduced(frame)
        windows = self.asked.windows
        if windows is not None and self.asked.fill != "none" and self.call.name not in _WITHOUT_FILL:
            filling = Filling(self.asked.fill, self.call.name == "count", self.asked.descending)
            found = filled(found, windows, (self.asked.span.start, self.asked.end), filling)
        return self._ordered(found), frame

    def raw(self) -> Points:
        """The values of the field, as they are."""
        if not self.fields:
            return _NO_POINTS
        frame = self._frame()
        return self._ordered(Points(self.group, frame.time, frame.columns[self.field]))

    def _ordered(self, points: Points) -> Points:
        sign = -1 if self.asked.descending else 1
        return points.take(np.lexsort((sign * points.time, points.group)))

    def _frame(self) -> Frame:
        """Rows with a value of the field, ordered by (group, time)."""
        frame = self.rows.frame({**self.fields, **self.aside}, self.asked.start, self.asked.end + 1)
        frame = frame.take(~np.isnan(frame.columns[self.field]))
        group = self.rows.groups.of(frame)
        order = np.lexsort((frame.owner, frame.time, group))
        self.group = group[order]
        return frame.take(order)

    def _reduced(self, frame: Frame) -> Points:
        name, windows = self.call.name, self.asked.windows
        value = frame.columns[self.field]
        if name == "integral":
            group, number, area = integral(self.group, frame.time, value, windows, _parameter_ns(self.call))
            return Points(group, number if windows is None else self._times(number), area)
        number = np.zeros(len(value), np.int64) if windows is None else windows.number(frame.time)
        fresh = np.ones(len(value), np.bool_)
        fresh[1:] = (np.diff(self.group) != 0) | (np.diff(number) != 0)
        segments = Segments(np.flatnonzero(fresh), frame.time, value)
        starts = segments.starts
        if name in ("top", "bottom"):
            row = self._top(segments, frame)
            return Points(self.group[row], frame.time[row], value[row], row)
        if name == "distinct" or self.counts_distinct:
            row = segments.distinct()
            if name == "distinct":
                return Points(self.group[row], self._times(number[row]), value[row])
            counts = np.bincount(segments.owner[row], minlength=len(starts)).astype(np.float64)
            return Points(self.group[starts], self._times(number[starts]), counts)
        if name in SELECTORS:
            return self._selected(segments, frame, number)
        values = segments.aggregated(name) if len(starts) else np.zeros(0)
        return Points(self.group[starts], self._times(number[starts]), values)

    def _selected(self, segments: Segments, frame: Frame, number: np.ndarray) -> Points:
        percent = self.call.args[1] if len(self.call.args) > 1 else Number(0)
        row = segments.chosen(self.call.name, float(percent.value) if isinstance(percent, Number) else 0.0)
        starts, row = segments.starts[row >= 0], row[row >= 0]
        own_time = self.asked.windows is None and self.asked.alone
        time = frame.time[row] if own_time else self._times(number[starts])
        return Points(self.group[starts], time, segments.value[row], row)

    def _top(self, segments: Segments, frame: Frame) -> np.ndarray:
        """The rows of `top(field, tag..., n)`: with tags, of each of their values the best row only."""
        *_, last = self.call.args
        n = int(last.value) if isinstance(last, Number) else 1
        smallest = self.call.name == "bottom"
        labels = [label_name(arg.name) for arg in self.call.args[1:-1] if isinstance(arg, Ref)]
        if not labels:
            return segments.top(n, smallest)
        texts = {text: at for at, text in enumerate({tuple(t.get(x, "") for x in labels) for t in frame.tags})}
        kind = np.array([texts[tuple(t.get(x, "") for x in labels)] for t in frame.tags] or [0])[frame.owner]
        value = segments.value if smallest else -segments.value
        order = np.lexsort((segments.time, value, kind, segments.owner))
        best = np.ones(len(order), np.bool_)
        best[1:] = (np.diff(kind[order]) != 0) | (np.diff(segments.owner[order]) != 0)
        rows = np.sort(order[best])
        owner = segments.owner[rows]
        few = Segments(np.searchsorted(owner, np.unique(owner)), segments.time[rows], segments.value[rows])
        return rows[few.top(n, smallest)]

    def _times(self, number: np.ndarray) -> np.ndarray:
        """Where windows begin; without windows where the whole range does."""
        if self.asked.windows is None:
            return np.full(len(number), self.asked.start, np.int64)
        return self.asked.windows.start(number)

    # --- windows that the store makes

    def _from_store(self) -> Points | None:
        """The points of sums, counts, means, minima and maxima in windows that the store can make; None where rows have
        to be looked at."""
        windows, name = self.asked.windows, self.call.name
        makes = name in _IN_STORE or name == "mean"
        if windows is None or not windows.aligned or not makes or self.loose or self.counts_distinct:
            return None
        chosen, rest = self.rows.chosen(self.fields)
        seconds = (self.asked.end - self.asked.start) // NS
        if rest is not None or len(chosen.ids) * seconds <= _FEW:
            return None
        if name != "mean":
            return self._added(name, chosen, windows)
        sums, counts = self._added("sum", chosen, windows), self._added("count", chosen, windows)
        return Points(sums.group, sums.time, sums.value / counts.value)

    def _added(self, name: str, chosen: Chosen, windows: Windows) -> Points:
        how, add = _IN_STORE[name]
        start, end = self.asked.start, self.asked.end + 1
        batch = self.rows.source.read(chosen.ids, start, end, windows.every_ns, how)
        group = self.rows.groups.numbers(chosen.tags)[chosen.owner[np.searchsorted(chosen.ids, batch.id)]]
        order = np.lexsort((batch.time, group))
        group, time, value = group[order], np.asarray(batch.time)[order], np.asarray(batch.value)[order]
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = (np.diff(group) != 0) | (np.diff(time) != 0)
        starts = np.flatnonzero(fresh)
        return Points(group[starts], time[starts], add.reduceat(value, starts) if len(starts) else value)


_WITHOUT_FILL = ("integral", "distinct", "top", "bottom")


def _parameter_ns(call: Call) -> int:
    given = call.args[1] if len(call.args) > 1 else None
    return given.ns if isinstance(given, Duration) else NS
