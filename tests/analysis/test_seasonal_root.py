"""Roots that deviations are seen between: what `bent` makes of a difference, `straight` makes good."""

from __future__ import annotations

import numpy as np
import pytest
from tests.detectors.series import DAY_ROWS, minutes, rows

from almenara.analysis.seasonal_root import bent, straight
from almenara.detectors.seasonal import Seasonal


@pytest.mark.parametrize("root", [-1, 0, 1, 2])
@pytest.mark.parametrize("f", [1e-6, 1.0, 3e7])
def test_straight_undoes_bent(root: int, f: float) -> None:
    for share in (-3.0, -1.0, -0.99, -0.5, -1e-3, 0.0, 1e-3, 0.5, 2.0, 50.0):
        assert straight(root, bent(root, share * f, f), f) == pytest.approx(share * f, rel=1e-9, abs=1e-9 * f)


@pytest.mark.parametrize("root", [1, 2])
def test_small_deviations_are_differences_and_large_ones_are_less_up_than_down(root: int) -> None:
    assert bent(root, 1e-4, 1.0) == pytest.approx(1e-4, rel=1e-3)
    assert 0 < bent(root, 0.9, 1.0) < 0.9 < -bent(root, -0.9, 1.0)
    away = [bent(root, d, 1.0) for d in np.linspace(-3, 3, 601)]
    assert np.all(np.diff(away) > 0)


def root_of(values: np.ndarray) -> int:
    detector = Seasonal()
    detector.step(rows(np.zeros(len(values)), minutes(len(values)), values))
    return int(detector.state()["slots"]["root"][0])


def test_a_root_is_found_where_it_is_and_only_there() -> None:
    rng, n = np.random.default_rng(8), 6 * DAY_ROWS
    load, noise = 1.1 + np.sin(2 * np.pi * np.arange(n) / DAY_ROWS), rng.normal(size=n)
    assert root_of(rng.poisson(3 + 40 * load).astype(float)) == 1
    assert root_of(1e6 * np.exp(load + 0.4 * noise)) == 2
    assert root_of(500 + 100 * load + 10 * noise) == 0
    assert root_of(20 * load - 15 + noise) == -1


def test_a_service_that_falls_silent_is_found_though_its_spread_is_as_large_as_its_level() -> None:
    rng, n = np.random.default_rng(9), 8 * DAY_ROWS
    values = 1e6 * np.exp(np.sin(2 * np.pi * np.arange(n) / DAY_ROWS) + 0.4 * rng.normal(size=n))
    at = 7 * DAY_ROWS + 600
    values[at : at + 5] = 0.0
    verdict = Seasonal().step(rows(np.zeros(n), minutes(n), values))
    score = np.asarray(verdict.score)
    assert (score[at : at + 5] >= 1).all()
    assert (score[5 * DAY_ROWS : at] >= 1).sum() <= 3
    assert np.nanmin(np.asarray(verdict.lower)[5 * DAY_ROWS : at]) > 0
