"""What judging costs: million rows a CPU second through the detector `seasonal`, live and in replay.

    .venv/bin/python bench/judge.py [--series 10000] [--batches 200]

Live: every batch holds one row of each series, so each row meets another slot. Replay: three weeks of minutes of one
series after another, as a page asks for them.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from almenara.analysis.seasonal_slot import READY, SLOT
from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import SeriesTable
from almenara.model.time import MINUTE_NS, NS

START = 1_767_571_200 * NS


def live(series: int, batches: int) -> float:
    """Million rows a CPU second in batches of one row of each series."""
    rng, table, detector = np.random.default_rng(1), SeriesTable(), Seasonal()
    ids = np.arange(series, dtype=np.int32)
    waiting = []
    for k in range(READY + 10 + batches):
        times = np.full(series, START + k * MINUTE_NS)
        waiting.append(Batch(table, ids, times, 20 + rng.normal(size=series)))
    for batch in waiting[: READY + 10]:
        detector.step(batch)
    begun = time.process_time()
    for batch in waiting[READY + 10 :]:
        detector.step(batch)
    return series * batches / (time.process_time() - begun) / 1e6


def replay(series: int = 10, rows: int = 30_240) -> float:
    """Million rows a CPU second over whole histories, one series after another."""
    rng, table, detector = np.random.default_rng(1), SeriesTable(), Seasonal()
    times = np.tile(START + np.arange(rows) * MINUTE_NS, series)
    values = 20 + 5 * np.sin(times / NS / 86_400 * 2 * np.pi) + rng.normal(size=len(times))
    batch = Batch(table, np.repeat(np.arange(series, dtype=np.int32), rows), times, values)
    begun = time.process_time()
    detector.step(batch)
    return len(times) / (time.process_time() - begun) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--batches", type=int, default=200)
    asked = parser.parse_args()
    live(10, 1)  # compile
    print(f"state               {SLOT.itemsize} bytes a series")
    print(f"live, {asked.series:,} series {live(asked.series, asked.batches):6.1f} M rows a CPU second")
    print(f"live, 100 series    {live(100, 100 * asked.batches):6.1f} M rows a CPU second")
    print(f"replay              {replay():6.1f} M rows a CPU second")


if __name__ == "__main__":
    main()
