"""Columns in JSON: an object whose time is a list, and beside it lists of numbers of the same length."""

from __future__ import annotations

import math
from typing import Any

from almenara.codecs._json_records import BY_TYPE, TIME, VALUE, Record, Refusals, Rules, at

_NUMBERS = {int, float, bool, type(None)}


def columns_of(
    document: dict[str, Any], rules: Rules, refusals: Refusals, where: str
) -> tuple[Record, list[Any], list[Any]] | None:
    """(record, times, a list of numbers for each value of the record); None where no time is a list.

    The values of the record only name its columns. What is refused: `uneven` a list of another length than the times;
    `list` one that holds more than numbers; `no_column` a number alone; `null` a missing number.
    """
    time_key = next((k for k, v in document.items() if type(v) is list and rules.role("", k)[0] == TIME), None)
    if time_key is None:
        return None
    times, rest, columns = document[time_key], {}, []
    names: list[tuple[str, float]] = []
    for key, value in document.items():
        role, path = rules.role("", key)
        if key == time_key:
            continue
        if type(value) is not list or role not in (BY_TYPE, VALUE):
            rest[key] = value
        elif (role == VALUE or not rules.only_listed) and _is_column(value, len(times), at(where, path), refusals):
            names.append((path, 0.0))
            columns.append(value)
    if not columns:
        refusals.add("no_value", where, "found no list of numbers beside the times")
        return Record(), [], []
    record = rules.record(rest, where, refusals)
    if record is None:
        return Record(), [], []
    if record.values:
        refusals.add("no_column", at(where, record.values[0][0]), rows=len(record.values))
    record.values, record.states = names, {}
    return record, times, columns


def _is_column(values: list[Any], length: int, where: str, refusals: Refusals) -> bool:
    kinds = set(map(type, values))
    if len(values) != length:
        refusals.add("uneven", where, f"found {len(values)} numbers and {length} times", max(len(values), 1))
    elif not kinds <= _NUMBERS:
        refusals.add("list", where, "expected a list of numbers", max(len(values), 1))
    elif not _are_finite([v for v in values if v is not None] if type(None) in kinds else values):
        refusals.add("not_finite", where, "", length)
    else:
        if missing := values.count(None):
            refusals.add("null", where, rows=missing)
        return True
    return False


def _are_finite(values: list[Any]) -> bool:
    try:
        total = float(sum(values))  # which NaN, an infinity or a whole number past all floats spoils
        return total - total == 0.0 or all(math.isfinite(float(v)) for v in values)
    except OverflowError:
        return False
