"""The bus over a broker that somebody else runs: Mosquitto, EMQX, or any other that speaks MQTT 3.1.1 or 5.

Nothing is acknowledged to the broker before it is committed here, and the broker keeps our session while we are away.
What it sends twice is folded by the store.
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Literal

from almenara.bus.contract import ClientStatus
from almenara.model.errors import BusError, Problem
from almenara.model.topic import ROOT, is_own, slug, status_topic
from almenara.plugin.contracts import Outcome, Packet
from almenara.plugin.options import Secret
from almenara.transports.mqtt import Mqtt


class ExternalBus:
    """Bus over the MQTT broker at `url`.

    Options:
        url: The broker, `mqtt://host:port`, or with TLS `mqtts://host:port`.
        client_id: Our name at the broker, under which it keeps what arrives while we are away; no two hubs may share
            one. Empty: made from the host's name.
        topics: What to subscribe to.
        username: User name at the broker; empty for none.
        password: Its password.
        ca_file: PEM file of the authority that signed the broker's certificate; empty: those of the system.
        cert_file: PEM file of our own certificate, where the broker asks for one.
        key_file: PEM file of its private key, without a passphrase; empty: it is in cert_file too.
        version: Version of MQTT, "3.1.1" or "5".
        name: Name of this hub in `almenara/hub/NAME/status`; empty: the host's name.
        ignore_root: First level of the topics that are the hub's own output and no input.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str = "",
        topics: Sequence[str] = ("#",),
        username: str = "",
        password: Secret | str = "",
        ca_file: str = "",
        cert_file: str = "",
        key_file: str = "",
        version: Literal["3.1.1", "5"] = "3.1.1",
        name: str = "",
        ignore_root: str = ROOT,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        name = name or socket.gethostname()
        self._mqtt = Mqtt(
            url=url, client_id=client_id or f"almenara-hub-{slug(name)}", topics=topics, username=username,
            password=Secret(password), ca_file=ca_file, cert_file=cert_file, key_file=key_file, version=version,
            will_topic=status_topic("hub", name), clock=clock,
        )  # fmt: skip
        self.address = str(self._mqtt.address)
        self._root = ignore_root
        self._ignored = 0
        self._stopped = False

    @property
    def problems(self) -> list[str]:
        """What is wrong with the connection now."""
        return [f"MQTT broker at {self.address}: {self._mqtt.problem}"] if self._mqtt.problem else []

    @property
    def outage(self) -> Problem | None:
        """None: the broker is not the hub's."""
        return None

    @property
    def counters(self) -> Mapping[str, int]:
        """best_effort_lost: QoS 0 dropped; ignored: our own output; retained_skipped: old values that a broker shows
        to each new subscription; restarts: of the connection."""
        return {
            "lost": 0,
            "best_effort_lost": self._mqtt.best_effort_lost,
            "ignored": self._ignored,
            "retained_skipped": self._mqtt.retained_skipped,
            "restarts": max(0, self._mqtt.connections - 1),
        }

    async def start(self, resume: int = -1) -> None:
        """Connect, and go on trying by itself; `resume` has no meaning here. A broker that is down or refuses us is a
        line in `problems`, not an error: it may come up later."""
        await self._mqtt.start()

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """Packets, none of which has an offset; each is acknowledged by its `done`."""
        async for packets in self._mqtt.receive():
            wanted = [p for p in packets if not is_own(p.topic, self._root)]
            if len(wanted) < len(packets):
                self._ignored += len(packets) - len(wanted)
                for packet in packets:
                    if is_own(packet.topic, self._root):
                        packet.done(Outcome())
            if wanted:
                yield wanted

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        """Say something; returns when the broker has it, and waits while there is no connection."""
        if self._stopped:
            raise BusError("the bus is stopped")
        await self._mqtt.send(topic, payload, retain=retain, qos=qos)

    def clients(self) -> list[ClientStatus]:
        """Only our own connection: a broker does not tell its clients of the others."""
        remedy = "check [mqtt] url, username and password, and that the broker runs" if self._mqtt.problem else ""
        return [
            ClientStatus(self._mqtt.client_id, self.address, self._mqtt.problem, remedy, self._mqtt.connected_ns)
        ]  # fmt: skip

    async def stop(self) -> None:
        """Say offline and hang up; the broker keeps what arrives from now on."""
        self._stopped = True
        await self._mqtt.close()
