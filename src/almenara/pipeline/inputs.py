"""What brings rows into a hub besides HTTP: its bus, its collectors, and its own figures. All on the hub's loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from almenara.bus.contract import Bus
from almenara.model.batch import Batch
from almenara.model.errors import AlmenaraError, Refused
from almenara.model.series import encode_key
from almenara.pipeline.hub import Pipeline
from almenara.plugin.contracts import Collector, Packet, Transport

log = logging.getLogger(__name__)

#: The name under which the offset of the bus stands in the log.
BUS = "mqtt"
OWN_FIGURES_S = 10.0
CLIENTS_S = 2.0


class Inputs:
    """Tasks that feed a pipeline; one that fails is begun again, and the page Sources says why it failed."""

    def __init__(self, hub: Pipeline, bus: Bus | None):
        self._hub, self._bus = hub, bus
        self._tasks: list[asyncio.Task[None]] = []
        self._collecting: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to read the bus, which must be started behind `hub.offset(BUS)`, and to keep the hub's own figures."""
        self._tasks.append(self._run("own figures", self._own_figures))
        if self._bus is not None:
            self._tasks.append(self._run("mqtt", partial(self._read, self._bus)))
            self._tasks.append(self._run("mqtt clients", partial(self._watch_clients, self._bus)))

    def collect(self, collectors: Mapping[str, Collector], transports: Mapping[str, Transport]) -> None:
        """Begin to collect, and to receive on further links."""
        self._collecting += [self._run(name, partial(self._read, one)) for name, one in transports.items()]
        self._collecting += [self._run(name, partial(self._collect, name, one)) for name, one in collectors.items()]

    async def pause_collecting(self) -> None:
        """Collect nothing more."""
        await _end(self._collecting)
        self._collecting = []

    async def stop(self) -> None:
        """End all tasks."""
        await _end(self._tasks + self._collecting)

    def _run(self, name: str, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        return asyncio.create_task(self._keep_running(name, work), name=f"input {name}")

    async def _keep_running(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        wait_s = 1.0
        while True:
            try:
                await work()
                return
            except (AlmenaraError, OSError, ValueError) as error:
                log.warning("%s: %s; tried again in %.0f s", name, error, wait_s)
                self._hub.ledger.sources.report(name, self._hub.clock(), str(error), "it is tried again by itself")
            await asyncio.sleep(wait_s)
            wait_s = min(60.0, 2 * wait_s)

    async def _collect(self, name: str, collector: Collector) -> None:
        source = f"collector:{name}"
        async for batch in collector.batches():
            await self._commit_own(source, batch)

    async def _commit_own(self, source: str, batch: Batch) -> None:
        now = self._hub.clock()
        try:
            rows, turned = await self._hub.commit(batch)
        except Refused as error:  # the next look comes anyway
            self._hub.ledger.sources.report(source, now, str(error), "")
            return
        self._hub.counters.add("almenara_rows_received_total", len(batch), transport="collector")
        rejected = [one.rejected for one in turned]
        self._hub.ledger.sources.count(source, now, 1, rows, rejected, best_effort=False)

    async def _read(self, link: Bus | Transport) -> None:
        async for packets in link.receive():
            await self._take(packets)

    async def _take(self, packets: Sequence[Packet]) -> None:
        """Commit packets; while the hub refuses, nothing more is read, and the broker keeps what comes."""
        while True:
            try:
                await self._hub.take(BUS, packets)
                break
            except Refused as error:
                self._hub.counters.add("almenara_writes_refused_total", reason=type(error).__name__)
                await asyncio.sleep(error.retry_after_s)
        for packet in packets:
            packet.done(None)

    async def _watch_clients(self, bus: Bus) -> None:
        """Show clients that the broker turned away, with the remedy, and what the broker itself suffers from."""
        lost = 0
        while True:
            for client in bus.clients():
                if client.problem:
                    at = client.last_ns or self._hub.clock()
                    self._hub.ledger.sources.report(f"mqtt:{client.name}", at, client.problem, client.remedy)
            if problems := bus.problems:
                self._hub.ledger.sources.report("mqtt", self._hub.clock(), "; ".join(problems)[:300], "")
            now_lost = sum(bus.counters.get(name, 0) for name in ("lost", "best_effort_lost"))
            self._hub.counters.add("almenara_bus_lost_total", now_lost - lost)
            lost = now_lost
            await asyncio.sleep(CLIENTS_S)

    async def _own_figures(self) -> None:
        """The hub's own figures are series too."""
        while True:
            await asyncio.sleep(OWN_FIGURES_S)
            now = self._hub.clock()
            figures = await asyncio.to_thread(self._hub.counters.snapshot)
            await self._commit_own(
                "collector:own figures", Batch.of((encode_key(f.name, f.labels), now, f.value) for f in figures)
            )


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
