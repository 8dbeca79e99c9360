"""InfluxQL's functions of columns against plain Python, and windows by the clock of a zone."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almenara.model.errors import QueryTooLarge
from almenara.model.time import ns_from_datetime
from almenara.query.influxql.aggregates import AGGREGATES, Segments
from almenara.query.influxql.transforms import Points, transformed
from almenara.query.influxql.windows import Filling, Windows, filled

S = 1_000_000_000
ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 50), st.integers(-3, 3)), min_size=1, max_size=60)


def segments(rows: list[tuple[int, int, int]]) -> tuple[Segments, dict[int, list[tuple[int, int]]]]:
    rows = sorted(rows)
    owner = np.array([row[0] for row in rows])
    starts = np.flatnonzero(np.r_[True, owner[1:] != owner[:-1]])
    by_owner: dict[int, list[tuple[int, int]]] = {}
    for group, time, value in rows:
        by_owner.setdefault(group, []).append((time, value))
    return Segments(starts, np.array([r[1] for r in rows]), np.array([float(r[2]) for r in rows])), by_owner


def plain(name: str, rows: list[tuple[int, int]]) -> float:
    values = [float(value) for _, value in rows]
    if name == "mode":
        counts = Counter(values)
        most = max(counts.values())
        if most == 1:
            return min(values)
        firsts = {value: min(t for t, v in rows if v == value) for value, n in counts.items() if n == most}
        first = min(firsts.values())
        return min(value for value, time in firsts.items() if time == first)
    if name == "stddev":
        return statistics.stdev(values) if len(values) > 1 else float("nan")
    function = {
        "count": len, "mean": statistics.fmean, "median": statistics.median, "sum": sum,
        "spread": lambda them: max(them) - min(them),
    }[name]  # fmt: skip
    return float(function(values))


@settings(max_examples=100, deadline=None)
@given(ROWS, st.sampled_from([name for name in AGGREGATES if name != "integral"]))
def test_aggregates_equal_plain_python(rows: list[tuple[int, int, int]], name: str) -> None:
    found, by_owner = segments(rows)
    expected = [plain(name, them) for _, them in sorted(by_owner.items())]
    np.testing.assert_allclose(found.aggregated(name), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.floats(0, 100))
def test_selectors_equal_plain_python(rows: list[tuple[int, int, int]], percent: float) -> None:
    found, by_owner = segments(rows)
    for at, (_, them) in enumerate(sorted(by_owner.items())):
        expected = {
            "first": min(them, key=lambda row: (row[0], -row[1])),
            "last": max(them),
            "max": min(them, key=lambda row: (-row[1], row[0])),
            "min": min(them, key=lambda row: (row[1], row[0])),
        }
        for name, row in expected.items():
            chosen = found.chosen(name)[at]
            assert (found.time[chosen], found.value[chosen]) == row, name
        rank = int(len(them) * percent / 100 + 0.5)
        chosen = found.chosen("percentile", percent)[at]
        assert chosen == -1 if rank < 1 else found.value[chosen] == sorted(v for _, v in them)[rank - 1]


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_steps_equal_plain_python(rows: list[tuple[int, int, int]]) -> None:
    distinct = sorted({(group, time): value for group, time, value in rows}.items())
    group, time, value = (
        np.array(column) for column in zip(*((g, t, float(v)) for (g, t), v in distinct), strict=True)
    )
    points = Points(group, time * S, value)
    pairs = [(a, b) for a, b in itertools.pairwise(distinct) if a[0][0] == b[0][0]]
    for name, step in {
        "difference": lambda a, b: b[1] - a[1],
        "derivative": lambda a, b: (b[1] - a[1]) / (b[0][1] - a[0][1]),
        "elapsed": lambda a, b: b[0][1] - a[0][1],
    }.items():
        np.testing.assert_allclose(transformed(name, points, S).value, [step(a, b) for a, b in pairs])


def test_days_begin_at_midnight_of_the_zone_also_when_clocks_change() -> None:
    zone = ZoneInfo("Europe/Berlin")
    days = Windows(86_400 * S, 0, zone)
    for day in (28, 29, 30):  # clocks went forward on 2026-03-29
        noon = ns_from_datetime(datetime(2026, 3, day, 12, tzinfo=zone))
        midnight = ns_from_datetime(datetime(2026, 3, day, tzinfo=zone))
        assert days.start(days.number(np.array([noon, midnight]))).tolist() == [midnight, midnight]
        assert days.start(days.number(np.array([midnight - 1])))[0] < midnight


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        ("null", [None, 1, None, None, 4, None]),
        ("previous", [None, 1, 1, 1, 4, 4]),
        ("linear", [None, 1, 2, 3, 4, None]),
        (7.0, [7, 1, 7, 7, 4, 7]),
    ],
)
def test_fill(fill: str | float, expected: list[float | None]) -> None:
    points = Points(np.zeros(2, np.int64), np.array([10, 40]), np.array([1.0, 4.0]))
    found = filled(points, Windows(10), (0, 59), Filling(fill, False, False))
    assert found.time.tolist() == [0, 10, 20, 30, 40, 50]
    np.testing.assert_array_equal(found.value, [np.nan if one is None else one for one in expected])


def test_too_many_windows_are_refused_before_they_are_made() -> None:
    points = Points(np.zeros(1, np.int64), np.array([10]), np.array([1.0]))
    with pytest.raises(QueryTooLarge, match="larger interval"):
        filled(points, Windows(1), (0, 10**12), Filling("null", False, False))
