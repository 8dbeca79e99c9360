"""A million active series: what a hub needs to take, store and judge every sample of them.

    python bench/million.py [--series 1000000] [--rounds 3] [--lines 5000]

A hub as `almenara up` starts it hears each series once a round, in line protocol over two connections: hosts of ten
figures each, as in `bench/ingest.py`. Admission takes 100,000 new series a minute by default; this hub is configured to
take them at once. Printed are, round by round, the seconds until all is stored and judged, the processor time of the
process tree, and its resident memory; in the end its peak.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import devops
import numpy as np
from ingest import load
from servers import Almenara

from almenara.testing.process import wait_until


class Large(Almenara):
    """A hub that takes so many new series at once."""

    series = 1_000_000

    def command(self) -> list[str]:
        config = self.folder / "hub.toml"
        limit = self.series + 10_000
        config.write_text(f"version = 1\n[data]\nseries_limit = {limit}\nnew_series_per_minute = {limit}\n")
        return [*super().command(), "--config", str(config)]


def bodies(hosts: int, number: int, lines: int, start_s: int) -> Iterator[bytes]:
    """One sample of each figure of each host."""
    chance = np.random.default_rng(number)
    form = ",".join(f"{name}=%.2f" for name in devops.FIELDS)
    stamp = f" {(start_s + 60 * number) * 1_000_000_000}\n"
    for first in range(0, hosts, lines):
        values = chance.uniform(0, 100, (min(lines, hosts - first), len(devops.FIELDS)))
        yield "".join(
            f"cpu,hostname=host_{first + k},region={devops.REGIONS[k % 5]},rack={k % 100} {form % tuple(row)}{stamp}"
            for k, row in enumerate(values)
        ).encode()


def measure(options: argparse.Namespace, folder: Path) -> None:
    """All rounds, one after another."""
    hosts = options.series // len(devops.FIELDS)
    Large.series = options.series
    start_s = int(time.time()) // 60 * 60 - 60 * options.rounds
    with Large(folder / "hub") as server:
        server.wait_quiet(20)
        for number in range(options.rounds):
            waiting = list(bodies(hosts, number, options.lines, start_s))
            before, began = server.cpu_s(), time.monotonic()
            taken_s = load(server, waiting)
            wanted = (number + 1) * hosts * len(devops.FIELDS)

            def is_judged(wanted: int = wanted) -> bool:
                return server.metrics().get('almenara_rows_judged_total{detector="seasonal"}', 0.0) >= wanted

            wait_until(is_judged, "all to be judged", 600)
            print(
                f"round {number + 1}: answered after {taken_s:.1f} s, judged after {time.monotonic() - began:.1f} s, "
                f"{server.cpu_s() - before:.1f} CPU s, {server.resident_mb():.0f} MB resident",
                flush=True,
            )
        server.wait_quiet(30)
        figures = server.metrics()
        print(
            f"{figures['almenara_series']:,.0f} series, {figures['almenara_rows_stored_total']:,.0f} rows stored, "
            f"peak {server.peak_mb():.0f} MB, {server.resident_mb():.0f} MB resident"
        )


def main() -> None:
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--series", type=int, default=1_000_000)
    cli.add_argument("--rounds", type=int, default=3)
    cli.add_argument("--lines", type=int, default=5000, help="of one body")
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        measure(cli.parse_args(), Path(folder))


if __name__ == "__main__":
    main()
