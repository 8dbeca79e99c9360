"""Local clock time for many times at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from almenara.analysis.calendars import (
    DAY_S,
    local_seconds,
    public_holidays,
    seconds_of_day,
    seconds_of_week,
    site_zone,
    zone,
)
from almenara.model.time import NS, ns_from_datetime


def naive_local(ns: int, name: str) -> int:
    there = datetime.fromtimestamp(ns // NS, UTC).astimezone(ZoneInfo(name))
    offset = there.utcoffset()
    assert offset is not None
    return ns // NS + int(offset.total_seconds())


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/Madrid", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]
)
def test_equals_zoneinfo_over_a_century(name: str) -> None:
    rng = np.random.default_rng(1)
    times = rng.integers(0, ns_from_datetime(datetime(2099, 1, 1, tzinfo=UTC)), 3000)
    assert local_seconds(times, zone(name)).tolist() == [naive_local(int(t), name) for t in times]


@pytest.mark.parametrize("change", [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)])
def test_right_to_the_second_across_both_changes(change: datetime) -> None:
    times = [ns_from_datetime(change + timedelta(seconds=s)) for s in (-3600, -1, 0, 1, 3600)]
    assert local_seconds(np.array(times), zone("Europe/Madrid")).tolist() == [
        naive_local(t, "Europe/Madrid") for t in times
    ]


def test_a_week_begins_on_monday_at_local_midnight() -> None:
    monday = ns_from_datetime(datetime(2026, 7, 6, tzinfo=ZoneInfo("Europe/Madrid")))
    times = np.array([monday, monday - NS])
    assert seconds_of_week(times, zone("Europe/Madrid")).tolist() == [0, 604_799]
    assert seconds_of_day(times, zone("Europe/Madrid")).tolist() == [0, 86_399]


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ValueError, match="Europe/Madird"):
        zone("Europe/Madird")


def test_a_public_holiday_is_a_sunday_at_the_same_time_of_day() -> None:
    where = site_zone("Europe/Madrid", "ES")
    plain = zone("Europe/Madrid")
    hours = np.arange(0, 3 * 366 * 24, dtype=np.int64) * 3600 + int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
    time = hours * NS
    assert (seconds_of_day(time, where) == seconds_of_day(time, plain)).all()
    off = set(public_holidays("ES"))
    madrid = ZoneInfo("Europe/Madrid")
    for second, found, usual in zip(
        hours.tolist(), seconds_of_week(time, where).tolist(), seconds_of_week(time, plain).tolist(), strict=True
    ):
        day = datetime.fromtimestamp(second, UTC).astimezone(madrid).date()
        assert found // DAY_S == (6 if day in off else usual // DAY_S), day


@pytest.mark.parametrize("country", ["XX", "ES-ZZ", "es"])
def test_an_unknown_country_is_named(country: str) -> None:
    with pytest.raises(ValueError, match=country):
        site_zone("UTC", country)


def test_without_a_country_a_zone_stays_as_it_is() -> None:
    assert site_zone("Europe/Madrid") is zone("Europe/Madrid")
