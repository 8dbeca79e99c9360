"""`Quiet`: hours in which people are not disturbed; `Times`: when a digest is due; `Weekly`: when a report is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from almenara.alarm.silence import Schedule
from almenara.model.time import NS

_DAY_S = 86_400
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Quiet:
    """Schedules by the text that people know them by, such as "Mon-Fri 22:00-07:00"."""

    schedules: tuple[tuple[str, Schedule], ...] = ()

    def within(self, now_ns: int) -> str:
        """The text of the schedule that holds a time; empty: none does."""
        return next((text for text, one in self.schedules if one.span_at(now_ns) is not None), "")


def seconds_of_day(text: str) -> int:
    """Seconds since midnight of "HH:MM". Raises ValueError."""
    match = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", text)
    if match is None:
        raise ValueError(f"must be a time of day such as 08:00; got {text!r}")
    return int(match[1]) * 3600 + int(match[2]) * 60


@dataclass(frozen=True, slots=True)
class Times:
    """When something comes again: at seconds of the day on the wall clock, or every so many seconds of it."""

    at_s: tuple[int, ...] = ()
    every_s: float = 0.0
    timezone: str = "UTC"

    def __bool__(self) -> bool:
        return bool(self.at_s) or self.every_s > 0

    def next_ns(self, from_ns: int) -> int:
        """The first time that is not before this one."""
        zone = ZoneInfo(self.timezone)
        from_s = -(-from_ns // NS)
        local = datetime.fromtimestamp(from_s, zone)
        if not self.at_s:
            shift = local.utcoffset() or timedelta()
            over = (from_s + shift.total_seconds()) % self.every_s
            return round((from_s + (self.every_s - over) % self.every_s) * NS)
        days = (local.date() + timedelta(days=k) for k in range(3))
        return round(min(t for day in days for s in self.at_s if (t := _at(day, s, zone)) >= from_s) * NS)


@dataclass(frozen=True, slots=True)
class Weekly:
    """A time of every week on the wall clock. weekday: 0 is Monday; at_s: seconds of the day."""

    weekday: int
    at_s: int
    timezone: str = "UTC"

    @classmethod
    def of(cls, text: str, timezone: str = "UTC") -> Weekly:
        """That of a text such as "Mon 08:00". Raises ValueError."""
        day, _, time = text.partition(" ")
        if day not in _DAYS:
            raise ValueError(f'must be a day of the week and a time of day, such as "Mon 08:00"; got {text!r}')
        return cls(_DAYS.index(day), seconds_of_day(time), timezone)

    def after_ns(self, time_ns: int) -> int:
        """The first such time after this one."""
        return min(t for t in self._around(time_ns) if t > time_ns)

    def before_ns(self, time_ns: int) -> int:
        """The last such time before this one."""
        return max(t for t in self._around(time_ns) if t < time_ns)

    def _around(self, time_ns: int) -> list[int]:
        zone = ZoneInfo(self.timezone)
        day = datetime.fromtimestamp(time_ns // NS, zone).date()
        same = day + timedelta(days=self.weekday - day.weekday())
        return [round(_at(same + timedelta(weeks=k), self.at_s, zone)) * NS for k in (-2, -1, 0, 1, 2)]


def _at(day: date, seconds: int, zone: ZoneInfo) -> float:
    """The UTC second at which the wall clock shows this time of the day."""
    return datetime(day.year, day.month, day.day, seconds // 3600, seconds // 60 % 60, tzinfo=zone).timestamp()
