"""Chaos with the ledger: a hub under load meets one fault after the other, and every row is accounted for.

    python -m tests.system.chaos [--rounds 100] [--seed 1]        # as root, since it mounts a small disk

Faults, at random: kill -9 of the hub, kill -9 of its broker, a link that is cut, a full disk, a clock that jumps (with
libfaketime, where it is installed). Three senders never give up: rows with a time over HTTP, rows without one under an
Idempotency-Key, and MQTT at QoS 1; all three go through a link that can be cut. After every round the sums of the
ledger hold; in the end what was acknowledged is stored, nothing is there twice, and the ledger counts exactly that.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.small_disk import fill, free, small_disk
from tests.system.clients import GONE, HttpLedger, MqttLedger

from almenara.testing.process import HubProcess, wait_until

DISK_MB, FLOOR_MB = 160, 40
#: A sender gets so many more rows through before the next fault.
PROGRESS = 20
PARTS = ("stored", "duplicate", "overwritten", "rejected", "dropped")
_FAKETIME = "libfaketimeMT.so.1"


class Link:
    """A TCP link to a port that can be cut: connections end, and new ones are turned away."""

    def __init__(self, port: int):
        self._to, self.port, self._up = port, 0, True
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop, ready = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        server.close()
        for writer in self._writers:
            writer.transport.abort()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = None
        with contextlib.suppress(OSError):
            if self._up:
                there = await asyncio.open_connection("127.0.0.1", self._to)
        if there is None:
            writer.transport.abort()
            return
        ends = {writer, there[1]}
        self._writers |= ends
        await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))
        self._writers -= ends

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self, seconds: float) -> None:
        """Cut it for so long."""
        self._up = False
        self._loop.call_soon_threadsafe(lambda: [w.transport.abort() for w in self._writers])
        time.sleep(seconds)
        self._up = True

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


class Outside:
    """A hub as senders see it, behind a link."""

    def __init__(self, link: Link):
        self._link = link

    def post(
        self, path: str, body: bytes, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """(status, body) of a POST."""
        url = f"http://127.0.0.1:{self._link.port}{path}"
        request = urllib.request.Request(url, body, dict(headers or {}), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()


class KeyedLedger(threading.Thread):
    """Posts numbered rows without a time, each body under a key of its own until it is acknowledged."""

    def __init__(self, hub: Outside, name: str, batch: int = 5):
        super().__init__(daemon=True)
        self._hub, self._name, self._batch = hub, name, batch
        self.acknowledged: set[int] = set()
        self.sent, self.again = 0, 0
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            numbers = range(self.sent, self.sent + self._batch)
            body = "".join(f"{self._name},n={n % self._batch} v={n}\n" for n in numbers).encode()
            headers = {"Idempotency-Key": f"{self._name}-{numbers.start}"}
            try:
                status, _ = self._hub.post("/write", body, 5, headers)
            except GONE:
                status = 0
            if status == 204:
                self.acknowledged.update(numbers)
                self.sent = numbers.stop
            else:
                self.again += 1
                time.sleep(0.02)

    def finish(self) -> None:
        """Send nothing more."""
        self._stopping.set()
        if self.is_alive():
            self.join()


class Chaos:
    """A hub, its senders and the faults."""

    def __init__(self, disk: Path, rng: random.Random):
        self.disk, self.rng = disk, rng
        self.clock = disk.with_name("clock")
        self.clock.write_text("+0\n")
        self.hub = HubProcess(disk / "data", config=f"[data]\nmin_free_mb = {FLOOR_MB}\n")
        self.hub.output = disk.with_name("hub.out")
        self.met: Counter[str] = Counter()
        self._faketime = next((str(p) for p in Path("/usr/lib").glob(f"*/faketime/{_FAKETIME}")), "")

    @property
    def faults(self) -> dict[str, Callable[[], None]]:
        """Name -> what happens; when it returns the cause is gone, its effects may last."""
        some = {"hub": self.kill_hub, "broker": self.kill_broker, "link": self.cut_link, "disk": self.fill_disk}
        return some | ({"clock": self.jump} if self._faketime else {})

    def start_hub(self) -> None:
        """Start the hub, under a clock of its own where that can be had."""
        before = dict(os.environ)
        if self._faketime:
            os.environ |= {"LD_PRELOAD": self._faketime, "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                           "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}  # fmt: skip
        try:
            self.hub.start()
        finally:
            os.environ.clear()
            os.environ.update(before)

    def begin(self) -> None:
        """Start everything."""
        self.start_hub()
        self.links = [Link(self.hub.http), Link(self.hub.mqtt)]
        long_ago, outside = int(time.time()) - 100_000, Outside(self.links[0])
        self.http, self.keyed = HttpLedger(outside, "timed", long_ago), KeyedLedger(outside, "keyed")  # type: ignore[arg-type]
        self.mqtt = MqttLedger(self.links[1].port, "m", long_ago)
        self.http.start()
        self.keyed.start()

    # --- faults

    def kill_hub(self) -> None:
        """kill -9, and start it again."""
        self.hub.kill()
        self.start_hub()

    def kill_broker(self) -> None:
        """kill -9 of the broker's process, which the hub starts again."""
        pid = self.hub.folder / "broker" / "pid"
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(pid.read_text()), signal.SIGKILL)

    def cut_link(self) -> None:
        """One or both links, for up to half a second."""
        for link in self.rng.sample(self.links, self.rng.randint(1, 2)):
            link.cut(self.rng.uniform(0.05, 0.5))

    def fill_disk(self) -> None:
        """Fill the disk to below the floor or to the brim, for a while."""
        fill(self.disk, self.rng.choice([0.0, FLOOR_MB / 2]))
        time.sleep(self.rng.uniform(0.2, 1.5))
        free(self.disk)

    def jump(self) -> None:
        """Set the hub's clock up to two minutes ahead or back."""
        new = self.clock.with_suffix(".new")
        new.write_text(f"{self.rng.randint(-120, 120):+d}\n")
        new.rename(self.clock)
        time.sleep(0.5)

    # --- what must hold

    def round(self) -> None:
        """One fault under load, and the ledger's sums after it."""
        senders = (self.http, self.keyed, self.mqtt)
        before = [len(one.acknowledged) for one in senders]
        self.mqtt.publish(2 * PROGRESS)
        time.sleep(self.rng.uniform(0, 0.3))
        name = self.rng.choice(sorted(self.faults))
        self.met[name] += 1
        self.faults[name]()

        def goes_on() -> bool:
            return all(len(one.acknowledged) >= n + PROGRESS for one, n in zip(senders, before, strict=True))

        wait_until(goes_on, f"all senders to get through after: {name}")
        self.check_sums()

    def check_sums(self) -> list[dict[str, Any]]:
        """The ledger, every line of which adds up."""
        lines = wait_until(self._ledger, "the ledger")
        for one in lines:
            parts = sum(one[p] if isinstance(one[p], int) else sum(one[p].values()) for p in PARTS)
            assert parts == one["received"], one
        return lines

    def _ledger(self) -> list[dict[str, Any]]:
        try:
            status, body = self.hub.get("/api/v1/ledger")
        except GONE:
            return []
        return json.loads(body)["sources"] if status == 200 else []

    def numbers(self, selector: str) -> list[int]:
        """The numbers that are stored."""
        return [int(value) for _, value in self.hub.rows(selector)]

    def end(self) -> None:
        """Stop sending; nothing is missing, nothing is there twice, and the ledger says the same."""
        self.http.finish()
        self.keyed.finish()
        wait_until(lambda: len(self.mqtt.acknowledged) == self.mqtt.sent, "all messages to be acknowledged")
        wait_until(lambda: len(self.numbers("m")) >= self.mqtt.sent, "all messages to be stored")
        sources = {one["name"]: one for one in self.check_sums()}
        stored = {name: self.numbers(name) for name in ("timed_n", "keyed_v", "m")}
        for name, found in stored.items():
            assert len(found) == len(set(found)), f"{name}: something is there twice"
        assert self.http.acknowledged <= set(stored["timed_n"]) <= set(range(self.http.sent + 20))
        assert self.keyed.acknowledged <= set(stored["keyed_v"]) <= set(range(self.keyed.sent + 5))
        assert sorted(stored["m"]) == list(range(self.mqtt.sent))
        http, mqtt = sources["http:127.0.0.1"], sources["mqtt:ledger/mqtt"]
        assert http["stored"] == len(stored["timed_n"]) + len(stored["keyed_v"])
        assert (http["overwritten"], http["rejected"], http["dropped"]) == (0, {}, {})
        assert mqtt["stored"] == mqtt["received"] - mqtt["duplicate"] == self.mqtt.sent
        assert (mqtt["overwritten"], mqtt["rejected"], mqtt["dropped"]) == (0, {}, {})
        assert self.hub.stop() == 0

    def close(self) -> None:
        """Leave nothing behind."""
        for sender in (getattr(self, name, None) for name in ("http", "keyed", "mqtt")):
            if sender is not None:
                sender.finish()
        if self.hub.process is not None and self.hub.process.poll() is None:
            self.hub.kill()
        for link in getattr(self, "links", ()):
            link.close()


@contextlib.contextmanager
def chaos(folder: Path, seed: int) -> Iterator[Chaos]:
    """A hub on a small disk, with senders at work."""
    with small_disk(folder / "disk", DISK_MB) as disk:
        one = Chaos(disk, random.Random(seed))
        try:
            one.begin()
            yield one
        finally:
            one.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--rounds", type=int, default=100)
    cli.add_argument("--seed", type=int, default=1)
    args = cli.parse_args(arguments)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, chaos(Path(folder), args.seed) as one:
        for n in range(1, args.rounds + 1):
            one.round()
            if n % 10 == 0:
                print(f"{n} rounds in {time.monotonic() - began:.0f} s: {dict(one.met)}", flush=True)
        one.end()
        sent = f"{one.http.sent} timed, {one.keyed.sent} keyed, {one.mqtt.sent} over MQTT"
        print(f"all accounted for: {sent}; {dict(one.met)} in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
