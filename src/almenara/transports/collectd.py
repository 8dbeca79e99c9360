"""collectd's plugin `network`: binary packets over UDP.

Protocol: https://collectd.org/wiki/index.php/Binary_protocol
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from almenara.plugin.contracts import Packet
from almenara.transports._listen import Address, Listener


class Collectd(Listener):
    """Packets of collectd's plugin `network`, over UDP.

    The file of passwords for signed packets is an option of the codec: `codec = { auth_file = "..." }`.
    """

    scheme = codec = "collectd"

    def __init__(
        self,
        *,
        listen: Address = "127.0.0.1:25826",
        allow: Sequence[str] = (),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(listen, allow, clock)

    async def _open(self) -> None:
        self._serve_udp(self._take)

    def _take(self, host: str, payloads: list[bytes]) -> None:
        # One packet each: host, plugin and time hold from part to part, but not from datagram to datagram.
        now, source = self.now(), self.source(host)
        for payload in payloads:
            self.add(Packet(self.scheme, payload, now, source, qos=0, codec=self.codec))
