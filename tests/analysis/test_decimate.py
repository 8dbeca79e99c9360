"""Decimation keeps what a chart must show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import naive

from almenara.analysis.decimate import extremes

VALUES = st.one_of(st.floats(-5, 5).map(round).map(float), st.just(float("nan")))


@given(
    rows=st.lists(st.tuples(st.integers(0, 99), VALUES, st.booleans()), max_size=60),
    buckets=st.integers(1, 120),
)
def test_extremes_are_those_of_the_naive_twin(rows: list[tuple[int, float, bool]], buckets: int) -> None:
    rows.sort(key=lambda row: row[0])
    time = np.array([r[0] for r in rows], np.int64)
    value = np.array([r[1] for r in rows], np.float64)
    keep = np.array([r[2] for r in rows], np.bool_)
    assert extremes(time, value, 0, 100, buckets, keep).tolist() == naive.extremes(time, value, 0, 100, buckets, keep)


def test_a_peak_of_one_row_in_a_million_stays() -> None:
    time = np.arange(1_000_000, dtype=np.int64) * 1_000_000_000
    value = np.zeros(len(time))
    value[123_457] = 99.0
    at = extremes(time, value, 0, int(time[-1]) + 1, 800)
    assert 123_457 in at
    assert len(at) <= 3 * 800 + 2


def test_twelve_years_of_nanoseconds_do_not_overflow() -> None:
    time = np.linspace(1_300_000_000, 1_700_000_000, 5000).astype(np.int64) * 1_000_000_000
    at = extremes(time, np.sin(np.arange(5000.0)), int(time[0]), int(time[-1]) + 1, 10_000)
    assert at.tolist() == list(range(5000))


@pytest.mark.parametrize(
    ("time", "value", "start", "end", "buckets", "keep", "told"),
    [
        ([1, 2], [1.0], 0, 9, 3, None, "differ in length"),
        ([1, 2], [1.0, 2.0], 0, 9, 3, [True], "differ in length"),
        ([2, 1], [1.0, 2.0], 0, 9, 3, None, "sorted times"),
        ([1, 9], [1.0, 2.0], 0, 9, 3, None, "sorted times"),
        ([1], [1.0], 5, 5, 3, None, "start < end"),
        ([1], [1.0], 0, 9, 0, None, "at least one bucket"),
    ],
)
def test_wrong_input_is_named(time, value, start, end, buckets, keep, told) -> None:  # type: ignore[no-untyped-def]
    columns = np.array(time, np.int64), np.array(value), start, end, buckets, None if keep is None else np.array(keep)
    with pytest.raises(ValueError, match=told):
        extremes(*columns)
