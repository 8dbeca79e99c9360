"""How long it takes in a whole hub from a sample to the message at a real receiver, under load, and what a storm costs.

    python bench/alarms_hub.py [series] [alarms] [storm]

`series` series are written over HTTP, one row of each a second. Beside them single rows cross the limit of a rule, one
after the other, each in a POST of its own; the time is taken from before that POST to when a server of webhooks has the
message. Then `storm` series that followed one of three causes for hours alarm within a minute. Seconds of CPU are those
of the hub's process.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from almenara.testing.process import HubProcess, wait_until

CONFIG = """
[rules.hot]
expr = "temp > 90"
[rules.storm]
expr = "disk > 90"
[notifiers.hook]
plugin = "webhook"
url = "{url}"
"""
_TICKS = os.sysconf("SC_CLK_TCK")
CAUSES, STORM_S = 3, 60
#: So many minutes of rows are known of each series of the storm, sent so many at once.
KNOWN, AT_ONCE = 240, 10


class Receiver:
    """A server of webhooks that keeps when it was told what."""

    def __init__(self) -> None:
        self.heard: dict[tuple[str, str], int] = {}  # (status, a probe's label) -> ns of the first time
        self.posts, heard, outer = 0, self.heard, self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                now = time.perf_counter_ns()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                outer.posts += 1
                status = "resolved" if b'"status":"resolved"' in body[:2000] else "firing"
                for found in set(re.findall(rb'"probe":"(\w+)"', body)):
                    heard.setdefault((status, found.decode()), now)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def cpu_s(hub: HubProcess) -> float:
    """CPU seconds that the hub's process has used."""
    assert hub.process is not None
    fields = Path(f"/proc/{hub.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def write(hub: HubProcess, text: str) -> None:
    """Write rows in line protocol."""
    status, said = hub.post("/write", text.encode())
    if status != 204:
        raise RuntimeError(f"{status} {said[:200]!r}")


class Load(threading.Thread):
    """One row of each series a second."""

    def __init__(self, hub: HubProcess, series: int):
        super().__init__(daemon=True)
        self._hub, self._lines = hub, [f"load,n={n} v={n % 50}" for n in range(series)]
        self.late, self.posts, self._stopping = 0, 0, threading.Event()

    def run(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            write(self._hub, "\n".join(self._lines))
            self.posts += 1
            due += 1
            self.late += due < time.monotonic()
            self._stopping.wait(max(0.0, due - time.monotonic()))

    def finish(self) -> None:
        """Write nothing more."""
        self._stopping.set()
        self.join()


def singles(hub: HubProcess, receiver: Receiver, alarms: int) -> None:
    """One alarm after the other."""
    took, began, cpu, rng = [], time.monotonic(), cpu_s(hub), np.random.default_rng(1)
    write(hub, "\n".join(f"temp,probe=p{k} value=1" for k in range(alarms)))
    for k in range(alarms):
        sent = time.perf_counter_ns()
        write(hub, f"temp,probe=p{k} value=95")
        took.append((wait_until(lambda k=k: receiver.heard.get(("firing", f"p{k}")), "the message") - sent) / 1e9)
        write(hub, f"temp,probe=p{k} value=1")
        wait_until(lambda k=k: receiver.heard.get(("resolved", f"p{k}")), "the end")
        time.sleep(rng.uniform(0, 1))  # at any moment between two segments
    p50, p99 = np.percentile(took, [50, 99])
    print(f"{alarms} alarms, sample to message: p50 {p50:.3f} s, p99 {p99:.3f} s, longest {max(took):.3f} s; "
          f"the hub used {(cpu_s(hub) - cpu) / (time.monotonic() - began):.2f} of a core")  # fmt: skip


def learn(hub: HubProcess, names: list[str]) -> None:
    """Hours of rows, one a minute; each cause moves all series of its own."""
    rng, now = np.random.default_rng(2), time.time_ns() // 60_000_000_000 - KNOWN
    group = np.arange(len(names)) % CAUSES
    for first in range(0, KNOWN, AT_ONCE):
        lines = []
        for minute in range(first, first + AT_ONCE):
            values = 50 + 3 * (rng.normal(size=CAUSES)[group] + 0.5 * rng.normal(size=len(names)))
            at = (now + minute) * 60_000_000_000
            lines += [f"{name} value={value:.2f} {at}" for name, value in zip(names, values, strict=True)]
        write(hub, "\n".join(lines))
    hub.query("count(disk)")  # all is judged


def storm(hub: HubProcess, receiver: Receiver, alarms: int) -> None:
    """So many within a minute, of three causes."""
    names = [f"disk,n={k}" for k in range(alarms)]
    learn(hub, names)
    began, cpu, posts = time.monotonic(), cpu_s(hub), receiver.posts
    for second in range(STORM_S):
        write(hub, "\n".join(f"{name} value=99" for name in names[second::STORM_S]) or "x v=1")
        time.sleep(max(0.0, began + second + 1 - time.monotonic()))

    def all_open() -> list[dict[str, Any]]:
        found = json.loads(hub.get("/api/v1/incidents", open="true")[1])
        return found if sum(len(one["members"]) for one in found) >= alarms else []

    found = wait_until(all_open, "all alarms")
    late, used = time.monotonic() - began - STORM_S, cpu_s(hub) - cpu
    print(f"{alarms} alarms of {CAUSES} causes within {STORM_S} s: {len(found)} incidents, {receiver.posts - posts} "
          f"messages, all decided {late:.1f} s after the last, {used:.1f} CPU seconds")  # fmt: skip


def main(series: int = 10_000, alarms: int = 100, many: int = 10_000) -> None:
    """The command."""
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as folder:
        hub = HubProcess(Path(folder) / "data", config=CONFIG.format(url=receiver.url), mqtt=False)
        with hub:
            load = Load(hub, series)
            load.start()
            wait_until(lambda: load.posts > 5, "the load")
            print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
            singles(hub, receiver, alarms)
            if many:
                storm(hub, receiver, many)
            load.finish()
            print(
                f"load of the machine: {os.getloadavg()[0]:.1f}; {load.late} of {load.posts} seconds of rows were late"
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
