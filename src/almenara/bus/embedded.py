"""The bus over the embedded broker: MQTT clients connect to a child process of the hub, with nothing to install.

QoS 1 and 2 are read exactly once from the broker's durable stream, QoS 0 as it passes by (see `bus/stream.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from almenara.bus.broker import Broker
from almenara.bus.contract import ClientStatus
from almenara.bus.refusals import LogTail, Refusals
from almenara.bus.server import Login
from almenara.bus.stream import PREFIX, StreamReader, Tap, prepare_stream
from almenara.bus.subjects import Topics
from almenara.bus.wire import Wire
from almenara.model.errors import BusError, ConfigError, Problem
from almenara.model.time import ns_from_iso
from almenara.model.topic import ROOT, status_topic
from almenara.plugin.contracts import Packet
from almenara.plugin.options import Secret
from almenara.transports.mqtt import Mqtt

_WATCH_EVERY_S = 2.0
_MOST_CLIENTS = 256
_LISTENS_S = 10.0  # longest that a start waits for the ear for QoS 0


class EmbeddedBus:
    """Bus over the embedded broker. `address` is right once `start` has returned.

    Options:
        folder: The data folder; the broker lives in `broker` inside it.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        username: User name that MQTT clients must give; empty: none is asked for.
        password: Its password.
        name: Name of this hub in `almenara/hub/NAME/status`; empty: the host's name.
        max_bytes: Most the durable stream holds; the oldest messages go first.
        max_age_s: Longest time it holds a message.
        max_payload: Largest payload of one message, in bytes; a client that sends more is disconnected.
        max_connections: Most connections at a time.
        ignore_root: First level of the topics that are the hub's own output and no input.
    """

    def __init__(
        self,
        folder: Path,
        host: str = "127.0.0.1",
        port: int = 1883,
        username: str = "",
        password: Secret | str = "",
        *,
        name: str = "",
        max_bytes: int = 1 << 30,
        max_age_s: float = 86_400.0,
        max_payload: int = 8 << 20,
        max_connections: int = 10_000,
        ignore_root: str = ROOT,
        max_best_effort: int = 100_000,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if bool(username) != bool(password):
            raise ConfigError([Problem("mqtt", "username and password must be given together")])
        self._status = status_topic("hub", name or socket.gethostname())
        self._limits = (max_bytes, max_age_s)
        self._clock = clock
        self._position = -1  # the highest offset that need not be read again
        self._delivered = -1  # the highest offset handed to the reader
        self._counters = {"lost": 0, "best_effort_lost": 0, "ignored": 0, "restarts": 0}
        self._losses: list[str] = []
        self._refusals, self._connected = Refusals(), list[ClientStatus]()
        self._topics = Topics(PREFIX, ignore_root)
        self._news, self._taken, self._listens = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._durable: list[Packet] = []
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self._mqtt: Mqtt | None = None
        self._reader: StreamReader | None = None
        self._tap = Tap(Topics(b"", ignore_root), clock, self._news.set, max_best_effort, 64 << 20)
        login = Login(username, str(password)) if username else None
        self._broker = Broker(
            Path(folder), self._prepare, host=host, port=port, client=login,
            max_disk_bytes=2 * max_bytes + (1 << 30), max_payload=max_payload, max_connections=max_connections,
        )  # fmt: skip
        self._log = LogTail(self._broker.folder / "log")

    @property
    def address(self) -> str:
        """Where MQTT clients connect."""
        host, port = self._broker.settings.host, self._broker.settings.port
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def problems(self) -> list[str]:
        """What is wrong now or was lost."""
        now = [f"{outage.where}: {outage.message}"] if (outage := self.outage) else []
        if self._mqtt is not None and self._mqtt.problem and not now and not self._stopping:
            now.append(f"the hub's own MQTT connection: {self._mqtt.problem}")
        return now + self._losses

    @property
    def outage(self) -> Problem | None:
        """Why the broker keeps nothing now: it is down, or its disk refuses."""
        return None if self._stopping else self._broker.problem

    @property
    def counters(self) -> Mapping[str, int]:
        """lost: durable messages gone before they were read; best_effort_lost: QoS 0 dropped; ignored: our own output;
        restarts: of the broker; backlog (a gauge): what the durable stream still holds for us."""
        reader = self._reader
        return self._counters | {
            "lost": self._counters["lost"] + (reader.lost if reader else 0),
            "best_effort_lost": self._tap.lost,
            "ignored": self._counters["ignored"] + (reader.ignored if reader else 0) + self._tap.ignored,
            "restarts": self._broker.restarts,
            "backlog": reader.backlog if reader else 0,
        }

    async def start(self, resume: int = -1) -> None:
        """Start the broker and read on behind offset `resume`; what is sent from then on is heard, that of QoS 0 too.
        Raises PortTaken, BusError, MissingExtra."""
        self._position = self._delivered = resume
        self._broker.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._position = max(resume, self._skipped_after(resume))
        self._log.skip()
        await self._broker.start()
        settings = self._broker.settings
        self._mqtt = Mqtt(
            url=f"mqtt://{_reachable(settings.host)}:{settings.port}",
            username=settings.hub.user, password=Secret(settings.hub.password), will_topic=self._status,
            _will_kept=False,  # our end is the broker's: when it says this it stores nothing any more (see server.py)
        )  # fmt: skip
        await self._mqtt.start()
        for work in (self._read_stream, self._read_tap, self._watch):
            self._tasks.append(asyncio.create_task(work(), name=f"bus {work.__name__}"))
        await self._mqtt.check()
        with contextlib.suppress(TimeoutError):  # best effort all the same
            async with asyncio.timeout(_LISTENS_S):
                await self._listens.wait()

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """Packets with an offset in order of offset; those of QoS 0 between them. `done` does nothing here: what counts
        is the offset given to the next `start`."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._stopping:
                return
            if passing := self._tap.take():
                yield passing
            if self._durable:
                packets, self._durable = self._durable, []
                self._delivered = packets[-1].offset
                yield packets
                self._taken.set()  # only now: the next request goes out when the reader comes back

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        """Say something; returns when the broker has it."""
        if self._mqtt is None:
            raise BusError("the bus is not started")
        await self._mqtt.send(topic, payload, retain=retain, qos=qos)

    def clients(self) -> list[ClientStatus]:
        """Connected clients (at most 256), then those turned away in the last hour."""
        return self._connected + self._refusals.now(time.time_ns())

    async def stop(self) -> None:
        """Say offline, stop reading, end the broker."""
        if self._stopping:
            return
        self._stopping = True
        self._news.set()
        if self._mqtt is not None:
            await self._mqtt.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._remember_skipped()
        await self._broker.stop()

    # --- reading ---

    async def _prepare(self, wire: Wire) -> None:
        if problem := await prepare_stream(wire, self._position, *self._limits):
            self._lose(problem)

    async def _read_stream(self) -> None:
        while True:
            with contextlib.suppress(BusError):
                await self._read_connection()
            await asyncio.sleep(0.05)

    async def _read_connection(self) -> None:
        wire = await self._broker.connect(self._broker.settings.hub)
        if self._reader is not None:
            self._counters["lost"] += self._reader.lost
            self._counters["ignored"] += self._reader.ignored
        self._reader = reader = StreamReader(wire, self._position, self._topics, name="almenara-hub")
        lost = 0
        try:
            while True:
                packets = await reader.fetch()
                if reader.lost > lost:
                    self._lose(
                        f"{reader.lost - lost} messages before offset {reader.position} were dropped by the broker "
                        "before they were read: its stream was full, or they were too old"
                    )
                    lost = reader.lost
                self._position = reader.position
                if packets:
                    self._durable, self._taken = packets, asyncio.Event()
                    self._news.set()
                    await self._taken.wait()
        finally:
            wire.close()

    async def _read_tap(self) -> None:
        while True:
            with contextlib.suppress(BusError):
                wire = await self._broker.connect(self._broker.settings.tap)
                self._tap.attach(wire)
                try:
                    await wire.settle()
                    self._listens.set()
                    await wire.closed
                finally:
                    wire.close()
            await asyncio.sleep(0.05)

    def _lose(self, what: str) -> None:
        self._losses = [*self._losses[-9:], what]

    # --- what was read and was no input: so that a quiet hub does not take its own old alarms for lost input ---

    def _skipped_after(self, resume: int) -> int:
        try:
            after, to = json.loads((self._broker.folder / "skipped.json").read_text())
        except (FileNotFoundError, ValueError, TypeError):
            return -1
        return to if isinstance(to, int) and 0 <= after <= resume < to else -1

    def _remember_skipped(self) -> None:
        if self._durable or self._position <= self._delivered or self._delivered < 0:
            return
        path = self._broker.folder / "skipped.json"
        with contextlib.suppress(OSError):  # a full disk: then a few of our own messages are read once more
            path.with_suffix(".new").write_text(json.dumps([self._delivered, self._position]))
            os.replace(path.with_suffix(".new"), path)

    # --- who is there ---

    async def _watch(self) -> None:
        round_ = 0
        while True:
            with contextlib.suppress(BusError, OSError):  # OSError: of reading the log
                wire = await self._broker.connect(self._broker.settings.system)
                try:
                    while not wire.closed.done():
                        for line in self._log.lines():
                            self._refusals.read(line)
                        await self._broker.look_after(wire)
                        await self._ask_connections(wire)
                        if round_ % 30 == 0:
                            self._remember_skipped()
                        round_ += 1
                        await asyncio.sleep(_WATCH_EVERY_S)
                finally:
                    wire.close()
            await asyncio.sleep(0.1)

    async def _ask_connections(self, wire: Wire) -> None:
        found = await wire.request("$SYS.REQ.SERVER.PING.CONNZ", {"sort": "last", "limit": _MOST_CLIENTS})
        clients = []
        for one in found.get("data", {}).get("connections", ()):
            name = one.get("mqtt_client", "")
            if not name or (self._mqtt and name == self._mqtt.client_id):
                continue
            self._refusals.connected(name, ns_from_iso(one["start"]))
            clients.append(ClientStatus(name, f"{one['ip']}:{one['port']}", last_ns=ns_from_iso(one["last_activity"])))
        self._connected = clients


def _reachable(host: str) -> str:
    """Where we ourselves connect when the broker listens on `host`: an address that means all of them is not one."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = "127.0.0.1" if host != "::" else "::1"
    return f"[{host}]" if ":" in host else host
