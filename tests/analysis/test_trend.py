"""When trends cross a limit: planted series, and how often the interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest

from almenara.analysis.trend import crossings, line_of

N, FUTURE = 400, 1600


def planted(kind: str, slope: float, rng: np.random.Generator) -> np.ndarray:
    """A line and noise of a kind, N steps of history and what comes after them."""
    steps, n = rng.normal(0, 1, N + FUTURE), np.arange(N + FUTURE)
    if kind == "white":
        noise = 1.5 * steps
    elif kind == "daily":
        noise = 0.5 * steps + 1.5 * np.sin(2 * np.pi * n / (N / 6))
    else:
        noise, goes_on = np.zeros(N + FUTURE), {"slow": 0.97, "walk": 1.0}[kind]
        for at in range(1, N + FUTURE):
            noise[at] = goes_on * noise[at - 1] + 0.24 * steps[at]
    return 50 + slope * n + noise


@pytest.mark.parametrize(("kind", "most"), [("white", 1.0), ("daily", 1.0), ("slow", 0.97), ("walk", 0.92)])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(kind: str, most: float) -> None:
    """Of 80 %; where what remains is white, the time of a part (10 steps) is longer than the interval."""
    rng, inside = np.random.default_rng(7), []
    while len(inside) < 60:
        slope = rng.uniform(0.03, 0.1)
        series = planted(kind, slope, rng)
        limit = 53 + slope * (N + rng.uniform(40, 180))
        parts = np.median(series[N:].reshape(-1, 10), axis=1)
        if series[:N].max() >= limit or parts.max() <= limit:
            continue
        truth = (np.argmax(parts > limit) + 0.5) * 10
        found = crossings(series[None, :N], 1.0, limit, True, 200.0)
        if np.isfinite(found.median_s[0]):
            inside.append(found.early_s[0] - 10 <= truth <= found.late_s[0] + 10)
    assert 0.7 <= np.mean(inside) <= most


def test_what_has_no_trend_crosses_nothing() -> None:
    rng, n = np.random.default_rng(3), np.arange(N)
    flat = [90 + rng.normal(0, 1.5, N) for _ in range(60)]
    waves = [90 + np.sin(n / rng.uniform(5, 60)) + rng.normal(0, 1, N) for _ in range(60)]
    stuck = [np.full(N, 94.9), 50 - 0.1 * n]
    assert crossings(np.stack(flat + waves + stuck), 1.0, 97, True, 200.0).crosses.sum() == 0


def test_a_line_without_noise_is_met_when_it_is() -> None:
    found = crossings((50 + 0.1 * np.arange(N))[None, :], 60.0, 100.0, True, 150 * 60.0)
    assert found.crosses.tolist() == [True]
    assert found.median_s[0] == pytest.approx(101 * 60, rel=0.05)
    far = crossings((50 + 0.1 * np.arange(N))[None, :], 60.0, 100.0, True, 90 * 60.0)
    assert far.crosses.tolist() == [False]


def test_below_is_the_mirror_of_above() -> None:
    rng = np.random.default_rng(5)
    up = 50 + 0.1 * np.arange(N) + rng.normal(0, 1, N)
    above, below = crossings(up[None, :], 1, 100, True, 200), crossings(-up[None, :], 1, -100, False, 200)
    assert above.crosses[0]
    assert below.crosses[0]
    assert below.level[0] == -above.level[0]
    for name in ("median_s", "early_s", "late_s"):
        assert getattr(below, name)[0] == getattr(above, name)[0]


def test_what_is_beyond_the_limit_crosses_now() -> None:
    found = crossings(np.full((1, N), 97.0), 1.0, 95.0, True, 10.0)
    assert (found.crosses[0], found.median_s[0]) == (True, 0.0)


def test_a_burst_or_a_cleaned_disk_does_not_bend_it() -> None:
    rng = np.random.default_rng(6)
    series = 50 + 0.01 * np.arange(N) + rng.normal(0, 0.3, N)
    series[150:200] += 30
    assert not crossings(series[None, :], 1.0, 80.0, True, 400.0).crosses[0]


def test_too_little_history_is_not_known() -> None:
    line = 50 + 0.1 * np.arange(N)
    short, holes, ended, none = line.copy(), line.copy(), line.copy(), np.full(N, np.nan)
    short[: N - 100] = np.nan
    holes[np.arange(N) % 40 < 36] = np.nan
    ended[-60:] = np.nan
    found = crossings(np.stack([line, short, ended, none]), 1.0, 100.0, True, 200.0)
    assert found.known.tolist() == [True, False, False, False]
    assert np.isnan(found.median_s[1:]).all()
    assert crossings(holes[None, :], 1.0, 100.0, True, 200.0).known[0], "a value a part is enough"


def test_the_line_is_the_median_of_all_slopes() -> None:
    rng = np.random.default_rng(8)
    parts = rng.normal(0, 1, (5, 12)).cumsum(axis=1)
    slope, level = line_of(parts)
    for row in range(5):
        slopes = sorted((parts[row, j] - parts[row, i]) / (j - i) for j in range(12) for i in range(j))
        middle = (slopes[32] + slopes[33]) / 2
        levels = sorted(parts[row, i] + middle * (11 - i) for i in range(12))
        assert (slope[row], level[row]) == pytest.approx((middle, (levels[5] + levels[6]) / 2))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="values must be"):
        crossings(np.zeros(5), 1.0, 1.0, True, 1.0)
    with pytest.raises(ValueError, match="horizon above 0"):
        crossings(np.zeros((1, 5)), 1.0, 1.0, True, 0.0)
