"""`Pipeline`: a hub at work. It puts the rooms below together; the web, the command line and tests talk to it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from almenara.bus.feed import Feed
from almenara.model.batch import Batch, Rejected
from almenara.model.errors import DecodeError, DiskFull, Refused
from almenara.pipeline import snapshot
from almenara.pipeline.admission import Limits, Turned
from almenara.pipeline.commit import Committer, Submission
from almenara.pipeline.counters import Counters
from almenara.pipeline.decoding import Decoders, Decoding, decode_all, joined
from almenara.pipeline.flush import Alarms, Flusher, Judged
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.judge import Judge, Watch
from almenara.pipeline.ledger import Ledger
from almenara.pipeline.reading import Readers, Replayed, StoredRows, replay
from almenara.pipeline.segment import left_over, read_all
from almenara.pipeline.sources import SourceStatus
from almenara.plugin.contracts import Packet, Selection, Store
from almenara.query import Matrix, evaluate, parse

log = logging.getLogger(__name__)

#: How long a stop waits for what is committed to be stored; the log keeps the rest.
DRAIN_S = 6.0


@dataclass(frozen=True, slots=True)
class Written:
    """What a write came to: rows kept, and what was rejected and why."""

    rows: int
    rejected: Sequence[Rejected] = ()


@dataclass(frozen=True, slots=True)
class Options:
    """What a pipeline is made of, beside its folder and its store."""

    watches: Sequence[Watch] = ()
    codecs: Mapping[str, Decoding] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    min_free_bytes: int = 0
    fingerprint: str = ""  # of the detectors and their options: who else cannot use what they learned


def fingerprint_of(description: object) -> str:
    """A short digest of anything JSON can hold."""
    return hashlib.sha256(json.dumps(description, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Pipeline:
    """A hub on the running asyncio loop: make it, `await start()`, and in the end `await stop()`."""

    def __init__(
        self, folder: DataFolder, store: Store, options: Options, *,
        alarms: Callable[[SeriesIndex], Alarms], clock: Callable[[], int] = time.time_ns,
    ):  # fmt: skip
        self.folder, self.store, self.options, self.clock = folder, store, options, clock
        self.index = SeriesIndex()
        self.counters = Counters()
        self.feed: Feed[Judged] = Feed()
        self.addresses: dict[str, str] = {}
        self.failure: BaseException | None = None
        self.failed = asyncio.Event()
        self.demo: Any = None
        self.ledger = Ledger(self.counters, clock, folder.aside)
        self.decoders = Decoders(options.codecs)
        self._started_s = time.monotonic()
        self._ready = False
        self.alarms = alarms(self.index)

    # --- life

    async def start(self) -> None:
        """Read what is known, take up what a former run left, and take writes; judging catches up beside them."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open)
        self._monitor = asyncio.create_task(self._watch_disk())
        self._ready = True

    def _open(self) -> None:
        for keys in self.store.series_keys():
            self.index.add(keys)
        stored = len(self.index)
        about, state = snapshot.load(self.folder.state, self.options.fingerprint)
        left = list(read_all(self.folder.log))
        offsets = dict(about.offsets)
        for _, after, torn in left:
            offsets |= after
            if torn:
                log.warning("%d bytes at the end of a log file were never acknowledged; left out", torn)
        seqs = [about.seq, *(int(p.stem) for p in left_over(self.folder.log))]
        self._committer = Committer(
            self.folder.log, self.index, self.options.limits, self.clock, self.counters, max(seqs) + 1, offsets
        )
        for first_id, keys in self._committer.series_log.read():
            self.index.add(keys[max(0, len(self.index) - first_id) :])
        self._judge = Judge(self.index, self.options.watches, self.counters)
        if state is not None:
            self._judge.restore(state)
        self._flusher = Flusher(
            self.folder, self.index, self.store, self._committer, self._judge, self.alarms, self.options.fingerprint,
            self.clock, self.counters, self.feed.publish, self._fail,
        )  # fmt: skip
        self._readers = Readers(self.store)
        self.counters.sample(self._sampled)
        self._flusher.start(stored, about.seq, [segment for segment, _, _ in left])
        self._committer.start()

    async def stop(self) -> None:
        """Take nothing more, store and judge what is committed, write down what was learned."""
        self._ready = False
        self._monitor.cancel()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        try:
            self._flusher.settle().result(DRAIN_S)
        except TimeoutError:
            log.warning("not everything could be stored in time; the log keeps it for the next start")
        self._committer.stop()
        self._flusher.stop(max(1.0, deadline - time.monotonic()))
        self._readers.close()
        self.store.close()
        self.folder.close()

    def _fail(self, error: BaseException) -> None:
        """A thread that the hub cannot do without has ended: say so, and let whoever runs the hub stop it."""
        log.critical("the hub cannot go on: %s", error, exc_info=error)
        self.failure = error
        self._loop.call_soon_threadsafe(self.failed.set)

    async def _watch_disk(self) -> None:
        """Refuse writes while free disk is below the floor."""
        while True:
            free = self.folder.free_bytes()
            if free >= self.options.min_free_bytes:
                self._committer.refusing = None
            elif self._committer.refusing is None:
                message = f"{self.folder.path}: {free >> 20} MB free, below the floor of "
                message += f"{self.options.min_free_bytes >> 20} MB; free some, and writing goes on by itself"
                self._committer.refusing = DiskFull(message, retry_after_s=5)
                log.error("%s", message)
            await asyncio.sleep(1)

    # --- writing

    async def write(self, packet: Packet, codec: str) -> Written:
        """Commit what a payload holds. Raises DecodeError (nothing in it can be read) or Refused (not taken now)."""
        transport = packet.source.partition(":")[0]
        self.counters.add("almenara_payloads_total", transport=transport)
        try:
            decoded = await asyncio.to_thread(self.decoders.decode, codec, packet)
        except DecodeError as error:
            self.ledger.undecodable(packet, error)
            raise
        self.counters.add("almenara_rows_received_total", len(decoded.batch), transport=transport)
        try:
            rows, turned = await self.commit(decoded.batch)
        except Refused as error:
            self.counters.add("almenara_writes_refused_total", reason=type(error).__name__)
            raise
        rejected = [*decoded.rejected, *(one.rejected for one in turned)]
        self.ledger.kept(packet, rows, rejected)
        return Written(rows, rejected)

    async def take(self, bus: str, packets: Sequence[Packet]) -> None:
        """Commit packets of a bus, and up to where it is read, together. Raises Refused when they are not taken now."""
        decoded, undecodable = await asyncio.to_thread(decode_all, self.decoders, packets)
        batch, owner = joined([d for _, d in decoded])
        offset = max(p.offset for p in packets)
        _, turned = await self.commit(batch, bus if offset >= 0 else "", offset)
        for packet, error in undecodable:
            self.ledger.undecodable(packet, error)
        lost = np.bincount(np.concatenate([owner[:0], *(owner[t.at] for t in turned)]), minlength=len(decoded))
        for at, (packet, one) in enumerate(decoded):
            rejected = list(one.rejected)
            if lost[at]:
                rejected += [
                    replace(t.rejected, rows=n) for t in turned if (n := int(np.count_nonzero(owner[t.at] == at)))
                ]
            self.ledger.kept(packet, len(one.batch) - int(lost[at]), rejected)
        self.counters.add("almenara_payloads_total", len(packets), transport=bus)
        self.counters.add("almenara_rows_received_total", len(batch), transport=bus)

    async def commit(self, batch: Batch, bus: str = "", offset: int = -1) -> tuple[int, Sequence[Turned]]:
        """Rows kept and rows turned away, once they are synced to the log. Raises Refused or StoreError."""
        answer: asyncio.Future[tuple[int, Sequence[Turned]]] = self._loop.create_future()

        def tell(rows: int, turned: Sequence[Turned], error: Exception | None) -> None:
            if answer.done():  # whoever waited has gone
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result((rows, turned))

        def done(rows: int, turned: Sequence[Turned], error: Exception | None) -> None:
            self._loop.call_soon_threadsafe(tell, rows, turned, error)

        self._committer.submit(Submission(batch, bus, offset, done))
        return await answer

    def offset(self, bus: str) -> int:
        """Up to where a durable stream is committed; -1 where nothing of it is."""
        return self._committer.offsets.get(bus, -1)

    # --- reading

    async def settle(self) -> None:
        """Everything committed so far is stored, judged and visible."""
        await asyncio.wrap_future(self._flusher.settle())

    async def read(
        self, selection: Selection, start: int, end: int, every_ns: int | None = None, how: str = "avg"
    ) -> Batch:
        """Stored rows in [start, end), ordered by (id, time); see `StoreReader.read`."""
        await self.settle()
        return await self._in_reader(lambda: self._readers.reader().read(selection, start, end, every_ns, how))

    async def last(self, selection: Selection) -> Batch:
        """The last row of each series."""
        await self.settle()
        return await self._in_reader(lambda: self._readers.reader().last(selection))

    async def query(self, expression: str, start: int, end: int, step_ns: int) -> Matrix:
        """The answer to a PromQL expression. Raises QueryError."""
        await self.settle()
        expr = parse(expression)
        return await self._in_reader(lambda: evaluate(expr, start, end, step_ns, self._source()))

    async def replay(self, ids: np.ndarray, start: int, end: int, detector: str = "") -> Replayed:
        """What a detector (the first, unless named) says of stored rows in [start, end) of these series."""
        await self.settle()
        watch = self._watch(detector)
        return await self._in_reader(lambda: replay(self._readers.reader(), self.index, watch, ids, start, end))

    def _in_reader(self, work: Callable[[], object]) -> asyncio.Future:
        return self._loop.run_in_executor(self._readers.pool, work)

    def _watch(self, name: str) -> Watch:
        return next(w for w in self.options.watches if not name or w.name == name)

    def _source(self) -> StoredRows:
        reader = self._readers.reader()
        names = [w.name for w in self.options.watches]

        def replayer(detector: str, ids: np.ndarray, start: int, end: int) -> Replayed:
            return replay(reader, self.index, self._watch(detector), ids, start, end)

        return StoredRows(self.index, reader, replayer, names)

    async def replace_rules(self, rules: Sequence[object], notifiers: Any) -> None:
        """Decide alarms by these rules from now on; open alarms of rules that are gone are resolved."""
        await asyncio.wrap_future(self._flusher.between(lambda: self.alarms.replace_rules(rules, notifiers)))

    @property
    def causes(self) -> Sequence[str]:
        """What the causes of verdicts point into."""
        return self._judge.causes

    # --- how it is doing

    def sources(self) -> list[SourceStatus]:
        """Who sends what."""
        return self.ledger.sources.snapshot()

    def health(self) -> list[str]:
        """Why the hub is not ready, in words; empty when it is."""
        reasons = [] if self._ready else ["starting or stopping"]
        if not self._ready:
            return reasons
        reasons += [f"nothing is stored: {self._flusher.problem}"] if self._flusher.problem else []
        reasons += [f"writes are refused: {self._committer.refusing}"] if self._committer.refusing else []
        reasons += [f"it failed: {self.failure}"] if self.failure else []
        return reasons

    def _sampled(self) -> list[tuple[str, float]]:
        size = self.store.size()
        return [
            ("almenara_queue_rows", self._committer.waiting_rows),
            ("almenara_series", len(self.index)),
            ("almenara_alarms_open", len(self.alarms.open())),
            ("almenara_store_bytes", size["bytes"]),
            ("almenara_disk_free_bytes", self.folder.free_bytes()),
            ("almenara_cpu_seconds_total", time.process_time()),
            ("almenara_uptime_seconds", time.monotonic() - self._started_s),
        ]
