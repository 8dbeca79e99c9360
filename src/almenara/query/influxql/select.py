"""A SELECT and stored rows to tables, in columns: what InfluxDB 1.x answers, where rows allow it.

Source: https://docs.influxdata.com/influxdb/v1/query_language/explore-data/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from almenara.model.errors import QueryError, QueryTooLarge
from almenara.model.series import label_name
from almenara.query.influxql.answer import Table
from almenara.query.influxql.arithmetic import evaluate
from almenara.query.influxql.calls import Asked, Groups, points_of
from almenara.query.influxql.frame import Chosen, Frame, choose, read
from almenara.query.influxql.names import Names, Source, named, searching
from almenara.query.influxql.plan import calls_of, check, expanded, is_field, loose_of, with_top_tags
from almenara.query.influxql.syntax import Binary, Call, Expr, Field, Ref, Regex, Select, Star, Text
from almenara.query.influxql.transforms import Points
from almenara.query.influxql.where import LATEST, Span, conjuncts, refs, row_mask, split, tag_mask, tag_matcher
from almenara.query.influxql.windows import MAX_CELLS, Windows


def select(statement: Select, names: Names, source: Source, now_ns: int) -> list[Table]:
    """The tables of a statement. Raises QueryError as InfluxDB does, QueryTooLarge past a limit."""
    zone = _zone(statement.zone)
    span, condition = split(statement.where, now_ns, zone)
    fields, time_name = _without_time(statement.fields)
    fields = with_top_tags(fields)
    check(statement, fields)
    if span.end is None:
        span = Span(span.start, now_ns if statement.groups.every_ns else LATEST)
    windows = (
        Windows(statement.groups.every_ns, statement.groups.offset_ns, zone) if statement.groups.every_ns else None
    )
    statement = replace(statement, fields=tuple(fields), where=condition)
    tables: list[Table] = []
    cut = statement.cut
    for measurement in names.chosen(statement.sources):
        one = _Measurement(measurement, statement, names, source, span, windows)
        tables += one.tables(time_name)
        if cut.slimit and len(tables) >= cut.soffset + cut.slimit:
            break
    tables = tables[cut.soffset : cut.soffset + cut.slimit if cut.slimit else None]
    tables = [table.cut(cut.limit, cut.offset) for table in tables]
    tables = [table for table in tables if len(table)]
    if sum(len(table) * len(table.columns) for table in tables) > 2 * MAX_CELLS:
        raise QueryTooLarge(f"the answer has more than {2 * MAX_CELLS:,} values; use LIMIT, or a shorter range")
    return tables


def _zone(name: str) -> ZoneInfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise QueryError(f"unable to find time zone {name}") from error


def _without_time(fields: Sequence[Field]) -> tuple[list[Field], str]:
    """The fields but `time`, which always comes first, and what it is called."""
    times = [one for one in fields if isinstance(one.expr, Ref) and one.expr.name == "time"]
    return [one for one in fields if one not in times], next((one.alias for one in times if one.alias), "time")


class _Measurement:
    """One statement over one measurement."""

    def __init__(self, name: str, statement: Select, names: Names, source: Source, span: Span, windows: Windows | None):
        self.name, self.statement, self.source, self.windows = name, statement, source, windows
        self.names, self.known, self.span = names, names.fields(name), span
        dimensions = statement.groups.tags
        wild = [one for one in dimensions if not isinstance(one, Ref)]
        wild += [one for field in statement.fields for one in loose_of(field.expr) if not isinstance(one, Ref)]
        self.tag_keys = self._tag_keys() if wild else []
        self.groups = Groups(list(dict.fromkeys(self._dimensions(dimensions))))
        self.columns = expanded(statement.fields, self.known, self.tag_keys, self.groups.keys)

    def _tag_keys(self) -> list[str]:
        if not self.known:
            return []
        ids = self.source.select([named(self.known.values())])
        return sorted({label for id in ids.tolist() for label, _ in self.source.series[id].labels})

    def _dimensions(self, dimensions: Sequence[Ref | Star | Regex]) -> Iterator[str]:
        for one in dimensions:
            if isinstance(one, Ref):
                yield one.name
            elif isinstance(one, Star):
                yield from self.tag_keys
            else:
                matcher = searching("name", "=~", one)
                yield from (tag for tag in self.tag_keys if matcher.matches(tag))

    def tables(self, time_name: str) -> list[Table]:
        """One for each group that has rows."""
        if any(True for column in self.columns for _ in calls_of(column.expr)):
            points, frame, values = self._called()
        else:
            points, frame, values = self._raw()
        if not len(points):
            return []
        if len(points) * (len(self.columns) + 1) > 2 * MAX_CELLS and not self.statement.cut.limit:
            raise QueryTooLarge(f"the answer has more than {2 * MAX_CELLS:,} values; use LIMIT, or a shorter range")
        data = [self._column(column.expr, points, frame, values) for column in self.columns]
        edges = np.flatnonzero(np.diff(points.group)) + 1
        starts, ends = [0, *edges.tolist()], [*edges.tolist(), len(points)]
        heads = [time_name, *(column.name for column in self.columns)]
        found: list[tuple[tuple[str, ...], Table]] = []
        for start, end in zip(starts, ends, strict=True):
            texts = self.groups.texts(int(points.group[start]))
            tags = dict(zip(self.groups.keys, texts, strict=True)) if self.groups.keys else None
            rows = [points.time[start:end], *(column[start:end] for column in data)]
            found.append((texts, Table(self.name, heads, rows, tags, timed=True)))
        return [table for _, table in sorted(found, key=lambda pair: [text.encode() for text in pair[0]])]

    # --- rows

    def _series_of(self, field: str) -> str | None:
        return self.names.find(self.name, field)

    def fields_in(self, exprs: Sequence[Expr]) -> dict[str, str]:
        """Field -> name of its series, of those that the expressions name and that there are."""
        found: dict[str, str] = {}
        for ref in (ref for expr in exprs for ref in refs(expr)):
            if is_field(ref) and (name := self._series_of(ref.name)):
                found[ref.name] = name
        return found

    def chosen(self, fields: Mapping[str, str]) -> tuple[Chosen, Expr | None]:
        """The series of some fields and of those in the condition; and what is left to be asked of their rows."""
        matchers, by_tag, by_row, asked = [], [], [], dict(fields)
        for part in conjuncts(self.statement.where):
            needed = self._conditioned(part)
            if needed:
                asked |= needed
                by_row.append(part)
            elif (matcher := tag_matcher(part)) is not None:
                matchers.append(matcher)
            else:
                by_tag.append(part)
        chosen = choose(self.source, asked, matchers)
        mask = np.ones(len(chosen.tags), np.bool_)
        for part in by_tag:
            mask &= tag_mask(part, chosen.tags)
        rest: Expr | None = None
        for part in by_row:
            rest = part if rest is None else Binary("AND", rest, part)
        return chosen.only(mask), rest

    def _conditioned(self, part: Expr) -> dict[str, str]:
        """The fields in a condition. What is compared with a text or a pattern is a tag, unless there is such a field:
        fields are numbers here."""
        if isinstance(part, Binary) and part.op in ("AND", "OR"):
            return self._conditioned(part.left) | self._conditioned(part.right)
        texts = isinstance(part, Binary) and any(isinstance(side, Text | Regex) for side in (part.left, part.right))
        found = {r.name: n for r in refs(part) if is_field(r) and (n := self._series_of(r.name))}
        return {field: name for field, name in found.items() if not texts or field in self.known}

    def frame(self, fields: Mapping[str, str], start: int, end: int) -> Frame:
        """The rows of fields in [start, end) that fulfil the condition."""
        chosen, rest = self.chosen(fields)
        frame = read(self.source, chosen, start, end)
        if rest is not None:
            frame = frame.take(row_mask(rest, frame.columns, frame.owner, frame.tags))
        return frame

    # --- raw fields

    def _raw(self) -> tuple[Points, Frame | None, dict[str | Call, np.ndarray]]:
        fields = self.fields_in([column.expr for column in self.columns])
        if not fields:
            return _NOTHING, None, {}
        start = 0 if self.span.start is None else self.span.start
        frame = self.frame(fields, start, (self.span.end or 0) + 1)
        frame = frame.take(np.any([~np.isnan(frame.columns[field]) for field in fields], axis=0))
        group = self.groups.of(frame)
        sign = -1 if self.statement.descending else 1
        order = np.lexsort((frame.owner, sign * frame.time, group))
        frame = frame.take(order)
        rows = Points(group[order], frame.time, np.zeros(len(order)), np.arange(len(order)))
        values: dict[str | Call, np.ndarray] = {field: frame.columns[field] for field in frame.columns}
        return rows, frame, values

    # --- functions

    def _called(self) -> tuple[Points, Frame | None, dict[str | Call, np.ndarray]]:
        calls = list(dict.fromkeys(call for column in self.columns for call in calls_of(column.expr)))
        loose = [column.expr for column in self.columns if any(True for _ in loose_of(column.expr))]
        aside = self.fields_in(loose)
        asked = Asked(self.span, self.windows, self.statement.groups.fill, self.statement.descending, len(calls) == 1)
        found: dict[Call, Points] = {}
        frame: Frame | None = None
        for call in calls:
            found[call], frame = points_of(call, asked, self, aside, bool(loose))
        if len(calls) == 1:
            points = found[calls[0]]
            values: dict[str | Call, np.ndarray] = {calls[0]: points.value}
        else:
            points, values = _joined(found, self.statement.descending)
        if loose and frame is not None and points.row is not None:
            for field in aside:
                values[field] = _at(frame.columns[field], points.row)
        return points, frame, values

    def _column(
        self, expr: Expr, points: Points, frame: Frame | None, values: Mapping[str | Call, np.ndarray]
    ) -> np.ndarray:
        """One column of the answer: float64[n], or object[n] of a tag."""
        if isinstance(expr, Ref) and (expr.name not in values or not is_field(expr)):
            found = np.full(len(points), None, object)
            if frame is not None and points.row is not None and expr.cast in ("", "tag"):
                label = label_name(expr.name)
                texts = np.array([tags.get(label) for tags in frame.tags] or [None], object)
                there = points.row >= 0
                found[there] = texts[frame.owner[points.row[there]]]
            return found
        return evaluate(expr, values, len(points))


_NOTHING = Points(*(np.zeros(0, kind) for kind in (np.int64, np.int64, np.float64)))


def _at(column: np.ndarray, row: np.ndarray) -> np.ndarray:
    found = np.full(len(row), np.nan)
    found[row >= 0] = column[row[row >= 0]]
    return found


def _joined(found: Mapping[Call, Points], descending: bool) -> tuple[Points, dict[str | Call, np.ndarray]]:
    """Points of several functions side by side: a row for each time of each group, NaN where a function has none."""
    group = np.concatenate([points.group for points in found.values()])
    time = np.concatenate([points.time for points in found.values()])
    order = np.lexsort((-time if descending else time, group))
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (np.diff(group[order]) != 0) | (np.diff(time[order]) != 0)
    row = np.empty(len(order), np.int64)
    row[order] = np.cumsum(fresh) - 1
    first = order[fresh]
    values: dict[str | Call, np.ndarray] = {}
    begin = 0
    for call, points in found.items():
        column = np.full(len(first), np.nan)
        column[row[begin : begin + len(points)]] = points.value
        begin += len(points)
        values[call] = column
    return Points(group[first], time[first], np.zeros(len(first))), values
