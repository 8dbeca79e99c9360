"""Hours of the week, such as "Mon-Fri 08:00-18:00" or "Sun 02:00-04:00", as spans of time on a site's wall clock.

Imports the standard library only: a configuration is checked where there is no numpy.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from almenara.model.time import NS

EXPECTED = (
    'hours of the week such as "Sun 02:00-04:00", "Mon-Fri 08:00-18:00", "Sat,Sun", "22:00-06:00" (every day, into '
    'the next one) or "Fri 18:00-Mon 06:00"'
)
#: The most windows of one schedule.
MAX_WINDOWS = 100

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY = "(?:" + "|".join(f"{day}[a-z]*" for day in _DAYS) + ")"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d|24:00"
_SPAN = re.compile(rf"({_DAY}) ({_TIME}) ?- ?({_DAY}) ({_TIME})")
_LIST = rf"{_DAY}(?: ?- ?{_DAY})?(?: ?, ?{_DAY}(?: ?- ?{_DAY})?)*"
_DAILY = re.compile(rf"(?:({_LIST})|daily)?(?: ?({_TIME}) ?- ?({_TIME}))?")

_DAY_MIN, _WEEK_MIN = 24 * 60, 7 * 24 * 60
_REACH = 9  # days around a moment in which every span that touches it begins

#: (begin, end) in ns UTC; the end does not belong to it.
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Window:
    """What begins on a weekday (0 is Monday): minutes from its midnight on the wall clock, and how many it lasts."""

    weekday: int
    begin: int
    length: int


class Hours:
    """Windows of every week, on the wall clock of a zone.

    A window begins when clocks first show its begin and ends when they last show its end, so it is an hour longer or
    shorter when clocks are set. One whose begin clocks leave out begins as much after it as they are set forward.
    Windows that overlap or touch are one. Raises ValueError for a text that is no window, or an unknown zone.
    """

    def __init__(self, windows: Sequence[str], timezone: str = "UTC"):
        if len(windows) > MAX_WINDOWS:
            raise ValueError(f"must be at most {MAX_WINDOWS} windows; got {len(windows)}")
        self.texts, self.timezone = tuple(windows), timezone
        try:
            self._zone = ZoneInfo(timezone)
        except (LookupError, OSError) as error:
            raise ValueError(f"timezone: {timezone!r} is no known time zone") from error
        self._windows = [window for text in windows for window in _read(text)]
        self._near: tuple[date, list[Span]] = date.min, []

    def span_at(self, now_ns: int) -> Span | None:
        """The span that holds this moment."""
        span = self.span_from(now_ns)
        return span if span is not None and span[0] <= now_ns else None

    def span_from(self, now_ns: int) -> Span | None:
        """The span that holds this moment, or the next one; None where there are no windows."""
        spans = self._around(now_ns)
        at = bisect_right(spans, now_ns, key=lambda span: span[1])
        return spans[at] if at < len(spans) else None

    def _around(self, now_ns: int) -> list[Span]:
        today = datetime.fromtimestamp(now_ns // NS, UTC).astimezone(self._zone).date()
        known, spans = self._near
        if known != today:
            spans = _joined(sorted(self._spans(today - timedelta(days=_REACH), 2 * _REACH + 1)))
            self._near = today, spans
        return spans

    def _spans(self, first: date, days: int) -> Iterator[Span]:
        for k in range(days):
            day = first + timedelta(days=k)
            for window in self._windows:
                if window.weekday == day.weekday():
                    yield self._span(day, window)

    def _span(self, day: date, window: _Window) -> Span:
        midnight = datetime(day.year, day.month, day.day)
        first = midnight + timedelta(minutes=window.begin)
        last = first + timedelta(minutes=window.length)
        begin = self._second(first, 0)
        # The later of both readings: the second time that clocks show it, or after the hour that they leave out.
        end = max(self._second(last, 0), self._second(last, 1))
        if end <= begin:
            end = begin + window.length * 60
        return begin * NS, end * NS

    def _second(self, local: datetime, fold: int) -> int:
        return int(local.replace(tzinfo=self._zone, fold=fold).timestamp())


def _joined(spans: list[Span]) -> list[Span]:
    """Sorted spans, those that overlap or touch as one."""
    found: list[Span] = []
    for begin, end in spans:
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found


def _read(text: str) -> list[_Window]:
    """The windows that a text names. Raises ValueError."""
    plain = " ".join(text.lower().split()) if isinstance(text, str) else ""
    if across := _SPAN.fullmatch(plain):
        begin = _weekday(across[1], text) * _DAY_MIN + _minute(across[2])
        end = _weekday(across[3], text) * _DAY_MIN + _minute(across[4])
        return [_Window(begin // _DAY_MIN, begin % _DAY_MIN, (end - begin) % _WEEK_MIN or _WEEK_MIN)]
    daily = _DAILY.fullmatch(plain)
    if not plain or daily is None:
        raise ValueError(f"must be {EXPECTED}; got {text!r}")
    begin, end = (_minute(daily[2]), _minute(daily[3])) if daily[2] else (0, _DAY_MIN)
    if begin in (end, _DAY_MIN):
        raise ValueError(f"must be {EXPECTED}; got {text!r}, which begins and ends at one time")
    length = end - begin if end > begin else end - begin + _DAY_MIN
    return [_Window(day, begin, length) for day in _weekdays(daily[1] or "mon-sun", text)]


def _weekdays(names: str, text: str) -> list[int]:
    found = set()
    for part in names.split(","):
        first, _, last = part.partition("-")
        begin = _weekday(first, text)
        end = _weekday(last, text) if last else begin
        found |= {(begin + k) % 7 for k in range((end - begin) % 7 + 1)}
    return sorted(found)


def _weekday(name: str, text: str) -> int:
    name = name.strip()
    day = _DAYS.index(name[:3])
    if name not in (_DAYS[day], _LONG[day]):
        raise ValueError(f"must be {EXPECTED}; got {text!r}, where {name!r} is no day")
    return day


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
