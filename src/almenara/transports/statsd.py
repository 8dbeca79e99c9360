"""StatsD over UDP: counters, gauges, timers and sets of applications, added up and handed on every few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Annotated

from almenara.model.time import NS
from almenara.plugin.contracts import Packet
from almenara.plugin.options import Range
from almenara.transports._listen import Address, Listener
from almenara.transports._statsd import Aggregate


class Statsd(Listener):
    """StatsD lines, with DogStatsD's tags, events and service checks, over UDP.

    `api.calls:1|c|@0.1|#code:200` adds 10 to the counter `api_calls_total{code="200"}`; a gauge keeps its name; a timer
    (ms, h, d) becomes `_count` and `_sum`, counters, and `_min`, `_max`, `_mean` and percentiles of each interval, in
    the unit it is sent in; a set becomes `_unique`. Counters go on from flush to flush and start at 0 with the hub,
    or when it takes over a changed file. Service checks become `_status` (0 OK to 3 unknown), events events.

    Dropped by name: `bad_line`, `bad_value`, `not_utf8`, `too_many_names`, `too_many_members`,
    `too_many_events`, `key_too_long`.

    Options:
        flush_s: Time between two rows of a series.
        percentiles: Of timers, such as 50, 95 and 99: rows `_p50`, `_p95`, `_p99`.
        max_names: Names with their tags that are kept; lines of more are dropped.
        forget_s: A name that is silent for so long is forgotten; its counter would start at 0 again.
    """

    scheme = "statsd"

    def __init__(
        self,
        *,
        listen: Address = "127.0.0.1:8125",
        flush_s: Annotated[float, Range(0.1, 3600)] = 10.0,
        percentiles: Sequence[float] = (50.0, 90.0, 99.0),
        max_names: Annotated[int, Range(1, 1_000_000)] = 20_000,
        forget_s: Annotated[float, Range(1)] = 86_400.0,
        allow: Sequence[str] = (),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(listen, allow, clock)
        if any(not 0 < percent <= 100 for percent in percentiles):
            raise ValueError(f"percentiles must be above 0 and at most 100; got {list(percentiles)}")
        self._flush_s = flush_s
        silent = max(1, round(forget_s / flush_s))
        self._state = Aggregate(self.dropped, max_names, silent, percentiles)

    async def _open(self) -> None:
        self._serve_udp(self._take)
        self._beside(self._keep_flushing())

    def _take(self, host: str, payloads: list[bytes]) -> None:
        for payload in payloads:
            self._state.take(payload)

    async def _keep_flushing(self) -> None:
        began_ns = self.now()
        while True:
            await asyncio.sleep(self._flush_s - self.now() / NS % self._flush_s)
            if self._inbox.full:  # the hub takes nothing: go on adding up, the next flush has it all
                continue
            now_ns = self.now()
            for rows in self._state.flush(now_ns, began_ns):
                await self.put(Packet(self.scheme, rows, now_ns, self.source(self.host), qos=0, codec="prometheus"))
                await asyncio.sleep(0)  # a flush of very many names leaves others their turn
            if events := self._state.take_events():
                await self.put(Packet(self.scheme, events, now_ns, self.source(self.host), qos=0, codec="syslog"))
            began_ns = now_ns
