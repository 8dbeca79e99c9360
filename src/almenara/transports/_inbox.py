"""Between a socket and the hub: a bounded queue of packets, and whole lines out of what a connection brings."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable

from almenara.plugin.contracts import Packet

#: Bytes and packets of one link that may wait for the hub.
MOST_BYTES, MOST_PACKETS = 16 << 20, 10_000


class Inbox:
    """Packets between a link and the hub, bounded in number and bytes. For one loop."""

    def __init__(self, most_bytes: int = MOST_BYTES, most_packets: int = MOST_PACKETS) -> None:
        self._limits = most_bytes, most_packets
        self._waiting: deque[Packet] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._callbacks: list[Callable[[], None]] = []
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether nothing more is taken now."""
        return self._bytes >= self._limits[0] or len(self._waiting) >= self._limits[1]

    async def put(self, packet: Packet) -> None:
        """Wait for room, then add a packet; after `close` it goes nowhere."""
        while self.full and not self._closed:
            await self._room.wait()
        self.add(packet)

    def add(self, packet: Packet) -> None:
        """Add a packet at once; whoever calls this looks at `full` first."""
        self._waiting.append(packet)
        self._bytes += len(packet.payload)
        self._news.set()
        if self.full:
            self._room.clear()

    def when_room(self, call: Callable[[], None]) -> None:
        """Call this once, when there is room again."""
        self._callbacks.append(call)

    async def take(self) -> list[Packet]:
        """All that waits, at least one; empty once it is closed."""
        while not self._waiting and not self._closed:
            self._news.clear()
            await self._news.wait()
        packets = list(self._waiting)
        self._waiting.clear()
        self._bytes = 0
        self._room.set()
        callbacks, self._callbacks = self._callbacks, []
        for call in callbacks:
            call()
        return packets

    def close(self) -> None:
        """Take nothing more; wake everybody who waits."""
        self._closed = True
        self._news.set()
        self._room.set()
        self._callbacks.clear()


class Lines:
    """Cuts what a connection brings into whole lines; a line without an end is dropped once it is too long."""

    def __init__(self, dropped: Counter[str], max_line_bytes: int) -> None:
        self._dropped, self._most = dropped, max_line_bytes
        self._rest = b""
        self._skipping = False

    def cut(self, read: bytes) -> bytes:
        """All whole lines there are now, with their ends; empty where there is none."""
        if self._skipping:
            end = read.find(b"\n") + 1
            if not end:
                return b""
            read, self._skipping = read[end:], False
        end = read.rfind(b"\n") + 1
        whole = self._rest + read[:end] if end else b""
        self._rest = read[end:] if end else self._rest + read
        if len(self._rest) > self._most:
            self._dropped["line_too_long"] += 1
            self._rest, self._skipping = b"", True
        return whole

    def end(self) -> bytes:
        """What is left when the connection ends: a line that may have been cut short."""
        rest, self._rest = self._rest, b""
        return rest
