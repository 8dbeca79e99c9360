"""Evaluation where Prometheus cannot be the judge: edges of windows, stored NaN, limits, how rows are fetched."""

from __future__ import annotations

import numpy as np
import pytest
from tests.query.memory_source import MemorySource

from almenara.model.batch import Batch
from almenara.model.errors import QueryError, QueryTooLarge
from almenara.model.series import Series, SeriesTable
from almenara.query import Limits, Matrix, evaluate, functions, parse

S = 1_000_000_000
A, B = Series.of("x", host="a"), Series.of("x", host="b")
NAN = float("nan")


def run(text: str, source: MemorySource, at: int, until: int | None = None, step: int = 0, **more: object) -> Matrix:
    return evaluate(parse(text), at * S, (at if until is None else until) * S, step * S, source, **more)  # type: ignore[arg-type]


def rows(*points: tuple[Series, int, float]) -> MemorySource:
    return MemorySource((series, t * S, v) for series, t, v in points)


def values(matrix: Matrix) -> list[list[float | None]]:
    pairs = zip(matrix.values.tolist(), matrix.present.tolist(), strict=True)
    return [[v if p else None for v, p in zip(vs, ps, strict=True)] for vs, ps in pairs]


def test_lookback_is_open_on_the_left_and_closed_on_the_right() -> None:
    source = rows((A, 1000, 7.0))
    assert values(run("x", source, 1000)) == [[7.0]]
    assert values(run("x", source, 1299)) == [[7.0]]
    assert values(run("x", source, 1300)) == []
    assert values(run("x", source, 999)) == []


def test_range_is_open_on_the_left_and_closed_on_the_right() -> None:
    source = rows((A, 940, 1.0), (A, 1000, 2.0))
    assert values(run("sum_over_time(x[1m])", source, 1000)) == [[2.0]]
    assert values(run("sum_over_time(x[61s])", source, 1000)) == [[3.0]]


def test_lookback_can_be_set() -> None:
    assert values(run("x", rows((A, 1000, 7.0)), 1010, lookback_ns=10 * S)) == []


def test_offset_shifts_the_window() -> None:
    source = rows((A, 1000, 7.0))
    assert values(run("x offset 10m", source, 1600)) == [[7.0]]
    assert values(run("x offset -10m", source, 400)) == [[7.0]]


def test_stored_nan_ends_a_series_at_once() -> None:
    source = rows((A, 1000, 7.0), (A, 1010, NAN), (A, 1050, 8.0))
    assert values(run("x", source, 1000, 1050, 10)) == [[7.0, None, None, None, None, 8.0]]


def test_windows_pass_over_stored_nan() -> None:
    source = rows((A, 1000, 7.0), (A, 1010, NAN), (A, 1020, 9.0))
    for function, expected in [("sum", 16.0), ("count", 2.0), ("last", 9.0), ("min", 7.0), ("stddev", 1.0)]:
        assert values(run(f"{function}_over_time(x[5m])", source, 1020)) == [[expected]]
    assert values(run("sum_over_time(x[5s])", source, 1010)) == []


def test_computed_nan_is_a_value_and_not_a_gap() -> None:
    matrix = run("x / 0", rows((A, 1000, 0.0), (A, 1600, 1.0)), 1000, 1600, 300)
    assert np.isnan(matrix.values).tolist() == [[True, True, False]]
    assert matrix.present.tolist() == [[True, False, True]]
    assert matrix.values[0, 2] == np.inf


def test_series_come_ordered_by_labels_and_empty_ones_are_left_out() -> None:
    source = rows((Series.of("x", z="1"), 1000, 1.0), (B, 1000, 2.0), (A, 1000, 3.0), (Series.of("x", a="1"), 10, 4.0))
    matrix = run("x", source, 1000)
    assert matrix.names() == ['x{host="a"}', 'x{host="b"}', 'x{z="1"}']


def test_each_selector_is_read_once_for_the_whole_range() -> None:
    source = rows((A, 1000, 1.0))
    run("rate(x[5m]) / x + sum_over_time(x[1m]) + x{host='a'}", source, 1000, 1060, 10)
    start, end = 1000 * S, 1060 * S
    assert source.asked == [('__name__="x"', start - 300 * S, end), ('__name__="x",host="a"', start - 300 * S, end)]


def test_a_far_offset_does_not_read_what_lies_between() -> None:
    source = rows((A, 1_000_000, 1.0))
    run("x - x offset 1w", source, 1_000_000)
    at, week = 1_000_000 * S, 604_800 * S
    assert [(low, high) for _, low, high in source.asked] == [(at - week - 300 * S, at - week), (at - 300 * S, at)]


def test_last_step_is_the_last_not_after_the_end() -> None:
    matrix = run("x", rows((A, 1000, 1.0)), 1000, 1029, 10)
    assert matrix.times.tolist() == [1000 * S, 1010 * S, 1020 * S]


def test_scalar_is_the_same_at_every_step() -> None:
    matrix = run("2 ^ 3", rows(), 1000, 1020, 10)
    assert matrix.scalar
    assert values(matrix) == [[8.0, 8.0, 8.0]]


