"""Datagrams over UDP, for any codec: best effort, nothing is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from almenara.model.errors import BusError, PluginError
from almenara.plugin.contracts import Packet
from almenara.transports._listen import Address, Listener, OptionalAddress, split_address


class Udp(Listener):
    """Datagrams over UDP: listens, hands lines to a codec, and can send to one other address.

    Say which codec reads them with `codec = "..."`. Datagrams of one sender that wait at a time are read together.

    Options:
        topic: The topic that payloads are given.
        to: HOST:PORT of the other side, for what is sent out.
    """

    scheme = "udp"

    def __init__(
        self,
        *,
        listen: Address = "127.0.0.1:2103",
        topic: str = "udp",
        to: OptionalAddress = "",
        allow: Sequence[str] = (),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(listen, allow, clock)
        self._topic, self._to = topic, to

    async def _open(self) -> None:
        self._serve_udp(self._take)

    def _take(self, host: str, payloads: list[bytes]) -> None:
        self.add(Packet(self._topic, b"\n".join(payloads), self.now(), self.source(host), qos=0))

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send the payload to `to`, cut between lines into datagrams that pass every network.

        Raises BusError where a line is too long or the system refuses, PluginError without `to`."""
        if not self._to:
            raise PluginError("to: is missing; expected HOST:PORT of the other side")
        loop = asyncio.get_running_loop()
        try:
            link, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=split_address(self._to))
            try:
                for datagram in datagrams(payload):
                    link.sendto(datagram)
            finally:
                link.close()
        except (OSError, ValueError) as error:
            raise BusError(f"udp {self._to}: {error}") from error


#: The largest datagram that is not cut up on the way (Ethernet's 1500 less the headers of IPv6 and UDP).
MOST_BYTES = 1432


def datagrams(payload: bytes) -> list[bytes]:
    """Whole lines of a payload in datagrams of at most MOST_BYTES. Raises ValueError for a line longer than 65,507."""
    found: list[bytes] = []
    for line in payload.splitlines(keepends=True):
        if len(line) > 65_507:
            raise ValueError(f"a line of {len(line)} bytes fits no datagram")
        if found and len(found[-1]) + len(line) <= MOST_BYTES:
            found[-1] += line
        else:
            found.append(line)
    return found
