"""Real MQTT brokers and clients for tests: a Mosquitto of our own, its command-line clients, a running bus."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from almenara.bus.contract import Bus
from almenara.bus.embedded import EmbeddedBus
from almenara.plugin.contracts import Outcome, Packet
from almenara.transports.mqtt import Mqtt

PROGRAM_FOLDERS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])

#: With Mosquitto's defaults acknowledged messages to a session that is away are dropped.
DURABLE = """
persistence true
autosave_on_changes true
autosave_interval 1000
max_queued_messages 1000000
max_inflight_messages 1000
"""


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition; fails when it does not come true. So long, because machines that test are busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)


class Mosquitto:
    """A Mosquitto on a port of 127.0.0.1 with its files in `folder`."""

    def __init__(self, folder: Path, port: int, extra: str = "allow_anonymous true\n") -> None:
        self.folder, self.port = folder, port
        self.url = f"mqtt://127.0.0.1:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        listener = f"listener {port} 127.0.0.1\n"
        user = "user root\n" if os.geteuid() == 0 else ""
        (folder / "conf").write_text(f"{user}{listener}{extra}{DURABLE}persistence_location {folder}/\n")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("mosquitto", path=PROGRAM_FOLDERS)
        assert program is not None
        self.process = subprocess.Popen([program, "-c", str(self.folder / "conf")], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.01)
        raise AssertionError("mosquitto did not start")

    def stop(self, kill: bool = False) -> None:
        assert self.process is not None
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait()


@contextlib.contextmanager
def mosquitto(folder: Path, port: int, extra: str = "allow_anonymous true\n") -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, port, extra)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


async def mosquitto_pub(address: str, *arguments: str) -> int:
    """Publish with Mosquitto's own client; gives its exit code."""
    port = address.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        "mosquitto_pub", "-h", "127.0.0.1", "-p", port, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return await asyncio.wait_for(process.wait(), 60)


async def mosquitto_sub(address: str, *arguments: str) -> list[str]:
    """What Mosquitto's own client hears, as lines `topic payload`; say when to stop with -C or -W."""
    port = address.rpartition(":")[2]
    process = await asyncio.create_subprocess_exec(
        "mosquitto_sub", "-h", "127.0.0.1", "-p", port, "-v", *arguments,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    return out.decode().splitlines()


@contextlib.asynccontextmanager
async def reading(bus: Bus, resume: int = -1) -> AsyncIterator[list[Packet]]:
    """The started bus; every packet it receives is added to the list, and is done."""
    heard: list[Packet] = []

    async def read() -> None:
        async for packets in bus.receive():
            heard.extend(packets)
            for packet in packets:
                packet.done(Outcome())

    await bus.start(resume)
    reader = asyncio.create_task(read())
    try:
        yield heard
    finally:
        await bus.stop()
        await asyncio.wait_for(reader, 60)


def embedded(folder: Path, **options: Any) -> EmbeddedBus:
    """The embedded broker on any free port."""
    return EmbeddedBus(folder, port=options.pop("port", 0), name="test", **options)


async def send_all(address: str, messages: Iterable[tuple[str, bytes, int]]) -> None:
    """Send (topic, payload, QoS 0 or 1) in this order; returns when the broker has all."""
    device = Mqtt(url=f"mqtt://127.0.0.1:{address.rpartition(':')[2]}")
    sending = [asyncio.create_task(device.send(t, p, qos=q)) for t, p, q in messages]
    await asyncio.wait_for(asyncio.gather(*sending), 60)
    await device.close()


async def broker_pid(bus: EmbeddedBus, folder: Path) -> int:
    """The process of the broker that runs now."""
    await bus._broker.up.wait()
    return int((folder / "broker" / "pid").read_text())
