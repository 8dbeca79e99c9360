"""Schedules: which times they hold at, on both sides of a change to daylight-saving time, and on days of calendars."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from almenara.analysis.calendar_sources import Sources
from almenara.analysis.occasions import calendar_of
from almenara.analysis.schedule import ALWAYS, Schedule
from almenara.model.time import NS

MADRID = ZoneInfo("Europe/Madrid")


def ns(text: str, zone: ZoneInfo = MADRID, fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()) * NS


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("Mon-Fri 08:00-18:00", ["2026-11-23T08:00", "2026-11-27T17:59"], ["2026-11-23T07:59", "2026-11-27T18:00"]),
        ("Mon-Fri 08:00-18:00", ["2026-11-25T12:00"], ["2026-11-28T12:00"]),
        ("sat, sun", ["2026-11-28T00:00", "2026-11-29T23:59"], ["2026-11-27T23:59", "2026-11-30T00:00"]),
        ("22:00-06:00", ["2026-11-23T22:00", "2026-11-24T05:59"], ["2026-11-24T06:00", "2026-11-24T21:59"]),
        ("Sunday 22:00-06:00", ["2026-11-29T23:00", "2026-11-30T05:00"], ["2026-11-30T23:00", "2026-11-29T05:00"]),
        ("Fri-Mon", ["2026-11-27T12:00", "2026-11-30T12:00"], ["2026-12-01T12:00", "2026-11-26T12:00"]),
        ("18:00-24:00", ["2026-11-23T23:59"], ["2026-11-24T00:00"]),
    ],
)  # fmt: skip
def test_it_holds_in_its_windows(text: str, inside: list[str], outside: list[str]) -> None:
    one = Schedule.of([text], "Europe/Madrid")
    assert [one.holds_at(ns(at)) for at in inside] == [True] * len(inside)
    assert [one.holds_at(ns(at)) for at in outside] == [False] * len(outside)


def test_wall_clocks_decide_on_days_of_23_and_25_hours() -> None:
    one = Schedule.of(["02:00-04:00"], "Europe/Madrid")
    minutes = np.arange(0, 25 * 60)
    for day, hours in (("2026-03-29", 1), ("2026-10-25", 3), ("2026-10-26", 2)):
        start = ns(f"{day}T00:00")
        begin, end = ns(f"{day}T00:00"), ns((datetime.fromisoformat(day) + timedelta(days=1)).isoformat())
        time = begin + minutes * 60 * NS
        assert one.holds(time[time < end]).sum() == hours * 60, day
        assert start == begin


def test_it_is_the_naive_reading_of_a_clock() -> None:
    rng = np.random.default_rng(5)
    time = rng.integers(ns("2020-01-01T00:00"), ns("2030-01-01T00:00"), 500)
    held = Schedule.of(["Mon-Fri 08:30-17:15", "Sat 09:00-12:00"], "Europe/Madrid").holds(time)
    for at, found in zip(time.tolist(), held.tolist(), strict=True):
        local = datetime.fromtimestamp(at // NS, MADRID)
        clock = local.hour * 60 + local.minute
        expected = (local.weekday() < 5 and 510 <= clock < 1035) or (local.weekday() == 5 and 540 <= clock < 720)
        assert found == expected, local


def test_calendars_add_days_and_take_them_away() -> None:
    payday = calendar_of("payday", Sources(rule="last business day of month"), "Europe/Madrid")
    works = calendar_of("works", Sources(dates=["2026-11-30T10:00/2026-11-30T12:00"]), "Europe/Madrid")
    one = Schedule.of(["08:00-18:00"], "Europe/Madrid", [payday], [works])
    at = ["2026-11-30T09:00", "2026-11-30T10:00", "2026-11-30T12:00", "2026-11-30T18:00", "2026-11-27T09:00"]
    assert [one.holds_at(ns(text)) for text in at] == [True, False, True, False, False]


def test_without_anything_it_always_holds() -> None:
    assert ALWAYS.is_always
    assert ALWAYS.holds(np.array([0, 2**62])).all()


@pytest.mark.parametrize(
    "text", ["", "Mon-Fry", "8-18", "25:00-26:00", "Mon 08:00", "08:00-08:00", "24:00-01:00", "Mon-Fri 08:00-18:00 x"]
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be days, times or both"):
        Schedule.of([text])
