"""Syslog over UDP and TCP on one port: messages of RFC 5424 and RFC 3164, which become events.

Standards: https://www.rfc-editor.org/rfc/rfc5426 (UDP), https://www.rfc-editor.org/rfc/rfc6587 (TCP)
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Annotated

from almenara.plugin.contracts import Packet
from almenara.plugin.options import Range
from almenara.transports._inbox import Lines
from almenara.transports._listen import Address, Listener, read_some

_COUNT = re.compile(rb"(\d{1,7}) ")


class Syslog(Listener):
    """Syslog messages over UDP and TCP on one port. Port 514 of the standards needs root, so the default is another.

    Over TCP messages are framed by their length in front or by newlines; the first byte of a connection tells.

    Options:
        max_message_bytes: A longer message is dropped, over TCP with its connection where lengths frame it.
        max_connections: Connections at a time; more are hung up.
        idle_s: A connection that is silent for so long is hung up.
    """

    scheme = codec = "syslog"

    def __init__(
        self,
        *,
        listen: Address = "127.0.0.1:5140",
        allow: Sequence[str] = (),
        max_message_bytes: Annotated[int, Range(480, 1_000_000)] = 65_536,
        max_connections: Annotated[int, Range(1, 10_000)] = 200,
        idle_s: Annotated[float, Range(1)] = 3600.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(listen, allow, clock)
        self._most_message, self._most, self._idle_s = max_message_bytes, max_connections, idle_s

    async def _open(self) -> None:
        await self._serve_tcp(self._read, self._most)
        self._serve_udp(self._take)

    def _packet(self, host: str, payload: bytes, qos: int) -> Packet:
        return Packet(self.scheme, payload, self.now(), self.source(host), qos=qos, codec=self.codec)

    def _take(self, host: str, payloads: list[bytes]) -> None:
        # A datagram is one message, newlines and all; joined by lengths, as the codec reads them over TCP.
        self.add(self._packet(host, b"".join(b"%d %b" % (len(one), one) for one in payloads), 0))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        read = await read_some(reader, self._idle_s)
        if read[:1].isdigit():
            await self._read_counted(read, reader, host)
        else:
            await self._read_lines(read, reader, host)

    async def _read_lines(self, read: bytes, reader: asyncio.StreamReader, host: str) -> None:
        lines = Lines(self.dropped, self._most_message)
        while read:
            if whole := lines.cut(read):
                await self.put(self._packet(host, whole, 1))
            read = await read_some(reader, self._idle_s)
        if rest := lines.end():  # many senders leave out the last newline
            await self.put(self._packet(host, rest, 1))

    async def _read_counted(self, read: bytes, reader: asyncio.StreamReader, host: str) -> None:
        waiting = b""
        while read:
            waiting += read
            end = whole_frames(waiting, self._most_message)
            if end < 0:
                self.dropped["bad_frame"] += 1
                return
            if end:
                await self.put(self._packet(host, waiting[:end], 1))
                waiting = waiting[end:]
            read = await read_some(reader, self._idle_s)
        if waiting:
            self.dropped["unfinished_message"] += 1


def whole_frames(buffer: bytes, most: int) -> int:
    """How many bytes at the beginning of `buffer` are whole messages with their lengths in front; -1 where what
    follows is none, or longer than `most`."""
    pos = 0
    while found := _COUNT.match(buffer, pos):
        if int(found[1]) > most:
            return -1
        if found.end() + int(found[1]) > len(buffer):
            return pos
        pos = found.end() + int(found[1])
        while buffer[pos : pos + 1] in (b"\n", b"\r"):  # some senders do both
            pos += 1
    rest = buffer[pos : pos + 9]
    return pos if (rest.isdigit() and len(rest) < 8) or not rest else -1
