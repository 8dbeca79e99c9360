"""What the chdb store costs: CPU seconds per million rows of an append with its merges, and milliseconds of reads.

    .venv/bin/python bench/store.py [--rows 4000000]

1,000 series, one row each 10 s with jitter in ms, values rounded to two decimals; a new store for each batch size.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from almenara.model.batch import Batch
from almenara.model.series import SeriesTable
from almenara.model.time import HOUR_NS, MINUTE_NS, NS
from almenara.plugin.contracts import Selection
from almenara.stores.chdb import Chdb

SERIES, START, STEP = 1_000, 1_760_000_400 * NS, 10 * NS


def cpu_s() -> float:
    """CPU seconds of this process, all threads, merges included."""
    used = os.times()
    return used.user + used.system


def resident_mb() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


def fill(store: Chdb, rows: int, a_batch: int) -> None:
    """`rows` rows in batches; the last step is a multiple of an hour behind nothing."""
    rng, table, steps = np.random.default_rng(0), SeriesTable(), a_batch // SERIES
    id = np.repeat(np.arange(SERIES, dtype=np.int32), steps)
    for seq in range(rows // a_batch):
        at = START + (seq * steps + np.arange(steps)) * STEP
        jitter = rng.integers(0, 1000, a_batch) * 1_000_000
        value = np.round(20 + rng.normal(0, 1, a_batch), 2)
        store.append(Batch(table, id, np.tile(at, SERIES) + jitter, value), seq)


def settle() -> None:
    """Wait until merges have stopped eating CPU."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before = cpu_s()
        time.sleep(1)
        if cpu_s() - before < 0.05:
            return


def median_ms(read, times: int = 15) -> float:
    """Median milliseconds of a call."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        read()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3


def reads(store: Chdb, rows: int) -> None:
    """Print the milliseconds of the usual reads."""
    reader, table = store.reader(), SeriesTable()
    end = START + rows // SERIES * STEP
    one, hundred = (Selection(table, np.arange(400, 400 + n, dtype=np.int32)) for n in (1, 100))
    scattered = Selection(table, np.arange(0, 1000, 10, dtype=np.int32))
    hour = end - 2 * HOUR_NS, end - HOUR_NS
    cases = {
        "one series, 1 h": lambda: reader.read(one, *hour),
        "one series, all at 5 min": lambda: reader.read(one, START, end, 5 * MINUTE_NS, "avg"),
        "100 series, 1 h": lambda: reader.read(hundred, *hour),
        "100 scattered series, 1 h": lambda: reader.read(scattered, *hour),
        "100 series, all at 1 h": lambda: reader.read(hundred, START, end, HOUR_NS, "max"),
    }
    for name, read in cases.items():
        print(f"  read {name}: {median_ms(read):.1f} ms, {len(read())} rows")


def last_values(store: Chdb) -> None:
    """Print the milliseconds of the last values of 10,000 series, a third of the ids left out."""
    n, table = 15_000, SeriesTable()
    id = np.arange(n, dtype=np.int32)
    store.append(Batch(table, id, np.full(n, START - STEP), np.zeros(n)), 1_000_000)
    store.append(Batch(table, id, np.full(n, START + 400 * HOUR_NS), np.ones(n)), 1_000_001)
    reader, some = store.reader(), Selection(table, id[id % 3 > 0])
    print(f"  last of {len(some.id)}: {median_ms(lambda: reader.last(some)):.2f} ms")
    before = START + 400 * HOUR_NS
    print(f"  last of {len(some.id)} before a time: {median_ms(lambda: reader.last(some, before), 3):.0f} ms")
    print(
        f"  read {len(some.id)} series, 1 h: {median_ms(lambda: reader.read(some, START, START + HOUR_NS), 3):.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000_000)
    rows = parser.parse_args().rows
    for a_batch in (10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory(prefix="almenara-bench-", ignore_cleanup_errors=True) as folder:
            store = Chdb(Path(folder) / "store")
            part = min(rows, 200 * a_batch)
            before, began = cpu_s(), time.perf_counter()
            fill(store, part, a_batch)
            direct, took = cpu_s() - before, time.perf_counter() - began
            settle()
            all_in = cpu_s() - before
            print(
                f"append {a_batch:,} rows a batch: {direct / part * 1e6:.2f} CPU s/M rows, "
                f"{all_in / part * 1e6:.2f} with the merges after it; {part / took / 1e6:.2f} M rows/s; "
                f"{store.size()['bytes'] / part:.2f} bytes a row; {resident_mb()} MB resident"
            )
            if a_batch == 1_000_000:
                store.maintain()
                before = cpu_s()
                store.maintain()
                print(f"  rollups: {(cpu_s() - before) / part * 1e6:.2f} CPU s/M rows")
                reads(store, part)
                last_values(store)
                settle()
                before = cpu_s()
                time.sleep(10)
                print(f"  idle: {(cpu_s() - before) * 10:.1f} % of a core over 10 s, {resident_mb()} MB resident")
            store.close()


if __name__ == "__main__":
    main()
