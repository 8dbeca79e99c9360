"""Occasions of calendars under `seasonal`: learned as effects of their own, expected again, told by name."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tests.detectors.series import rows
from tests.naive import seasonal

from almenara.analysis.calendar_sources import Sources
from almenara.analysis.occasions import Calendar, calendar_of
from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import SeriesTable, encode_key
from almenara.model.time import NS
from almenara.testing.planted import GROUPS, batch_of, outcome
from almenara.testing.planted.signals import hour_of, minutes, noise, work

COLUMNS = ("score", "yhat", "lower", "upper", "cause")
MADRID = "Europe/Madrid"
FIRST = len(Seasonal.causes)  # of the causes that name a calendar
DAY = 96  # rows of 15 minutes


def peaks(days: int = 40, seed: int = 1) -> tuple[Any, Any, Calendar]:
    """Rows of 15 minutes of a place of work; the first three Wednesdays of a month are a fair, which trebles the
    load."""
    times = minutes(days * DAY, 900)
    fair = calendar_of(
        "fair", Sources(rule="1st wednesday of month and 2nd wednesday of month and 3rd wednesday of month")
    )
    on = np.zeros(len(times), bool)
    for begin, end in zip(fair.from_s, fair.to_s, strict=True):
        on |= (times >= begin * NS) & (times < end * NS)
    load = work(times) * (1 + 2 * on)
    return times, 40 + 60 * load + 3 * noise(np.random.default_rng(seed), len(times), 1)[:, 0], fair


def judged(times: Any, values: Any, *calendars: Calendar, zone: str = "UTC") -> Any:
    return Seasonal(timezone=zone, calendars=calendars).step(rows(np.zeros(len(times)), times, values))


@pytest.mark.parametrize("case", GROUPS["occasions"], ids=lambda case: case.name)
def test_the_promises_of_planted_occasions_are_kept(case: Any) -> None:
    planted = case.planted(seed=2)
    detector = Seasonal(timezone=planted.timezone, calendars=planted.calendars)
    assert outcome(case, planted, detector.step(batch_of(planted)).score).broken == ()


def day_of(day: int) -> slice:
    """Rows of the hours of work of a day."""
    return slice(day * DAY + 36, day * DAY + 68)


def test_the_first_occasion_of_all_may_be_anything_and_the_third_is_expected() -> None:
    times, values, fair = peaks()
    said = judged(times, values, fair)
    first, third, fourth = day_of(2), day_of(16), day_of(30)
    assert all((said.score[day] < 1).all() for day in (first, third, fourth))
    width = said.upper - said.lower
    assert width[fourth].max() < 0.5 * width[first].min()
    assert np.abs(said.yhat - values)[third].mean() < 10
    without = judged(times, values)
    assert (without.score[first] >= 1).any()


def test_a_peak_that_does_not_come_is_an_anomaly_with_the_name_of_its_calendar() -> None:
    times, values, fair = peaks()
    missing = day_of(30)
    values[missing] -= 120
    detector = Seasonal(calendars=(fair,))
    said = detector.step(rows(np.zeros(len(times)), times, values))
    assert (said.score[missing] >= 1).all()
    assert {detector.causes[c] for c in said.cause[missing]} == {"lower than usual, as the peak of fair did not come"}


def test_more_than_the_known_peak_is_an_anomaly_too() -> None:
    times, values, fair = peaks()
    values[day_of(30)] += 150
    detector = Seasonal(calendars=(fair,))
    said = detector.step(rows(np.zeros(len(times)), times, values))
    assert {detector.causes[c] for c in said.cause[day_of(30)]} == {"higher than usual for fair"}


def test_a_calendar_without_an_effect_changes_nothing_much() -> None:
    times, values, fair = peaks()
    values = 20 + noise(np.random.default_rng(3), len(times), 1)[:, 0]
    with_it, without = judged(times, values, fair), judged(times, values)
    late = slice(16 * DAY, None)
    assert np.nanmax(np.abs(with_it.yhat - without.yhat)[late]) < 2
    wide, usual = (np.median((said.upper - said.lower)[day_of(30)]) for said in (with_it, without))
    assert wide < 2 * usual


def example(kind: int) -> tuple[Any, Any, str, list[Calendar]]:
    """Rows across a change of clocks, and calendars of each kind that overlap."""
    times = minutes(30 * 288, 300, 1_772_409_600)  # from 2 March 2026 on
    values = 50 + 40 * work(times, MADRID) + 2 * noise(np.random.default_rng(kind), len(times), 1)[:, 0]
    days = ["2026-03-05", "2026-03-10", "2026-03-17", "2026-03-25"]
    longer = ["2026-03-14/2026-03-20", "2026-03-27/2026-03-29"]
    hours = [f"2026-03-{day:02d}T10:00/2026-03-{day:02d}T12:30" for day in range(4, 31, 3)]
    dates = [days, longer, hours]
    chosen = dates if kind == 3 else [dates[kind]]
    calendars = [calendar_of(str(k), Sources(dates=one), MADRID) for k, one in enumerate(chosen)]
    for one in calendars:
        for begin, end in zip(one.from_s, one.to_s, strict=True):
            values[(times >= begin * NS) & (times < end * NS)] += 30
    values[4000:4100] = values[4000]
    for row in (7000, 23 * 288 + 144, 26 * 288 + 120):
        values[row : row + 12] -= 80
    return times, values, MADRID, calendars


@pytest.mark.parametrize("kind", [0, 1, 2, 3])
def test_equals_its_naive_twin(kind: int) -> None:
    times, values, zone, calendars = example(kind)
    verdict = judged(times, values, *calendars, zone=zone)
    told = [
        (list(zip(c.from_s.tolist(), c.to_s.tolist(), strict=True)), (0, 1, 2)[c.kind], c.part_s) for c in calendars
    ]
    slow = np.array(seasonal(times.tolist(), values.tolist(), zone, 1e-4, 86_400.0, told, FIRST))
    assert (verdict.cause >= FIRST).any()
    for k, column in enumerate(COLUMNS):
        np.testing.assert_allclose(getattr(verdict, column), slow[:, k], rtol=1e-7, atol=1e-7, err_msg=column)


def test_a_row_over_the_limit_is_outside_its_band_and_no_other() -> None:
    times, values, zone, calendars = example(3)
    said = judged(times, values, *calendars, zone=zone)
    ready = ~np.isnan(said.score)
    outside = (values < said.lower) | (values > said.upper)
    assert np.array_equal(said.score[ready] >= 1, outside[ready])
    assert (said.lower[ready] <= said.yhat[ready]).all()
    assert (said.yhat[ready] <= said.upper[ready]).all()


def test_batches_of_any_size_looks_and_restarts_give_the_same_bits() -> None:
    times, values, zone, calendars = example(3)
    whole = judged(times, values, *calendars, zone=zone)
    detector = Seasonal(timezone=zone, calendars=calendars)
    bounds = sorted({0, len(times), *np.random.default_rng(1).integers(0, len(times), 40).tolist()})
    for a, b in pairwise(bounds):
        part = rows(np.zeros(b - a), times[a:b], values[a:b])
        before = {name: array.tobytes() for name, array in detector.state().items()}
        one = detector.look(rows([0], times[a : a + 1], values[a : a + 1]))
        assert {name: array.tobytes() for name, array in detector.state().items()}.items() >= before.items() or a == 0
        got = detector.step(part)
        for column in COLUMNS:
            assert np.array_equal(getattr(got, column), getattr(whole, column)[a:b], equal_nan=True), (column, a)
            assert np.array_equal(getattr(one, column), getattr(got, column)[:1], equal_nan=True)
        state = detector.state()
        detector = Seasonal(timezone=zone, calendars=calendars)
        detector.restore(state)


def test_values_without_sense_break_nothing() -> None:
    times, values, zone, calendars = example(3)
    for extreme in (0.0, 1e300, -1e300, 5e-324):
        odd = values.copy()
        odd[::97] = extreme
        said = judged(times, odd, *calendars, zone=zone)
        for column in COLUMNS:
            assert np.isfinite(getattr(said, column)[30:]).all(), (column, extreme)
        flat = judged(times, np.full(len(times), extreme), *calendars, zone=zone)
        assert np.isfinite(flat.score[30:]).all()


# --- which series, and going on


def two_series(times: Any, values: Any) -> tuple[SeriesTable, Any]:
    table = SeriesTable.of([encode_key("sales", {"site": "madrid"}), encode_key("sales", {"site": "delhi"})])
    n = len(times)
    return table, Batch(table, np.repeat(np.arange(2, dtype=np.int32), n), np.tile(times, 2), np.tile(values, 2))


def test_a_calendar_holds_for_the_series_that_it_names() -> None:
    times, values, fair = peaks()
    _, batch = two_series(times, values)
    mine = Calendar("fair", fair.from_s, fair.to_s, fair.kind, fair.part_s, '{site="madrid"}')
    said = Seasonal(calendars=(mine,)).step(batch)
    n = len(times)
    for column in COLUMNS:
        both = getattr(said, column)
        assert np.array_equal(both[:n], getattr(judged(times, values, fair), column), equal_nan=True)
        assert np.array_equal(both[n:], getattr(judged(times, values), column), equal_nan=True)


def test_a_restart_with_other_calendars_keeps_what_is_known_of_those_that_stay() -> None:
    times, values, fair = peaks()
    half, other = 20 * DAY, calendar_of("other", Sources(dates=["2026-01-30"]))
    before = Seasonal(calendars=(fair,))
    before.step(rows(np.zeros(half), times[:half], values[:half]))
    after = Seasonal(calendars=(other, fair))
    after.restore(before.state())
    part = rows(np.zeros(len(times) - half), times[half:], values[half:])
    expected, got = before.step(part), after.step(part)
    wednesday = slice(30 * DAY - half, 31 * DAY - half)
    assert np.array_equal(got.yhat[: 5 * DAY], expected.yhat[: 5 * DAY])
    assert np.allclose(got.yhat[wednesday], expected.yhat[wednesday], rtol=0.05)
    none = Seasonal()
    none.restore(before.state())
    assert none.state()["rows"].shape[1] == 0


@pytest.mark.parametrize(
    "change", ["more", "none before", "none after", "other days", "other series", "not on any more"]
)
def test_calendars_replaced_in_the_middle_are_as_after_a_restart(change: str) -> None:
    times, values, fair = peaks(50)
    half = 30 * DAY + 50  # in the middle of a fair
    _, batch = two_series(times, values)
    days = np.ones(len(fair.from_s), bool)
    days[np.searchsorted(fair.from_s, times[half] // NS) - (change == "not on any more")] = False
    less = Calendar("fair", fair.from_s[days], fair.to_s[days], fair.kind, fair.part_s)
    mine = Calendar("mine", fair.from_s, fair.to_s, fair.kind, fair.part_s, '{site="madrid"}')
    before, after = {
        "more": ((fair,), (mine, fair)),
        "none before": ((), (fair, mine)),
        "none after": ((fair,), ()),
        "other days": ((fair,), (less,)),
        "other series": ((fair,), (Calendar("fair", *mine_but_name(mine)),)),
        "not on any more": ((fair,), (less,)),
    }[change]
    detector, early = Seasonal(calendars=before), batch.time < times[half]
    detector.step(Batch(batch.series, batch.id[early], batch.time[early], batch.value[early]))
    steps = detector.replace_calendars(after, batch.series)
    next(steps)
    between = (batch.time >= times[half]) & (batch.time < times[half + 5])
    detector.step(Batch(batch.series, batch.id[between], batch.time[between], batch.value[between]))
    restarted = Seasonal(calendars=after)
    restarted.restore(detector.state())
    assert list(steps) == []
    assert detector.causes == restarted.causes
    late = batch.time >= times[half + 5]
    rest = Batch(batch.series, batch.id[late], batch.time[late], batch.value[late])
    got, expected = detector.step(rest), restarted.step(rest)
    for column in COLUMNS:
        assert np.array_equal(getattr(got, column), getattr(expected, column), equal_nan=True), column


def mine_but_name(one: Calendar) -> tuple[Any, ...]:
    return one.from_s, one.to_s, one.kind, one.part_s, one.match


def test_an_occasion_that_a_calendar_does_not_have_any_more_is_over() -> None:
    times, values, fair = peaks()
    at = 30 * DAY + 36
    values[at:] = np.where(values[at:] > 120, values[at:] / 3 + 27, values[at:])  # the market is called off
    kept = fair.from_s > times[at] // NS
    kept |= fair.to_s <= times[at] // NS
    detector = Seasonal(calendars=(fair,))
    detector.step(rows(np.zeros(at), times[:at], values[:at]))
    list(detector.replace_calendars((Calendar("fair", fair.from_s[kept], fair.to_s[kept]),), SeriesTable()))
    said = detector.step(rows(np.zeros(32), times[at : at + 32], values[at : at + 32]))
    assert (said.score[4:] < 1).all()


def test_a_state_of_another_version_is_refused() -> None:
    state = Seasonal().state()
    with pytest.raises(ValueError, match="calendars of the state"):
        Seasonal().restore({**state, "effects": np.zeros(3)})
    with pytest.raises(ValueError, match="must have names that differ"):
        Seasonal(calendars=[calendar_of("x", Sources(dates=["2026-01-01"]))] * 2)


def test_what_was_judged_again_keeps_the_effect_that_more_occasions_taught() -> None:
    times, values, fair = peaks()
    live, again = Seasonal(calendars=(fair,)), Seasonal(calendars=(fair,))
    live.step(rows(np.zeros(28 * DAY), times[: 28 * DAY], values[: 28 * DAY]))
    again.step(rows(np.zeros(8 * DAY), times[20 * DAY : 28 * DAY], values[20 * DAY : 28 * DAY]))
    live.adopt(np.array([0], np.int32), again)
    said = live.step(rows(np.zeros(12 * DAY), times[28 * DAY :], values[28 * DAY :]))
    assert np.abs(said.yhat - values[28 * DAY :])[day_of(2)].mean() < 12
    assert hour_of(times[day_of(30)])[0] == 9


def test_a_replay_goes_back_for_some_occasions() -> None:
    _, _, fair = peaks()
    payday = calendar_of("payday", Sources(rule="last business day of month"))
    assert Seasonal().warmup_s == Seasonal(calendars=(fair,)).warmup_s == 28 * 86_400
    assert 100 * 86_400 < Seasonal(calendars=(payday,)).warmup_s <= 120 * 86_400
