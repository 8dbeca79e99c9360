from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from almenara.analysis.hours import Hours
from almenara.model.time import NS

MADRID = ZoneInfo("Europe/Madrid")


def at(text: str, fold: int = 0) -> int:
    """A time on clocks of Madrid; fold 1: the second time that they show it."""
    return int(datetime.fromisoformat(text).replace(tzinfo=MADRID, fold=fold).timestamp()) * NS


def hours(*windows: str) -> Hours:
    return Hours(windows, "Europe/Madrid")


@pytest.mark.parametrize(
    ("window", "moment", "inside"),
    [
        ("Sun 02:00-04:00", "2026-11-22T02:00", True),
        ("Sun 02:00-04:00", "2026-11-22T03:59:59", True),
        ("Sun 02:00-04:00", "2026-11-22T04:00", False),
        ("Sun 02:00-04:00", "2026-11-21T03:00", False),
        ("sunday 02:00 - 04:00", "2026-11-22T03:00", True),
        ("Mon-Fri 08:00-18:00", "2026-11-20T12:00", True),
        ("Mon-Fri 08:00-18:00", "2026-11-21T12:00", False),
        ("Sat,Sun", "2026-11-21T00:00", True),
        ("Sat,Sun", "2026-11-23T00:00", False),
        ("Fri-Mon", "2026-11-22T12:00", True),
        ("Fri-Mon", "2026-11-24T12:00", False),
        ("22:00-06:00", "2026-11-22T23:00", True),
        ("22:00-06:00", "2026-11-22T05:59", True),
        ("daily 22:00-06:00", "2026-11-22T06:00", False),
        ("Mon 20:00-24:00", "2026-11-23T23:59", True),
        ("Fri 18:00-Mon 06:00", "2026-11-22T12:00", True),
        ("Fri 18:00-Mon 06:00", "2026-11-23T06:00", False),
        ("Sun 22:00-Mon 01:00", "2026-11-23T00:30", True),
    ],
)
def test_a_moment_is_within_a_window_or_not(window: str, moment: str, inside: bool) -> None:
    assert (hours(window).span_at(at(moment)) is not None) is inside


def test_windows_that_touch_are_one_span() -> None:
    span = hours("Sat", "Sun").span_at(at("2026-11-21T10:00"))
    assert span == (at("2026-11-21T00:00"), at("2026-11-23T00:00"))


def test_the_next_span_is_told_before_it_begins() -> None:
    assert hours("Sun 02:00-04:00").span_from(at("2026-11-22T04:00")) == (
        at("2026-11-29T02:00"),
        at("2026-11-29T04:00"),
    )


def test_no_windows_have_no_span() -> None:
    assert hours().span_from(at("2026-11-22T04:00")) is None


def test_a_window_lasts_as_long_as_clocks_show_it() -> None:
    """On 25 October 2026 clocks go from 03:00 back to 02:00, on 29 March from 02:00 to 03:00."""
    autumn = hours("Sun 01:00-02:30").span_at(at("2026-10-25T01:30"))
    assert autumn == (at("2026-10-25T01:00"), at("2026-10-25T02:30", fold=1))
    assert autumn[1] - autumn[0] == 9000 * NS
    spring = hours("Sun 01:00-04:00").span_at(at("2026-03-29T01:30"))
    assert spring is not None
    assert spring[1] - spring[0] == 2 * 3600 * NS


@pytest.mark.parametrize(
    ("window", "begin", "end"),
    [
        ("Sun 02:00-02:30", "2026-03-29T03:00", "2026-03-29T03:30"),
        ("Sun 02:30-03:15", "2026-03-29T03:30", "2026-03-29T04:15"),
        ("Sun 01:30-02:30", "2026-03-29T01:30", "2026-03-29T03:30"),
    ],
)
def test_a_window_in_the_hour_that_clocks_leave_out_is_not_lost(window: str, begin: str, end: str) -> None:
    assert hours(window).span_from(at("2026-03-29T00:00")) == (at(begin), at(end))


@pytest.mark.parametrize(
    "text",
    ["", "never", "Sun 25:00-26:00", "Sun 02:00", "Sun 02:00-02:00", "Sunny 02:00-04:00", "Mo-Fr", "24:00-06:00"],
)
def test_a_text_that_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="hours of the week"):
        hours(text)


def test_an_unknown_zone_and_too_many_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="no known time zone"):
        Hours(["Sun"], "Europe/Nowhere")
    with pytest.raises(ValueError, match="at most 100"):
        Hours(["Sun"] * 101)
