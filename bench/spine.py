"""What a sample costs a hub, stage by stage and as a whole: CPU seconds a million samples.

    python bench/spine.py [--hosts 1000] [--steps 100]        # 1 M samples

The stages run alone, each on the same rows: decode (line protocol, 5,000-line bodies), sort, store (chdb, one insert a
million rows, merges included), judge (the seasonal detector). The whole is a pipeline on disk: each body is decoded,
admitted, appended to the synced log, acknowledged, stored and judged, by the process that this is.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from almenara.codecs.influx import Influx
from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import SeriesTable
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.hub import Options
from almenara.pipeline.judge import Watch
from almenara.pipeline.order import sort_rows
from almenara.pipeline.segment import SEGMENT_ROWS
from almenara.plugin.contracts import Context, Packet
from almenara.stores.chdb import Chdb
from almenara.testing import workload
from almenara.testing.hub import pipeline

CONTEXT = Context("/write")


def timed(name: str, rows: int, work: Callable[[], Any]) -> Any:
    """Run, print CPU and wall seconds a million rows, and give back what `work` gave."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"{name:<34} {cpu / rows * 1e6:7.3f} CPU s/M  {rows / wall / 1e6:7.2f} M samples/s")
    return result


def decoded(codec: Influx, bodies: Sequence[bytes]) -> list[Batch]:
    """All bodies, decoded."""
    return [codec.decode(body, CONTEXT).batch for body in bodies]


def stages(bodies: Sequence[bytes], folder: Path) -> int:
    """Each stage alone; returns how many rows there are."""
    codec = Influx()
    batches = decoded(codec, bodies)  # compiles, and learns the keys
    table: SeriesTable = batches[0].series  # type: ignore[assignment]
    rows = sum(map(len, batches))
    batches = timed("decode", rows, lambda: decoded(codec, bodies))
    columns = [np.concatenate([getattr(b, name) for b in batches]) for name in ("id", "time", "value")]
    sort_rows(*(c[:1000] for c in columns))
    parts = [slice(at, at + SEGMENT_ROWS) for at in range(0, rows, SEGMENT_ROWS)]
    ordered = timed("sort", rows, lambda: [sort_rows(*(c[part] for c in columns)) for part in parts])
    segments = [Batch(table, *some) for some in ordered]

    store = Chdb(folder)
    store.add_series(0, table.keys)
    timed("store", rows, lambda: [store.append(batch, seq) for seq, batch in enumerate(segments, 1)])
    store.close()

    Seasonal().step(Batch(table, *(c[:10] for c in ordered[0])))
    detector = Seasonal()
    timed("judge", rows, lambda: [detector.step(batch) for batch in segments])
    return rows


async def whole(bodies: Sequence[bytes], rows: int, folder: Path) -> None:
    """Everything, through a pipeline."""
    options = Options([Watch("seasonal", (), Seasonal)], {"influx": Decoding(Influx)})
    hub = pipeline(folder, options, store=Chdb(folder.with_name("hub-store")), clock=time.time_ns)
    await hub.start()

    async def send(mine: Sequence[bytes]) -> None:
        for body in mine:
            await hub.write(Packet("/write", body, time.time_ns(), "bench:1"), "influx")

    async def all_of_it() -> None:
        await asyncio.gather(send(bodies[::2]), send(bodies[1::2]))
        await hub.settle()

    cpu, wall = time.process_time(), time.perf_counter()
    await all_of_it()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    name = "whole, two writers, from the start"
    print(f"{name:<34} {cpu / rows * 1e6:7.3f} CPU s/M  {rows / wall / 1e6:7.2f} M samples/s")
    stored = hub.counters.value("almenara_rows_stored_total")
    judged = hub.counters.value("almenara_rows_judged_total", detector="seasonal")
    late = hub.counters.value("almenara_rows_late_total")
    print(f"stored {stored:.0f}, judged {judged:.0f}, late {late:.0f} of {rows}")
    await hub.stop()


def main() -> None:
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--hosts", type=int, default=1000)
    cli.add_argument("--steps", type=int, default=100)
    args = cli.parse_args()
    bodies = list(workload.payloads(args.hosts, args.steps))
    with tempfile.TemporaryDirectory() as folder:
        rows = stages(bodies, Path(folder) / "store")
        asyncio.run(whole(bodies, rows, Path(folder) / "hub"))


if __name__ == "__main__":
    main()
