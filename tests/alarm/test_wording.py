"""Rules of how messages write times, spans and values."""

from __future__ import annotations

import math

import pytest

from almenara.alarm.wording import cause_text, clock, expected_text, series_text, since, span, value_text
from almenara.model.alarm import Evidence
from almenara.model.causes import why
from almenara.model.series import Series
from almenara.model.time import DAY_NS, HOUR_NS, NS

NOW = 1_795_313_520 * NS  # Sunday 2026-11-22 02:12 UTC


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than a second"), (1, "1 second"), (59, "59 seconds"), (60, "1 minute"), (80, "1 minute 20 seconds"),
        (240, "4 minutes"), (4800, "1 hour 20 minutes"), (2 * 3600, "2 hours"), (4.6 * 3600, "5 hours"),
        (26 * 3600, "1 day 2 hours"), (5 * 86_400, "5 days"), (122 * 86_400, "4 months"),
        (800 * 86_400, "2 years 2 months"),
    ],
)  # fmt: skip
def test_a_span_is_as_exact_as_people_say_it(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("before_ns", "zone", "words"),
    [
        (0, "UTC", "02:12 UTC"), (0, "Europe/Madrid", "03:12 CET"), (0, "Asia/Kolkata", "07:42 IST"),
        (0, "Asia/Dubai", "06:12 UTC+04"), (3 * HOUR_NS, "UTC", "Saturday 23:12 UTC"),
        (3 * HOUR_NS, "Europe/Madrid", "00:12 CET"), (7 * DAY_NS, "UTC", "15 November 02:12 UTC"),
        (40 * DAY_NS, "Europe/Madrid", "13 October 04:12 CEST"), (400 * DAY_NS, "UTC", "18 October 2025 02:12 UTC"),
        (-DAY_NS, "UTC", "23 November 02:12 UTC"),
    ],
)  # fmt: skip
def test_a_time_has_as_much_of_the_date_as_it_takes(before_ns: int, zone: str, words: str) -> None:
    assert clock(NOW - before_ns, NOW, zone) == words


def test_a_time_says_how_long_ago_it_was() -> None:
    assert since(NOW - 240 * NS, NOW, "Europe/Madrid") == "03:08 CET, 4 minutes ago"
    assert since(NOW + 5 * NS, NOW, "UTC") == "02:12 UTC, just now"


@pytest.mark.parametrize(
    ("value", "lower", "upper", "unit", "words"),
    [
        (93.25, 20, 42, "°C", ("93.25 °C", "20 to 42 °C")), (97, math.nan, 90, "%", ("97%", "at most 90%")),
        (9.31e10, 1.2e9, 4.5e10, "B", ("93.1 GB", "1.2 to 45 GB")), (5, 10, math.inf, "", ("5", "at least 10")),
        (30, 20, 42, "", ("30", "")), (math.nan, 20, 42, "", ("", "")),
    ],
)  # fmt: skip
def test_numbers_have_their_unit(value: float, lower: float, upper: float, unit: str, words: tuple[str, str]) -> None:
    evidence = Evidence(value, 1.5, 31, lower, upper)
    assert (value_text(evidence, unit), expected_text(evidence, unit)) == words


@pytest.mark.parametrize("value", [93.2, -3.5, 6_143_000_000.0, 1e-9, 3e20])
def test_a_cause_is_told_without_the_numbers(value: float) -> None:
    sentence = why(value, 2.0, value - 2 * abs(value), value - abs(value), "higher than usual: by far", yhat=1.0)
    assert cause_text(Evidence(value, why=sentence)) == "Higher than usual: by far"


@pytest.mark.parametrize("sentence", ["95 is above 90", "no data for 5m", "pump: 3 of 4 stopped", ""])
def test_a_sentence_of_another_kind_stays_whole(sentence: str) -> None:
    assert cause_text(Evidence(95.0, why=sentence)) == sentence


def test_a_long_series_keeps_its_name_and_its_first_labels() -> None:
    assert series_text(Series.of("t", a="1", b="2")) == "t (a=1, b=2)"
    assert series_text(Series.of("t", a="1", b="2" * 90)) == "t (a=1, …)"
    assert series_text(Series.of("t" * 90, a="1")) == "t" * 59 + "…"
