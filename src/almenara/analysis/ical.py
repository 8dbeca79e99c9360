"""Events of an iCalendar file (RFC 5545): recurring ones, exceptions, moved and cancelled ones, in any zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import takewhile
from pathlib import Path
from typing import Any

from almenara.model.errors import MissingExtra

#: (begin, end) of an event, the end not in it: dates for whole days; times without a zone are of the site.
Span = tuple[date, date]

MAX_BYTES = 10_000_000
#: The most events of one file, each recurrence counted.
MAX_EVENTS = 100_000
_RARE = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")


def read(path: Path, first: date, last: date) -> list[Span]:
    """Spans of the events of a file that begin from `first` to before `last`. Raises ValueError: what is wrong with
    the file and where; MissingExtra where the package `icalendar` is not installed."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"the file {path} cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise ValueError(f"the file {path} is larger than {MAX_BYTES} bytes")
    try:
        return spans(raw, first, last)
    except ValueError as error:
        raise ValueError(f"the file {path} is no iCalendar file that can be used: {error}") from error


def spans(raw: bytes, first: date, last: date) -> list[Span]:
    """The same of the bytes of a file."""
    try:
        from icalendar import Calendar
    except ImportError as error:
        raise MissingExtra("an iCalendar file", "notebook") from error
    events: list[Any] = [event for one in Calendar.from_ical(raw, multiple=True) for event in one.walk("VEVENT")]
    moved = {(str(e.get("UID")), _naive(e["RECURRENCE-ID"].dt)) for e in events if "RECURRENCE-ID" in e}
    found: list[Span] = []
    for event in events:
        _check(event)
        if str(event.get("STATUS", "")).upper() == "CANCELLED":
            continue
        begin, length = _begin(event)
        own = "RECURRENCE-ID" in event
        for at in [_naive(begin)] if own else _starts(event, begin, last):
            if first <= at.date() < last and (own or (str(event.get("UID")), at) not in moved):
                found.append(_span(begin, at, length))
        if len(found) > MAX_EVENTS:
            raise ValueError(f"it has more than {MAX_EVENTS} events until {last}")
    return sorted(found, key=lambda span: _key(span[0]))


def _check(event: Any) -> None:
    """Refuse what was not understood, so that it is not silently left out."""
    name = str(event.get("SUMMARY") or event.get("UID") or "without a name")
    for what, why in event.errors:
        raise ValueError(f"{what} of the event {name!r}: {why}")
    if "DTSTART" not in event:
        raise ValueError(f"the event {name!r} has no DTSTART")
    frequency = (event["RRULE"].get("FREQ") or ["?"])[0] if _single(event, "RRULE") else "DAILY"
    if frequency not in _RARE:
        raise ValueError(f"RRULE of the event {name!r}: FREQ is {frequency}, expected one of {', '.join(_RARE)}")
    if "RANGE" in getattr(event.get("RECURRENCE-ID"), "params", {}):
        raise ValueError(f"the event {name!r} is moved with all that follow (RANGE), which is not supported")


def _single(event: Any, name: str) -> bool:
    if isinstance(event.get(name), list):
        raise ValueError(f"the event {event.get('SUMMARY')!s} has several {name}; expected one")
    return name in event


def _begin(event: Any) -> tuple[date, timedelta]:
    """When it begins, and how long it is: a whole day, where only a date is told; else nothing."""
    begin = event["DTSTART"].dt
    if "DTEND" in event:
        length = _naive(event["DTEND"].dt) - _naive(begin)
        if isinstance(begin, datetime) and begin.tzinfo and getattr(event["DTEND"].dt, "tzinfo", None):
            length = event["DTEND"].dt.astimezone(UTC) - begin.astimezone(UTC)
    elif "DURATION" in event:
        length = event["DURATION"].dt
    else:
        length = timedelta(0) if isinstance(begin, datetime) else timedelta(days=1)
    if length < timedelta(0):
        raise ValueError(f"the event {event.get('SUMMARY')!s} ends before it begins")
    return begin, length


def _starts(event: Any, begin: date, last: date) -> Iterator[datetime]:
    """Wall-clock times at which it begins, without a zone, in order, until `last`; at most a few too many."""
    from dateutil.rrule import rrule, rruleset, rrulestr

    all_of = rruleset()
    start = _naive(begin)
    all_of.rdate(start)
    if "RRULE" in event:
        text = _rule_text(event["RRULE"], begin)
        try:
            rule = rrulestr(text, dtstart=start)
        except ValueError as error:
            raise ValueError(f"RRULE {text}: {error}") from error
        if isinstance(rule, rrule):
            all_of.rrule(rule)
    zone = begin.tzinfo if isinstance(begin, datetime) else None
    for name, add in (("RDATE", all_of.rdate), ("EXDATE", all_of.exdate)):
        for at in _dates(event.get(name)):
            add(_in_zone(at, zone))
    end = datetime.combine(last, time())
    for count, at in enumerate(takewhile(lambda at: at < end, all_of)):
        if count > MAX_EVENTS:
            raise ValueError(f"the event {event.get('SUMMARY')!s} comes more than {MAX_EVENTS} times until {last}")
        yield at


def _rule_text(rule: Any, begin: date) -> str:
    """The rule for times without a zone: the time it ends at on the same wall clock."""
    rule = rule.copy()
    if "UNTIL" in rule:
        until = rule["UNTIL"][0]
        if not isinstance(until, datetime):
            until = datetime.combine(until, time(23, 59, 59) if isinstance(begin, datetime) else time())
        rule["UNTIL"] = [_in_zone(until, begin.tzinfo if isinstance(begin, datetime) else None)]
    text: str = rule.to_ical().decode()
    return text


def _dates(given: Any) -> Iterator[date]:
    for one in given if isinstance(given, list) else [given] if given is not None else []:
        for member in one.dts:
            yield member.dt[0] if isinstance(member.dt, tuple) else member.dt


def _in_zone(at: date, zone: tzinfo | None) -> datetime:
    """Without a zone, as the wall clock of `zone` shows it."""
    if isinstance(at, datetime) and at.tzinfo is not None and zone is not None:
        at = at.astimezone(zone)
    return _naive(at)


def _naive(at: date) -> datetime:
    return at.replace(tzinfo=None) if isinstance(at, datetime) else datetime.combine(at, time())


def _span(begin: date, at: datetime, length: timedelta) -> Span:
    if not isinstance(begin, datetime):
        return at.date(), (at + length).date()
    if begin.tzinfo is None:
        return at, at + length
    start = at.replace(tzinfo=begin.tzinfo).astimezone(UTC)
    return start, start + length


def _key(at: date) -> tuple[datetime, bool]:
    return _naive(at), isinstance(at, datetime)
