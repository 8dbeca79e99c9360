"""What `seasonal` finds, and what it leaves in peace."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from tests.detectors.series import DAY_ROWS, WEEK_ROWS, clean, judge, longest_s, minutes, rows, wander

from almenara.detectors import seasonal as module
from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import SeriesTable
from almenara.model.time import NS, ns_from_datetime

WEEKS = 5


@pytest.fixture(scope="module")
def verdicts() -> dict[str, Any]:
    times = minutes(WEEKS * WEEK_ROWS)
    return judge(Seasonal(), times, clean(len(times), 1))


def test_not_ready_is_nan() -> None:
    verdict = Seasonal().step(rows(np.zeros(40), minutes(40), np.arange(40) % 3))
    assert np.isnan(verdict.score[:30]).all()
    assert np.isnan(verdict.upper[:30]).all()
    assert np.isfinite(verdict.score[30:]).all()


def test_clean_series_are_rarely_out_of_their_band_after_a_week(verdicts: dict[str, Any]) -> None:
    for name, verdict in verdicts.items():
        rate = np.mean(verdict.score[WEEK_ROWS:] >= 1)
        assert rate <= 3e-4, (name, rate)
    assert np.mean([v.score[WEEK_ROWS:] >= 1 for v in verdicts.values()]) <= 1e-4


def test_no_clean_series_is_out_of_its_band_for_five_minutes_after_a_week(verdicts: dict[str, Any]) -> None:
    times = minutes(WEEKS * WEEK_ROWS)[WEEK_ROWS:]
    for name, verdict in verdicts.items():
        assert longest_s(times, verdict.score[WEEK_ROWS:] >= 1) < 300, name


def test_bands_have_no_steps(verdicts: dict[str, Any]) -> None:
    verdict = verdicts["temperature"]
    width = (verdict.upper - verdict.lower)[WEEK_ROWS:]
    # Beside a row that is rejected the band is another one: it then holds what is usual for the time, too.
    rejected = np.convolve(verdict.score[WEEK_ROWS:] >= 1, np.ones(5), "same")[1:] > 0
    assert np.abs(np.diff(width))[~rejected].max() < 0.35 * np.median(width)
    assert rejected.mean() < 0.001


# --- what it finds ----------------------------------------------------------------------------------------------------


def with_fault(change: Any, *, name: str = "temperature", length: int = 240, seed: int = 4) -> tuple[Any, Any, slice]:
    """Scores of a clean series with a fault on a Wednesday noon of the fifth week, and where the fault is."""
    values = clean(WEEKS * WEEK_ROWS, seed)[name]
    part = slice(4 * WEEK_ROWS + 2 * DAY_ROWS + 720, 4 * WEEK_ROWS + 2 * DAY_ROWS + 720 + length)
    values[part] = change(values[part])
    verdict = Seasonal().step(rows(np.zeros(len(values)), minutes(len(values)), values))
    return verdict.score, verdict.cause, part


def test_finds_a_single_outlier_and_then_nothing() -> None:
    score, cause, part = with_fault(lambda v: v + 6 * 0.2, length=1)  # 6 times the noise from minute to minute
    assert score[part][0] >= 1
    assert Seasonal.causes[cause[part][0]].startswith("rose suddenly")
    assert (score[part.stop : part.stop + 300] < 1).all()


def test_finds_a_level_shift_for_as_long_as_it_lasts_and_not_after() -> None:
    score, cause, part = with_fault(lambda v: v + 9)
    assert (score[part] >= 1).all()
    assert set(cause[part][20:]) == {0}
    assert (score[part.stop + 5 : part.stop + 600] < 1).all()


def test_a_small_shift_keeps_its_rank_while_it_lasts_and_its_end_is_no_news() -> None:
    rng = np.random.default_rng(9)
    n, at = 4 * WEEK_ROWS, 3 * WEEK_ROWS + 3 * DAY_ROWS + 600
    day = 10 * np.sin(2 * np.pi * np.arange(n) / DAY_ROWS)
    values = 100 + day + 0.9 * rng.normal(size=n) + 0.45 * wander(rng, n, 30)
    values[at : at + 300] += 8
    score = Seasonal().step(rows(np.zeros(n), minutes(n), values)).score
    assert (score[at : at + 300] >= 1).mean() > 0.97
    assert score[at : at + 300].max() <= score[at : at + 8].max() + 1
    assert (score[at + 300 : at + DAY_ROWS] < 1).all()


def test_a_fault_in_the_first_day_is_found_until_it_ends() -> None:
    values = 80 + 2 * np.random.default_rng(2).normal(size=600)
    values[400:440] += 30
    score = Seasonal().step(rows(np.zeros(600), minutes(600), values)).score
    assert (score[400:440] >= 1).all()
    assert (score[440:] < 1).all()


def test_a_level_that_wanders_is_not_held_to_where_it_was() -> None:
    rng = np.random.default_rng(12)
    n, at = 3 * WEEK_ROWS, 2 * WEEK_ROWS + 5000
    values = 1000 + np.cumsum(rng.normal(size=n)) + rng.normal(size=n)
    values[at:] += 40  # what it wanders in a day
    score = Seasonal().step(rows(np.zeros(n), minutes(n), values)).score
    assert score[at] >= 1
    assert longest_s(minutes(n)[at:], score[at:] >= 1) < 3 * 3600


def test_a_first_weekend_does_not_move_what_mondays_are_expected_to_be() -> None:
    rng = np.random.default_rng(3)
    hour, weekday = (np.arange(WEEK_ROWS) / 60) % 24, np.arange(WEEK_ROWS) // DAY_ROWS
    work = ((hour >= 8) & (hour < 18)) * np.where(weekday >= 5, 0.2, 1.0)
    detector = Seasonal()
    detector.step(rows(np.zeros(WEEK_ROWS), minutes(WEEK_ROWS), 50 + 100 * work + 3 * rng.normal(size=WEEK_ROWS)))
    noon = minutes(WEEK_ROWS + 720)[-1:]
    assert abs(detector.look(rows([0], noon, [150.0])).yhat[0] - 150) < 6  # 14 away where the level follows the weekend


def test_a_slow_leak_is_not_followed() -> None:
    score, _, part = with_fault(lambda v: v - np.linspace(0, 12, len(v)), length=480)
    assert (score[part][-120:] >= 1).all()


def test_finds_a_stuck_sensor() -> None:
    score, cause, part = with_fault(lambda v: v[0])
    assert (score[part][60:] >= 1).mean() > 0.99
    assert Seasonal.causes[cause[part][60]].startswith("has not changed")


def test_a_constant_series_may_move_by_its_last_digit_but_not_jump() -> None:
    assert (with_fault(lambda v: v + 1, name="constant", length=10)[0][30:] < 1).all()
    score, _, part = with_fault(lambda v: v + 5, name="constant", length=10)
    assert (score[part] >= 1).all()
    assert (score[part.stop :] < 1).all()


def test_finds_a_burst_of_errors_where_there_are_hardly_any() -> None:
    score, _, part = with_fault(lambda v: v + 8, name="errors", length=10)
    assert (score[part] >= 1).all()


def test_an_expected_peak_that_does_not_come_is_found() -> None:
    rng = np.random.default_rng(2)
    n = 4 * WEEK_ROWS
    hour, weekday = (np.arange(n) / 60) % 24, (np.arange(n) // DAY_ROWS) % 7
    peak = (weekday == 6) * np.exp(-0.5 * ((hour - 20) / 1.3) ** 2)
    values = 10 + 8 * peak + 0.4 * wander(rng, n, 30)
    last = np.arange(n) >= 3 * WEEK_ROWS
    values -= np.where(last, 8 * peak, 0)
    verdict = Seasonal().step(rows(np.zeros(n), minutes(n), values))
    at = 3 * WEEK_ROWS + 6 * DAY_ROWS
    assert (verdict.score[at + 19 * 60 : at + 21 * 60] >= 1).all()
    assert set(verdict.cause[at + 19 * 60 : at + 21 * 60]) == {1}
    assert (verdict.score[at - 2 * DAY_ROWS : at + 16 * 60] >= 1).mean() < 3e-4


# --- what it accepts --------------------------------------------------------------------------------------------------


def test_a_fault_is_not_learned_and_a_lasting_level_is_accepted_after_the_stated_time() -> None:
    n = 3 * WEEK_ROWS
    values = clean(n, 6)["temperature"]
    at = 2 * WEEK_ROWS
    values[at:] += 15
    score = Seasonal(accept_after_s=6 * 3600.0).step(rows(np.zeros(n), minutes(n), values)).score
    assert (score[at : at + 360] >= 1).all()
    assert (score[at + 362 : at + 2 * DAY_ROWS] < 1).mean() > 0.99


@pytest.mark.parametrize("change", [datetime(2026, 3, 29), datetime(2026, 10, 25)])
def test_a_season_keeps_the_wall_clock_when_the_clocks_change(change: datetime) -> None:
    madrid = ZoneInfo("Europe/Madrid")
    first, last = (ns_from_datetime((change + timedelta(days=d)).replace(tzinfo=madrid)) for d in (-21, 4))
    times = np.arange(first, last, 300 * NS)
    local = [datetime.fromtimestamp(t / NS, madrid) for t in times.tolist()]
    hour = np.array([moment.hour + moment.minute / 60 for moment in local])
    values = 100 + 40 * np.sin(hour / 24 * 2 * np.pi) + np.random.default_rng(3).normal(size=len(times))
    at = ns_from_datetime((change + timedelta(days=1)).replace(tzinfo=madrid))
    ours, utc = (
        Seasonal(timezone=zone).step(rows(np.zeros(len(times)), times, values)).score[times >= at]
        for zone in ("Europe/Madrid", "UTC")
    )
    assert (ours >= 1).sum() <= 2
    assert utc.mean() > 1.5 * ours.mean()


@pytest.mark.parametrize("every_s", [10, 900, 3600, 86_400, 2_592_000])
def test_any_cadence_is_judged(every_s: int) -> None:
    rng = np.random.default_rng(5)
    values = 50 + rng.normal(size=400)
    values[350] = 80
    score = Seasonal().step(rows(np.zeros(400), minutes(400, every_s), values)).score
    assert score[350] >= 1
    assert (score[30:350] >= 1).sum() <= 1


def test_a_gap_and_a_new_cadence_do_no_harm() -> None:
    n = 2 * WEEK_ROWS
    values = clean(n, 8)["temperature"]
    times = minutes(n)
    keep = np.ones(n, bool)
    keep[WEEK_ROWS : WEEK_ROWS + 2000] = False
    keep[WEEK_ROWS + 5000 :] = np.arange(n - WEEK_ROWS - 5000) % 10 == 0
    score = Seasonal().step(rows(np.zeros(keep.sum()), times[keep], values[keep])).score
    assert (score[WEEK_ROWS:] >= 1).sum() <= 6


def test_rows_that_are_not_later_are_judged_and_not_learned() -> None:
    detector = Seasonal()
    detector.step(rows(np.zeros(100), minutes(100), np.arange(100) % 5))
    before = detector.state()["slots"].tobytes()
    verdict = detector.step(rows([0, 0], minutes(100)[[99, 50]], [1.0, 1e6]))
    assert detector.state()["slots"].tobytes() == before
    assert verdict.score[0] < 1 <= verdict.score[1]


def test_a_series_that_starts_mad_is_judged_again_soon() -> None:
    values = np.r_[1e300, np.full(29, 20.0) + np.arange(29) % 3, 20 + np.arange(600.0) % 3]
    values[500] = 90
    score = Seasonal().step(rows(np.zeros(len(values)), minutes(len(values)), values)).score
    assert score[500] >= 1
    assert (score[30:500] < 1).all()


def test_a_day_off_on_a_weekday_is_usual_where_the_country_is_known() -> None:
    zone = ZoneInfo("Europe/Madrid")
    times = ns_from_datetime(datetime(2024, 3, 4, tzinfo=zone)) + np.arange(9 * 7 * 96, dtype=np.int64) * 900 * NS
    local = [datetime.fromtimestamp(int(t) // NS, zone) for t in times]
    off = {datetime(2024, 3, 29).date(), datetime(2024, 5, 1).date()}  # Good Friday, Labour Day: a Wednesday
    level = np.array([30.0 if d.weekday() == 6 or d.date() in off else 100.0 for d in local])
    values = level + np.random.default_rng(5).normal(0, 2, len(times))
    on_labour_day = np.array([d.date() == datetime(2024, 5, 1).date() and 2 <= d.hour < 22 for d in local])
    scores = {
        country: Seasonal(timezone="Europe/Madrid", country=country).step(
            rows(np.zeros(len(times)), times, values)).score[on_labour_day]
        for country in ("", "ES")
    }  # fmt: skip
    assert np.mean(scores[""] >= 1) > 0.9
    assert np.mean(scores["ES"] >= 1) < 0.02


def test_a_large_batch_is_judged_as_its_series_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """By several threads, each with series of its own."""
    chance, n = np.random.default_rng(3), 300
    ids = np.repeat(np.arange(20, dtype=np.int32), n)
    times = np.tile(np.arange(n, dtype=np.int64) * 60 * 10**9 + 1_700_000_000 * 10**9, 20)
    batch = Batch(SeriesTable.of([b"s%d" % i for i in range(20)]), ids, times, chance.normal(ids, 1.0))
    alone = Seasonal().step(batch)
    monkeypatch.setattr(module, "_PART_ROWS", 1000)
    monkeypatch.setattr(module, "_THREADS", 3)
    together = Seasonal().step(batch)
    for name in ("score", "yhat", "lower", "upper", "cause"):
        assert np.array_equal(getattr(alone, name), getattr(together, name), equal_nan=True)
    assert [part.start for part in module._parts(ids)] == [0, 1800, 3900]  # where a series begins


def test_fractions_that_are_not_seen_again_are_forgotten() -> None:
    rng, n = np.random.default_rng(3), 14 * DAY_ROWS
    values = np.where(rng.random(n) < 0.05, 101.0, 100.0)
    values[1000:1010] = 100.25
    detector = Seasonal()
    score = np.asarray(detector.step(rows(np.zeros(n), minutes(n), values)).score)
    assert detector.state()["slots"]["decimals"][0] == 0
    assert (score[7 * DAY_ROWS :] >= 1).sum() <= 2
