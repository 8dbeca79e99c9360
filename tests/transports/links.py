"""A listening link at work in a test: its packets, and the answers that they get."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from almenara.plugin.contracts import Outcome, Packet


class AtWork:
    """What a link received so far. `outcome` is what its senders are told; None leaves them without an answer."""

    def __init__(self, link: Any, outcome: Outcome | None):
        self.link, self.outcome = link, outcome
        self.packets: list[Packet] = []
        self.may_take = asyncio.Event()
        self.may_take.set()

    async def read(self) -> None:
        """Take packets while it is allowed."""
        async for packets in self.link.receive():
            self.packets += packets
            for packet in packets:
                if self.outcome is not None:
                    packet.done(self.outcome)
            await self.may_take.wait()

    @property
    def payload(self) -> bytes:
        """All payloads, one after the other."""
        return b"".join(packet.payload for packet in self.packets)

    async def until(self, is_so: Callable[[], Any], what: str = "something to arrive", timeout_s: float = 60.0) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(timeout_s):
            while not is_so():
                await asyncio.sleep(0.01)
        assert is_so(), what


@contextlib.asynccontextmanager
async def at_work(link: Any, outcome: Outcome | None = Outcome(1)) -> AsyncIterator[AtWork]:
    """A link that listens, until the end of the block."""
    work = AtWork(link, outcome)
    reading = asyncio.create_task(work.read())
    try:
        async with asyncio.timeout(60):
            while not link.addresses:
                if reading.done():
                    await reading
                await asyncio.sleep(0.005)
        yield work
    finally:
        work.may_take.set()
        await link.close()
        await asyncio.wait_for(reading, 60)


async def say(port: int, payload: bytes, *, then_read: bool = False) -> bytes:
    """Send over TCP, hang up, and give back what was answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(payload)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    if not then_read:
        writer.write_eof()
    try:
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def shoot(port: int, *payloads: bytes) -> None:
    """Send datagrams."""
    loop = asyncio.get_running_loop()
    link, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("127.0.0.1", port))
    for payload in payloads:
        link.sendto(payload)
    await asyncio.sleep(0)
    link.close()
