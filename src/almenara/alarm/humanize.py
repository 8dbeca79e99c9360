"""The functions of annotation texts: numbers as people read them, with the very texts that Prometheus gives.

Source: https://github.com/prometheus/prometheus/blob/main/template/template.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

MAX_WIDTH = 200  # of a printed value, and of a pattern

_ABOVE = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")
_ABOVE_1024 = ("", "ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi")
_BELOW = ("", "m", "u", "n", "p", "f", "a", "z", "y")
_VERB = re.compile(r"%([-+ 0#]*)(\d{0,3})(?:\.(\d{1,2}))?([a-zA-Z%])")


def as_text(value: Any) -> str:
    """A value as Go prints it."""
    if isinstance(value, float):
        return _shortest(value)
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{k}:{v}" for k, v in sorted(value.items())) + "]"
    return "true" if value is True else "false" if value is False else str(value)


def humanize(value: Any) -> str:
    """1234567 -> 1.235M; 0.0012 -> 1.2m."""
    v = _number(value)
    if v == 0 or not math.isfinite(v):
        return _four(v)
    if abs(v) >= 1:
        return _above(v, 1000, _ABOVE)
    v, prefix = _below(v)
    return _four(v) + prefix


def humanize_1024(value: Any) -> str:
    """1048576 -> 1Mi."""
    v = _number(value)
    return _four(v) if abs(v) <= 1 or not math.isfinite(v) else _above(v, 1024, _ABOVE_1024)


def humanize_duration(value: Any) -> str:
    """Seconds: 5025 -> 1h 23m 45s; 0.005 -> 5ms."""
    v = _number(value)
    if not math.isfinite(v):
        return _four(v)
    if v == 0:
        return "0s"
    if abs(v) < 1:
        v, prefix = _below(v)
        return f"{_four(v)}{prefix}s"
    sign, whole = "-" if v < 0 else "", int(abs(v))
    days, hours, minutes, seconds = whole // 86_400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    return f"{sign}{minutes}m {seconds}s" if minutes else f"{sign}{_four(abs(v))}s"


def humanize_percentage(value: Any) -> str:
    """0.0712 -> 7.12%."""
    return _four(_number(value) * 100) + "%"


def humanize_timestamp(value: Any) -> str:
    """Seconds since 1970 as a date and time of UTC."""
    v = _number(value)
    if not math.isfinite(v):
        return _four(v)
    if not abs(v) < 2**33:
        raise ValueError(f"humanizeTimestamp: {_four(v)} is no time")
    moment = datetime.fromtimestamp(int(v * 1000) / 1000, UTC)
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%d %H:%M:%S}{fraction} +0000 UTC"


def printf(pattern: Any, *values: Any) -> str:
    """`printf "%.2f" $value`: the verbs v s q d f e g x t and %, with flags, width and precision. Raises ValueError."""
    rest = list(values)

    def one(found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb == "%":
            return "%"
        if int(width or 0) > MAX_WIDTH:
            raise ValueError(f"printf: a width of {width}; at most {MAX_WIDTH}")
        if not rest:
            raise ValueError(f"printf: no value for {found[0]}")
        return _printed(flags, width, precision, verb, rest.pop(0))

    text = _VERB.sub(one, _text(pattern))
    if rest:
        raise ValueError(f"printf: {len(rest)} values more than its pattern takes")
    return text


def _printed(flags: str, width: str, precision: str | None, verb: str, value: Any) -> str:
    exact = "" if precision is None else f".{precision}"
    if verb in "feEgGF":
        if verb in "gG" and precision is None:
            return f"{_shortest(_number(value)):>{width or 0}}"
        return f"%{flags}{width}{exact or '.6'}{verb}" % _number(value)
    if verb in "dxXo":
        return f"%{flags}{width}{verb}" % round(_number(value))
    if verb in "vsqt":
        text = as_text(value)
        return f"%{flags.replace('0', '')}{width}{exact}s" % (f'"{text}"' if verb == "q" else text)
    raise ValueError(f"printf: %{verb} is not known; there are v s q d f e g x t")


def _replaced(pattern: Any, by: Any, text: Any) -> str:
    found = _text(pattern)
    # What `re` can hang on is left out: repeated groups, back-references, and many repeats in a long text.
    repeats = len(re.findall(r"[*+{]", found))
    if len(found) > MAX_WIDTH or repeats > 2 or re.search(r"\)[*+{]|\\\d|\(\?", found):
        raise ValueError(f"reReplaceAll: {found[:40]!r} may take long; at most two of * + {{, none on a group")
    by = re.sub(r"\$\{?(\w+)\}?", r"\\g<\1>", _text(by).replace("\\", r"\\"))
    return re.sub(found, by, _text(text)[:300])


def _index(table: Any, name: Any) -> Any:
    if not isinstance(table, Mapping):
        raise ValueError(f"index: {as_text(table)!r} is no table; expected $labels")
    return table.get(_text(name), "")


def _strip_port(text: Any) -> str:
    found = re.fullmatch(r"(?:\[(.+)\]|([^:]+)):\d*", _text(text))
    return (found[1] or found[2]) if found else _text(text)


def _strip_domain(text: Any) -> str:
    found = re.fullmatch(r"([^:]*?)(:\d+)?", _text(text))
    if found is None or re.fullmatch(r"[\d.]+", found[1]):  # an address
        return _text(text)
    return found[1].partition(".")[0] + (found[2] or "")


def _number(value: Any) -> float:
    return value if isinstance(value, float) else float(_text(value))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)


def _four(v: float) -> str:
    return f"{v:.4g}" if math.isfinite(v) else _shortest(v)


def _shortest(v: float) -> str:
    """As Go's %v: the fewest digits, with an exponent from 1e+06 on and below 1e-04."""
    if not math.isfinite(v):
        return "NaN" if v != v else "+Inf" if v > 0 else "-Inf"
    digits = Decimal(repr(v)).normalize().as_tuple()
    power = len(digits.digits) + int(digits.exponent) - 1
    if v and not -4 <= power < 6:
        first, rest = digits.digits[0], "".join(map(str, digits.digits[1:]))
        return f"{'-' * digits.sign}{first}{'.' * bool(rest)}{rest}e{power:+03d}"
    return format(Decimal(repr(v)).normalize(), "f") if v else "0"


