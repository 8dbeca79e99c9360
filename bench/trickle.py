"""What a hub costs that hears little: 10,000 series at one sample a minute, from 1,000 senders one after another.

    python bench/trickle.py [--hosts 1000] [--seconds 60]

Every host posts one line of ten figures a minute; the posts are spread evenly over the minute. Printed is the processor
time of the hub's process tree, in percent of a core, and that of an idle hub measured just before. Each sender was
heard a few times before that: what a series costs once, such as its key being learned, is not counted.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import devops
from ingest import send
from servers import Almenara

from almenara.testing.process import wait_until


def lines(hosts: int, seconds: float) -> list[bytes]:
    """As many one-line bodies as come in that time; each host is heard once a minute."""
    steps = int(seconds // 60) + 2
    bodies = devops.bodies(devops.steps(hosts, steps, int(time.time()) // 10 * 10 - 10 * steps), 1)
    return list(itertools.islice(bodies, int(hosts * seconds / 60)))


def measure(hosts: int, seconds: float, folder: Path) -> None:
    """All series are made first, then the hub is left alone, then it hears one line after another."""
    with Almenara(folder / "hub") as server:
        all_hosts = list(devops.bodies(devops.steps(hosts, 1, int(time.time()) - 1000), hosts))
        send(server.port, server.write, all_hosts, iter(all_hosts))
        for _ in range(2):
            bodies = lines(hosts, 60)
            send(server.port, server.write, bodies, iter(bodies))
        wait_until(lambda: not is_compiling(server), "readers to be compiled", 600)
        server.wait_quiet(20)
        before, began = server.cpu_s(), time.monotonic()
        time.sleep(seconds / 3)
        idle = (server.cpu_s() - before) / (time.monotonic() - began)
        bodies = lines(hosts, seconds)
        before, began = server.cpu_s(), time.monotonic()
        send(server.port, server.write, bodies, paced(bodies, seconds))
        used = (server.cpu_s() - before) / (time.monotonic() - began)
        print(
            f"idle {100 * idle:.1f} % of a core; {10 * hosts:,} series a minute {100 * used:.1f} %; "
            f"{server.resident_mb():.0f} MB resident"
        )


def is_compiling(server: Almenara) -> bool:
    """Whether the hub still compiles beside its work, as it does for a minute after its first start."""
    return "compile" in server.threads_s()


def paced(bodies: list[bytes], seconds: float):  # type: ignore[no-untyped-def]
    """The bodies, each at its time."""
    began = time.monotonic()
    for number, body in enumerate(bodies):
        time.sleep(max(0.0, began + number * seconds / len(bodies) - time.monotonic()))
        yield body


def main() -> None:
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--hosts", type=int, default=1000)
    cli.add_argument("--seconds", type=float, default=60.0)
    args = cli.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        measure(args.hosts, args.seconds, Path(folder))


if __name__ == "__main__":
    main()
