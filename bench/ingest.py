"""Line protocol over HTTP, side by side: this hub, VictoriaMetrics and InfluxDB take the same bodies one after another.

    python bench/ingest.py [--hosts 1000] [--steps 720] [--lines 5000] [--only almenara] [--rounds 3] [--json]

Each server runs as a child process at its defaults on loopback ports in an empty temporary folder. Two connections send
prebuilt bodies; each takes the next body as soon as its last one was answered. Counted are CPU seconds of the server's
process tree from the first body on until its merges are quiet and all is stored (the hub: judged, too), senders
excluded; samples a second from the first body to the last answer.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import devops
from servers import SERVERS, Almenara, Server

CONNECTIONS = 2


def send(port: int, path: str, bodies: Sequence[bytes], queue: Any) -> None:
    """Post bodies over one connection, the next one that nobody has, until there are none."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (body := next(queue, None)) is not None:
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
            link.sendall(head.encode() + body)
            answer = b""
            while b"\r\n\r\n" not in answer:
                if not (part := link.recv(65536)):
                    raise ConnectionError(f"no answer; got {answer!r}")
                answer += part
            if b" 204 " not in answer[:16]:
                raise RuntimeError(f"expected 204; got {answer[:500]!r}")


def load(server: Server, bodies: Sequence[bytes]) -> float:
    """Send all bodies; returns the seconds until the last answer."""
    queue = iter(bodies)
    workers = [
        threading.Thread(target=send, args=(server.port, server.write, bodies, queue)) for _ in range(CONNECTIONS)
    ]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began


def measure(kind: type[Server], bodies: Sequence[bytes], samples: int, folder: Path, quiet_s: float) -> dict[str, Any]:
    """One server under the whole load."""
    with kind(folder / kind.name) as server:
        server.wait_quiet(20)
        before, threads = server.cpu_s(), server.threads_s()
        took_s = load(server, bodies)
        loaded = server.cpu_s() - before
        server.wait_quiet(quiet_s)
        million = samples / 1e6
        found = {
            "server": kind.name,
            "samples_per_s": samples / took_s,
            "cpu_s_per_million": (server.cpu_s() - before) / million,
            "cpu_s_per_million_under_load": loaded / million,
            "peak_mb": server.peak_mb(),
            "resident_mb": server.resident_mb(),
            "bytes_per_sample": server.disk_bytes() / samples,
            "stored": server.rows(),
            "threads": {
                name: (used - threads.get(name, 0.0)) / million
                for name, used in server.threads_s().items()
                if used - threads.get(name, 0.0) >= 0.01
            },
        }
        if isinstance(server, Almenara):
            figures = server.metrics()
            found["late"] = figures.get("almenara_rows_late_total", 0.0)
            found["judged"] = figures.get('almenara_rows_judged_total{detector="seasonal"}', 0.0)
        return found


def table(rounds: Sequence[dict[str, dict[str, Any]]]) -> str:
    """Minimum and median of each figure, and our ratio to each peer, round by round."""
    lines = [f"{'':<18}{'M samples/s':>14}{'CPU s/M':>18}{'peak MB':>10}{'bytes/sample':>14}{'our CPU ratio':>18}"]
    for name in rounds[0]:
        runs = [one[name] for one in rounds]
        speed = max(r["samples_per_s"] for r in runs) / 1e6, statistics.median(r["samples_per_s"] for r in runs) / 1e6
        cpu = min(r["cpu_s_per_million"] for r in runs), statistics.median(r["cpu_s_per_million"] for r in runs)
        ratio = ""
        if name != Almenara.name and Almenara.name in rounds[0]:
            each = [one[Almenara.name]["cpu_s_per_million"] / one[name]["cpu_s_per_million"] for one in rounds]
            ratio = f"{min(each):8.2f} {statistics.median(each):8.2f}"
        lines.append(
            f"{name:<18}{speed[0]:7.2f}{speed[1]:7.2f}{cpu[0]:9.3f}{cpu[1]:9.3f}{max(r['peak_mb'] for r in runs):10.0f}"
            f"{statistics.median(r['bytes_per_sample'] for r in runs):14.2f}{ratio:>18}"
        )
    return "\n".join(lines) + "\n(best and median of the rounds; ratio: lowest and median)"


def main() -> None:
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--hosts", type=int, default=1000)
    cli.add_argument("--steps", type=int, default=720, help="of 10 s; each host has 10 samples a step")
    cli.add_argument("--lines", type=int, default=5000, help="of one body")
    cli.add_argument("--rounds", type=int, default=1)
    cli.add_argument("--quiet-s", type=float, default=120.0, help="how long to wait for merges at most")
    cli.add_argument("--only", action="append", choices=[kind.name for kind in SERVERS])
    cli.add_argument("--json", action="store_true")
    args = cli.parse_args()
    # The data ends now: VictoriaMetrics keeps a month by default.
    start_s = int(time.time()) // 10 * 10 - 10 * args.steps
    bodies = list(devops.bodies(devops.steps(args.hosts, args.steps, start_s), args.lines))
    samples = args.hosts * args.steps * len(devops.FIELDS)
    rounds = []
    for number in range(args.rounds):
        found = {}
        for kind in SERVERS:
            if args.only is None or kind.name in args.only:
                with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
                    one = measure(kind, bodies, samples, Path(folder), args.quiet_s)
                found[kind.name] = one
                if not args.json:
                    print(f"round {number + 1}: {json.dumps(one)}", flush=True)
        rounds.append(found)
    if args.json:
        print(json.dumps({"samples": samples, "lines": args.lines, "rounds": rounds}, indent=1))
    else:
        print(table(rounds))


if __name__ == "__main__":
    main()
