"""Import of history: a year of 1,000 one-minute KPIs as Parquet (or line protocol), `almenara import` included.

    python bench/import_year.py --days 30 --folder DIR            a month: 43 million rows
    python bench/import_year.py --days 365 --folder DIR           the year: 526 million rows

Prints wall and CPU seconds of the hub and of the program that reads, with everything stored and judged by the seasonal
detector, and the size of the store. The folder is removed at the end unless --keep is given.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil

from almenara.testing.process import HubProcess

MINUTES = 1440
END_S = 1_767_225_600  # 2026-01-01


def day_of(day: int, series: int, chance: np.random.Generator) -> np.ndarray:
    """float64[series, 1440]: a daily curve, a weekly one, noise, two decimals, and now and then a fault."""
    minute = np.arange(MINUTES) / MINUTES
    phase, level = np.linspace(0, 1, series)[:, None], np.linspace(10, 1000, series)[:, None]
    week = 0.8 if day % 7 >= 5 else 1.0
    values = level * week * (1 + 0.3 * np.sin(2 * np.pi * (minute + phase)))
    values += level * 0.02 * chance.standard_normal((series, MINUTES))
    for one in chance.integers(0, series, 2):
        at = chance.integers(0, MINUTES - 30)
        values[one, at : at + 20] *= 2
    return np.round(values, 2)


def write_parquet(path: Path, days: int, series: int) -> None:
    """Wide: a column of times and one a series, a row group a day."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    chance, names = np.random.default_rng(1), [f"kpi_{n:04d}" for n in range(series)]
    schema = pa.schema([("time", pa.timestamp("ms", "UTC")), *((name, pa.float64()) for name in names)])
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False, write_statistics=False) as writer:
        for day in range(days):
            time_ms = (END_S - (days - day) * 86_400 + 60 * np.arange(MINUTES, dtype=np.int64)) * 1000
            columns = [pa.array(time_ms, pa.timestamp("ms", "UTC"))]
            columns += [pa.array(one) for one in day_of(day, series, chance)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def write_lines(path: Path, days: int, series: int) -> None:
    """Line protocol, in order of time."""
    chance = np.random.default_rng(1)
    with path.open("w") as file:
        for day in range(days):
            values = day_of(day, series, chance)
            for minute in range(MINUTES):
                at = (END_S - (days - day) * 86_400 + 60 * minute) * 10**9
                file.writelines(f"kpi_{n:04d} value={v} {at}\n" for n, v in enumerate(values[:, minute].tolist()))


def cpu_s(process: psutil.Process) -> float:
    """CPU seconds of a process and of those that it has started."""
    tree = [process, *process.children(recursive=True)]
    return sum(sum(one.cpu_times()[:2]) for one in tree)


def main() -> None:
    """Make the file, start a hub, import, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--format", choices=("parquet", "influx"), default="parquet")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"kpis-{options.days}.{'parquet' if options.format == 'parquet' else 'lp'}"
    if not path.exists():
        (write_parquet if options.format == "parquet" else write_lines)(path, options.days, options.series)
    rows = options.days * options.series * MINUTES
    print(f"{rows / 1e6:.1f} M rows in {path.stat().st_size / 1e6:.0f} MB of {options.format}")
    try:
        measure(path, options.folder, rows)
    finally:
        if not options.keep:
            shutil.rmtree(options.folder)


def measure(path: Path, folder: Path, rows: int) -> None:
    """One import into a new hub."""
    shutil.rmtree(folder / "hub", ignore_errors=True)
    with HubProcess(folder / "hub", mqtt=True) as hub:
        assert hub.process is not None
        server = psutil.Process(hub.process.pid)
        before, began = cpu_s(server), time.monotonic()
        command = [sys.executable, "-m", "almenara.cli", "import", str(path), "--json", "--url", hub.url]
        usage = os.times()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wall, after = time.monotonic() - began, os.times()
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        found = json.loads(done.stdout)
        reader_s = after.children_user + after.children_system - usage.children_user - usage.children_system
        hub_s = cpu_s(server) - before
        peak = server.memory_info().rss / 1e6
    size = sum(one.stat().st_size for one in (folder / "hub" / "store").rglob("*") if one.is_file())
    print(
        f"stored {found['stored']:,} of {rows:,} rows, flagged {found['flagged']:,} of {found['flagged_series']} series"
    )
    print(f"wall {wall:.1f} s, CPU: hub {hub_s:.1f} s, reader {reader_s:.1f} s; {rows / wall / 1e6:.2f} M rows/s")
    print(f"CPU s a million rows: hub {hub_s / rows * 1e6:.3f}, reader {reader_s / rows * 1e6:.3f}")
    print(f"hub memory {peak:.0f} MB, store {size / rows:.2f} bytes a row")
    if found["stored"] != rows:
        sys.exit("not every row was stored")


if __name__ == "__main__":
    main()
