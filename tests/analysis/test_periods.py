"""Periods that are there are found within 1 %, with noise, gaps and drift; where there are none, none is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests import naive

from almenara.analysis.folding import at_phase, strongest
from almenara.analysis.periods import find_periods
from almenara.model.time import NS

N = 256


def times(n: int, every_s: float = 60) -> Any:
    return 1_767_571_200 * NS + (np.arange(n) * every_s * NS).astype(np.int64)


def wave(rng: np.random.Generator, n: int, period: float, shape: str) -> Any:
    """A wave of a period in rows and of variance 1, at any phase."""
    phase = (np.arange(n) / period + rng.random()) % 1
    forms = {
        "sine": np.sin(2 * np.pi * phase),
        "crest": np.exp(2 * (np.cos(2 * np.pi * phase) - 1)),
        "saw": phase,
        "job": (phase < 0.12) * 1.0,
        "rota": np.array([0, 3, 6, 2, 8])[(phase * 5).astype(int)],
    }
    return forms[shape] / forms[shape].std()


def coloured(rng: np.random.Generator, n: int, keep: float) -> Any:
    out = rng.normal(size=n)
    for i in range(1, n):
        out[i] += keep * out[i - 1]
    return out


NOISE: dict[str, Callable[[np.random.Generator], Any]] = {
    "white": lambda rng: rng.normal(size=N),
    "random walk": lambda rng: np.cumsum(rng.normal(size=N)),
    "red": lambda rng: coloured(rng, N, 0.9),
    "white and red": lambda rng: rng.normal(size=N) + 0.1 * coloured(rng, N, 0.97),
    "trend": lambda rng: 5 * np.arange(N) * rng.normal() + rng.normal(size=N),
    "curve": lambda rng: 100 * (np.arange(N) / N) ** 3 * rng.normal() + rng.normal(size=N),
    "states": lambda rng: 5.0 * (np.cumsum(rng.random(N) < 0.05) % 2) + 0.1 * rng.normal(size=N),
    "counts": lambda rng: rng.poisson(0.3, N).astype(float),
    "bursts": lambda rng: rng.exponential(1, N) * (rng.random(N) < 0.1),
    "two faults": lambda rng: rng.normal(size=N) + 20.0 * np.isin(np.arange(N) // 8, rng.integers(0, 32, 2)),
    "heavy tails": lambda rng: np.clip(rng.standard_t(2, N), -8, 8),
}


@pytest.mark.parametrize("kind", NOISE)
def test_in_noise_nothing_is_found(kind: str) -> None:
    rng = np.random.default_rng(1)
    found = [strongest(NOISE[kind](rng), 60.0, True)[0] for _ in range(500)]
    assert sum(period > 0 for period in found) == 0


@pytest.mark.parametrize("shape", ["sine", "crest", "saw", "job", "rota"])
@pytest.mark.parametrize("rows", [18.0, 47.3, 453.1])
def test_a_period_is_found_within_one_percent(shape: str, rows: float) -> None:
    rng = np.random.default_rng(2)
    for _ in range(5):
        n = int(rows * 40)
        values = 2 * wave(rng, n, rows, shape) + rng.normal(size=n) + 0.02 * np.cumsum(rng.normal(size=n))
        values[rng.random(n) < 0.1] = np.nan
        values[n // 2 : n // 2 + n // 20] = np.nan
        found = find_periods(times(n, 5), values)
        assert [abs(one.period_s / (5 * rows) - 1) < 0.01 for one in found[:1]] == [True], (shape, rows, found)


def test_two_periods_at_once_are_both_found() -> None:
    rng = np.random.default_rng(3)
    n = 4 * 10_080
    values = 25 * wave(rng, n, 53.7, "crest") + 25 * wave(rng, n, 453.1, "crest") + 5 * rng.normal(size=n)
    found = sorted(period.period_s / 60 for period in find_periods(times(n), values))
    assert np.allclose(found, [53.7, 453.1], rtol=0.01)


def test_a_job_every_seven_and_a_half_minutes_is_found_in_rows_of_minutes() -> None:
    rng = np.random.default_rng(4)
    values = 10 * (np.arange(2000) % 7.5 < 1) + rng.normal(size=2000)
    found = find_periods(times(2000), values)[0].period_s / 450
    assert round(found) in (1, 2)  # in rows the pattern repeats after 15 minutes
    assert abs(found - round(found)) < 0.01


def test_a_day_is_a_period_as_any_other() -> None:
    rng = np.random.default_rng(5)
    n = 40 * 288
    values = 10 * wave(rng, n, 288, "saw") + rng.normal(size=n)
    assert abs(find_periods(times(n, 300), values)[0].period_s / 86_400 - 1) < 0.01


@pytest.mark.parametrize(("step_s", "period_s"), [(2400, 86_400), (9600, 86_400), (9600, 43_200), (28_800, 604_800)])
def test_what_is_left_of_day_and_week_can_be_left_out(step_s: float, period_s: float) -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        x = wave(rng, N, period_s / step_s, "crest") + 0.7 * rng.normal(size=N)
        period, _, _ = strongest(x, step_s, False)
        assert abs(period * step_s / period_s - 1) < 0.02
        assert strongest(x, step_s, True)[0] == 0.0
        x += 4 * wave(rng, N, 5 * 86_400 / step_s, "rota") if step_s == 9600 else 0.0
        assert round(strongest(x, step_s, True)[0] * step_s / 86_400, 1) == 5.0 * (step_s == 9600)


def test_its_profile_is_that_of_the_series() -> None:
    rng = np.random.default_rng(6)
    n = 5000
    pure = 3 * wave(rng, n, 47.3, "sine")
    found = find_periods(times(n), pure + rng.normal(size=n))[0]
    turn = (times(n) + 30 * NS - found.origin_ns) / NS / found.period_s
    read = np.array([at_phase(found.profile, t) for t in turn[-500:]])
    assert np.std(read - pure[-500:]) < 0.5


def test_rows_that_do_not_fit_are_refused_and_few_rows_say_nothing() -> None:
    with pytest.raises(ValueError, match="shape"):
        find_periods(times(5), np.zeros(4))
    with pytest.raises(ValueError, match="order of time"):
        find_periods(times(5)[::-1], np.zeros(5))
    assert find_periods(times(0), np.zeros(0)) == []
    assert find_periods(times(500), np.full(500, 3.0)) == []
    assert find_periods(times(500), np.full(500, np.nan)) == []
    assert find_periods(np.zeros(500, np.int64), np.arange(500.0)) == []
    assert find_periods(times(500), np.where(np.arange(500) % 7 == 0, 1e300, -1e300)) is not None


def test_equals_its_naive_twin() -> None:
    rng = np.random.default_rng(7)
    for shape in ("sine", "job", "rota"):
        for period in (5.3, 12.8, 31.0, 45.4):
            x = 2 * wave(rng, N, period, shape) + rng.normal(size=N)
            x[rng.random(N) < 0.05] = np.nan
            np.testing.assert_allclose(strongest(x, 60.0, True), naive.strongest_period(x, 60.0), rtol=1e-6)
