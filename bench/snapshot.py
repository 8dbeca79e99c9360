"""What a snapshot of many series costs those who wait: longest stalls, memory, bytes.

    .venv/bin/python bench/snapshot.py [--series 1000000] [--folder FOLDER]

A hub with the detector `seasonal` and a store in memory learns a few rows of each series; then a snapshot is due. While
it is taken and written, rows of 1,000 series come twenty times a second, and somebody asks all the time that what is
committed be judged. Told is the longest such wait, beside one of the same without a snapshot.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import SeriesTable, encode_key
from almenara.model.time import MINUTE_NS, NS
from almenara.pipeline import flush
from almenara.pipeline.admission import Limits
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.judge import Watch
from almenara.stores.memory import Memory
from almenara.testing.hub import Clock, pipeline

NOW = 1_800_000_000 * NS
ROWS = 3


class Forgetful(Memory):
    """Stores no row: what is measured is judging and snapshots."""

    def append(self, batch: Batch, seq: int) -> None:
        """Nothing."""


class Memories:
    """The most memory that the process held, in MB, since this began."""

    def __init__(self) -> None:
        self.most, self._ended = 0.0, threading.Event()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while not self._ended.wait(0.005):
            self.most = max(self.most, resident_mb())

    def end(self) -> float:
        """The most, and look no more."""
        self._ended.set()
        return self.most


def resident_mb() -> float:
    """Of this process, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


async def waits(hub: Pipeline, table: SeriesTable, until: threading.Event, most_s: float) -> np.ndarray:
    """How long each commit of 1,000 rows took to be judged, in ms."""
    found, k, ends = [], 0, time.monotonic() + most_s
    while not until.is_set() and time.monotonic() < ends:
        k += 1
        ids = np.random.default_rng(k).choice(len(table), 1000, replace=False).astype(np.int32)
        now = hub.clock() + k * NS
        await hub.commit(Batch(table, ids, np.full(1000, now), np.ones(1000)))
        began = time.perf_counter()
        await hub.settle()
        found.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(0.05)
    return np.array(found)


async def run(folder: Path, series: int) -> None:
    """Print one line for each thing measured."""
    flush.SNAPSHOT_S = 1e9
    table = SeriesTable.of(encode_key("load", {"n": str(n)}) for n in range(series))
    clock = Clock(NOW)
    options = Options(
        watches=[Watch("seasonal", (), Seasonal)], limits=Limits(series=10**7, new_series_per_minute=10**9)
    )
    hub = pipeline(folder, options, store=Forgetful(), clock=clock)
    await hub.start()
    rng = np.random.default_rng(1)
    for k in range(ROWS):
        for at in range(0, series, 100_000):
            ids = np.arange(at, min(at + 100_000, series), dtype=np.int32)
            times = np.full(len(ids), NOW - (ROWS - k) * MINUTE_NS)
            await hub.commit(Batch(table, ids, times, rng.normal(size=len(ids))))
        await hub.settle()
    await waits(hub, table, threading.Event(), 3)
    clock.now_ns += 1000 * NS
    quiet = await waits(hub, table, threading.Event(), 10)
    clock.now_ns += 1000 * NS
    before, memory, done = resident_mb(), Memories(), threading.Event()

    def look() -> None:
        while not [p for p in (folder / "state").iterdir() if p.name != "new"]:
            time.sleep(0.01)
        done.set()

    watcher, began = threading.Thread(target=look), time.monotonic()
    watcher.start()
    flush.SNAPSHOT_S = 0.0
    await asyncio.sleep(0)
    found = await waits(hub, table, done, 120)
    took, most = time.monotonic() - began, memory.end()
    flush.SNAPSHOT_S = 1e9
    files = [p.stat().st_size for p in (folder / "state").rglob("*.npz")]
    print(f"{series} series: {sum(files) / 1e6:.0f} MB in {len(files)} files within {took:.1f} s")
    for name, of in (("without a snapshot", quiet), ("while one is taken", found)):
        print(f"  ms until rows are judged, {name}: median {np.median(of):.1f}, longest {of.max():.1f} of {len(of)}")
    print(f"  memory before {before:.0f} MB, at most {most - before:.0f} MB more")
    await hub.stop()


def main() -> None:
    """See the module."""
    asks = argparse.ArgumentParser(description=__doc__)
    asks.add_argument("--series", type=int, default=1_000_000)
    asks.add_argument("--folder", type=Path, help="where the data folder is made; the system's for temporary files")
    asked = asks.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        asyncio.run(run(Path(folder) / "data", asked.series))


if __name__ == "__main__":
    main()
