"""Series that take a few values and hold them are judged on their transitions; all others are left alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tests.detectors.series import DAY_ROWS, WEEK_ROWS, minutes, rows
from tests.naive import seasonal

from almenara.analysis.seasonal_slot import KINDS, SLOT
from almenara.analysis.states import STATE
from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Verdict
from almenara.model.time import NS

COLUMNS = ("score", "yhat", "lower", "upper", "cause")


def link(n: int, seed: int = 1, a_day: float = 3) -> Any:
    """1, and for some minutes 0 some times a day."""
    rng = np.random.default_rng(seed)
    values = np.ones(n)
    for start in np.flatnonzero(rng.random(n) < a_day / DAY_ROWS):
        values[start : start + int(rng.integers(3, 12))] = 0
    return values


def nightly(n: int) -> Any:
    """1, every night from 3:00 to 3:10 it is 2."""
    return 1.0 + ((np.arange(n) % DAY_ROWS >= 180) & (np.arange(n) % DAY_ROWS < 190))


def judged(values: Any, every_s: int = 60, **options: Any) -> tuple[Verdict, bool]:
    """(verdicts, was it a state at the end)."""
    detector = Seasonal(**options)
    verdict = detector.step(rows(np.zeros(len(values)), minutes(len(values), every_s), values))
    return verdict, bool(detector.state()["slots"]["is_state"][0])


def why(verdict: Verdict, part: slice) -> set[str]:
    return {Seasonal.causes[c] for c in np.asarray(verdict.cause)[part] if c >= 0}


def test_a_nightly_state_is_no_alarm_from_the_second_night_on() -> None:
    verdict, state = judged(nightly(2 * WEEK_ROWS))
    assert state
    assert (verdict.score[DAY_ROWS:] < 1).all()


def test_a_state_never_seen_is_an_anomaly_for_as_long_as_it_lasts() -> None:
    values = nightly(3 * WEEK_ROWS)
    at = slice(2 * WEEK_ROWS + 700, 2 * WEEK_ROWS + 730)
    values[at] = 0
    verdict, _ = judged(values)
    assert (verdict.score[at] >= 1).all()
    assert why(verdict, at) == {"a state that is hardly ever seen"}
    assert (verdict.yhat[at] == 1).all()
    assert (verdict.lower[at] > 0).all()
    assert (verdict.score[at.stop :] < 1).all()


def test_a_state_is_usual_at_its_own_time_only() -> None:
    hour = np.arange(6 * WEEK_ROWS) % DAY_ROWS // 60
    values = np.where((hour >= 6) & (hour < 22), 3.0, 1.0)
    at = slice(5 * WEEK_ROWS + 700, 5 * WEEK_ROWS + 740)
    values[at] = 1
    verdict, _ = judged(values)
    assert (verdict.score[at] >= 1).all()
    assert why(verdict, at) == {"not a usual state for this time of day and week"}
    assert (verdict.yhat[at.start - 60 : at.start] == 3).all()
    assert (verdict.score[2 * WEEK_ROWS : at.start] < 1).all()


def test_a_link_that_stays_down_for_far_longer_than_ever_is_an_anomaly() -> None:
    values = link(3 * WEEK_ROWS)
    values[2 * WEEK_ROWS : 2 * WEEK_ROWS + 180] = 0
    verdict, _ = judged(values)
    assert (verdict.score[2 * WEEK_ROWS : 2 * WEEK_ROWS + 12] < 1).all()
    assert (verdict.score[2 * WEEK_ROWS + 40 : 2 * WEEK_ROWS + 180] >= 1).all()
    late = slice(2 * WEEK_ROWS + 40, 2 * WEEK_ROWS + 180)
    assert why(verdict, late) == {"has been in this state for far longer than usual"}


def test_flapping_is_an_anomaly_and_single_changes_are_none() -> None:
    values = link(3 * WEEK_ROWS)
    at = slice(2 * WEEK_ROWS, 2 * WEEK_ROWS + 60)
    values[at] = np.arange(60) % 2
    verdict, state = judged(values)
    assert state
    assert (verdict.score[at][15:] >= 1).all()
    assert why(verdict, at) == {"changes far more often than usual"}
    assert (verdict.score[WEEK_ROWS : at.start] < 1).all()
    assert (verdict.score[at.stop + 7 :] < 1).all()


def test_a_state_that_stays_is_accepted() -> None:
    values = nightly(4 * WEEK_ROWS)
    values[2 * WEEK_ROWS + 600 :] = 5
    score = judged(values, accept_after_s=6 * 3600.0)[0].score[2 * WEEK_ROWS + 600 :]
    assert (score[:359] >= 1).all()
    assert (score[362:] < 1).all()


def test_the_band_holds_what_is_no_anomaly_and_nothing_else() -> None:
    values = link(3 * WEEK_ROWS, a_day=6)
    values[2 * WEEK_ROWS : 2 * WEEK_ROWS + 200] = 0
    values[2 * WEEK_ROWS + 2000 : 2 * WEEK_ROWS + 2030] = 7
    verdict, state = judged(values)
    ready = ~np.isnan(verdict.score)
    within = (values >= verdict.lower) & (values <= verdict.upper)
    assert state
    assert np.array_equal((verdict.score >= 1)[ready], ~within[ready])
    assert (verdict.lower <= verdict.yhat)[ready].all()
    assert (verdict.yhat <= verdict.upper)[ready].all()
    assert verdict.score[ready].min() >= 0
    assert np.array_equal(verdict.cause[ready] >= 0, verdict.score[ready] >= 1)


@pytest.mark.parametrize("what", ["rests at zero", "counts", "a level", "too many", "noise"])
def test_what_is_not_held_or_is_a_quantity_is_no_state(what: str) -> None:
    rng, n = np.random.default_rng(4), 2 * WEEK_ROWS
    values = {
        "rests at zero": lambda: (rng.random(n) < 0.05) * np.round(rng.exponential(20, n), 1),
        "counts": lambda: rng.poisson(0.02, n).astype(float),
        "a level": lambda: 30 + np.cumsum((rng.random(n) < 0.0004) * rng.choice([-1.0, 1.0], n)),
        "too many": lambda: np.repeat(rng.integers(0, 30, n // 60), 60).astype(float),
        "noise": lambda: rng.integers(0, 3, n).astype(float),
    }[what]()
    detector = Seasonal()
    for k in range(0, n, 1000):
        detector.step(rows(np.zeros(len(values[k : k + 1000])), minutes(n)[k : k + 1000], values[k : k + 1000]))
        assert detector.state()["slots"]["is_state"][0] == 0


def grown(n: int) -> Any:
    """A link, then a temperature."""
    rng = np.random.default_rng(9)
    return np.r_[link(n // 2), 20 + np.round(rng.normal(size=n - n // 2), 1)]


def test_more_values_end_it_and_the_series_is_judged_on() -> None:
    values = grown(2 * WEEK_ROWS)
    values[-100:-90] = 60
    verdict, state = judged(values)
    assert not state
    assert not np.isnan(verdict.score[30:]).any()
    assert (verdict.score[-100:-90] >= 1).all()
    assert (verdict.score[WEEK_ROWS + 2 * DAY_ROWS : -100] >= 1).sum() <= 2


def test_a_series_that_becomes_a_state_is_taken_for_one() -> None:
    rng = np.random.default_rng(2)
    assert judged(np.r_[rng.normal(50, 9, 3000), link(2 * WEEK_ROWS)])[1]


def flapping_days(n: int) -> Any:
    """Every kind of trouble a state can have."""
    values = link(n, 7, 6)
    values[n // 2 : n // 2 + 50] = np.arange(50) % 2
    values[n // 2 + 600 : n // 2 + 900] = 2
    values[n // 2 + 1500 : n // 2 + 1700 : 2] = np.nan
    values[-1200:-500] = 0
    return values


@pytest.mark.parametrize(("every_s", "zone"), [(60, "Europe/Madrid"), (900, "UTC"), (7200, "UTC")])
def test_equals_its_naive_twin(every_s: int, zone: str) -> None:
    n = 6000
    times = minutes(n, every_s)
    pool = np.repeat(np.random.default_rng(3).integers(1, 7, n // 40), 40).astype(float)[:n]
    replaced = np.r_[link(n // 2), np.repeat(np.arange(3, 11.0), n // 16)][:n]
    columns = {"nightly": nightly(n), "link": flapping_days(n), "pool": pool, "grown": grown(n), "more": replaced}
    for name, values in columns.items():
        verdict = Seasonal(timezone=zone, accept_after_s=20_000.0).step(
            rows(np.zeros(len(values)), times[: len(values)], values)
        )
        slow = np.array(seasonal(times[: len(values)].tolist(), values.tolist(), zone, 1e-4, 20_000.0))
        for k, column in enumerate(COLUMNS):
            np.testing.assert_allclose(getattr(verdict, column), slow[:, k], rtol=1e-9, atol=1e-9, err_msg=name)


def test_batches_looks_and_restarts_give_the_same_bits() -> None:
    n = 3 * DAY_ROWS
    columns = [nightly(n), flapping_days(n), grown(n)]
    ids, times = np.tile(np.arange(3), n), np.repeat(minutes(n), 3)
    values = np.stack(columns, axis=1).ravel()
    whole, cuts = Seasonal(), Seasonal()
    order = np.lexsort((times, ids))
    expected = whole.step(rows(ids[order], times[order], values[order]))
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    assert whole.state()["slots"]["is_state"].tolist()[:2] == [1, 1]
    for a, b in pairwise([*range(0, 3 * n, 997), 3 * n]):
        part = np.lexsort((times[a:b], ids[a:b])) + a
        batch = rows(ids[part], times[part], values[part])
        first = rows(ids[part][:1], times[part][:1], values[part][:1])
        looked, kept = cuts.look(first), cuts.state()
        cuts = Seasonal()
        cuts.restore(kept)
        got = cuts.step(batch)
        for column in COLUMNS:
            assert np.array_equal(getattr(got, column), getattr(expected, column)[place[part]], equal_nan=True)
            assert np.array_equal(getattr(looked, column), getattr(got, column)[:1], equal_nan=True)
    assert whole.state()["slots"].tobytes() == cuts.state()["slots"].tobytes()


def test_a_row_that_is_not_later_is_judged_and_not_learned() -> None:
    detector, values = Seasonal(), link(WEEK_ROWS)
    times = minutes(WEEK_ROWS)
    detector.step(rows(np.zeros(WEEK_ROWS), times, values))
    before = detector.state()["slots"].tobytes()
    verdict = detector.step(rows([0, 0], times[[500, 700]], [1.0, 9.0]))
    assert detector.state()["slots"].tobytes() == before
    assert verdict.score[0] < 1 <= verdict.score[1]


def test_a_state_lies_where_the_profiles_were() -> None:
    assert STATE.itemsize == SLOT.itemsize
    kept = {name: SLOT.fields[name][1] for name in SLOT.names}  # type: ignore[index, union-attr]
    assert all(STATE.fields[name][1] == at for name, at in kept.items())  # type: ignore[index]
    own = [STATE.fields[name] for name in STATE.names if name not in kept and name != "whole"]  # type: ignore
    assert all(kept["day"] <= at and at + dtype.itemsize <= kept["values"] for dtype, at, *_ in own)
    assert SLOT["values"].itemsize == KINDS * 8


@pytest.mark.parametrize("values", [np.tile(np.repeat([1e300, -1e300, 5e-324], 40), 40), np.repeat([0.0, 1e308], 3000)])
def test_extreme_states_give_no_infinite_score(values: Any) -> None:
    verdict, _ = judged(values)
    assert not np.isinf(verdict.score).any()
    assert not np.isnan(verdict.score[30:]).any()


def test_a_clock_that_jumps_a_year_does_no_harm() -> None:
    values, times = link(2 * WEEK_ROWS), minutes(2 * WEEK_ROWS)
    times[WEEK_ROWS:] += 365 * 86_400 * NS
    score = Seasonal().step(rows(np.zeros(len(values)), times, values)).score
    assert not np.isnan(score[30:]).any()
    assert (score[WEEK_ROWS + 10 :] >= 1).sum() <= 30
