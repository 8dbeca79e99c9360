"""Gaps: a line breaks where rows are missing, and only there."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from tests.naive import gap_middles

from almenara.plot.gaps import gaps, lone, with_gaps


def at(*steps: float) -> np.ndarray:
    return np.cumsum(np.array([0, *steps])).astype(np.int64)


def test_a_gap_is_clearly_longer_than_the_usual_distance() -> None:
    assert gaps(at(*[10] * 20, 31, *[10] * 20))[0].tolist() == [215]
    assert gaps(at(*[10] * 20, 30, *[10] * 20))[0].tolist() == []


def test_what_is_no_wider_than_a_pixel_is_no_gap() -> None:
    time = at(*[10] * 20, 60, *[10] * 20)
    assert [len(gaps(time, pixel)[0]) for pixel in (0, 59, 60)] == [1, 1, 0]


def test_a_change_of_pace_is_no_gap() -> None:
    assert gaps(at(*[60] * 30, *[1] * 1000))[0].tolist() == []
    assert gaps(at(*[1] * 1000, *[60] * 30))[0].tolist() == []


def test_each_of_two_gaps_near_each_other_is_found() -> None:
    assert len(gaps(at(*[10] * 9, 500, 10, 10, 800, *[10] * 9))[0]) == 2


def test_a_series_of_irregular_rows_is_hardly_broken() -> None:
    steps = np.random.default_rng(1).exponential(1e6, 10_000)
    assert len(gaps(at(*steps))[0]) < 300


def test_of_few_rows_none_is_cut_off() -> None:
    for few in ((), (5,), (5, 5), (5, 10, 5)):
        assert gaps(at(*few))[0].tolist() == []
    assert gaps(np.zeros(0, np.int64))[1] == np.inf
    assert gaps(at(5, 5, 100))[0].tolist() == [60]


def test_the_next_row_may_come_three_times_as_late_as_the_last_ones() -> None:
    assert gaps(at(*[10] * 20))[1] == 30
    assert gaps(at(*[1] * 100, *[10] * 5))[1] == 30
    assert gaps(at(*[10] * 20), pixel=45)[1] == 45


@given(st.lists(st.integers(1, 100), max_size=40), st.integers(0, 100))
def test_the_columns_say_what_a_loop_says(steps: list[int], pixel: int) -> None:
    time = at(*steps)
    assert gaps(time, pixel)[0].tolist() == gap_middles(time.tolist(), pixel)


def test_every_column_has_a_missing_row_in_a_gap() -> None:
    columns = {"value": np.arange(4.0), "lower": np.ones(4)}
    found = with_gaps(np.array([0, 10, 90, 100]), columns, np.array([50]))
    assert found["time"].tolist() == [0, 10, 50, 90, 100]
    np.testing.assert_array_equal(found["value"], [0, 1, np.nan, 2, 3])
    np.testing.assert_array_equal(np.isnan(found["lower"]), [False, False, True, False, False])


def test_a_value_between_two_gaps_is_alone() -> None:
    nan = np.nan
    assert lone(np.array([1, nan, 2, 3, nan, 4, nan, nan, 5])).tolist() == [0, 5, 8]
