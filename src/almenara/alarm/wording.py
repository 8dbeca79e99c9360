"""Times, spans, series and values as a message writes them: short, in one line, whatever they are made of."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from almenara.model.alarm import Evidence
from almenara.model.causes import figure
from almenara.model.series import Series
from almenara.model.text import one_line
from almenara.model.time import NS
from almenara.model.units import scale_of

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_SPANS = (
    (365 * 86_400, "year"), (30.44 * 86_400, "month"), (86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"),
)  # fmt: skip
#: A span below so many of a unit is told with the next smaller one as well: "1 hour 20 minutes", but "5 hours".
_FINE = 3


def series_text(series: Series, most: int = 60) -> str:
    """A series in few letters: "temperature (plant=brewery, tank=3)"; the last labels are left out where it is long."""
    name, pairs = one_line(series.name, most), [one_line(f"{k}={v}", most) for k, v in series.labels]
    for n in range(len(pairs), -1, -1):
        inside = ", ".join([*pairs[:n], *(["…"] if n < len(pairs) else [])])
        text = f"{name} ({inside})" if inside else name
        if len(text) <= most:
            return text
    return name


def count(number: int, thing: str) -> str:
    """ "1 alarm", "3 alarms", "10,000 alarms"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """A span of time in words, as exact as people say it: "1 hour 20 minutes", "5 hours", "less than a second"."""
    if seconds < 1:
        return "less than a second"
    at = next(n for n, (size, _) in enumerate(_SPANS) if seconds >= size)
    size, name = _SPANS[at]
    whole = int(seconds // size)
    if whole >= _FINE or at + 1 == len(_SPANS):
        return count(round(seconds / size), name)
    smaller, less = _SPANS[at + 1]
    rest = int((seconds - whole * size) // smaller)
    return f"{count(whole, name)} {count(rest, less)}" if rest else count(whole, name)


@lru_cache(maxsize=16)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def clock(time_ns: int, now_ns: int, timezone: str) -> str:
    """A time as the site's clocks show it, with as much of the date as it takes: "03:12 CET", "Saturday 03:12 CET",
    "2 November 03:12 CET"."""
    zone = _zone(timezone)
    local, now = (datetime.fromtimestamp(one // NS, UTC).astimezone(zone) for one in (time_ns, now_ns))
    abbreviation = local.tzname() or ""
    zone_name = f"UTC{abbreviation}" if abbreviation[:1] in "+-" else abbreviation
    text = f"{local:%H:%M} {zone_name}".rstrip()
    days = (now.date() - local.date()).days
    if days == 0:
        return text
    if 0 < days < 7:
        return f"{_DAYS[local.weekday()]} {text}"
    year = "" if local.year == now.year else f" {local.year}"
    return f"{local.day} {_MONTHS[local.month - 1]}{year} {text}"


def since(time_ns: int, now_ns: int, timezone: str) -> str:
    """A time and how long ago it was: "03:12 CET, 4 minutes ago"."""
    gone = (now_ns - time_ns) / NS
    ago = "just now" if gone < 1 else f"{span(gone)} ago"
    return f"{clock(time_ns, now_ns, timezone)}, {ago}"


def value_text(evidence: Evidence, unit: str) -> str:
    """What was measured: "93.2 °C", "3.21 GB", empty where there is no value."""
    if not math.isfinite(evidence.value):
        return ""
    return _amount(evidence.value, unit, evidence.value)


def expected_text(evidence: Evidence, unit: str) -> str:
    """What was expected, where the value is not: "20 to 42 °C", "at most 42 °C"; else empty."""
    value, low, high = evidence.value, evidence.lower, evidence.upper
    if not (value < low or value > high):
        return ""
    factor, symbol = scale_of(max((abs(x) for x in (low, high) if math.isfinite(x)), default=0.0), unit)
    size = max(abs(x) for x in (low, high) if math.isfinite(x))
    lower, upper = (figure(x / factor) for x in (low, high))
    if math.isfinite(low) and math.isfinite(high):
        return _with(f"{lower} to {upper}", symbol)
    return f"at most {_amount(high, unit, size)}" if math.isfinite(high) else f"at least {_amount(low, unit, size)}"


def cause_text(evidence: Evidence) -> str:
    """Why, without the numbers that `value_text` and `expected_text` say better: "Higher than usual for this time of
    day and week (Sunday 03:30)"."""
    cause, colon, numbers = evidence.why.rpartition(": ")
    told = re.match(r"-?[\d.,]+(e[-+]?\d+)?", numbers) if colon else None
    if told is None or not math.isfinite(evidence.value) or not _is(told[0].rstrip(".,"), evidence.value):
        return one_line(evidence.why)
    return one_line(cause)


def _is(text: str, value: float) -> bool:
    """Does this figure stand for the value?"""
    try:
        return math.isclose(float(text.replace(",", "")), value, rel_tol=1e-3, abs_tol=1e-300)
    except ValueError:
        return False


def _amount(value: float, unit: str, size: float) -> str:
    factor, symbol = scale_of(size, unit)
    return _with(figure(value / factor), symbol)


def _with(number: str, symbol: str) -> str:
    return f"{number}{'' if symbol in ('', '%') else ' '}{one_line(symbol, 20)}"
