"""How the data set `plant` is made: part of the simulated plant, with a fixed seed and five faults at known times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from almenara.model.time import HOUR_NS, MINUTE_NS, ns_from_iso

SEED = 7
START, WEEKS, EVERY_NS = "2026-03-02T00:00:00Z", 4, 5 * MINUTE_NS

#: Titles of the data set's columns -> (name, label value) of the plant's series.
COLUMNS = {
    "shop_requests_per_s": ("requests_per_s", "shop"),
    "shop_latency_ms": ("latency_ms", "shop"),
    "pump_2_flow": ("flow", "P-102"),
    "pump_2_pressure": ("pressure", "P-102"),
    "pump_3_vibration": ("vibration", "P-103"),
    "pump_4_motor_temperature": ("motor_temperature", "P-104"),
    "reservoir_level": ("reservoir_level", "waterworks"),
}


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault: its name in the plant, from when (hour of the data set) for how many hours, growing for how many."""

    fault: str
    at_h: float
    hours: float
    grows_h: float
    series: tuple[str, ...]

    @property
    def since(self) -> int:
        """When it begins, ns."""
        return ns_from_iso(START) + int(self.at_h * HOUR_NS)

    @property
    def until(self) -> int:
        """When it is gone, ns."""
        return self.since + int(self.hours * HOUR_NS)

    def told(self) -> dict[str, Any]:
        """For people."""
        since, until = (datetime.fromtimestamp(ns // 10**9, UTC) for ns in (self.since, self.until))
        return {"fault": self.fault, "series": list(self.series), "since": since, "until": until}


_PUMPS = tuple(title for title in COLUMNS if title.startswith("pump"))

#: In the last two weeks: the first two are for learning.
FAULTS = (
    Planted("leak", 16 * 24 + 10, 3, 0.5, ("pump_2_flow", "pump_2_pressure")),
    Planted("drift", 18 * 24 + 2, 12, 5, ("pump_4_motor_temperature",)),
    Planted("missing_peak", 20 * 24 + 18, 4, 0.5, ("shop_requests_per_s", "shop_latency_ms")),
    Planted("stuck", 23 * 24 + 6, 20, 0, ("pump_3_vibration",)),
    Planted("storm", 25 * 24 + 13, 1, 0, _PUMPS),
)


def plant_csv() -> str:
    """The whole data set as CSV: `time` and a column a series."""
    import numpy as np

    from almenara.analysis.calendars import zone
    from almenara.analysis.plant import SERIES, values

    start = ns_from_iso(START)
    times = np.arange(start, start + WEEKS * 7 * 24 * HOUR_NS, EVERY_NS)
    faults = [(one.fault, one.since, one.until, int(one.grows_h * HOUR_NS)) for one in FAULTS]
    every = values(times, SEED, zone("UTC"), faults)
    rows = [_row(name, label, SERIES) for name, label in COLUMNS.values()]
    stamps = np.datetime_as_string(times.view("datetime64[ns]"), unit="m")
    lines = [",".join(["time", *COLUMNS])]
    lines += [
        f"{stamp}Z,{','.join(f'{v:g}' for v in row)}"
        for stamp, row in zip(stamps.tolist(), every[rows].T.tolist(), strict=True)
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, label: str, series: Any) -> int:
    return next(i for i, (one, labels) in enumerate(series) if one == name and label in labels.values())
