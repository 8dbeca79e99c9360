"""The compiled loops against their slow twins, and the checks that guard them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive

from almenara.query import kernels

NUMBERS = st.floats(-1e6, 1e6) | st.sampled_from([0.0, float("inf"), float("-inf"), 1e16, -1e16])


@st.composite
def rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(offsets, time, value) of up to three series."""
    series = [sorted(draw(st.sets(st.integers(0, 60), max_size=12))) for _ in range(draw(st.integers(0, 3)))]
    time = np.array([t for one in series for t in one], np.int64)
    value = np.array([draw(NUMBERS) for _ in time], np.float64)
    return np.cumsum([0, *map(len, series)]).astype(np.int64), time, value


@settings(deadline=None)
@given(rows=rows(), ends=st.lists(st.integers(-5, 70), max_size=6), window=st.integers(1, 40), q=st.floats(0, 1))
def test_windows_equal_their_twin(
    rows: tuple[np.ndarray, np.ndarray, np.ndarray], ends: list[int], window: int, q: float
) -> None:
    offsets, time, value = rows
    steps = np.array(sorted(ends), np.int64)
    low, high = kernels.window_bounds(offsets, time, steps, window)
    for name, what in [*kernels.REDUCTIONS.items(), ("resets", kernels.RESETS)]:
        got = kernels.reduce_windows(value, low, high, what, q)
        expected = naive.over_windows(name, offsets.tolist(), time.tolist(), value.tolist(), steps.tolist(), window, q)
        np.testing.assert_allclose(got, np.array(expected).reshape(got.shape), rtol=1e-9, atol=1e-6)


def test_lines_equal_their_twin() -> None:
    rng = np.random.default_rng(3)
    time = np.sort(rng.choice(10_000, 300, replace=False)).astype(np.int64) * 1_000_000_000
    value, ends = rng.normal(50, 9, 300), np.array([2_000, 6_000, 9_999], np.int64) * 1_000_000_000
    low, high = kernels.window_bounds(np.array([0, 300]), time, ends, 1_500 * 1_000_000_000)
    slope, level = kernels.lines(time, value, low, high, ends)
    for j in range(3):
        rows = slice(low[0, j], high[0, j])
        expected = naive.line(((time[rows] - ends[j]) / 1e9).tolist(), value[rows].tolist())
        assert (slope[0, j], level[0, j]) == pytest.approx(expected, rel=1e-9)


def test_lines_of_rows_that_do_not_fit_are_refused() -> None:
    one = np.zeros((1, 1), np.int64)
    with pytest.raises(ValueError, match="reach past"):
        kernels.lines(np.zeros(2, np.int64), np.zeros(2), one, one + 3, one[0])
    with pytest.raises(ValueError, match="shapes differ"):
        kernels.lines(np.zeros(2, np.int64), np.zeros(3), one, one, one[0])


@settings(deadline=None)
@given(data=st.data(), k=st.integers(0, 6), t=st.integers(0, 4), groups=st.integers(1, 3))
def test_groups_equal_their_twin(data: st.DataObject, k: int, t: int, groups: int) -> None:
    cells = st.floats(-1e6, 1e6) | st.sampled_from([float("nan"), float("inf"), float("-inf"), 1e16])
    values = np.array(data.draw(st.lists(cells, min_size=k * t, max_size=k * t)), np.float64).reshape(k, t)
    present = np.array(data.draw(st.lists(st.booleans(), min_size=k * t, max_size=k * t)), bool).reshape(k, t)
    group = np.array(data.draw(st.lists(st.integers(0, groups - 1), min_size=k, max_size=k)), np.int64)
    for name, what in kernels.AGGREGATES.items():
        got = kernels.aggregate(values, present, group, groups, what)
        expected = naive.aggregate_groups(name, values.tolist(), present.tolist(), group.tolist(), groups, t)
        np.testing.assert_allclose(got, np.array(expected).reshape(got.shape), rtol=1e-9, atol=1e-6)


def test_arrays_that_do_not_fit_are_refused_before_the_kernel() -> None:
    time, ends, value = np.arange(3), np.arange(2), np.zeros(3)
    bounds = np.zeros((1, 2), np.int64)
    for bad in ([0, 4], [1, 3], [0, 2, 1, 3], []):
        with pytest.raises(ValueError, match="offsets"):
            kernels.window_bounds(np.array(bad, np.int64), time, ends, 1)
    with pytest.raises(ValueError, match="int64"):
        kernels.window_bounds(np.array([0, 3]), time.astype(float), ends, 1)
    with pytest.raises(ValueError, match="reach past"):
        kernels.reduce_windows(value, bounds, bounds + 4, kernels.SUM)
    with pytest.raises(ValueError, match="one shape"):
        kernels.reduce_windows(value, bounds, bounds[:, :1], kernels.SUM)
    cells, present = np.zeros((2, 2)), np.ones((2, 2), bool)
    with pytest.raises(ValueError, match="group numbers"):
        kernels.aggregate(cells, present, np.array([0, 2]), 2, kernels.SUM)
    with pytest.raises(ValueError, match="shapes differ"):
        kernels.aggregate(cells, present[:1], np.array([0, 1]), 2, kernels.SUM)
    with pytest.raises(ValueError, match="float64"):
        kernels.aggregate(present, present, np.array([0, 1]), 2, kernels.SUM)
