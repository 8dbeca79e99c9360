"""What a backtest costs: rows a CPU second through `pipeline/backtest.py`, from memory or from a store.

    .venv/bin/python bench/detection_backtest.py [--series 6] [--days 365] [--contenders 1 2] [--store chdb]

KPIs of a minute with a day's wave and noise. A page or a command asks for two contenders, today's options and those
that are asked for; 1 is what one costs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
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

PORTION = 100_000


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


def filled(store: Any, rows: Memory, index: SeriesIndex, times: np.ndarray) -> Any:
    """A reader of the store, with these rows in it."""
    store.add_series(0, [index.keys[k] for k in range(len(index))])
    all_of_them = Selection(index, np.arange(len(index), dtype=np.int32))
    for seq, first in enumerate(range(0, len(times), PORTION), 1):
        low, high = int(times[first]), int(times[min(first + PORTION, len(times)) - 1]) + 1
        store.append(rows.read(all_of_them, low, high), seq)
    store.maintain()
    return store.reader()


def measure(make: Any, series: int, days: int, contenders: int, store: Any = None) -> tuple[int, float, float]:
    """(rows, CPU seconds, seconds)."""
    index = SeriesIndex()
    index.add([encode_key(f"kpi {k}", {}) for k in range(series)])
    times = minutes(days * 1440)
    values = 20 + 5 * np.sin(hour_of(times) / 24 * 2 * np.pi) + np.random.default_rng(4).normal(size=len(times))
    reader: Any = Memory(index, times, values)
    if store is not None:
        reader = filled(store, reader, index, times)
    ids, asked = np.arange(series, dtype=np.int32), [Contender(str(k), make) for k in range(contenders)]
    cpu, wall, rows = time.process_time(), time.perf_counter(), 0
    for found in backtest(reader, index, None, ids, int(times[0]), int(times[-1]) + 1, asked):
        rows = found.rows
    took = rows, time.process_time() - cpu, time.perf_counter() - wall
    if store is not None:
        reader.close()
    return took


def stored(make: Any, series: int, days: int, contenders: int, name: str) -> tuple[int, float, float]:
    """As `measure`, from a store of that name in a folder that is gone with it."""
    with tempfile.TemporaryDirectory() as folder:
        store = load("store", name)(Path(folder) / "store")
        try:
            return measure(make, series, days, contenders, store)
        finally:
            store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=6)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--contenders", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--store", default="", help="from a store of this name; without it from memory")
    asked = parser.parse_args()
    make = load("detector", "seasonal")
    measure(make, 1, 40, 1)  # compiles
    for contenders in asked.contenders:
        about = make, asked.series, asked.days, contenders
        took = [stored(*about, asked.store) if asked.store else measure(*about) for _ in range(3)]
        rows, cpu, wall = min(took, key=lambda one: one[1])
        year = 1000 * 365 * 1440 / rows
        print(
            f"{contenders} contenders: {rows / cpu / 1e6:.2f} M rows a CPU second; a year of 1,000 series of a minute: "
            f"{cpu * year:.0f} CPU s, {wall * year:.0f} s as busy as this machine is"
        )


if __name__ == "__main__":
    main()
