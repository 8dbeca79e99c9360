"""Calendars as arrays: when occasions known beforehand begin and end, right to the second in any time zone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np

from almenara.analysis.calendar_sources import Sources, spans_of
from almenara.analysis.calendars import DAY_S, Zone, utc_seconds, zone
from almenara.analysis.ical import Span
from almenara.model.time import NS

#: How time within an occasion is told: since its begin; by half hour of the day; by hour of workdays and of days off,
#: where it may be on either.
SINCE, DAY, EITHER = range(3)
#: Parts into which an occasion is cut to learn what it does.
PARTS = 48
_WEEK_S = 7 * DAY_S


@dataclass(frozen=True, slots=True, eq=False)
class Calendar:
    """One calendar. from_s, to_s: int64[k], UTC seconds, rising; each occasion ends before or when the next begins.

    kind: SINCE, DAY or EITHER. part_s: seconds of one of the PARTS of an occasion. match: a selector of series; empty:
    all.
    """

    name: str
    from_s: Any
    to_s: Any
    kind: int = DAY
    part_s: int = 1800
    match: str = ""


def calendar_of(name: str, sources: Sources, timezone: str = "UTC") -> Calendar:
    """The calendar of these sources; dates and times without a zone are of `timezone`. Raises ValueError."""
    return from_spans(name, spans_of(sources), timezone, sources.match)


def calendars_of(tables: Mapping[str, Sources], timezone: str) -> tuple[Calendar, ...]:
    """The calendars of these sources, in their order."""
    return tuple(calendar_of(name, sources, timezone) for name, sources in tables.items())


def from_spans(name: str, spans: Iterable[Span], timezone: str = "UTC", match: str = "") -> Calendar:
    """A calendar of (begin, end), the end not in it: dates, times of `timezone`, or times with a zone of their own.
    Those that overlap are one. Raises ValueError for an unknown zone."""
    spans = list(spans)
    where = zone(timezone)
    begin, end = (_seconds([span[side] for span in spans], where) for side in (0, 1))
    begin, end = merged(begin, end)
    if all(not isinstance(at, datetime) for span in spans for at in span):
        either = len({kind for first, end_day in spans for kind in _kinds_of_days(first, end_day)}) > 1
        return Calendar(name, begin, end, EITHER if either else DAY, 3600 if either else 1800, match)
    longest = int((end - begin).max(initial=0))
    return Calendar(name, begin, end, SINCE, max(60, -(-min(longest, _WEEK_S) // PARTS)), match)


def _kinds_of_days(first: date, end: date) -> set[bool]:
    """Is a day off, Saturday or Sunday, among these days, and is another day? At most a week need be looked at."""
    return {(first.weekday() + k) % 7 >= 5 for k in range(min((end - first).days, 7))}


def _seconds(times: Sequence[date], where: Zone) -> np.ndarray:
    """UTC seconds of dates and times: int64[n]."""
    local, out = np.zeros(len(times), np.int64), np.zeros(len(times), np.int64)
    known = np.zeros(len(times), np.bool_)
    for k, at in enumerate(times):
        if isinstance(at, datetime) and at.tzinfo is not None:
            out[k], known[k] = int(at.timestamp()), True
        else:
            naive = at if isinstance(at, datetime) else datetime(at.year, at.month, at.day)
            local[k] = int(naive.replace(tzinfo=UTC).timestamp())
    return np.where(known, out, utc_seconds(local, where))


def merged(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intervals in order, without empty ones; those that overlap are one, those that touch are not. int64[k] each."""
    keep = end > begin
    order = np.argsort(begin[keep], kind="stable")
    begin, end = begin[keep][order], end[keep][order]
    if not len(begin):
        return begin, end
    reach = np.maximum.accumulate(end)
    first = np.concatenate(([True], begin[1:] >= reach[:-1]))
    last = np.concatenate((first[1:], [True]))
    return begin[first], reach[last]


def in_calendar(time: Any, calendar: Calendar) -> Any:
    """Which times lie in an occasion: bool[n] from int64[n] ns UTC."""
    seconds = np.asarray(time, np.int64) // NS
    if not len(calendar.from_s):
        return np.zeros(len(seconds), np.bool_)
    at = np.searchsorted(calendar.from_s, seconds, side="right") - 1
    return (at >= 0) & (seconds < calendar.to_s[at])


def regressors(time: Any, calendars: Sequence[Calendar]) -> Any:
    """A column of 0 and 1 for each calendar, for a forecast to learn its effect by: float64[n, len(calendars)]."""
    columns = [in_calendar(time, one).astype(np.float64) for one in calendars]
    return np.stack(columns, axis=1) if columns else np.zeros((len(time), 0))
