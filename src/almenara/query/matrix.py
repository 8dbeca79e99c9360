"""`Matrix`: the answer to a query, and its form in Prometheus' JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from almenara.model.series import Series
from almenara.query.matcher import NAME


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """k series at t times.

    labels: k dicts, the name under `__name__` where it has one; ordered. times: int64[t] ns. values: float64[k, t],
    NaN where there is no value, and where the value is not a number (0/0); present: bool[k, t] tells these two apart.
    scalar: one number at each time, not of any series (k = 1, no labels).
    """

    labels: list[dict[str, str]]
    times: np.ndarray
    values: np.ndarray
    present: np.ndarray
    scalar: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def names(self) -> list[str]:
        """The series as people write them: `cpu_usage{host="a"}`; `{}` for one without any label."""
        return [series_text(labels) for labels in self.labels]


def series_text(labels: Mapping[str, str]) -> str:
    """Labels (the name under `__name__`) as in PromQL."""
    pairs = tuple(sorted((k, v) for k, v in labels.items() if k != NAME))
    return str(Series(labels.get(NAME, ""), pairs)) or "{}"


def to_prometheus(matrix: Matrix, instant: bool) -> dict[str, Any]:
    """The `data` object of Prometheus' HTTP API: resultType vector or scalar (instant) or matrix, and its result.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/. Times are seconds, numbers are texts. Raises
    ValueError for an instant answer of several times.
    """
    times = [_seconds(t) for t in matrix.times.tolist()]
    if not instant:
        rows = zip(matrix.labels, matrix.values.tolist(), matrix.present.tolist(), strict=True)
        result = [
            {"metric": labels, "values": [[t, format_value(v)] for t, v, p in zip(times, vs, ps, strict=True) if p]}
            for labels, vs, ps in rows
        ]
        return {"resultType": "matrix", "result": result}
    if len(times) != 1:
        raise ValueError(f"an instant answer has one time; got {len(times)}")
    column = [format_value(v) for v in matrix.values[:, 0].tolist()]
    if matrix.scalar:
        return {"resultType": "scalar", "result": [times[0], format_value(float(matrix.values[0, 0]), exponent=False)]}
    rows_now = zip(matrix.labels, column, matrix.present[:, 0].tolist(), strict=True)
    vector = [{"metric": labels, "value": [times[0], v]} for labels, v, p in rows_now if p]
    return {"resultType": "vector", "result": vector}


def format_value(value: float, exponent: bool = True) -> str:
    """A number as Prometheus writes it: the shortest text that reads back the same; NaN, +Inf, -Inf.

    An exponent only below 1e-6 and from 1e21, as its `jsonutil.MarshalFloat`; none at all in scalars.
    """
    text = repr(value)
    if text.endswith(".0"):
        return text[:-2]
    if "e" in text:
        return text if exponent and not 1e-6 <= abs(value) < 1e21 else format(Decimal(text), "f")
    return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(text, text)


def _seconds(ns: int) -> int | float:
    """Seconds with milliseconds, as Prometheus has them; whole ones without a point."""
    ms = ns // 1_000_000
    return ms // 1000 if ms % 1000 == 0 else ms / 1000
