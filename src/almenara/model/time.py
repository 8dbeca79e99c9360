"""Times and durations as people and devices write them. Inside, a time is int nanoseconds since 1970 in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

NS = 1_000_000_000
MINUTE_NS, HOUR_NS, DAY_NS, WEEK_NS = 60 * NS, 3600 * NS, 86_400 * NS, 604_800 * NS

#: Times before 1971 are rejected: they are clocks that were never set. LATEST_NS is the last that an int64 holds.
EARLIEST_NS = 365 * DAY_NS
LATEST_NS = 2**63 - 1

_UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800, "y": 365 * 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w|y)")


def parse_duration(text: str) -> float:
    """Seconds in a duration such as `5m`, `1h30m`, `250ms` (the units of PromQL)."""
    parts = _DURATION.findall(text)
    if not parts or "".join(n + u for n, u in parts) != text:
        raise ValueError(f"{text!r} is no duration; expected one such as 30s, 5m, 1h30m, 7d")
    return sum(float(n) * _UNIT_S[u] for n, u in parts)


def format_duration(seconds: float) -> str:
    """A duration as `parse_duration` reads it: 5400 -> `1h30m`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    left, parts = round(seconds), []
    for unit in ("w", "d", "h", "m", "s"):
        n, left = divmod(left, int(_UNIT_S[unit]))
        parts += [f"{n}{unit}"] if n else []
    return "".join(parts)


def ns_from_number(number: float) -> int:
    """A numeric time stamp in ns; its unit (s, ms, us, ns) is told by its magnitude, right from 1971 to 2286.

    Whole numbers stay exact; others are rounded to a microsecond, since as seconds they cannot tell less. Raises
    ValueError for NaN and infinities.
    """
    size = abs(number)
    for limit, factor in ((1e10, NS), (1e13, 1_000_000), (1e16, 1000)):
        if size < limit:
            return number * factor if isinstance(number, int) else round(number * (factor // 1000)) * 1000
    if number != number or size == float("inf"):
        raise ValueError(f"{number!r} is no time")
    return int(number)


def ns_from_iso(text: str) -> int:
    """An ISO 8601 time in ns, exact to the nanosecond; without an offset it is UTC."""
    match = re.fullmatch(r"(.*?)(?:[.,](\d{1,9})\d*)?(Z|[+-]\d\d:?\d\d)?", text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no ISO 8601 time")
    whole, fraction, offset = match.groups()
    moment = datetime.fromisoformat(whole + (offset or ""))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return ns_from_datetime(moment) + int((fraction or "0").ljust(9, "0"))


def ns_from_datetime(moment: datetime) -> int:
    """An aware datetime in ns, exactly."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * NS + delta.microseconds * 1000


def parse_time(text: str | int | float) -> int:
    """A time in ns, from a number of any unit or an ISO 8601 text."""
    if isinstance(text, int | float):
        return ns_from_number(text)
    if re.fullmatch(r"[+-]?\d+", text):
        return ns_from_number(int(text))
    if re.fullmatch(r"[+-]?\d*\.\d*(e[+-]?\d+)?", text, re.IGNORECASE):
        return ns_from_number(float(text))
    return ns_from_iso(text)


def format_time(ns: int) -> str:
    """A time as ISO 8601 in UTC, with as many decimals as it needs."""
    seconds, rest = divmod(ns, NS)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{rest:09d}".rstrip("0") if rest else "") + "Z"
