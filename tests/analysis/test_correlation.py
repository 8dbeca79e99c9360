"""Series that move together are found with their lag; what only looks like it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive

from almenara.analysis.correlation import LEAST_ROWS, chance_of, correlate, limit_of, pairs, ranked, to_grid
from almenara.model.time import NS

N, T = 60, 720


def coloured(rng: np.random.Generator, n: int, t: int, keep: float) -> Any:
    out = rng.normal(size=(n, t))
    for k in range(1, t):
        out[:, k] += keep * out[:, k - 1]
    return out


NOTHING: dict[str, Callable[[np.random.Generator], Any]] = {
    "white": lambda rng: rng.normal(size=(N, T)),
    "red": lambda rng: coloured(rng, N, T, 0.9),
    "walks": lambda rng: coloured(rng, N, T, 1.0),
    "trends": lambda rng: rng.normal(size=(N, 1)) * np.arange(T) / 50 + rng.normal(size=(N, T)),
    "the same day": lambda rng: 5 * np.sin(2 * np.pi * np.arange(1440) / 1440) + rng.normal(size=(N, 1440)),
    "the same hour, a little": lambda rng: 0.5 * np.sin(2 * np.pi * np.arange(T) / 60) + rng.normal(size=(N, T)),
    "heavy tails": lambda rng: rng.standard_t(1, (N, T)),
    "one fault of all": lambda rng: rng.normal(size=(N, T)) + 30.0 * (np.abs(np.arange(T) - 300) < 20),
    "constant": lambda rng: np.ones((N, T)),
    "counts": lambda rng: rng.poisson(0.1, (N, T)).astype(float),
    "too short": lambda rng: np.repeat(rng.normal(size=(1, LEAST_ROWS - 1)), N, axis=0),
    "missing": lambda rng: np.full((N, T), np.nan),
}  # fmt: skip


@pytest.mark.parametrize("kind", NOTHING)
@pytest.mark.parametrize("gaps", [0.0, 0.3])
def test_what_does_not_move_together_is_not_found(kind: str, gaps: float) -> None:
    rng = np.random.default_rng(5)
    values = NOTHING[kind](rng)
    values[rng.random(values.shape) < gaps] = np.nan
    assert len(pairs(ranked(values), 5)) == 0


@pytest.mark.parametrize("gaps", [0.0, 0.4])
@pytest.mark.parametrize("keep", [0.0, 0.8])
def test_planted_groups_are_found_with_their_lags(gaps: float, keep: float) -> None:
    """Three groups of eight, each member later by a lag of its own, one in two upside down, some with faults."""
    rng = np.random.default_rng(7)
    causes = coloured(rng, 3, T + 20, keep)
    lags = rng.integers(0, 5, 24)
    group = np.repeat(np.arange(3), 8)
    sign = np.where(np.arange(24) % 2, -1.0, 1.0)
    moving = np.array([s * causes[g, 10 - k : 10 - k + T] for g, k, s in zip(group, lags, sign, strict=True)])
    moving += 0.6 * moving.std() * coloured(rng, 24, T, keep) / coloured(rng, 1, T, keep).std()
    moving[::5, 100:110] += 50
    values = np.vstack((moving, coloured(rng, N - 24, T, keep)))
    values[rng.random(values.shape) < gaps] = np.nan
    found = pairs(ranked(values), 5)
    expected = {(a, b) for a in range(24) for b in range(a + 1, 24) if group[a] == group[b]}
    assert set(zip(found.a.tolist(), found.b.tolist(), strict=True)) == expected
    assert (found.lag == lags[found.b] - lags[found.a]).all()
    assert (np.sign(found.r) == sign[found.a] * sign[found.b]).all()
    assert (found.p < 1e-3).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 7), st.sampled_from([0.0, 0.2]), st.booleans())
def test_it_is_what_the_slow_twin_says(seed: int, most_lag: int, gaps: float, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(3, 100)).astype(np.float32)
    values[1, most_lag:] += values[0, : 100 - most_lag]
    if coarse:
        values = np.round(values)
    values[rng.random(values.shape) < gaps] = np.nan
    x = ranked(values)
    match = correlate(x, x, most_lag)
    for a in range(3):
        np.testing.assert_allclose(x.unit[a], naive.centred_ranks(values[a].tolist()), atol=1e-4)
        for b in range(3):
            n, r = naive.correlation_at(values[a].tolist(), values[b].tolist(), int(match.lag[a, b]))
            if n >= LEAST_ROWS:
                assert match.r[a, b] == pytest.approx(r, abs=1e-4)
            assert match.known[a, b] == (n >= LEAST_ROWS)
            best = max(
                np.arctanh(min(abs(r), 0.9999)) * n**0.5
                for n, r in (naive.correlation_at(values[a].tolist(), values[b].tolist(), lag)
                             for lag in range(-most_lag, most_lag + 1)) if n >= LEAST_ROWS or not match.known[a, b]
            )  # fmt: skip
            if match.known[a, b]:
                assert np.arctanh(min(abs(r), 0.9999)) * n**0.5 == pytest.approx(best, rel=1e-3, abs=1e-3)


def test_a_pair_is_the_same_from_both_ends() -> None:
    rng = np.random.default_rng(3)
    x = ranked(coloured(rng, 8, 300, 0.5))
    there, back = correlate(x, x, 4), correlate(x, x, 4)
    np.testing.assert_allclose(there.r, back.r.T, atol=1e-5)
    np.testing.assert_allclose(there.z, back.z.T, atol=1e-3)


def test_rows_become_means_on_a_grid() -> None:
    id, time = np.array([0, 0, 1, 0, 1]), np.array([60, 70, 61, 200, 130]) * NS
    grid, start = to_grid(id, time, np.array([1.0, 3.0, 5.0, 7.0, np.nan]), 60 * NS)
    assert start == 60 * NS
    np.testing.assert_array_equal(grid, [[2, np.nan, 7], [5, np.nan, np.nan]])
    assert to_grid([], [], [], NS)[0].shape == (0, 0)


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="two axes"):
        ranked(np.zeros(3))
    with pytest.raises(ValueError, match="grids of 5 and 6"):
        correlate(ranked(np.zeros((1, 5))), ranked(np.zeros((1, 6))), 1)
    with pytest.raises(ValueError, match="to_grid"):
        to_grid([0], [1, 2], [1.0], NS)
    with pytest.raises(ValueError, match="negative"):
        to_grid([-1], [1], [1.0], NS)


def test_chances_are_those_of_the_normal_distribution_over_all_tries() -> None:
    assert chance_of(limit_of(1000, 0.01), 1000) == pytest.approx(0.01)
    assert chance_of(0.0, 5) == 1.0
