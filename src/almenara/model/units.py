"""Units of measurement as check plugins write them: the unit that a series has, and what to divide a value by.

Source: https://nagios-plugins.org/doc/guidelines.html#AEN200
"""

from __future__ import annotations

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
