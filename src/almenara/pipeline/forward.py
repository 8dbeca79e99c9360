"""Routes: rows that go on to other systems as they are stored, each at least once, also over restarts and outages.

A route follows the segments of the hub by their number. It hears each as it is judged; what it missed, because the
other side was away or the hub was restarted, it reads from the store. Up to where it has come stands in hub.db.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from almenara.model.batch import Batch
from almenara.model.errors import AlmenaraError, Undeliverable
from almenara.model.series import Series, SeriesTable
from almenara.pipeline.flush import Judged
from almenara.pipeline.hub import Pipeline
from almenara.pipeline.index import Selector
from almenara.pipeline.relabel import NAME, Relabeling
from almenara.plugin.contracts import Codec, Selection
from almenara.query import Matcher

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 60.0
#: What is missed is read by so many segments at a time; more where they hold few rows, fewer where they hold many.
FIRST_SEGMENTS, MOST_SEGMENTS = 16, 4096
FEW_ROWS, MANY_ROWS = 200_000, 1_000_000

_PLACE = re.compile(r"\{(\w+)\}")
_SCHEMA = "CREATE TABLE IF NOT EXISTS route (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;"

#: Sends one payload: (topic, payload). Raises Undeliverable where the other side will never take it.
Send = Callable[[str, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Route:
    """Which rows go where, and as what. topic: `{__name__}` and `{label}` in it are filled in. rows: of one payload."""

    name: str
    send: Send
    codec: Codec
    matchers: Sequence[Matcher]
    relabeling: Relabeling = field(default_factory=Relabeling)
    topic: str = ""
    rows: int = 5000


class Cursors:
    """Up to which segment each route has come. A table of hub.db, written here alone; safe from every thread."""

    def __init__(self, database: Callable[[], sqlite3.Connection]):
        self._lock = threading.Lock()
        self._db = database()
        self._db.executescript(_SCHEMA)

    def load(self, name: str) -> int | None:
        """The last segment that went out whole; None for a route that is new."""
        with self._lock:
            found = self._db.execute("SELECT seq FROM route WHERE name = ?", (name,)).fetchone()
        return int(found[0]) if found else None

    def save(self, name: str, seq: int) -> None:
        """Everything up to this segment went out."""
        with self._lock, contextlib.suppress(sqlite3.Error):  # a full disk: some goes out twice after a restart
            self._db.execute("INSERT OR REPLACE INTO route VALUES (?, ?)", (name, seq))
            self._db.commit()

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._db.close()


class _Outside:
    """Series as they are called outside: by id of the hub the id there, -1 left out. Looked at once each."""

    def __init__(self, hub: Pipeline, route: Route):
        self._hub, self._relabeling, self._topic = hub, route.relabeling, route.topic
        self._selector = Selector(hub.index, route.matchers)
        self.series = SeriesTable()
        self._to = np.empty(0, np.int32)
        self._topics: list[str] = []
        self._topic_of = np.empty(0, np.int32)

    def wanted(self) -> np.ndarray:
        """int32[k], sorted: ids of the series that go out."""
        self._learn()
        return np.flatnonzero(self._to >= 0).astype(np.int32)

    def batch(self, batch: Batch) -> Batch:
        """The rows that go out, under their names outside, in their order."""
        self._learn()
        to = self._to[np.asarray(batch.id)]
        keep = to >= 0
        return Batch(self.series, to[keep], np.asarray(batch.time)[keep], np.asarray(batch.value)[keep])

    def by_topic(self, batch: Batch) -> Iterator[tuple[str, Batch]]:
        """The rows of each topic."""
        if not _PLACE.search(self._topic):
            yield self._topic, batch
            return
        topic = self._topic_of[batch.id]
        order = np.argsort(topic, kind="stable")
        starts = np.flatnonzero(np.diff(topic[order], prepend=-1))
        for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
            rows = order[begin:end]
            yield self._topics[topic[rows[0]]], Batch(batch.series, batch.id[rows], batch.time[rows], batch.value[rows])

    def _learn(self) -> None:
        """Look at series that are new."""
        known, now = len(self._to), len(self._hub.index)
        if known == now:
            return
        mask = self._selector.mask()
        new = np.full(now - known, -1, np.int32)
        for id in (np.flatnonzero(mask[known:now]) + known).tolist():
            if (outside := self._relabeling.apply(self._hub.index[id])) is not None:
                new[id - known] = self.series.intern(outside.key)
        self._to = np.concatenate((self._to, new))
        self._name_topics()

    def _name_topics(self) -> None:
        numbers = {topic: at for at, topic in enumerate(self._topics)}
        found = []
        for id in range(len(self._topic_of), len(self.series)):
            topic = _filled_in(self._topic, self.series[id])
            found.append(numbers.setdefault(topic, len(numbers)))
        self._topics = list(numbers)
        self._topic_of = np.concatenate((self._topic_of, np.array(found, np.int32)))


def _filled_in(topic: str, series: Series) -> str:
    labels = {NAME: series.name, **dict(series.labels)}
    return _PLACE.sub(lambda place: labels.get(place[1], "none"), topic)


class Forwarder:
    """One route at work, on the hub's loop."""

    def __init__(self, hub: Pipeline, route: Route, cursors: Cursors):
        self._hub, self._route, self._cursors = hub, route, cursors
        self._outside = _Outside(hub, route)
        self._task: asyncio.Task[None] | None = None
        self._failed = False
        self._seq = 0

    def start(self) -> None:
        """Go on from where this route has come; a new one begins with what arrives from now on."""
        self._task = asyncio.create_task(self._run(), name=f"route {self._route.name}")

    async def stop(self) -> None:
        """Forward no more; what is stored meanwhile goes out after the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._follow()
            except Exception as error:  # nobody awaits this task: said, and begun again from where it has come
                log.exception("route %s", self._route.name)
                self._report(f"{type(error).__name__}: {error}")
            await asyncio.sleep(LONGEST_PAUSE_S / 6)

    async def _follow(self) -> None:
        subscription = self._hub.feed.subscribe()
        try:
            begun = self._cursors.load(self._route.name)
            self._seq = self._hub.flushed_seq if begun is None else begun
            self._cursors.save(self._route.name, self._seq)
            await self._catch_up(self._hub.flushed_seq)
            async for judged in subscription:
                if judged.seq > self._seq:
                    await self._hear(judged)
        finally:
            subscription.close()

    async def _hear(self, judged: Judged) -> None:
        await self._catch_up(judged.seq - 1)
        await self._send(judged.batch)
        await self._come_to(judged.seq)

    async def _catch_up(self, until: int) -> None:
        """Send what is stored of the segments between where this route has come and `until`."""
        step = FIRST_SEGMENTS
        while self._seq < until:
            to = min(until, self._seq + step)
            batch = await self._hub.read_segments(Selection(self._hub.index, self._outside.wanted()), self._seq, to)
            step = min(MOST_SEGMENTS, step * 2) if len(batch) < FEW_ROWS else step
            step = max(1, step // 2) if len(batch) > MANY_ROWS else step
            await self._send(batch)
            await self._come_to(to)

    async def _come_to(self, seq: int) -> None:
        self._seq = seq
        await asyncio.to_thread(self._cursors.save, self._route.name, seq)

    async def _send(self, batch: Batch) -> None:
        rows = self._route.rows
        for topic, part in self._outside.by_topic(self._outside.batch(batch)):
            for at in range(0, len(part), rows):
                some = Batch(
                    part.series, part.id[at : at + rows], part.time[at : at + rows], part.value[at : at + rows]
                )
                payload = await asyncio.to_thread(self._route.codec.encode, some)
                await self._until_sent(topic, payload, len(some))

    async def _until_sent(self, topic: str, payload: bytes, rows: int) -> None:
        name, wait_s = self._route.name, 1.0
        while True:
            try:
                await self._route.send(topic, payload)
            except Undeliverable as error:
                self._hub.counters.add("almenara_route_dropped_total", rows, route=name, reason="undeliverable")
                self._report(str(error), "these rows were left out; the route goes on")
                return
            except (AlmenaraError, OSError) as error:
                if not self._failed:
                    log.warning("route %s: %s", name, error)
                self._report(str(error), "it is tried again by itself; nothing is left out meanwhile")
                await asyncio.sleep(wait_s)
                wait_s = min(LONGEST_PAUSE_S, 2 * wait_s)
                continue
            self._hub.counters.add("almenara_route_rows_total", rows, route=name)
            if self._failed:
                self._report("")
            return

    def _report(self, problem: str, remedy: str = "") -> None:
        self._failed = bool(problem)
        self._hub.ledger.sources.report(f"route:{self._route.name}", self._hub.clock(), problem, remedy)
