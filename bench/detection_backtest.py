"""What a backtest costs: rows a CPU second through `pipeline/backtest.py`, without the store: rows come from memory.

    .venv/bin/python bench/detection_backtest.py [--series 6] [--days 365] [--contenders 1 2] [--detector seasonal]

KPIs of a minute with a day's wave and noise. A page or a command asks for two contenders, today's options and those
that are asked for; 1 is what one costs.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from almenara.model.batch import Batch
from almenara.model.series import encode_key
from almenara.model.time import DAY_NS
from almenara.pipeline.backtest import Contender, backtest
from almenara.pipeline.index import SeriesIndex
from almenara.plugin.contracts import Selection
from almenara.plugin.registry import load
from almenara.testing.planted.signals import hour_of, minutes


class Memory:
    """Reads series that have the same times; the values of each are those of the first, and its number more."""

    def __init__(self, index: SeriesIndex, times: np.ndarray, values: np.ndarray) -> None:
        self._index, self._times, self._values = index, times, values

    def read(self, chosen: Selection, start: int, end: int, every: int | None = None, how: str | None = None) -> Batch:
        """Rows of these series in [start, end); with `how` how many there are a day."""
        ids = np.asarray(chosen.id)
        low, high = np.searchsorted(self._times, [start, end])
        times, values = self._times[low:high], np.tile(self._values[low:high], (len(ids), 1)) + ids[:, None]
        if how == "count":
            times, rows = np.unique(times // DAY_NS * DAY_NS, return_counts=True)
            values = np.tile(rows.astype(float), (len(ids), 1))
        return Batch(self._index, np.repeat(ids, len(times)), np.tile(times, len(ids)), values.ravel())


def measure(make: Any, series: int, days: int, contenders: int) -> tuple[int, float, float]:
    """(rows, CPU seconds, seconds)."""
    index = SeriesIndex()
    index.add([encode_key(f"kpi {k}", {}) for k in range(series)])
    times = minutes(days * 1440)
    values = 20 + 5 * np.sin(hour_of(times) / 24 * 2 * np.pi) + np.random.default_rng(4).normal(size=len(times))
    reader: Any = Memory(index, times, values)
    ids, asked = np.arange(series, dtype=np.int32), [Contender(str(k), make) for k in range(contenders)]
    cpu, wall, rows = time.process_time(), time.perf_counter(), 0
    for found in backtest(reader, index, None, ids, int(times[0]), int(times[-1]) + 1, asked):
        rows = found.rows
    return rows, time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=6)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--contenders", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--detector", default="seasonal")
    asked = parser.parse_args()
    make = load("detector", asked.detector)
    measure(make, 1, 40, 1)  # compiles
    for contenders in asked.contenders:
        rows, cpu, wall = min(
            (measure(make, asked.series, asked.days, contenders) for _ in range(3)), key=lambda m: m[1]
        )
        year = 1000 * 365 * 1440 / rows
        print(
            f"{contenders} contenders: {rows / cpu / 1e6:.2f} M rows a CPU second; a year of 1,000 series of a minute: "
            f"{cpu * year:.0f} CPU s, {wall * year:.0f} s as busy as this machine is"
        )


if __name__ == "__main__":
    main()
