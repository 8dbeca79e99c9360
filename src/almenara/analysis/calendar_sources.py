"""Where the days and hours of a calendar come from, as people write it: dates, a rule, a file, a country's holidays.

Imports the standard library only: a configuration is checked where there is no numpy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from almenara.analysis import ical
from almenara.analysis.day_rules import days_of
from almenara.analysis.ical import Span
from almenara.model.errors import MissingExtra

#: Years for which rules, holidays and recurring events are worked out.
FIRST_YEAR, END_YEAR = 1990, 2060
#: The most dates of one calendar.
MAX_DATES = 10_000
EXPECTED = (
    'a date "2026-12-24", one of each year "12-24", a range of either with a "/" (its last day belongs to it) '
    'or of times "2026-11-27T18:00/2026-11-27T22:00"'
)
_YEARLY = re.compile(r"(\d\d)-(\d\d)")
_CODE = re.compile(r"[A-Z]{2}(-\w+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Days and hours on which series behave in a way of their own, which is learned for each series. All are joined.

    Options:
        dates: Dates "2026-12-24", of each year "12-24", ranges "2026-08-01/2026-08-15" with their last day, and
            ranges of times "2026-11-27T18:00/2026-11-27T22:00".
        rule: Days by a rule: "last business day of month", "15th or the business day before", "2nd Tuesday of month",
            "last day of month", "1st of January"; several with " and " between them.
        file: An iCalendar file (.ics), with recurring events; a relative path counts from where the hub is started.
        country: With a rule, whose public holidays are no business days; else those holidays are the days. A code such
            as "ES", or "ES-MD" for a part of it.
        match: The series it holds for, such as '{site="madrid"}'; empty: all.
    """

    dates: list[str] = field(default_factory=list)
    rule: str = ""
    file: Path | None = None
    country: str = ""
    match: str = ""


def spans_of(sources: Sources) -> list[Span]:
    """(begin, end) of everything in a calendar, in no order. Raises ValueError with the first mistake."""
    found = []
    for key, read in _readers(sources):
        try:
            found += read()
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error
    return found


def mistakes(sources: Sources) -> Iterator[tuple[str, str]]:
    """(key, what is wrong with it) of everything that is wrong with a calendar's sources."""
    count = 0
    readers = _readers(sources)
    for key, read in readers:
        try:
            count += len(read())
        except (ValueError, MissingExtra) as error:
            yield key, str(error)
            count += 1  # said enough
    if not readers:
        yield "", "says no day; expected dates, rule, file or country"
    elif not count:
        yield "", f"has no day between {FIRST_YEAR} and {END_YEAR}"


def _readers(sources: Sources) -> list[tuple[str, Callable[[], list[Span]]]]:
    """Which key says something, and what reads it."""
    found: list[tuple[str, Callable[[], list[Span]]]] = [
        (f"dates[{at}]", partial(_dated, text)) for at, text in enumerate(sources.dates)
    ]
    if len(sources.dates) > MAX_DATES:
        return [("dates", lambda: _too_many(len(sources.dates)))]
    if sources.rule:
        found.append(("rule", lambda: _ruled(sources.rule, sources.country)))
    elif sources.country:
        found.append(("country", lambda: [_day(day) for day in holidays_of(sources.country)[0]]))
    if sources.file is not None:
        path = sources.file
        found.append(("file", lambda: ical.read(path, date(FIRST_YEAR, 1, 1), date(END_YEAR, 1, 1))))
    return found


def _too_many(count: int) -> list[Span]:
    raise ValueError(f"must be at most {MAX_DATES} dates; got {count}")


def _day(day: date) -> Span:
    return day, day + timedelta(days=1)


def _ruled(rule: str, country: str) -> list[Span]:
    off, weekend = holidays_of(country) if country else ([], {5, 6})
    return [_day(day) for day in days_of(rule, range(FIRST_YEAR, END_YEAR), off, weekend)]


def holidays_of(country: str) -> tuple[list[date], set[int]]:
    """The public holidays of a country or a part of it, in order, and its weekdays off, 0 for Monday. Raises
    ValueError, or MissingExtra where the package `holidays` is not installed. Source: github.com/vacanza/holidays."""
    try:
        import holidays
    except ImportError as error:
        raise MissingExtra("holidays", "notebook") from error
    code, _, part = country.partition("-")
    try:
        found = holidays.country_holidays(code, subdiv=part or None, years=range(FIRST_YEAR, END_YEAR))
    except NotImplementedError as error:
        raise ValueError(f"must be a country with known holidays, such as ES or ES-MD; got {country!r}") from error
    return sorted(found), set(found.weekend)


def _dated(text: Any) -> list[Span]:
    first, slash, last = str(text).partition("/")
    try:
        if "T" in text:
            begin, end = datetime.fromisoformat(first), datetime.fromisoformat(last)
            if (begin.tzinfo is None) != (end.tzinfo is None) or begin >= end:
                raise ValueError
            return [(begin, end)]
        if _YEARLY.fullmatch(first):
            return list(_yearly(first, last if slash else first))
        begin_day, end_day = date.fromisoformat(first), date.fromisoformat(last if slash else first)
        if begin_day > end_day:
            raise ValueError
    except ValueError as error:
        raise ValueError(f"must be {EXPECTED}; got {text!r}") from error
    return [(begin_day, end_day + timedelta(days=1))]


def _yearly(first: str, last: str) -> Iterator[Span]:
    """Every year's; one that ends before it begins goes on into the next year. 29 February is in leap years only."""
    date.fromisoformat(f"2024-{first}")
    date.fromisoformat(f"2024-{last}")
    for year in range(FIRST_YEAR, END_YEAR):
        try:
            begin, end = date.fromisoformat(f"{year}-{first}"), date.fromisoformat(f"{year + (last < first)}-{last}")
        except ValueError:
            continue
        yield begin, end + timedelta(days=1)
