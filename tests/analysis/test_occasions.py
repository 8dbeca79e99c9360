"""Calendars as arrays: exact begins and ends, in any zone, across both changes of clocks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from tests.naive import in_spans

from almenara.analysis.calendar_sources import Sources, mistakes, spans_of
from almenara.analysis.occasions import DAY, EITHER, SINCE, calendar_of, from_spans, in_calendar, merged, regressors
from almenara.model.time import NS

MADRID = ZoneInfo("Europe/Madrid")


def told(dates: list[str], zone: str = "Europe/Madrid") -> list[tuple[str, str]]:
    found = calendar_of("x", Sources(dates=dates), zone)
    pairs = zip(found.from_s.tolist(), found.to_s.tolist(), strict=True)
    return [tuple(datetime.fromtimestamp(s, UTC).strftime("%m-%d %H:%M") for s in pair) for pair in pairs]  # type: ignore[misc]


def test_a_day_is_as_long_as_the_site_s_day() -> None:
    assert told(["2026-03-29", "2026-10-25"]) == [("03-28 23:00", "03-29 22:00"), ("10-24 22:00", "10-25 23:00")]


def test_ranges_hold_their_last_day_and_times_do_not() -> None:
    assert told(
        ["2026-08-01/2026-08-02", "2026-11-27T18:00/2026-11-27T22:00", "2026-11-28T18:00Z/2026-11-28T20:00Z"]
    ) == [
        ("07-31 22:00", "08-02 22:00"),
        ("11-27 17:00", "11-27 21:00"),
        ("11-28 18:00", "11-28 20:00"),
    ]


def test_a_yearly_range_may_pass_the_new_year() -> None:
    found = calendar_of("x", Sources(dates=["12-24/01-06"]))
    assert len(found.from_s) == 70
    assert set((found.to_s - found.from_s).tolist()) == {14 * 86_400}


def test_occasions_that_overlap_are_one_and_neighbours_are_two() -> None:
    assert told(["2026-01-01/2026-01-03", "2026-01-02", "2026-01-04"], "UTC") == [
        ("01-01 00:00", "01-04 00:00"),
        ("01-04 00:00", "01-05 00:00"),
    ]
    begin, end = merged(np.array([5, 1, 2, 9]), np.array([6, 4, 3, 9]))
    assert (begin.tolist(), end.tolist()) == ([1, 5], [4, 6])


def test_holidays_are_the_days_and_with_a_rule_they_only_close_business() -> None:
    holidays = calendar_of("x", Sources(country="ES"), "Europe/Madrid")
    epiphany = datetime(2026, 1, 6, 12, tzinfo=MADRID).timestamp()
    paid = calendar_of("x", Sources(country="ES", rule="6th of January or the business day after"), "Europe/Madrid")
    times = np.array([epiphany, epiphany + 86_400], np.int64) * NS
    assert in_calendar(times, holidays).tolist() == [True, False]
    assert in_calendar(times, paid).tolist() == [False, True]


def test_how_time_is_told_goes_by_how_long_it_lasts() -> None:
    window = from_spans("x", [(datetime(2026, 1, 1, 2), datetime(2026, 1, 1, 4))])
    days = ["2026-01-01"], ["2026-01-03/2026-01-04"], ["2026-01-02/2026-01-03"], ["2026-01-02", "2026-01-04"]
    assert [calendar_of("x", Sources(dates=one)).kind for one in days] == [DAY, DAY, EITHER, EITHER]
    assert (window.kind, window.part_s) == (SINCE, 150)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Madrid", "America/New_York", "Australia/Lord_Howe"])
def test_equals_its_naive_twin(zone: str) -> None:
    rng, there = np.random.default_rng(3), ZoneInfo(zone)
    begins = [datetime(2026, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 365, 60)]
    spans = [
        (b.date(), (b + timedelta(days=int(n))).date()) for b, n in zip(begins, rng.integers(1, 9, 60), strict=True)
    ]
    spans += [(b.replace(hour=5, tzinfo=there), b.replace(hour=7, tzinfo=there)) for b in begins[:20]]
    seconds = rng.integers(int(begins[0].timestamp()) - 10**7, int(begins[0].timestamp()) + 4 * 10**7, 4000)
    edges = [int(datetime(b.year, b.month, b.day, tzinfo=there).timestamp()) + k for b in begins for k in (-1, 0, 1)]
    times = np.concatenate((seconds, edges)) * NS
    assert in_calendar(times, from_spans("x", spans, zone)).tolist() == in_spans(times.tolist(), spans, zone)


def test_a_forecast_gets_a_column_of_each_calendar() -> None:
    days = [calendar_of("x", Sources(dates=[d])) for d in ("2026-01-01", "2026-01-02", "02-30/02-30")[:2]]
    times = (np.arange(4) * 43_200 + int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())) * NS
    assert regressors(times, days).tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert regressors(times, []).shape == (4, 0)
    assert in_calendar(times, from_spans("x", [])).tolist() == [False] * 4


def test_every_mistake_is_told_with_its_key(tmp_path: Path) -> None:
    wrong = Sources(
        dates=["2026-01-01", "2026-02-30", "02-30", "2026-02-02/2026-02-01", "2026-01-01T10:00", "soon"],
        rule="never", file=tmp_path / "no.ics",
    )  # fmt: skip
    assert [key for key, _ in mistakes(wrong)] == ["dates[1]", "dates[2]", "dates[3]", "dates[4]", "dates[5]", "rule",
                                                   "file"]  # fmt: skip
    assert list(mistakes(Sources())) == [("", "says no day; expected dates, rule, file or country")]
    assert list(mistakes(Sources(rule="30th of february"))) == [("", "has no day between 1990 and 2060")]
    assert list(mistakes(Sources(country="XX"))) == [
        ("country", "must be a country with known holidays, such as ES or ES-MD; got 'XX'")
    ]
    assert next(mistakes(Sources(dates=["2026-01-01"] * 10_001)))[0] == "dates"
    assert list(mistakes(Sources(country="ES-MD"))) == []
    with pytest.raises(ValueError, match=r"dates\[1\]: must be a date"):
        spans_of(wrong)
