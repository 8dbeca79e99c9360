"""Days told by a rule."""

from __future__ import annotations

from datetime import date

import pytest

from almenara.analysis.day_rules import days_of

#: Good Friday, Easter Monday and others of 2026 in a made-up country.
OFF = [date(2026, 1, 1), date(2026, 4, 3), date(2026, 5, 15), date(2026, 12, 31)]


def days(rule: str) -> list[str]:
    return [day.strftime("%m-%d") for day in days_of(rule, range(2026, 2027), OFF)]


@pytest.mark.parametrize(
    ("rule", "first"),
    [
        ("last business day of month", ["01-30", "02-27", "03-31"]),
        ("first business day of month", ["01-02", "02-02", "03-02", "04-01"]),
        ("2nd last business day of the month", ["01-29", "02-26", "03-30"]),
        ("3rd business day of month", ["01-06", "02-04"]),
        ("The  Last Day of Month", ["01-31", "02-28"]),
        ("1st day of month", ["01-01", "02-01"]),
        ("1st of month", ["01-01", "02-01"]),
        ("15th or the business day before", ["01-15", "02-13", "03-13", "04-15", "05-14"]),
        ("15th or the business day after", ["01-15", "02-16", "03-16", "04-15", "05-18"]),
        ("15th of may or the business day before", ["05-14"]),
        ("second tuesday of month", ["01-13", "02-10"]),
        ("last friday of month", ["01-30", "02-27"]),
        ("4th Friday of November", ["11-27"]),
        ("6th of January", ["01-06"]),
        ("6th of January and last day of december", ["01-06", "12-31"]),
        ("last business day of december", ["12-30"]),
    ],
)
def test_a_rule_names_these_days(rule: str, first: list[str]) -> None:
    assert days(rule)[: len(first)] == first


def test_a_month_without_such_a_day_has_none() -> None:
    assert days("31st of month") == ["01-31", "03-31", "05-31", "07-31", "08-31", "10-31", "12-31"]
    assert days("5th monday of month") == ["03-30", "06-29", "08-31", "11-30"]
    assert days("30th of february") == []


def test_the_weekend_may_be_another() -> None:
    found = days_of("last business day of month", range(2026, 2027), (), weekend=(4, 5))
    assert found[0] == date(2026, 1, 29)
    assert found[4] == date(2026, 5, 31)  # a Sunday


@pytest.mark.parametrize(
    "rule", ["", "last", "15th", "business day of month", "33rd of month", "0th day of month", "6th monday of month",
             "24th business day of month", "last busines day of month", "last day of Smarch", "1st of month or", "and",
             "1st or the business day"],
)  # fmt: skip
def test_what_is_no_rule_is_told(rule: str) -> None:
    with pytest.raises(ValueError, match='must be a rule such as "last business day of month"') as caught:
        days(rule)
    assert repr(rule) in str(caught.value)
