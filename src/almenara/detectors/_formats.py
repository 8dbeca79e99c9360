"""Formats of what `seasonal` has learned: how a state of an older version is made one of this version.

The state is a table of named arrays: `format` says what its numbers mean, `slots` holds a row of named fields for each
series. Whoever changes what they mean

1. raises FORMAT in detectors/seasonal.py,
2. adds a function to UPGRADES that makes a state of the format before one of the new one, or as much of it as can be
   kept: a slot of zeros is a series of which nothing is known,
3. records a state of the new format: `python -m tests.detectors.test_formats`. The recorded one of the format before
   stays, and must be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from almenara.analysis.seasonal_periods import PERIODS
from almenara.analysis.seasonal_slot import NEVER, SLOT

Arrays = Mapping[str, Any]
#: By format: what makes a state of it one of the next format.
Upgrades = Mapping[int, Callable[[Arrays], Arrays]]


def upgraded(arrays: Arrays, format: int, upgrades: Upgrades) -> Arrays:
    """The state in this format, as far as upgrades lead there; as it is where they do not."""
    while (found := _format(arrays)) in upgrades and found < format:
        arrays = {**upgrades[found](arrays), "format": np.array([found + 1], np.int64)}
    return arrays


def _format(arrays: Arrays) -> int:
    found = np.ravel(arrays["format"]) if "format" in arrays else np.empty(0)
    return int(found[0]) if len(found) == 1 and found.dtype.kind == "i" else -1


def checked(name: str, arrays: Arrays, mine: Arrays) -> dict[str, np.ndarray]:
    """The arrays of a state, if they fit `mine`, a state of this version and these options. Raises ValueError."""
    if missing := sorted(mine.keys() - arrays.keys()):
        raise ValueError(f"{name}: state has no {', '.join(missing)}; found {sorted(arrays)}")
    found = {key: np.asarray(arrays[key]) for key in mine}
    for key in ("format", "options", "timezone"):
        if not np.array_equal(found[key], mine[key]):
            raise ValueError(f"{name}: {key} of the state is {found[key]!r}; expected {mine[key]!r}")
    slots = found["slots"]
    if slots.dtype != mine["slots"].dtype or slots.ndim != 1:
        raise ValueError(f"{name}: slots of the state are {slots.dtype}[{slots.ndim} axes], not of this version")
    return found


def with_fields(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Structured rows with the fields of `dtype`: those of the same name as they are, new ones zero."""
    made = np.zeros(len(rows), dtype)
    for field in set(rows.dtype.names or ()) & set(dtype.names or ()):
        made[field] = rows[field]
    return made


def _with_periods(state: Arrays) -> Arrays:
    """From 6: no series has periods of its own yet. In a series that is a state the profiles are other fields, of the
    same bytes, which lie as they did."""
    return {**state, "slots": with_fields(state["slots"], SLOT), "periods": np.zeros(0, PERIODS)}


def _with_roots(state: Arrays) -> Arrays:
    """From 7: deviations of every series are differences until it has chosen a root; small numbers are smaller."""
    return {**state, "slots": with_fields(state["slots"], SLOT)}


def _with_weeks(state: Arrays) -> Arrays:
    """From 8: how many weeks this hour was seen is read with the profiles, so these are to be read again."""
    slots = state["slots"].copy()
    slots["quarter"] = NEVER
    return {**state, "slots": slots}


UPGRADES: Upgrades = {6: _with_periods, 7: _with_roots, 8: _with_weeks}
