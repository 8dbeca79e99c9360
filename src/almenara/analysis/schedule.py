"""`Schedule`: at which times of a site's week, and on which days of its calendars, something holds.

Wall clocks decide, so "08:00" is 08:00 before and after daylight-saving time changes; an hour that comes twice counts
both times.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from almenara.analysis.calendars import DAY_S, EPOCH_SHIFT_S, WEEK_S, zone
from almenara.analysis.occasions import Calendar, in_calendar
from almenara.model.time import NS

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EXPECTED = 'days, times or both, such as "Mon-Fri 08:00-18:00", "Sat,Sun" or "22:00-06:00"'
_TIMES = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)-([01]?\d|2[0-4]):([0-5]\d)")
_DAY = re.compile(r"([a-z]{3})[a-z]*(?:-([a-z]{3})[a-z]*)?")

#: (first second, second after the last) of a week that begins on Monday at 00:00.
Window = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """windows: of the week, none = always. only: within occasions of any of these calendars, none = always; never: not
    within those of any of these."""

    windows: tuple[Window, ...] = ()
    timezone: str = "UTC"
    only: tuple[Calendar, ...] = ()
    never: tuple[Calendar, ...] = ()

    @classmethod
    def of(
        cls, texts: Sequence[str], timezone: str = "UTC", only: Sequence[Calendar] = (), never: Sequence[Calendar] = ()
    ) -> Schedule:
        """From texts such as "Mon-Fri 08:00-18:00", any of which may hold. Raises ValueError."""
        windows = tuple(window for text in texts for window in weekly(text))
        return cls(windows, timezone, tuple(only), tuple(never))

    @property
    def is_always(self) -> bool:
        """Does it hold at every time?"""
        return not (self.windows or self.only or self.never)

    def holds(self, time: np.ndarray) -> np.ndarray:
        """bool[n]: at which times, int64[n] ns UTC, it holds."""
        time = np.asarray(time, np.int64)
        held = np.ones(len(time), np.bool_)
        if self.windows:
            where = zone(self.timezone)
            seconds = time // NS
            local = seconds + where.offset_s[np.searchsorted(where.from_s, seconds, side="right") - 1]
            week = (local + EPOCH_SHIFT_S) % WEEK_S
            held = np.logical_or.reduce([(week >= first) & (week < end) for first, end in self.windows])
        if self.only:
            held &= np.logical_or.reduce([in_calendar(time, one) for one in self.only])
        for one in self.never:
            held &= ~in_calendar(time, one)
        return held

    def holds_at(self, time_ns: int) -> bool:
        """The same for one time."""
        return self.is_always or bool(self.holds(np.array([time_ns], np.int64))[0])


ALWAYS = Schedule()


def weekly(text: str) -> list[Window]:
    """The windows of one text; times that end before they begin go on into the next day. Raises ValueError."""
    words = text.lower().split()
    times = words.pop() if words and _TIMES.fullmatch(words[-1]) else ""
    days = _days("".join(words))
    if (not words and not times) or not days:
        raise ValueError(f"must be {EXPECTED}; got {text!r}")
    begin, end = 0, DAY_S
    if times:
        h1, m1, h2, m2 = map(int, re.split("[:-]", times))
        begin, end = h1 * 3600 + m1 * 60, h2 * 3600 + m2 * 60
        if begin >= DAY_S or end > DAY_S or begin == end:
            raise ValueError(f"must be {EXPECTED}; got {text!r}")
        end += DAY_S if end < begin else 0
    found = []
    for day in days:
        first, last = day * DAY_S + begin, day * DAY_S + end
        found.append((first, min(last, WEEK_S)))
        if last > WEEK_S:  # of Sunday, into Monday
            found.append((0, last - WEEK_S))
    return found


def _days(text: str) -> list[int]:
    """Days of the week, 0 for Monday; all where none is said, none where one is not known."""
    if not text:
        return list(range(7))
    found = []
    for part in text.split(","):
        match = _DAY.fullmatch(part)
        if match is None or match[1] not in DAYS or (match[2] or match[1]) not in DAYS:
            return []
        first, last = DAYS.index(match[1]), DAYS.index(match[2] or match[1])
        found += [(first + k) % 7 for k in range((last - first) % 7 + 1)]
    return found
