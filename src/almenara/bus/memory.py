"""The bus without a broker: for `--mqtt off`, and for tests that give packets and look at what was published."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

from almenara.bus.contract import ClientStatus
from almenara.model.errors import BusError, Problem
from almenara.model.topic import check_topic
from almenara.plugin.contracts import Packet


class MemoryBus:
    """`give` what should be received; `published` holds what was said, `retained` the last retained message a topic."""

    address = ""

    def __init__(self, keep: int = 1000) -> None:
        self.published: deque[tuple[str, bytes, bool]] = deque(maxlen=keep)
        self.retained: dict[str, bytes] = {}
        self._waiting: deque[Packet] = deque()
        self._resume, self._last = -1, -1
        self._news = asyncio.Event()
        self._stopped = False

    @property
    def problems(self) -> list[str]:
        """Nothing can go wrong here."""
        return []

    @property
    def outage(self) -> Problem | None:
        """Nothing can go wrong here."""
        return None

    @property
    def counters(self) -> Mapping[str, int]:
        """All zero."""
        return {"lost": 0, "best_effort_lost": 0, "ignored": 0, "restarts": 0}

    async def start(self, resume: int = -1) -> None:
        """Packets up to offset `resume` are not given again."""
        self._resume, self._stopped = resume, False
        self._last = max(self._last, resume)

    def give(self, topic: str, payload: bytes, *, qos: int = 1, received_ns: int | None = None) -> Packet:
        """Let a packet arrive, as if a client had sent it; those of QoS 1 get the next offset."""
        if qos:
            self._last += 1
        received = time.time_ns() if received_ns is None else received_ns
        packet = Packet(topic, payload, received, "mqtt:" + topic, qos=qos, offset=self._last if qos else -1)
        self._waiting.append(packet)
        self._news.set()
        return packet

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """What was given, until `stop`."""
        while True:
            await self._news.wait()
            self._news.clear()
            packets = [p for p in self._waiting if p.offset < 0 or p.offset > self._resume]
            self._waiting.clear()
            if packets:
                yield packets
            if self._stopped:
                return

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        """Keep it in `published`."""
        if self._stopped:
            raise BusError("the bus is stopped")
        check_topic(topic)
        self.published.append((topic, payload, retain))
        if retain and payload:
            self.retained[topic] = payload
        elif retain:
            self.retained.pop(topic, None)

    def clients(self) -> list[ClientStatus]:
        """There are none."""
        return []

    async def stop(self) -> None:
        """End `receive`."""
        self._stopped = True
        self._news.set()
