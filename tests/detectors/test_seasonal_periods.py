"""Periods besides day and week are found where there are some, followed, dropped when they end; noise has none."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tests.detectors.series import DAY_ROWS, minutes, rows, wander

from almenara.detectors import seasonal as detectors
from almenara.detectors._places import Places
from almenara.detectors.seasonal import Seasonal


def crest(n: int, period: float, at: float = 0.0) -> Any:
    """Sharp crests of height 1 every `period` rows."""
    return np.exp(2 * (np.cos(2 * np.pi * (np.arange(n) / period + at)) - 1))


def found(detector: Seasonal, series: int = 0) -> list[float]:
    """The periods that a detector follows in a series, in s, the shortest first."""
    state = detector.state()
    slot = state["slots"][series]
    return sorted(state["periods"]["period"][slot["periods"] - 1][: slot["waves"]].tolist()) if slot["waves"] else []


@pytest.mark.parametrize(
    ("every_s", "days", "periods_s"),
    [(5, 1.6, [90]), (60, 4, [2838]), (60, 4, [1080, 2838]), (60, 12, [3222, 27_186]), (300, 33, [5 * 86_400])],
)
def test_periods_with_noise_and_gaps_are_found_within_one_percent(
    every_s: int, days: float, periods_s: list[float]
) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        n = int(days * 86_400 / every_s)
        values = 100 + sum(20 * crest(n, p / every_s, rng.random()) for p in periods_s) + 3 * rng.normal(size=n)
        values[rng.random(n) < 0.05] = np.nan
        values[n // 2 : n // 2 + n // 50] = np.nan
        detector = Seasonal()
        detector.step(rows(np.zeros(n), minutes(n, every_s), values))
        assert np.allclose(found(detector), periods_s, rtol=0.01)


def test_in_noise_drift_and_calendar_nothing_is_found_in_one_of_a_thousand_series() -> None:
    n, each = 3 * DAY_ROWS, 100
    rng = np.random.default_rng(1)
    hour = np.arange(n) / 60 % 24
    shifts = np.array([10.0, 40.0, 25.0])[(hour // 8).astype(int)]
    kinds = [
        lambda: rng.normal(size=n),
        lambda: np.cumsum(rng.normal(size=n)),
        lambda: wander(rng, n, 300) + 0.3 * rng.normal(size=n),
        lambda: np.arange(n) * 0.01 + rng.normal(size=n),
        lambda: rng.poisson(2 + np.sin(2 * np.pi * hour / 24), n).astype(float),
        lambda: shifts + rng.normal(size=n),
        lambda: 60.0 * (hour < 0.67) + rng.normal(size=n),
        lambda: rng.exponential(1, n) * (rng.random(n) < 0.1),
        lambda: 5.0 * (np.cumsum(rng.random(n) < 0.01) % 2) + 0.1 * rng.normal(size=n),
        lambda: np.round(np.exp(rng.normal(size=n)), 1),
    ]
    values = np.concatenate([make() for make in kinds for _ in range(each)])
    detector = Seasonal()
    detector.step(rows(np.repeat(np.arange(len(kinds) * each), n), np.tile(minutes(n), len(kinds) * each), values))
    assert int((detector.state()["slots"]["waves"] > 0).sum()) <= 1


def test_a_crest_that_does_not_come_is_found_and_those_that_come_are_usual() -> None:
    rng = np.random.default_rng(2)
    n = 10 * DAY_ROWS
    values = 200 + 25 * crest(n, 47.3) + 2 * rng.normal(size=n)
    score = Seasonal().step(rows(np.zeros(n), minutes(n), values)).score
    assert (score[5 * DAY_ROWS :] < 1).all()
    at = round(47.3 * 280) - 10
    values[at : at + 20] = 200
    score = Seasonal().step(rows(np.zeros(n), minutes(n), values)).score
    assert (score[at + 5 : at + 15] >= 1).any()


def test_the_band_of_a_series_with_a_period_is_that_of_its_noise() -> None:
    rng = np.random.default_rng(3)
    n = 8 * DAY_ROWS
    verdict = Seasonal().step(rows(np.zeros(n), minutes(n), 25 * crest(n, 97.0) + 2 * rng.normal(size=n)))
    assert np.nanmedian((verdict.upper - verdict.lower)[-DAY_ROWS:]) < 30
    assert np.nanstd(verdict.yhat[-DAY_ROWS:] - 25 * crest(n, 97.0)[-DAY_ROWS:]) < 2


def test_a_period_whose_length_drifts_is_kept_in_phase() -> None:
    rng = np.random.default_rng(4)
    n = 14 * DAY_ROWS
    turns = np.cumsum(1 / np.linspace(60.3, 61.3, n))
    values = 25 * np.exp(2 * (np.cos(2 * np.pi * turns) - 1)) + 2 * rng.normal(size=n)
    detector = Seasonal()
    verdict = detector.step(rows(np.zeros(n), minutes(n), values))
    assert np.allclose(found(detector), [61.3 * 60], rtol=0.005)
    assert np.nanstd((verdict.yhat - values)[-DAY_ROWS:]) < 5


def test_a_period_that_ends_is_dropped() -> None:
    rng = np.random.default_rng(5)
    n = 8 * DAY_ROWS
    values = 25 * crest(n, 53.7) * (np.arange(n) < 4 * DAY_ROWS) + 2 * rng.normal(size=n)
    detector, half = Seasonal(), 4 * DAY_ROWS
    detector.step(rows(np.zeros(half), minutes(n)[:half], values[:half]))
    assert any(abs(period / 3222 - 1) < 0.01 for period in found(detector))
    detector.step(rows(np.zeros(half), minutes(n)[half:], values[half:]))
    assert not any(abs(period / 3222 - 1) < 0.01 for period in found(detector))


def test_a_search_ends_and_gives_its_place_back() -> None:
    n = 40 * 288
    detector = Seasonal()
    detector.step(rows(np.zeros(n), minutes(n, 300), np.random.default_rng(6).normal(size=n)))
    state = detector.state()
    assert len(state["periods"]) == 0
    assert state["slots"]["search_at"][0] > n
    more = detector.step(rows(np.zeros(n), minutes(2 * n, 300)[n:], np.random.default_rng(7).normal(size=n)))
    assert len(detector.state()["periods"]) == 1  # it is half as old again: searched anew
    assert not np.isnan(more.score).any()


def test_a_series_that_becomes_a_state_gives_its_place_back() -> None:
    n = 4 * DAY_ROWS
    values = np.repeat(np.random.default_rng(8).choice([0.0, 1.0, 2.0], n // 60), 60)
    values[: DAY_ROWS + 300] = np.random.default_rng(9).normal(size=DAY_ROWS + 300)
    detector, many = Seasonal(), 20
    for start in range(0, n, 500):
        part = slice(start, start + 500)
        size = len(values[part])
        detector.step(
            rows(np.repeat(np.arange(many), size), np.tile(minutes(n)[part], many), np.tile(values[part], many))
        )
        state = detector.state()
        assert len(state["periods"]) == int((state["slots"]["periods"] > 0).sum())


def several(n: int) -> tuple[Any, Any, Any]:
    """Rows of twelve series in order of time, half of them with periods of their own."""
    rng = np.random.default_rng(10)
    columns = [25 * (s % 2) * crest(n, 40.0 + 7.3 * s) + 2 * rng.normal(size=n) for s in range(12)]
    return np.tile(np.arange(12), n), np.repeat(minutes(n), 12), np.stack(columns, axis=1).ravel()


def stepped(detector: Seasonal, ids: Any, times: Any, values: Any, bounds: list[int]) -> Any:
    scores = np.empty(len(ids))
    for a, b in pairwise(bounds):
        order = np.lexsort((times[a:b], ids[a:b])) + a
        scores[order] = detector.step(rows(ids[order], times[order], values[order])).score
    return scores


def test_batches_threads_and_restarts_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, times, values = several(3 * DAY_ROWS)
    whole = Seasonal()
    expected = stepped(whole, ids, times, values, [0, len(ids)])
    kept = whole.state()
    assert (kept["slots"]["waves"] > 0).sum() == 6
    cuts = Seasonal()
    assert np.array_equal(
        stepped(cuts, ids, times, values, [*range(0, len(ids), 997), len(ids)]), expected, equal_nan=True
    )
    assert {k: v.tobytes() for k, v in cuts.state().items()} == {k: v.tobytes() for k, v in kept.items()}
    monkeypatch.setattr(detectors, "_PART_ROWS", 5000)
    monkeypatch.setattr(detectors, "_THREADS", 3)
    threads = Seasonal()
    middle = len(ids) // 3
    first = stepped(threads, ids, times, values, [0, middle])
    other = Seasonal()
    other.restore(threads.state())
    rest = stepped(other, ids, times, values, [middle, 2 * middle, len(ids)])
    assert np.array_equal(np.where(np.arange(len(ids)) < middle, first, rest), expected, equal_nan=True)
    assert {k: v.tobytes() for k, v in other.state().items()} == {k: v.tobytes() for k, v in kept.items()}


def test_an_adopted_series_brings_its_periods() -> None:
    ids, times, values = several(3 * DAY_ROWS)
    order = np.lexsort((times, ids))
    one, other = Seasonal(), Seasonal()
    one.step(rows(ids[order], times[order], values[order]))
    part = order[np.isin(ids[order], (1, 2))]
    other.step(rows(ids[part] - 1, times[part], values[part] * 2))
    one.adopt(np.array([7, 3], np.int32), other)
    slots, theirs = one.state(), other.state()
    assert slots["slots"]["periods"].max() == len(slots["periods"]) == 12
    assert found(one, 7) == found(other, 0) != []
    assert found(one, 3) == found(other, 1) == []
    assert theirs["slots"]["rows"][0] == slots["slots"]["rows"][7]


def test_a_state_whose_periods_are_not_those_of_its_slots_is_refused() -> None:
    ids, times, values = several(2 * DAY_ROWS)
    detector = Seasonal()
    stepped(detector, ids, times, values, [0, len(ids)])
    state = detector.state()
    with pytest.raises(ValueError, match="periods"):
        Seasonal().restore({**state, "periods": state["periods"][:-1]})
    with pytest.raises(ValueError, match="periods"):
        Seasonal().restore({**state, "periods": np.zeros(12)})


def test_places_are_lent_taken_back_and_counted_anew() -> None:
    places = Places(np.dtype([("x", np.int64)]))
    places.grow(5)
    numbers = places.put(
        np.zeros(0, np.int32), np.array([2, 0, 1], np.int32), np.array([(7,), (8,)], [("x", np.int64)])
    )
    assert places.records["x"][numbers[[0, 2]]].tolist() == [8, 7]
    stacks = places.lend(3)
    assert len({int(n) for stack in stacks for n in stack[1 : 1 + stack[0]]}) == len(places.records) - 1 - 2
    places.take_back(stacks)
    again, records = places.packed(numbers)
    assert again.tolist() == [1, 0, 2]
    assert records["x"].tolist() == [8, 7]