def test_nothing_selected_is_an_empty_answer() -> None:
    for text in ("x", "rate(x[5m])", "sum(x)", "x + x", "x > 1", "-x", "quantile_over_time(0.5, x[5m])"):
        matrix = run(text, rows(), 1000, 1020, 10)
        assert matrix.values.shape == (0, 3)
        assert matrix.present.shape == (0, 3)


def test_series_that_take_turns_become_one_after_the_name_is_dropped() -> None:
    old, new = Series.of("old", host="a"), Series.of("new", host="a")
    source = rows((old, 1000, 1.0), (old, 1001, NAN), (new, 1060, 2.0))
    matrix = run("{host='a'} * 10", source, 1000, 1060, 60)
    assert matrix.labels == [{"host": "a"}]
    assert values(matrix) == [[10.0, 20.0]]


def test_one_to_one_is_judged_at_each_time() -> None:
    one, two = Series.of("y", host="a", v="1"), Series.of("y", host="a", v="2")
    turns = rows((A, 1000, 5.0), (A, 1060, 6.0), (one, 1000, 1.0), (one, 1001, NAN), (two, 1060, 2.0))
    assert values(run("x - on(host) y", turns, 1000, 1060, 60)) == [[4.0, 4.0]]
    assert values(run("y - on(host) x", turns, 1000, 1060, 60)) == [[-4.0, -4.0]]
    both = rows((A, 1000, 5.0), (one, 1000, 1.0), (two, 1000, 2.0))
    with pytest.raises(QueryError, match="found duplicate series for the match group"):
        run("x - on(host) y", both, 1000)
    with pytest.raises(QueryError, match="many-to-one matching must be explicit"):
        run("y - on(host) x", both, 1000)
    assert values(run("y > on(host) (x - 3.5)", both, 1000)) == [[2.0]]


def test_average_does_not_overflow() -> None:
    source = rows((A, 1000, 1.5e308), (A, 1010, 1.7e308), (B, 1010, 1.5e308))
    assert values(run("avg_over_time(x[5m])", source, 1010))[0] == [pytest.approx(1.6e308)]
    assert values(run("avg(x)", source, 1010)) == [[pytest.approx(1.6e308)]]
    assert values(run("sum(x)", source, 1010)) == [[np.inf]]


def test_sums_are_compensated() -> None:
    source = rows((A, 1000, 1e16), (A, 1001, 1.0), (A, 1002, -1e16))
    assert values(run("sum_over_time(x[1m])", source, 1002)) == [[1.0]]


def test_limits_are_named() -> None:
    source = rows(*[(s, t, 1.0) for s in (A, B) for t in range(1000, 1100)])
    with pytest.raises(QueryTooLarge, match="exceeded maximum resolution of 11,000 points"):
        run("x", source, 0, 11_001, 1)
    with pytest.raises(QueryTooLarge, match="reads more than 150 samples"):
        run("x", source, 1099, limits=Limits(samples=150))
    with pytest.raises(QueryTooLarge, match="2 series at 11 times"):
        run("x", source, 1000, 1010, 1, limits=Limits(cells=21))


def test_bad_times_are_refused() -> None:
    for start, end, step in ((1000, 999, 1), (1000, 1001, 0), (1000, 1001, -1)):
        with pytest.raises(QueryError, match=r"step|lies before"):
            run("x", rows(), start, end, step)


def test_a_source_that_breaks_its_promise_is_found_out() -> None:
    class Wrong:
        def select(self, *asked: object) -> Batch:
            return Batch(SeriesTable.of([A]), np.zeros(2, np.int32), np.array([5, 5]), np.zeros(2))

    with pytest.raises(ValueError, match="ordered"):
        evaluate(parse("x"), 10, 10, 0, Wrong())


def test_answers_do_not_depend_on_how_series_are_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    many = [Series.of("x", host=str(i)) for i in range(7)]
    source = rows(
        *[(s, int(t), float(v)) for s in many for t, v in zip(range(900, 1200, 9), rng.normal(size=34), strict=True)]
    )
    for text in ("x", "rate(x[2m])", "max_over_time(x[1m])", "quantile_over_time(0.3, x[1m])"):
        whole = run(text, source, 1000, 1200, 50)
        with monkeypatch.context() as patch:
            patch.setattr(functions, "BLOCK", 10)
            cut = run(text, source, 1000, 1200, 50)
        assert (cut.labels, values(cut)) == (whole.labels, values(whole))
        assert len(whole) == 7


def test_instant_and_range_agree() -> None:
    rng = np.random.default_rng(5)
    source = rows(
        *[(s, int(t), float(v)) for s in (A, B) for t, v in zip(range(900, 1500, 7), rng.normal(size=86), strict=True)]
    )
    for text in ("x", "rate(x[2m])", "sum(x) / count(x)", "x > 0", "quantile_over_time(0.3, x[1m])"):
        ranged = run(text, source, 1000, 1400, 50)
        for j, t in enumerate(range(1000, 1401, 50)):
            now = run(text, source, t)
            there = {
                n: v for n, v, p in zip(ranged.names(), ranged.values[:, j], ranged.present[:, j], strict=True) if p
            }
            assert dict(zip(now.names(), now.values[:, 0], strict=True)) == there
