"""Units of measurement: as check plugins write them, and as people read them.

Source of the first: https://nagios-plugins.org/doc/guidelines.html#AEN200
"""

from __future__ import annotations

import re

#: Unit of measurement -> (unit of the series, divisor). A plugin may change its unit with the size of the value; the
#: series must not. Bytes are counted in 1024s, as the Monitoring Plugins write them.
CHECK_UNITS: dict[str, tuple[str, float]] = {
    "": ("", 1.0), "s": ("s", 1.0), "ms": ("s", 1e3), "us": ("s", 1e6), "µs": ("s", 1e6), "ns": ("s", 1e9),
    "%": ("%", 1.0), "c": ("", 1.0), "C": ("C", 1.0), "b": ("B", 1.0), "kb": ("B", 2.0**-10), "mb": ("B", 2.0**-20),
    "gb": ("B", 2.0**-30), "tb": ("B", 2.0**-40), "pb": ("B", 2.0**-50), "kib": ("B", 2.0**-10),
    "mib": ("B", 2.0**-20), "gib": ("B", 2.0**-30), "tib": ("B", 2.0**-40), "pib": ("B", 2.0**-50),
}  # fmt: skip


def check_unit(uom: str) -> tuple[str, float]:
    """(unit of the series, divisor) of a unit of measurement; one that is not known stays as it is."""
    return CHECK_UNITS.get(uom) or CHECK_UNITS.get(uom.lower(), (uom, 1.0))


_SYMBOLS = {
    "bytes": "B", "byte": "B", "By": "B", "percent": "%", "celsius": "°C", "seconds": "s", "second": "s", "ratio": "",
    "1": "", "bytes/s": "B/s", "By/s": "B/s", "bytes_per_second": "B/s", "hertz": "Hz", "volts": "V", "amperes": "A",
    "watts": "W", "meters": "m",
}  # fmt: skip
_ENDINGS = (
    (r"_bytes_per_second$|_bytes_per_s$", "B/s"), (r"_bits_per_second$", "bit/s"), (r"_per_(s|second)$", "/s"),
    (r"_bytes(_total)?$", "B"), (r"_percent$", "%"), (r"_(milliseconds|ms)$", "ms"), (r"_seconds(_total)?$", "s"),
    (r"_celsius$", "°C"), (r"_bar$", "bar"), (r"_volts$", "V"), (r"_amperes$", "A"), (r"_watts$", "W"),
    (r"_hertz$", "Hz"), (r"_meters$", "m"),
)  # fmt: skip
#: Units that take a prefix when numbers grow.
_PREFIXED = frozenset({"B", "B/s", "bit/s", "W", "Hz", "V", "A"})
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def unit_symbol(unit: str, name: str = "") -> str:
    """A unit as people write it: "celsius" -> "°C". Without one, what the name of the series ends in, as Prometheus'
    naming rules have it. As the dashboard does it."""
    if not unit:
        return next((symbol for pattern, symbol in _ENDINGS if re.search(pattern, name)), "")
    return _SYMBOLS.get(unit, unit)


def scale_of(size: float, symbol: str) -> tuple[float, str]:
    """(what to divide numbers by, the unit then) for numbers as large as `size`: (1e9, "GB") for 3.2e9 B."""
    if symbol in _PREFIXED:
        for factor, prefix in _PREFIXES:
            if abs(size) >= factor:
                return factor, prefix + symbol
    return 1.0, symbol
