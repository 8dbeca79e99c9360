"""Local clock time of a site, for many times at once and right across daylight-saving changes.

The rules of a time zone come from the IANA time zone database through `zoneinfo`; they are turned once into two
arrays, when the offset from UTC changes and what it then is, so that a compiled kernel needs a look-up only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from almenara.model.time import NS

DAY_S, WEEK_S = 86_400, 604_800

#: Monday 00:00 is second 0 of a week; 1970-01-01 was a Thursday.
EPOCH_SHIFT_S = 3 * DAY_S

_FIRST_YEAR, _LAST_YEAR = 1970, 2100
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
