"""What every bus promises, whichever broker is behind it: embedded, external, or none (memory)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from almenara.model.errors import Problem
from almenara.plugin.contracts import Packet


@dataclass(frozen=True, slots=True)
class ClientStatus:
    """One client of the broker, as far as the broker tells. `problem` is empty while all is well."""

    name: str  # its client id; where the broker did not learn one, its address
    address: str  # host, or host:port
    problem: str = ""
    remedy: str = ""
    last_ns: int = 0  # when it was last heard of


@runtime_checkable
class Bus(Protocol):
    """Payloads in, messages out. One reader: `receive` is called once."""

    @property
    def address(self) -> str:
        """Where clients connect: `127.0.0.1:1883`."""

    @property
    def problems(self) -> list[str]:
        """What is wrong now, or was lost, a sentence each; empty when all is well."""

    @property
    def outage(self) -> Problem | None:
        """Why the hub's own broker keeps nothing that clients send now, and what to do; None while it does, and for a
        broker that somebody else runs: that one's health is not the hub's."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Monotone counts since the start, by name: `lost`, `best_effort_lost`, `ignored`, `restarts`..."""

    async def start(self, resume: int = -1) -> None:
        """Go. `resume` is the highest offset that is committed: reading goes on behind it. -1: from the first kept one.
        Raises PortTaken, BusError."""

    def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """What arrived; ends after `stop`. While nobody asks for the next, nothing more is read of what is never lost,
        and the oldest best-effort (QoS 0) packets are dropped and counted.

        Packets with an offset must be committed in this order: the highest committed offset stands for all before it.
        Of the others, `done(None)` or `done(error)` says that the broker may forget them; after `done(Refused)` they
        come again.
        """

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        """Say something; returns when the broker has taken it. Raises ConfigError for a topic that brokers refuse."""

    def clients(self) -> list[ClientStatus]:
        """Who is connected, and who was turned away, and why."""

    async def stop(self) -> None:
        """Say goodbye and let go of everything; may be called twice."""
