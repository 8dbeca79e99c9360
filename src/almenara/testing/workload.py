"""A workload to measure with: hosts that report ten CPU figures every ten seconds, as Influx line protocol.

Shaped after the "cpu-only" case of the Time Series Benchmark Suite: random walks within 0..100 with two decimals, ten
tags a host. One line holds the ten samples of one host at one time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

FIELDS = ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"]
_REGIONS = ("eu-central-1", "eu-west-1", "us-east-1", "us-west-2", "ap-southeast-1")


def host_tags(host: int) -> str:
    """Measurement and tags of one host."""
    region = _REGIONS[host % len(_REGIONS)]
    return (
        f"cpu,hostname=host_{host},region={region},datacenter={region}{'abc'[host % 3]},rack={host % 100},"
        f"os=Debian12,arch={('x64', 'arm64')[host % 2]},team={('NYC', 'SF', 'LON')[host % 3]},service={host % 20},"
        f"service_version={host % 2},service_environment={('test', 'production')[host % 4 > 0]}"
    )


def lines(hosts: int, steps: int, start_s: int = 1_700_000_000, every_s: int = 10, seed: int = 1) -> Iterator[bytes]:
    """hosts * steps lines of ten samples each, in order of time."""
    chance = np.random.default_rng(seed)
    values = chance.uniform(0, 100, (hosts, len(FIELDS)))
    template = ",".join(f"usage_{field}=%.2f" for field in FIELDS)
    heads = [f"{host_tags(host)} " for host in range(hosts)]
    for step in range(steps):
        values = np.clip(values + chance.normal(0, 1, values.shape), 0, 100)
        tail = f" {(start_s + every_s * step) * 1_000_000_000}\n"
        for head, row in zip(heads, values.tolist(), strict=True):
            yield (head + template % tuple(row) + tail).encode()


def payloads(hosts: int, steps: int, lines_each: int = 5000, seed: int = 1) -> Iterator[bytes]:
    """The same lines as bodies of `lines_each` lines."""
    body: list[bytes] = []
    for line in lines(hosts, steps, seed=seed):
        body.append(line)
        if len(body) == lines_each:
            yield b"".join(body)
            body.clear()
    if body:
        yield b"".join(body)
