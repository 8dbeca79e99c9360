"""What a graph shows, whatever draws it: one series with its band, anomalies and alarms; colours and scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from almenara.plot.gaps import gaps, with_gaps

_MS = 1_000_000
#: The band is seen as far beyond the values, in parts of their range; that of a series' first rows may be very wide.
_BAND_REACH = 1.5


@dataclass(frozen=True, slots=True)
class Style:
    """Colours of a figure; the same as in the dashboard's style sheet."""

    surface: str
    ink: str
    muted: str
    grid: str
    data: str
    severity: Mapping[str, str]


LIGHT = Style(
    "#ffffff",
    "#1b2430",
    "#596473",
    "#eceae3",
    "#1c5d99",
    {"warning": "#c98a00", "minor": "#d9660b", "major": "#d0342c", "critical": "#a3136f"},
)
DARK = Style(
    "#171f29",
    "#e6ebf1",
    "#9caabb",
    "#222d39",
    "#6cb2f5",
    {"warning": "#f0b93a", "minor": "#ff9547", "major": "#ff6b5e", "critical": "#ff74c8"},
)


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One series to draw. time: int64[n], ns UTC; value, yhat, lower, upper, score: float64[n], NaN = not known.

    alarms: (start ns, end ns or None while it is open, severity). marks: int64[k] ns, rising, which rows with a score
    of 1 or more get a mark, None = all of them; notes: a sentence for each mark.
    """

    title: str
    time: Any
    value: Any
    yhat: Any = None
    lower: Any = None
    upper: Any = None
    score: Any = None
    unit: str = ""
    alarms: Sequence[tuple[int, int | None, str]] = field(default_factory=tuple)
    marks: Any = None
    notes: Sequence[str] = ()

    def marked(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """int64[k]: which rows of `drawn` get a mark."""
        over = columns["score"] >= 1
        if self.marks is not None:
            over &= np.isin(columns["time"], np.asarray(self.marks, np.int64) / _MS)
        return np.flatnonzero(over)

    def columns(self) -> dict[str, np.ndarray]:
        """All columns as arrays of one length, time in ms. Raises ValueError where lengths differ."""
        time = np.asarray(self.time, np.int64)
        found = {"time": time / _MS}
        for name in ("value", "yhat", "lower", "upper", "score"):
            given = getattr(self, name)
            column = np.full(len(time), math.nan) if given is None else np.asarray(given, np.float64)
            if len(column) != len(time):
                raise ValueError(f"{name} of {self.title!r}: expected {len(time)} rows as in time; got {len(column)}")
            found[name] = column
        return found

    def drawn(self, width: int) -> dict[str, np.ndarray]:
        """`columns`, with a missing row in every gap that is wider than one of `width` pixels."""
        found = self.columns()
        time = found.pop("time")
        middles, _ = gaps(np.asarray(self.time, np.int64), np.ptp(time) * _MS / width if len(time) else 0)
        return with_gaps(time, found, middles / _MS)


def value_range(columns: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """What the value axis shows: all values, and the band as far as it is near them. As on the dashboard."""
    value, lower, upper = (one[np.isfinite(one)] for one in (columns["value"], columns["lower"], columns["upper"]))
    if not len(value):
        value = np.concatenate((lower, upper)) if len(lower) and len(upper) else np.array([0.0, 1.0])
    low, high = float(value.min()), float(value.max())
    reach = _BAND_REACH * (high - low) or abs(high) * 0.5 or 1.0
    if len(lower) and len(upper):
        low, high = min(low, max(float(lower.min()), low - reach)), max(high, min(float(upper.max()), high + reach))
    pad = 0.09 * (high - low) or abs(high) * 0.1 or 1.0
    return low - pad, high + pad
