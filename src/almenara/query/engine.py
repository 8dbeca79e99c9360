"""An expression and rows to a `Matrix`, with exactly Prometheus' semantics (version 3; windows are open on the left).

A stored NaN means "known to be missing". As Prometheus' staleness marker it ends a series at once: a plain selector
gives nothing while it is the last sample, and windows pass over it. A NaN that is computed (0/0) is a value, and
`Matrix.present` says so. Source: https://prometheus.io/docs/prometheus/latest/querying/basics/.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from almenara.model.errors import QueryError, QueryTooLarge
from almenara.model.time import MINUTE_NS, NS
from almenara.query.expression import SETS, Absent, Aggregate, Binary, Call, Expr, Negate, Selector, is_scalar
from almenara.query.matcher import NAME
from almenara.query.matrix import Matrix
from almenara.query.operators import (
    Vector,
    constant,
    label_key,
    negate,
    require_distinct,
    with_number,
    with_set,
    with_vector,
    without_name,
)
from almenara.query.source import Fetched, Rows, Source

LOOKBACK_NS = 5 * MINUTE_NS


@dataclass(frozen=True, slots=True)
class Limits:
    """Past one of these a query is refused: steps of one answer, samples read, and series x steps held at a time."""

    steps: int = 11_000
    samples: int = 20_000_000
    cells: int = 20_000_000


DEFAULT_LIMITS = Limits()


def evaluate(
    expr: Expr,
    start: int,
    end: int,
    step_ns: int,
    source: Source,
    lookback_ns: int = LOOKBACK_NS,
    limits: Limits = DEFAULT_LIMITS,
) -> Matrix:
    """The expression at start, start + step_ns, ... up to end (ns); with step_ns 0 once, at start = end.

    Series are ordered by labels; those without any value are left out. Raises QueryError as Prometheus does,
    QueryTooLarge past a limit.
    """
    times = _times(start, end, step_ns, limits)
    if is_scalar(expr):
        values = np.full((1, len(times)), constant(expr))
        return Matrix([{}], times, values, np.ones(values.shape, bool), scalar=True)
    fetched = Fetched(expr, start, int(times[-1]), lookback_ns, source, limits.samples)
    vector = _Evaluation(times, fetched, lookback_ns, limits).vector(expr)
    order = sorted(range(len(vector.labels)), key=lambda i: label_key(vector.labels[i]))
    return Matrix([vector.labels[i] for i in order], times, vector.values[order], vector.present[order])


def _times(start: int, end: int, step_ns: int, limits: Limits) -> np.ndarray:
    if step_ns < 0 or (step_ns == 0 and start != end):
        raise QueryError(f"step of {step_ns} ns; expected one above 0, or 0 with start = end")
    if end < start:
        raise QueryError(f"end {end} lies before start {start}")
    steps = (end - start) // step_ns if step_ns else 0
    if steps > limits.steps:
        raise QueryTooLarge(
            f"exceeded maximum resolution of {limits.steps:,} points per timeseries; found {steps:,}, "
            "use a larger step or a shorter range"
        )
    return start + step_ns * np.arange(steps + 1, dtype=np.int64)


class _Evaluation:
    """One expression at given times over fetched rows."""

    def __init__(self, times: np.ndarray, fetched: Fetched, lookback_ns: int, limits: Limits):
        self.times = times
        self.fetched = fetched
        self.lookback_ns = lookback_ns
        self.limits = limits

    def vector(self, expr: Expr) -> Vector:
        """The value of any expression that is no scalar."""
        if isinstance(expr, Selector):
            return self.selector(expr)
        if isinstance(expr, Call):
            return self.call(expr)
        if isinstance(expr, Negate):
            return negate(self.vector(expr.operand))
        if isinstance(expr, Aggregate):
            return self.aggregate(expr)
        if isinstance(expr, Binary):
            return self.binary(expr)
        if isinstance(expr, Absent):
            return self.absent(expr)
        raise TypeError(f"{type(expr).__name__} is no vector")

    def selector(self, expr: Selector) -> Vector:
        from almenara.query.functions import over_windows  # numba: half a second to import, and parsing needs none

        rows, ends = self._rows(expr)
        values, present = over_windows("last_over_time", rows, ends, self.lookback_ns)
        return Vector.of(rows.labels, values, present & ~np.isnan(values))

    def call(self, expr: Call) -> Vector:
        from almenara.query.functions import over_windows

        rows, ends = self._rows(expr.window.selector)
        rows = rows.without_nan()
        parameter = 0.0 if expr.parameter is None else constant(expr.parameter)
        if expr.function == "predict_linear":  # counts from the time of the evaluation, whatever the offset
            parameter += expr.window.selector.offset_ns / NS
        values, present = over_windows(expr.function, rows, ends, expr.window.range_ns, parameter)
        labels = rows.labels if expr.function == "last_over_time" else [without_name(one) for one in rows.labels]
        vector = Vector.of(labels, values, present)
        require_distinct(vector.labels)
        return vector

    def aggregate(self, expr: Aggregate) -> Vector:
        from almenara.query.kernels import AGGREGATES, aggregate

        vector = self.vector(expr.operand)
        groups: dict[tuple[tuple[str, str], ...], int] = {}
        group = np.empty(len(vector.labels), np.int64)
        for n, labels in enumerate(vector.labels):
            group[n] = groups.setdefault(label_key(_group_labels(expr, labels)), len(groups))
        present = np.zeros((len(groups), len(self.times)), bool)
        np.logical_or.at(present, group, vector.present)
        values = aggregate(vector.values, vector.present, group, len(groups), AGGREGATES[expr.op])
        return Vector.of([dict(key) for key in groups], values, present)

    def absent(self, expr: Absent) -> Vector:
        present: np.ndarray = self.vector(expr.operand).present
        missing = ~np.any(present, axis=0, keepdims=True)
        return Vector.of([dict(expr.labels)], np.ones(missing.shape), missing)

    def binary(self, expr: Binary) -> Vector:
        if expr.op in SETS:
            return with_set(expr, self.vector(expr.left), self.vector(expr.right))
        if is_scalar(expr.left):
            return with_number(expr, self.vector(expr.right), constant(expr.left), number_left=True)
        if is_scalar(expr.right):
            return with_number(expr, self.vector(expr.left), constant(expr.right), number_left=False)
        return with_vector(expr, self.vector(expr.left), self.vector(expr.right))

    def _rows(self, selector: Selector) -> tuple[Rows, np.ndarray]:
        """The rows of a selector, and the right ends of its windows: int64[t] ns."""
        rows = self.fetched.rows(selector, int(self.times[-1]))
        cells = len(rows.labels) * len(self.times)
        if cells > self.limits.cells:
            raise QueryTooLarge(
                f"{len(rows.labels):,} series at {len(self.times):,} times are more than {self.limits.cells:,} values; "
                "select fewer series or use a larger step"
            )
        return rows, self.times - selector.offset_ns


def _group_labels(expr: Aggregate, labels: dict[str, str]) -> dict[str, str]:
    if expr.without:
        return {k: v for k, v in labels.items() if k != NAME and k not in expr.labels}
    return {k: v for k, v in labels.items() if k in expr.labels}
