"""What brings rows into a hub besides HTTP: its bus, its collectors, and its own figures. All on the hub's loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from almenara.bus.contract import Bus
from almenara.model.batch import Batch
from almenara.model.errors import AlmenaraError, Refused, StoreError
from almenara.model.series import encode_key
from almenara.pipeline.decoding import of_transport
from almenara.pipeline.hub import Pipeline
from almenara.pipeline.notes import Notes
from almenara.plugin.contracts import Collector, Outcome, Packet, Transport

log = logging.getLogger(__name__)

#: The name under which the offset of the bus stands in the log.
BUS = "mqtt"
OWN_FIGURES_S = 10.0
CLIENTS_S = 2.0
LONGEST_PAUSE_S = 60.0


class Inputs:
    """Tasks that feed a pipeline; one that fails is begun again, and the page Sources says why it failed."""

    def __init__(self, hub: Pipeline, bus: Bus | None):
        self._hub, self._bus = hub, bus
        self._tasks: list[asyncio.Task[None]] = []
        self._collecting: list[asyncio.Task[None]] = []
        self._links: list[Transport] = []
        self._failed: set[str] = set()  # inputs that were begun again and brought nothing yet

    def start(self) -> None:
        """Begin to read the bus, which must be started behind `hub.offset(BUS)`, and to keep the hub's own figures."""
        self._tasks.append(self._run("own figures", self._own_figures))
        if self._bus is not None:
            self._tasks.append(self._run("mqtt", partial(self._read, BUS, self._bus)))
            self._tasks.append(self._run("mqtt clients", partial(self._watch_clients, self._bus)))

    def collect(self, collectors: Mapping[str, Collector], transports: Mapping[str, Transport]) -> None:
        """Begin to collect, and to receive on further links."""
        self._links = [*transports.values()]
        for name, link in transports.items():
            self._collecting.append(self._run(f"transport:{name}", partial(self._receive, name, link)))
            self._collecting.append(self._run(f"link {name}", partial(self._watch_link, name, link)))
        self._collecting += [self._run(name, partial(self._collect, name, one)) for name, one in collectors.items()]

    async def pause_collecting(self) -> None:
        """Collect nothing more."""
        await _end(self._collecting)
        self._collecting = []
        for link in self._links:
            if close := getattr(link, "close", None):
                await close()
        self._links = []

    async def stop(self) -> None:
        """End all tasks."""
        await self.pause_collecting()
        await _end(self._tasks)

    def _run(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(self._keep_running(name, work), name=f"input {name}")

    async def _keep_running(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        wait_s = 1.0
        while True:
            began_s = time.monotonic()
            try:
                await work()
                return
            except (AlmenaraError, OSError, ValueError) as error:
                log.warning("%s: %s", name, error)
                problem = str(error)
            except Exception as error:  # a plugin's mistake: said, and tried again, since nobody awaits this task
                log.exception("%s failed", name)
                problem = f"{type(error).__name__}: {error}"
            self._hub.ledger.sources.report(name, self._hub.clock(), problem, "it is tried again by itself")
            wait_s = 1.0 if time.monotonic() - began_s > LONGEST_PAUSE_S else wait_s
            await asyncio.sleep(wait_s)
            self._failed.add(name)
            wait_s = min(LONGEST_PAUSE_S, 2 * wait_s)

    def _works(self, name: str) -> None:
        """Something came of an input: what was wrong with it is over."""
        if name in self._failed:
            self._failed.discard(name)
            self._hub.ledger.sources.report(name, self._hub.clock(), "", "")

    async def _collect(self, name: str, collector: Collector) -> None:
        source = f"collector:{name}"
        async for batch in collector.batches():
            if await self._commit_own(source, batch):
                self._works(name)

    async def _commit_own(self, source: str, batch: Batch, *, own: bool = False) -> bool:
        """Commit rows that nobody sends again; those that are refused are counted and gone."""
        now = self._hub.clock()
        self._hub.counters.add("almenara_rows_received_total", len(batch), transport="collector")
        ledger = self._hub.ledger
        try:
            await self._hub.commit(batch, own=own, notes=Notes.of(ledger.names.number(source), len(batch), now))
        except (Refused, StoreError) as error:  # the next look comes anyway
            self._hub.counters.add("almenara_rows_rejected_total", len(batch), reason="refused")
            ledger.lost(source, "dropped", "refused", len(batch))
            ledger.sources.report(source, now, str(error), "")
            self._failed.add(source)
            return False
        self._works(source)
        return True

    async def _read(self, name: str, bus: Bus) -> None:
        async for packets in bus.receive():
            await self._take(name, packets)

    async def _receive(self, name: str, link: Transport) -> None:
        """Read a link; senders that wait for an answer are told when the hub takes nothing, and send again."""
        answers, codec = getattr(link, "answers", False), of_transport(name)
        async for packets in link.receive():
            if codec in self._hub.decoders.names():
                packets = [replace(packet, codec=codec) for packet in packets]
            try:
                await self._take(f"transport:{name}", packets, insist=not answers)
            except (Refused, StoreError) as error:
                for packet in packets:
                    packet.done(Outcome(error=error))

    async def _watch_link(self, name: str, link: Transport) -> None:
        """Count what a link dropped before it became a packet, and show what is wrong with it."""
        counted: Counter[str] = Counter()
        source, told = f"transport:{name}", ""
        while True:
            for reason, amount in (Counter(getattr(link, "dropped", {})) - counted).items():
                counted[reason] += amount
                self._hub.counters.add("almenara_link_dropped_total", amount, transport=name, reason=reason)
                self._hub.ledger.lost(source, "dropped", reason, amount, 0)
            if (problem := getattr(link, "problem", "")) != told:
                self._hub.ledger.sources.report(source, self._hub.clock(), problem, "")
                told = problem
            await asyncio.sleep(CLIENTS_S)

    async def _take(self, name: str, packets: Sequence[Packet], *, insist: bool = True) -> None:
        """Commit packets; while the hub refuses, nothing more is read, and the broker keeps what comes.

        They are never given up: a later offset that is committed would stand for them too. Without `insist` they are,
        for senders that wait for an answer and send again: raises Refused or StoreError.
        """
        while True:
            try:
                outcomes = await self._hub.take(name, packets)
                break
            except (Refused, StoreError) as error:
                self._hub.counters.add("almenara_writes_refused_total", reason=type(error).__name__)
                if not insist:
                    raise
                await asyncio.sleep(error.retry_after_s if isinstance(error, Refused) else 1.0)
        self._works(name)
        for packet, outcome in zip(packets, outcomes, strict=True):
            packet.done(outcome)

    async def _watch_clients(self, bus: Bus) -> None:
        """Show clients that the broker turned away, with the remedy, and what the broker itself suffers from."""
        lost, told = 0, False
        while True:
            for client in bus.clients():
                if client.problem:
                    at = client.last_ns or self._hub.clock()
                    self._hub.ledger.sources.report(f"mqtt:{client.name}", at, client.problem, client.remedy)
            outage, problems = bus.outage, bus.problems
            self._hub.bus_outage = f"{outage.message}; {outage.hint}" if outage else ""
            if problems or told:
                remedy = outage.hint if outage else ""
                self._hub.ledger.sources.report(BUS, self._hub.clock(), "; ".join(problems)[:300], remedy)
            told = bool(problems)
            now_lost = sum(bus.counters.get(name, 0) for name in ("lost", "best_effort_lost"))
            self._hub.counters.add("almenara_bus_lost_total", now_lost - lost)
            if now_lost > lost:  # of what they held nothing is known: a message counts as a row
                self._hub.ledger.lost(f"{BUS}:broker", "dropped", "bus_lost", now_lost - lost, 0)
            lost = now_lost
            await asyncio.sleep(CLIENTS_S)

    async def _own_figures(self) -> None:
        """The hub's own figures are series too."""
        while True:
            await asyncio.sleep(OWN_FIGURES_S)
            now = self._hub.clock()
            figures = await asyncio.to_thread(self._hub.counters.snapshot)
            await self._commit_own(
                "collector:own figures",
                Batch.of((encode_key(f.name, f.labels), now, f.value) for f in figures),
                own=True,
            )


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
