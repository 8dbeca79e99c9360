"""The agent at work: what collectors give is encoded, put into the spool, and sent from there to the hub's broker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from almenara.codecs.json import Json
from almenara.collectors.poll import Poll
from almenara.model.batch import Batch
from almenara.model.errors import AlmenaraError
from almenara.model.series import Series
from almenara.model.topic import slug
from almenara.pipeline.spool import Spool
from almenara.plugin.contracts import Collector
from almenara.transports.mqtt import Mqtt

log = logging.getLogger(__name__)

#: Payloads on their way at a time: after an outage the broker is kept busy, and little is sent twice after a crash.
WINDOW = 32
#: Rows of one payload.
_ROWS = 1000
_LONGEST_PAUSE_S = 60.0


def data_topic(name: str) -> str:
    """Where an agent sends its rows; a hub reads it like every other topic."""
    return f"puma/{slug(name)}"


class Agent:
    """Collects, keeps and sends until it is stopped. `name` is the label `host` of the agent's own figures."""

    def __init__(
        self,
        name: str,
        collectors: Mapping[str, Collector],
        spool: Spool,
        link: Mqtt,
        *,
        figures_every_s: float = 60.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.topic = data_topic(name)
        self._spool, self._link, self._clock = spool, link, clock
        self._collectors = {**collectors, "own figures": _Figures(self, name, figures_every_s, clock)}
        self._codec = Json()
        self._news = asyncio.Event()
        self._keeping: set[asyncio.Task[None]] = set()  # batches that are being written to the spool
        self._rows: Counter[str] = Counter(dict.fromkeys(self._collectors, 0))
        self._failures: Counter[str] = Counter(dict.fromkeys(self._collectors, 0))
        self._too_large = 0

    async def run(self, stop: asyncio.Event, drain_s: float = 5.0) -> int:
        """Work until `stop` is set, then send what waits for at most `drain_s`; says how many payloads still wait."""
        await self._link.start()
        async with asyncio.TaskGroup() as group:
            collecting = [group.create_task(self._keep_collecting(*item)) for item in self._collectors.items()]
            sending = [group.create_task(self._send()) for _ in range(WINDOW)]
            watching = group.create_task(self._watch_link())
            await stop.wait()
            for task in collecting:
                task.cancel()
            await asyncio.gather(*collecting, return_exceptions=True)
            await asyncio.gather(*self._keeping, return_exceptions=True)
            self._news.set()
            await self._drain(drain_s)
            for task in (*sending, watching):
                task.cancel()
        await self._link.close()
        return self._spool.waiting

    async def _drain(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._spool.waiting and not self._link.problem and time.monotonic() < deadline:
            await asyncio.sleep(0.02)

    # --- in ---

    async def _keep_collecting(self, name: str, collector: Collector) -> None:
        """Collect; a collector that fails is begun again, after longer and longer pauses."""
        pause_s = 1.0
        while True:
            try:
                async for batch in collector.batches():
                    await self._take(name, batch)
                    pause_s = 1.0
                return
            except (AlmenaraError, OSError, ValueError, RuntimeError) as error:
                self._failures[name] += 1
                log.warning("collector %s: %s; tried again in %.0f s", name, error, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    async def _take(self, name: str, batch: Batch) -> None:
        self._rows[name] += len(batch)
        # A thread, since a slow disk may take seconds to sync; it goes on when whoever waits for it is cancelled.
        keeping = asyncio.create_task(asyncio.to_thread(self._keep, batch))
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        await asyncio.shield(keeping)
        self._news.set()

    def _keep(self, batch: Batch) -> None:
        for payload in self._payloads(batch):
            self._spool.put(self.topic, payload)

    def _payloads(self, batch: Batch) -> Iterator[bytes]:
        """The batch in pieces that every broker takes; a payload past its limit would drop the connection for ever."""
        for first in range(0, len(batch), _ROWS):
            yield from self._encode(_part(batch, first, first + _ROWS))

    def _encode(self, batch: Batch) -> Iterator[bytes]:
        payload = self._codec.encode(batch)
        if len(payload) <= self._spool.max_payload:
            yield payload
        elif len(batch) == 1:
            self._too_large += 1
            log.error("a row of %d bytes is too large to be sent: %.80r", len(payload), payload)
        else:
            half = len(batch) // 2
            yield from self._encode(_part(batch, 0, half))
            yield from self._encode(_part(batch, half, len(batch)))

    # --- out ---

    async def _send(self) -> None:
        while True:
            entry = self._spool.take()
            if entry is None:
                self._news.clear()
                await self._news.wait()
                continue
            await self._link.send(entry.topic, entry.payload)
            self._spool.ack(entry)

    async def _watch_link(self) -> None:
        """Say in the log when the link comes and goes."""
        before = self._link.problem
        while True:
            if (problem := self._link.problem) != before:
                if problem:
                    log.warning("%s: %s; what is collected waits on disk", self._link.address, problem)
                else:
                    log.info("connected to %s; %d payloads wait", self._link.address, self._spool.waiting)
                before = problem
            await asyncio.sleep(1.0)

    # --- own figures ---

    def figures(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """(name, labels, value) of the agent's own series now."""
        spool = self._spool
        yield "puma_spool_bytes", {}, spool.bytes
        yield "puma_spool_waiting", {}, spool.waiting
        yield "puma_sent_total", {}, spool.acknowledged
        for reason, count in {**spool.dropped, "too_large": self._too_large}.items():
            yield "puma_spool_dropped_total", {"reason": reason}, count
        for name, rows in self._rows.items():
            yield "puma_collected_rows_total", {"collector": name}, rows
            yield "puma_collect_failed_total", {"collector": name}, self._failures[name]
        yield "puma_connections_total", {}, self._link.connections
        yield "puma_cpu_seconds_total", {}, time.process_time()


class _Figures(Poll):
    """What the agent says of itself."""

    def __init__(self, agent: Agent, host: str, every_s: float, clock: Callable[[], int]) -> None:
        super().__init__(every_s, clock)
        self._agent, self._host = agent, host

    def collect(self) -> Batch:
        """All figures as they are now."""
        now = self.clock()
        return Batch.of((Series.of(n, host=self._host, **labels), now, v) for n, labels, v in self._agent.figures())


def _part(batch: Batch, first: int, end: int) -> Batch:
    return Batch(batch.series, batch.id[first:end], batch.time[first:end], batch.value[first:end])
