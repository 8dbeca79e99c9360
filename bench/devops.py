#!/usr/bin/env python3
"""The 'devops, cpu only' workload as Influx line protocol: H hosts x 10 CPU fields, one line a host every 10 s.

Values are random walks clipped to 0..100 and rounded to two decimals, as in the cpu-only use case of the Time Series
Benchmark Suite.

    devops.py --hosts 1000 --steps 360 > cpu.lp        # 3.6 M samples
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np

FIELDS = ["usage_user", "usage_system", "usage_idle", "usage_nice", "usage_iowait",
          "usage_irq", "usage_softirq", "usage_steal", "usage_guest", "usage_guest_nice"]  # fmt: skip
REGIONS = ["eu-central-1", "eu-west-1", "us-east-1", "us-west-2", "ap-southeast-1"]
START_S = 1_451_606_400


def steps(hosts: int, count: int, start_s: int = START_S, every_s: int = 10, seed: int = 1) -> Iterator[list[str]]:
    """The lines of each step, one a host, in the order of hosts."""
    rng = np.random.default_rng(seed)
    value = rng.uniform(0, 100, (hosts, len(FIELDS)))
    tags = [
        f"cpu,hostname=host_{h},region={REGIONS[h % 5]},datacenter={REGIONS[h % 5]}{'abc'[h % 3]},rack={h % 100},"
        f"os=Ubuntu22.04,arch={'x86' if h % 2 else 'x64'},team={'SF' if h % 3 else 'NYC'},service={h % 20},"
        f"service_version={h % 2},service_environment={'test' if h % 4 else 'production'} "
        for h in range(hosts)
    ]
    line = ",".join(f"{name}=%.2f" for name in FIELDS)
    for step in range(count):
        value = np.clip(value + rng.normal(0, 1, value.shape), 0, 100)
        stamp = f" {(start_s + every_s * step) * 1_000_000_000}\n"
        yield [tag + line % tuple(row) + stamp for tag, row in zip(tags, value, strict=True)]


def bodies(lines: Iterator[list[str]], lines_each: int) -> Iterator[bytes]:
    """The same lines in bodies of `lines_each`."""
    waiting: list[str] = []
    for some in lines:
        waiting += some
        while len(waiting) >= lines_each:
            yield "".join(waiting[:lines_each]).encode()
            del waiting[:lines_each]
    if waiting:
        yield "".join(waiting).encode()


def main() -> None:
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--hosts", type=int, default=1000)
    cli.add_argument("--steps", type=int, default=360, help="10 s steps")
    cli.add_argument("--start", type=int, default=START_S, help="Unix seconds of the first step")
    cli.add_argument("--seed", type=int, default=1)
    args = cli.parse_args()
    for some in steps(args.hosts, args.steps, args.start, seed=args.seed):
        sys.stdout.write("".join(some))


if __name__ == "__main__":
    main()
