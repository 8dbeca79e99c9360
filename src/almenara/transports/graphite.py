"""Graphite plaintext over TCP and UDP on one port: what `carbon` takes, from collectd, Telegraf, sensors and `nc`.

Protocol: https://graphite.readthedocs.io/en/latest/feeding-carbon.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Annotated

from almenara.plugin.contracts import Packet
from almenara.plugin.options import Range
from almenara.transports._inbox import Lines
from almenara.transports._listen import Address, Listener, read_some


class Graphite(Listener):
    """Graphite plaintext over TCP and UDP on one port. Carbon's pickle protocol is not read: pickles can run code.

    Over TCP the sender is held up while the hub takes nothing. Nothing is answered, as by carbon. A line that its
    connection cut short is dropped, for half a number is another number.

    Options:
        max_line_bytes: A longer line is dropped.
        max_connections: Connections at a time; more are hung up.
        idle_s: A connection that is silent for so long is hung up.
        udp: Take datagrams on the same port, too.
    """

    scheme = codec = "graphite"

    def __init__(
        self,
        *,
        listen: Address = "127.0.0.1:2003",
        udp: bool = True,
        allow: Sequence[str] = (),
        max_line_bytes: Annotated[int, Range(64, 16_000_000)] = 8192,
        max_connections: Annotated[int, Range(1, 10_000)] = 200,
        idle_s: Annotated[float, Range(1)] = 600.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(listen, allow, clock)
        self._udp, self._most_line, self._most, self._idle_s = udp, max_line_bytes, max_connections, idle_s

    async def _open(self) -> None:
        await self._serve_tcp(self._read, self._most)
        if self._udp:
            self._serve_udp(lambda host, payloads: self.add(self._packet(host, b"\n".join(payloads), 0)))

    def _packet(self, host: str, payload: bytes, qos: int) -> Packet:
        return Packet(self.scheme, payload, self.now(), self.source(host), qos=qos, codec=self.codec)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        lines = Lines(self.dropped, self._most_line)
        while read := await read_some(reader, self._idle_s):
            if whole := lines.cut(read):
                await self.put(self._packet(host, whole, 1))
        if lines.end():
            self.dropped["unfinished_line"] += 1
