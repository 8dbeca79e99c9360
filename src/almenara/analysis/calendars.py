"""Local clock time of a site, for many times at once and right across daylight-saving changes.

The rules of a time zone come from the IANA time zone database through `zoneinfo`; they are turned once into two
arrays, when the offset from UTC changes and what it then is, so that a compiled kernel needs a look-up only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from almenara.model.errors import MissingExtra
from almenara.model.time import NS

DAY_S, WEEK_S = 86_400, 604_800

#: Monday 00:00 is second 0 of a week; 1970-01-01 was a Thursday.
EPOCH_SHIFT_S = 3 * DAY_S

_FIRST_YEAR, _LAST_YEAR = 1970, 2100
_LAST_HOLIDAYS = 2060
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_PROBE_S = 3 * DAY_S  # no zone has changed its offset twice within three days since 1970


@dataclass(frozen=True, slots=True, eq=False)
class Zone:
    """A time zone as arrays. from_s: int64[k], UTC seconds, rising, the first one earlier than any time; offset_s:
    int64[k], seconds to add to UTC from then on."""

    name: str
    from_s: Any
    offset_s: Any


@lru_cache(maxsize=64)
def zone(name: str) -> Zone:
    """The zone of that IANA name. Times after 2100 keep the last offset. Raises ValueError for an unknown name."""
    try:
        info = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise ValueError(f"timezone: {name!r} is no known time zone; expected a name such as Europe/Madrid") from e

    def offset(second: int) -> int:
        delta = datetime.fromtimestamp(second, UTC).astimezone(info).utcoffset()
        return 0 if delta is None else round(delta.total_seconds())

    first = int(datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp())
    last = int(datetime(_LAST_YEAR, 1, 1, tzinfo=UTC).timestamp())
    starts, offsets = [-(2**62)], [offset(first)]
    for left in range(first, last, _PROBE_S):
        right = left + _PROBE_S
        after = offset(right)
        if after != offsets[-1]:
            starts.append(_change(offset, left, right, offsets[-1]))
            offsets.append(after)
    return Zone(name, np.array(starts, np.int64), np.array(offsets, np.int64))


@lru_cache(maxsize=64)
def site_zone(name: str, country: str = "") -> Zone:
    """A zone in which public holidays are Sundays: a day off looks like one. country: ISO 3166 code with or without a
    subdivision, "ES" or "ES-MD"; empty: no holidays. Raises ValueError for one that is not known.

    On a holiday the offset leads on to the next Sunday, so that whoever asks for the day of the week is told Sunday and
    the time of day stays as it is.
    """
    base = zone(name)
    if not country:
        return base
    days = np.array([day.toordinal() - _EPOCH_DAY for day in public_holidays(country)], np.int64)
    shift = (6 - (days + 3) % 7) * DAY_S  # 1970-01-01 was a Thursday
    days, shift = days[shift > 0], shift[shift > 0]
    begins, ends = utc_seconds(days * DAY_S, base), utc_seconds((days + 1) * DAY_S, base)
    from_s = np.unique(np.concatenate((base.from_s, begins, ends)))
    offset_s = base.offset_s[np.searchsorted(base.from_s, from_s, side="right") - 1]
    at = np.searchsorted(begins, from_s, side="right") - 1
    inside = (at >= 0) & (from_s < ends[at])
    return Zone(f"{name}, holidays of {country}", from_s, offset_s + np.where(inside, shift[at], 0))


def public_holidays(country: str) -> list[date]:
    """The public holidays of a country, or of a part of it, in order. Raises ValueError, or MissingExtra where the
    package `holidays` is not installed. Source: github.com/vacanza/holidays."""
    try:
        import holidays
    except ImportError as error:
        raise MissingExtra("holidays", "notebook") from error
    code, _, part = country.partition("-")
    try:
        found = holidays.country_holidays(code, subdiv=part or None, years=range(_FIRST_YEAR, _LAST_HOLIDAYS))
    except NotImplementedError as error:
        raise ValueError(f"country: {country!r} is not known; expected a code such as ES or ES-MD") from error
    return sorted(found)


def utc_seconds(local_s: Any, where: Zone) -> Any:
    """Second of UTC in which a wall clock first shows these local seconds, both since 1970; int64[n]."""
    guess = local_s - where.offset_s[np.searchsorted(where.from_s, local_s - DAY_S, side="right") - 1]
    right = where.offset_s[np.searchsorted(where.from_s, guess, side="right") - 1]
    return local_s - right


def _change(offset: Any, left: int, right: int, before: int) -> int:
    """The first second in (left, right] whose offset is not `before`."""
    while right - left > 1:
        middle = (left + right) // 2
        left, right = (middle, right) if offset(middle) == before else (left, middle)
    return right


def local_seconds(time: Any, where: Zone) -> Any:
    """Seconds since 1970 that a wall clock shows: int64[n] from int64[n] ns UTC. It goes back when clocks do."""
    seconds = np.asarray(time, np.int64) // NS
    return seconds + where.offset_s[np.searchsorted(where.from_s, seconds, side="right") - 1]


def seconds_of_day(time: Any, where: Zone) -> Any:
    """Seconds since local midnight on the wall clock: int64[n] in [0, 86400) from int64[n] ns UTC."""
    return local_seconds(time, where) % DAY_S


def seconds_of_week(time: Any, where: Zone) -> Any:
    """Seconds since Monday 00:00 on the wall clock: int64[n] in [0, 604800) from int64[n] ns UTC."""
    return (local_seconds(time, where) + EPOCH_SHIFT_S) % WEEK_S
