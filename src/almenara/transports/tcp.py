"""Lines over TCP, for any codec that reads lines: whoever connects sends, nothing is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Annotated

from almenara.model.errors import BusError, PluginError
from almenara.plugin.contracts import Packet
from almenara.plugin.options import Range
from almenara.transports._inbox import Lines
from almenara.transports._listen import Address, Listener, OptionalAddress, read_some, split_address


class Tcp(Listener):
    """Lines over TCP: listens, hands whole lines to a codec, and can send to one other address.

    Say which codec reads them with `codec = "..."`. A line that its connection cut short is dropped, for half a number
    is another number.

    Options:
        topic: The topic that payloads are given.
        to: HOST:PORT of the other side, for what is sent out.
        max_line_bytes: A longer line is dropped.
        max_connections: Connections at a time; more are hung up.
        idle_s: A connection that is silent for so long is hung up.
    """

    scheme = "tcp"

    def __init__(
        self,
        *,
        listen: Address = "127.0.0.1:2103",
        topic: str = "tcp",
        to: OptionalAddress = "",
        allow: Sequence[str] = (),
        max_line_bytes: Annotated[int, Range(64, 16_000_000)] = 65_536,
        max_connections: Annotated[int, Range(1, 10_000)] = 200,
        idle_s: Annotated[float, Range(1)] = 600.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(listen, allow, clock)
        self._topic, self._sender = topic, TcpSender(to)
        self._most_line, self._most, self._idle_s = max_line_bytes, max_connections, idle_s

    async def _open(self) -> None:
        await self._serve_tcp(self._read, self._most)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        lines = Lines(self.dropped, self._most_line)
        while read := await read_some(reader, self._idle_s):
            if whole := lines.cut(read):
                await self.put(Packet(self._topic, whole, self.now(), self.source(host)))
        if lines.end():
            self.dropped["unfinished_line"] += 1

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Write the payload to `to`, over one connection that stays; returns when the kernel has it.

        Raises BusError where it cannot be reached, PluginError without `to`."""
        await self._sender.send(payload)

    async def close(self) -> None:
        """Hang up, on both sides."""
        await super().close()
        self._sender.close()


class TcpSender:
    """One outgoing connection, made when something is sent and made again when it was lost."""

    def __init__(self, to: str) -> None:
        self._to = to
        self._writer: asyncio.StreamWriter | None = None
        self._turn = asyncio.Lock()

    async def send(self, payload: bytes) -> None:
        """Raises BusError, PluginError."""
        if not self._to:
            raise PluginError("to: is missing; expected HOST:PORT of the other side")
        async with self._turn:
            try:
                if self._writer is None or self._writer.is_closing():
                    async with asyncio.timeout(10):
                        _, self._writer = await asyncio.open_connection(*split_address(self._to))
                self._writer.write(payload if payload.endswith(b"\n") else payload + b"\n")
                async with asyncio.timeout(30):
                    await self._writer.drain()
            except (OSError, TimeoutError) as error:
                self.close()
                raise BusError(f"tcp {self._to}: {error or 'no answer in time'}") from error

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
