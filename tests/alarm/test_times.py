"""Times of the week on the wall clock, also where clocks are set."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from almenara.alarm.times import Weekly
from almenara.model.time import HOUR_NS, NS

MADRID = ZoneInfo("Europe/Madrid")


def ns(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=MADRID).timestamp()) * NS  # type: ignore[arg-type, misc]


def test_the_next_and_the_last_time_are_strictly_after_and_before() -> None:
    monday = Weekly.of("Mon 08:00", "Europe/Madrid")
    at = ns(2026, 11, 23, 8)
    assert monday.after_ns(at - 1) == at
    assert monday.after_ns(at) == ns(2026, 11, 30, 8)
    assert monday.before_ns(at + 1) == at
    assert monday.before_ns(at) == ns(2026, 11, 16, 8)


def test_the_clock_on_the_wall_counts_where_clocks_are_set() -> None:
    monday = Weekly.of("Mon 08:00", "Europe/Madrid")
    before, after = ns(2026, 10, 19, 8), ns(2026, 10, 26, 8)  # back by an hour on Sunday the 25th
    assert monday.after_ns(before) == after
    assert after - before == 169 * HOUR_NS
    assert monday.before_ns(after) == before


def test_every_day_of_a_week_finds_the_same_turn() -> None:
    sunday = Weekly.of("Sun 23:59", "Europe/Madrid")
    turn = ns(2026, 11, 29, 23, 59)
    for day in range(23, 30):
        assert sunday.after_ns(ns(2026, 11, day, 12)) == turn
        assert sunday.before_ns(ns(2026, 11, day, 12)) == ns(2026, 11, 22, 23, 59)


@pytest.mark.parametrize("text", ["", "Mon", "08:00", "mon 08:00", "Mon 24:00", "Mon 8", "Monday 08:00"])
def test_what_is_no_time_of_the_week_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="08:00"):
        Weekly.of(text)
