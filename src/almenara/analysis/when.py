"""What season or event a time belongs to, in words: "Sunday 03:30", "Monday 10:00, Christmas Day"."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from almenara.model.time import NS

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def words_of(timezone: str = "UTC", country: str = "") -> Callable[[int], str]:
    """A function from a time in ns UTC to the day of the week and time of day that clocks of a site show, and the
    public holiday, if it is one. country: as in `calendars.site_zone`; empty: no holidays."""
    zone = ZoneInfo(timezone)

    def words(time: int) -> str:
        local = datetime.fromtimestamp(time // NS, UTC).astimezone(zone)
        said = f"{_DAYS[local.weekday()]} {local:%H:%M}"
        name = _holidays(country, local.year).get(local.date(), "") if country else ""
        return f"{said}, {name}" if name else said

    return words


@lru_cache(maxsize=256)
def _holidays(country: str, year: int) -> dict[date, str]:
    import holidays

    code, _, part = country.partition("-")
    found: Any = holidays.country_holidays(code, subdiv=part or None, years=year)
    return dict(found)
