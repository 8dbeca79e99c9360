"""What planted series are made of: times, clocks, seasons, noise with a memory, and faults put into columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from almenara.analysis.calendars import local_seconds, zone
from almenara.model.time import NS
from almenara.testing.planted.case import Fault

START_S = 1_767_571_200  # Monday 2026-01-05 00:00 UTC
HOUR, DAY, WEEK = 60, 1440, 10_080  # in rows of a minute
Change = Callable[[Any], Any]


def minutes(n: int, every_s: float = 60, start_s: int = START_S) -> Any:
    """n times from a Monday 00:00 UTC on: int64[n] ns."""
    return start_s * NS + (np.arange(n) * (every_s * NS)).astype(np.int64)


def hour_of(times: Any, timezone: str = "UTC") -> Any:
    """Hour of the day on the wall clock, with fractions: float64[n]."""
    return local_seconds(times, zone(timezone)) % 86_400 / 3600


def day_of(times: Any, timezone: str = "UTC") -> Any:
    """Days since 1970 on the wall clock: int64[n]; 1970-01-01 was a Thursday."""
    return local_seconds(times, zone(timezone)) // 86_400


def weekday_of(times: Any, timezone: str = "UTC") -> Any:
    """0 Monday to 6 Sunday: int64[n]."""
    return (day_of(times, timezone) + 3) % 7


def bump(hour: Any, at: float, width: float) -> Any:
    """A peak of height 1 at an hour of the day, `width` hours to its steepest point."""
    away = (hour - at + 12) % 24 - 12
    return np.exp(-0.5 * (away / width) ** 2)


def work(times: Any, timezone: str = "UTC", weekend: float = 0.3) -> Any:
    """Load of a place of work, 0 to 1: rises steeply at 8, falls at 18; on weekends `weekend` of it."""
    hour = hour_of(times, timezone)
    day = 1 / (1 + np.exp(-(hour - 8) * 6)) / (1 + np.exp((hour - 18) * 3))
    return day * np.where(weekday_of(times, timezone) >= 5, weekend, 1.0)


def wander(rng: np.random.Generator, n: int, m: int, memory: float) -> Any:
    """m columns of Gaussian noise of size 1 that remembers `memory` rows: float64[n, m]."""
    keep = np.exp(-1 / memory)
    out = rng.normal(size=(n, m))
    out[1:] *= np.sqrt(1 - keep * keep)
    for k in range(1, n):
        out[k] += keep * out[k - 1]
    return out


def noise(rng: np.random.Generator, n: int, m: int) -> Any:
    """m columns of noise of a size near 1, most of it without a memory: float64[n, m]."""
    return 0.9 * rng.normal(size=(n, m)) + 0.45 * wander(rng, n, m, 30)


def struck(
    rng: np.random.Generator, times: Any, values: Any, first: int, length: int, change: Change, each: int = 2
) -> list[Fault]:
    """Change `length` rows of every column `each` times, somewhere from row `first` on, in place."""
    n, m = values.shape
    room = (n - first) // each
    if room < 2 * length + 1:
        raise ValueError(f"{each} faults of {length} rows do not fit into {n - first} rows")
    faults = []
    for series in range(m):
        for turn in range(each):
            start = first + turn * room + int(rng.integers(0, room - 2 * length))
            faults.append(struck_at(times, values, series, start, length, change))
    return faults


def struck_at(times: Any, values: Any, series: int, start: int, length: int, change: Change) -> Fault:
    """Change rows [start, start + length) of one column, in place."""
    part = slice(start, start + length)
    values[part, series] = change(values[part, series])
    end = int(times[start + length]) if start + length < len(times) else int(times[-1]) + 1
    return Fault(series, int(times[start]), end)


def rows_at(times: Any, days: Any, hour: float, timezone: str = "UTC") -> Any:
    """The first row of each of these days (since 1970) at or after an hour: int64[k]."""
    return np.searchsorted(local_seconds(times, zone(timezone)), np.asarray(days) * 86_400 + int(hour * 3600))


def business_paydays(days: Any) -> Any:
    """The last Monday-to-Friday day of each whole month among these days since 1970: int64[k]."""
    days = np.unique(days)
    months = days.astype("datetime64[D]").astype("datetime64[M]")
    last = [days[(months == month) & ((days + 3) % 7 < 5)].max() for month in np.unique(months)[:-1]]
    return np.array(last, np.int64)


def missing(rng: np.random.Generator, values: Any, share: float, outages: int = 0, length: int = 0) -> None:
    """Rows that did not come: a share of all, and some outages of all columns, in place."""
    values[rng.random(values.shape) < share] = np.nan
    for start in rng.integers(0, len(values) - length, outages):
        values[start : start + length] = np.nan
