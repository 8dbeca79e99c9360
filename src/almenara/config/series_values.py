"""The values of a series in a test of rules, as promtool writes them: `0+10x5 _x3 stale`.

Source: prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules, "<series>".
"""

from __future__ import annotations

import re

import numpy as np

_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[iI]nf|0x[0-9a-fA-F]+)|NaN"
_STEP = re.compile(rf"({_NUMBER})([+-](?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+))?(?:x(\d+))?")
_GAP = re.compile(r"_(?:x(\d+))?")
#: One series of a test has at most so many values.
MOST = 1_000_000


def series_values(text: str) -> tuple[np.ndarray, np.ndarray]:
    """(float64[n], bool[n]): values, and which of them are there; `_` and `stale` are not. Raises ValueError.

    `a+bxn` is a, a+b, ... of n + 1 values, `a-bxn` likewise, `axn` is a, n + 1 times; `_xn` is n times nothing.
    """
    values: list[np.ndarray] = []
    there: list[np.ndarray] = []
    total = 0
    for word in text.split():
        some, are = _word(word)
        total += len(some)
        if total > MOST:
            raise ValueError(f"has more than {MOST:,} values")
        values.append(some)
        there.append(np.full(len(some), are))
    if not values:
        return np.empty(0), np.empty(0, np.bool_)
    return np.concatenate(values), np.concatenate(there)


def _word(word: str) -> tuple[np.ndarray, bool]:
    if word == "stale":
        return np.full(1, np.nan), False
    if gap := _GAP.fullmatch(word):
        return np.full(_times(gap[1]) if gap[1] else 1, np.nan), False
    found = _STEP.fullmatch(word)
    if found is None or (found[2] and not found[3]):
        raise ValueError(f"has {word!r}, expected a number, a+bxn, axn, _, _xn or stale")
    first, step, times = float(found[1]), float(found[2] or 0), _times(found[3]) if found[3] else 0
    values = np.full(times + 1, first)
    values[1:] += step * np.arange(1, times + 1) if step else 0.0
    return values, True


def _times(text: str) -> int:
    if len(text) > 7 or int(text) > MOST:
        raise ValueError(f"has x{text[:20]}, expected at most x{MOST}")
    return int(text)
