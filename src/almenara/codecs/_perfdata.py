"""Performance data of Nagios plugins: `rta=0.8ms;100;500;0 pl=0%;20;60` as values in one unit each, with thresholds.

Standard: https://nagios-plugins.org/doc/guidelines.html#AEN200 (label=value[UOM];[warn];[crit];[min];[max])
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from almenara.model.units import check_unit

_NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_LABEL = re.compile(r"\s*(?:'((?:[^']|'')*)'|([^=\s']+))=")
_VALUE = re.compile(rf"({_NUMBER}|U|nan|NaN)([^\s;]*)")
_FIELD = re.compile(r";([^\s;]*)")
_RANGE = re.compile(rf"(@?)(?:(~|{_NUMBER}|):)?({_NUMBER})?")


@dataclass(frozen=True, slots=True)
class Threshold:
    """When a value is bad: outside [lower, upper], or inside it where `inside`. Infinite bounds are none."""

    lower: float
    upper: float
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Perf:
    """One figure of a check, in `unit`. value: NaN where the plugin could not tell (`U`); min, max: where not said.

    is_counter: the plugin counts up (UOM `c`).
    """

    label: str
    value: float
    unit: str = ""
    is_counter: bool = False
    warn: Threshold | None = None
    crit: Threshold | None = None
    min: float = math.nan
    max: float = math.nan


@dataclass(frozen=True, slots=True)
class BadPerf:
    """A piece that is no performance data."""

    text: str


def parse_perfdata(text: str) -> Iterator[Perf | BadPerf]:
    """Every figure of a text, in its order; what cannot be read is a BadPerf, and reading goes on behind it."""
    pos = 0
    while pos < len(text):
        if text[pos].isspace():
            pos += 1
            continue
        label = _LABEL.match(text, pos)
        value = _VALUE.match(text, label.end()) if label else None
        if label is None or value is None:
            pos = _after_word(text, label.end() if label else pos)
            yield BadPerf(text[label.start() if label else max(0, pos - 40) : pos].strip()[:40])
            continue
        pos = value.end()
        fields: list[str] = []
        while len(fields) < 4 and (found := _FIELD.match(text, pos)):
            fields.append(found[1])
            pos = found.end()
        if pos < len(text) and not text[pos].isspace():
            pos = _after_word(text, pos)
        name = label[1].replace("''", "'") if label[1] is not None else label[2]
        yield _perf(name, value[1], value[2], [*fields, "", "", "", ""])


def _after_word(text: str, pos: int) -> int:
    while pos < len(text) and not text[pos].isspace():
        pos += 1
    return max(pos, 1)


def _perf(label: str, value: str, uom: str, fields: list[str]) -> Perf:
    unit, per = check_unit(uom)
    low, high = (_number(field) / per for field in fields[2:4])
    warn, crit = (_threshold(field, per) for field in fields[:2])
    return Perf(label, _number(value) / per, unit, uom == "c", warn, crit, low, high)


def _number(text: str) -> float:
    """NaN where it is none. Some plugins write a decimal comma."""
    try:
        found = float(text.replace(",", ".")) if re.fullmatch(_NUMBER, text) else math.nan
    except ValueError:
        return math.nan
    return found if math.isfinite(found) else math.nan


def _threshold(text: str, per: float) -> Threshold | None:
    """A range `[@][start:][end]` in the unit of the series; None where it is empty or no range."""
    found = _RANGE.fullmatch(text)
    if found is None or not (found[2] is not None or found[3]):
        return None
    lower = -math.inf if found[2] == "~" else _number(found[2]) / per if found[2] else 0.0
    upper = _number(found[3]) / per if found[3] else math.inf
    return Threshold(lower, upper, bool(found[1]))
