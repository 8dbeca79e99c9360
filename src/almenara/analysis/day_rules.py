"""Days told by a rule, such as "last business day of month" or "15th or the business day before"."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, timedelta

EXPECTED = (
    'a rule such as "last business day of month", "2nd Tuesday of month", "1st of January" or '
    '"15th or the business day before"; several are joined with " and "'
)
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_ORDINALS = {"first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5}
_ONE = re.compile(
    r"(?P<nth>\w+)(?P<last> last)?(?: (?P<what>(?:business )?day|" + "|".join(WEEKDAYS) + r"))?"
    r"(?: of (?:the )?(?P<month>month|" + "|".join(MONTHS) + r"))?"
    r"(?P<move> or the business day (?:before|after))?"
)
_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Clause:
    """The nth (negative: counted from the end) of these days of a month; month 0: of every one. move: to a business
    day, -1 the one before, 1 the one after, 0 not."""

    nth: int
    what: str
    month: int
    move: int


def days_of(rule: str, years: range, days_off: Collection[date], weekend: Collection[int] = (5, 6)) -> list[date]:
    """Every day that a rule names in these years, in order. A month without such a day has none.

    days_off: holidays, which are no business days; nor are weekdays of `weekend` (0 is Monday). Raises ValueError for
    a text that is no rule: what was found, and what is expected.
    """
    clauses = [_clause(text, rule) for text in re.split(r" and ", " ".join(rule.lower().split()))]
    closed = frozenset(days_off)

    def works(day: date) -> bool:
        return day.weekday() not in weekend and day not in closed

    return sorted({day for clause in clauses for year in years for day in _days(clause, year, works)})


def _clause(text: str, rule: str) -> _Clause:
    found = _ONE.fullmatch(text.removeprefix("the "))
    nth = _nth(found) if found else 0
    what = (found["what"] or "day") if found else ""
    most = {"day": 31, "business day": 23}.get(what, 5)
    if found is None or not 1 <= abs(nth) <= most or not (found["month"] or found["move"]):
        raise ValueError(f"must be {EXPECTED}; got {rule!r}")
    month = 0 if found["month"] in (None, "month") else MONTHS.index(found["month"]) + 1
    move = 0 if not found["move"] else -1 if found["move"].endswith("before") else 1
    return _Clause(nth, what, month, move)


def _nth(found: re.Match[str]) -> int:
    """3 of "3rd" or "third", -2 of "2nd last", -1 of "last"; 0 where it is no number."""
    word = found["nth"]
    if word == "last" and not found["last"]:
        return -1
    digits = re.fullmatch(r"(\d{1,2})(?:st|nd|rd|th)", word)
    number = int(digits[1]) if digits else _ORDINALS.get(word, 0)
    return -number if found["last"] else number


def _days(clause: _Clause, year: int, works: Callable[[date], bool]) -> Iterator[date]:
    for month in (clause.month,) if clause.month else range(1, 13):
        days = [day for day in _month(year, month) if _is(day, clause.what, works)]
        at = clause.nth - 1 if clause.nth > 0 else clause.nth
        if not -len(days) <= at < len(days):
            continue
        day = days[at]
        while clause.move and not works(day):
            day += clause.move * _ONE_DAY
        yield day


def _month(year: int, month: int) -> Iterator[date]:
    day = date(year, month, 1)
    while day.month == month:
        yield day
        day += _ONE_DAY


def _is(day: date, what: str, works: Callable[[date], bool]) -> bool:
    if what == "day":
        return True
    return works(day) if what == "business day" else day.weekday() == WEEKDAYS.index(what)
