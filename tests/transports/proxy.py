"""A link between MQTT clients and their broker that can be cut or fall silent, and that notes what passes over it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


class Side:
    """What one side of one connection has said, cut into packets (MQTT 2.1) apart from the code under test."""

    def __init__(self) -> None:
        self._bytes = b""
        self.published: dict[bytes, bytes] = {}  # payloads of QoS 1, by packet number

    def packets(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """With the next bytes: the first byte of each packet that is complete now, and what its header announces."""
        self._bytes += data
        while len(self._bytes) > 1:
            length, begin = 0, 1
            while begin < len(self._bytes) and self._bytes[begin] > 127:
                length |= (self._bytes[begin] & 127) << 7 * (begin - 1)
                begin += 1
            if begin == len(self._bytes):
                return
            end = begin + 1 + (length | self._bytes[begin] << 7 * (begin - 1))
            if len(self._bytes) < end:
                return
            packet, self._bytes = self._bytes[:end], self._bytes[end:]
            yield packet[0], packet[begin + 1 :]


class Proxy:
    """A link that can be cut, or fall silent, between clients and the broker on `port`.

    `answered` are the payloads of QoS 1 for which the broker has sent its PUBACK to whoever published them; `taken`
    those for which a subscriber has sent its own to the broker. Payloads must differ.
    """

    def __init__(self, port: int, version: str = "3.1.1") -> None:
        self.broker, self.port = port, 0
        self.accepted = self.carried_back = 0
        self.answered: set[bytes] = set()
        self.taken: set[bytes] = set()
        self._properties = version == "5"
        self._silent = False
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Proxy:
        """Listen, on a `port` that nobody has."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def is_idle(self) -> bool:
        """Whether there is no connection, and all that came over those before is carried on and noted."""
        return not self._tasks

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._silent = False
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.broker)
        except OSError:  # no broker is there: nobody is left waiting for its CONNACK
            writer.transport.abort()
            return
        self._writers += [writer, back]
        client, broker = Side(), Side()
        for carry in (
            self._carry(reader, back, client, broker, self.taken),
            self._carry(there, writer, broker, client, self.answered),
        ):
            task = asyncio.create_task(carry)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, me: Side, other: Side, settled: set[bytes]
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(4096):
                self._note(data, me, other, settled)
                if not self._silent:
                    self.carried_back += writer.get_extra_info("peername")[1] != self.broker
                    writer.write(data)
                    await writer.drain()
        writer.close()

    def _note(self, data: bytes, me: Side, other: Side, settled: set[bytes]) -> None:
        for head, body in me.packets(data):
            if head >> 4 == 3 and head & 6 == 2:  # PUBLISH of QoS 1
                at = 2 + int.from_bytes(body[:2], "big")
                skip = 1 + body[at + 2] if self._properties else 0
                me.published[body[at : at + 2]] = body[at + 2 + skip :]
            elif head >> 4 == 4 and body[:2] in other.published:  # PUBACK
                settled.add(other.published[body[:2]])

    def cut(self) -> None:
        """Break all connections, in the middle of whatever is on its way."""
        for writer in self._writers:
            writer.transport.abort()

    def fall_silent(self) -> None:
        """Carry nothing more and say nothing, until the next connection."""
        self._silent = True

    async def stop(self) -> None:
        """Break all connections and listen no more."""
        self._server.close()
        self.cut()
        while self._tasks:
            await asyncio.wait(self._tasks)
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()