def _above(v: float, step: float, prefixes: tuple[str, ...]) -> str:
    at = 0
    while at + 1 < len(prefixes) and abs(v) >= step:
        v, at = v / step, at + 1
    return _four(v) + prefixes[at]


def _below(v: float) -> tuple[float, str]:
    at = 0
    while at + 1 < len(_BELOW) and abs(v) < 1:
        v, at = v * 1000, at + 1
    return v, _BELOW[at]


#: Name -> (function, the fewest and the most values it takes).
FUNCTIONS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "humanize": (humanize, 1, 1),
    "humanize1024": (humanize_1024, 1, 1),
    "humanizeDuration": (humanize_duration, 1, 1),
    "humanizePercentage": (humanize_percentage, 1, 1),
    "humanizeTimestamp": (humanize_timestamp, 1, 1),
    "printf": (printf, 1, 20),
    "print": (lambda *values: "".join(map(as_text, values)), 1, 20),
    "title": (lambda text: re.sub(r"\b[a-z]", lambda m: m[0].upper(), _text(text)), 1, 1),
    "toUpper": (lambda text: _text(text).upper(), 1, 1),
    "toLower": (lambda text: _text(text).lower(), 1, 1),
    "reReplaceAll": (_replaced, 3, 3),
    "stripPort": (_strip_port, 1, 1),
    "stripDomain": (_strip_domain, 1, 1),
    "index": (_index, 2, 2),
}
