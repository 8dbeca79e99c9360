"""`Pipeline`: a hub at work. It puts the rooms below together; the web, the command line and tests talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from almenara.alarm.answers import Answer
from almenara.alarm.external import Alert
from almenara.alarm.rules import NOT_OURS, Rule
from almenara.alarm.vigil import Vigil
from almenara.analysis.occasions import Calendar
from almenara.bus.feed import Feed
from almenara.job.retention import retention_jobs
from almenara.job.runs import Runs
from almenara.job.schedule import Job
from almenara.job.turns import Turns
from almenara.model.alarm import Transition
from almenara.model.batch import Batch, Decoded, Event, Rejected
from almenara.model.causes import Causes
from almenara.model.errors import AlmenaraError, DecodeError, FolderError, KeyReused, Refused, StoreError
from almenara.model.time import EARLIEST_NS, LATEST_NS, MINUTE_NS, NS, format_duration
from almenara.pipeline import snapshot
from almenara.pipeline.admission import Limits, Turned
from almenara.pipeline.backtest import Backtest, Contender, backtest
from almenara.pipeline.budgets import Budgets, Kept
from almenara.pipeline.commit import Committer, Submission
from almenara.pipeline.conditions import stored_answer
from almenara.pipeline.counters import Counters
from almenara.pipeline.decoding import Decoders, Decoding
from almenara.pipeline.evaluations import Evaluations
from almenara.pipeline.events import newest_events
from almenara.pipeline.flush import Alarms, Flusher, Judged
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.intake import UNDECODABLE, Intake
from almenara.pipeline.judge import Judge, Watch
from almenara.pipeline.keys import AlreadyKept
from almenara.pipeline.learned import go_on
from almenara.pipeline.ledger import Ledger
from almenara.pipeline.metadata import KnownMetadata
from almenara.pipeline.noise_report import NoiseReport, noise_jobs
from almenara.pipeline.notes import Notes
from almenara.pipeline.origins import Origins
from almenara.pipeline.reading import Readers, Replayed, StoredRows, replay
from almenara.pipeline.relearn import judge_again
from almenara.pipeline.room import watch_room
from almenara.pipeline.segment import Segment, left_over, read_file
from almenara.pipeline.serieslog import take_up
from almenara.pipeline.sources import SourceStatus
from almenara.pipeline.threads import name_thread
from almenara.pipeline.together import decode_together, outcomes_of
from almenara.plugin.contracts import Outcome, Packet, Selection, Store, StoreReader
from almenara.query import Matcher, Matrix, evaluate, parse

log = logging.getLogger(__name__)

#: How long a stop waits for what is committed to be stored; the log keeps the rest.
DRAIN_S = 6.0
#: Rows that never came to a commit are noted so often.
NOTE_S = 1.0
#: Judging that is further behind than this is no watching any more.
BEHIND_NS = 2 * MINUTE_NS
#: Threads that decode. Each has codecs of its own, which remember every series they ever saw.
DECODERS = 2

#: Payloads up to this size are decoded at once by the loop, by codecs that are compiled.
SMALL_BYTES = 2048

#: Series whose past has changed are judged again at most so often.
JUDGE_AGAIN_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What a pipeline is made of, beside its folder and its store."""

    watches: Sequence[Watch] = ()
    codecs: Mapping[str, Decoding] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    min_free_bytes: int = 0
    when: Callable[[int], str] | None = None  # a time in words, as the site's clocks and calendars have it
    budgets: Budgets = field(default_factory=lambda: Budgets(()))
    noise: NoiseReport | None = None
    fingerprint: str = ""  # of the detectors and their options: who else cannot use what they learned


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
        self.bus_outage = ""  # why nothing that comes over the bus is kept now, in words; set by `Inputs`
        self.problems: dict[str, str] = {}  # what does not work beside the pipeline, by its place in the configuration
        self.failed = asyncio.Event()
        self.demo: Any = None
        self.metadata = KnownMetadata(folder.database, self.index)
        self.origins = Origins(folder.database)
        self.ledger = Ledger(folder.database)
        self._intake = Intake(self.ledger, self.counters, folder.aside, clock)
        self.decoders = Decoders(options.codecs, 2 * options.limits.series)
        self._started_s, self._ready = time.monotonic(), False
        self.left_busy = False  # whether a thread was still in the store when it was stopped
        self.alarms = alarms(self.index)
        self.evaluations = Evaluations(
            self.alarms.evaluated, self.ask_rule, self._take_answers, lambda: self.alarms.changes, clock, self.counters
        )
        self.vigil = Vigil(folder.database, clock)
        reports = noise_jobs(options.noise, folder.database, self.budgets, self.alarms.post)
        jobs = [*retention_jobs(store, options.limits.retention_s), *reports, self._again()]
        self.jobs = Turns(jobs, Runs(folder.database), clock)

    # --- life

    async def start(self) -> None:
        """Read what is known, take up what a former run left, and take writes; judging catches up beside them.

        Raises FolderError or StoreError, and lets go of the folder and the store.
        """
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._open)
        except BaseException:  # goes on as it is; a start that is cancelled must let go of the folder too
            self.store.close()
            self.folder.close()
            raise
        self._monitor = asyncio.create_task(watch_room(self.folder, self.options.min_free_bytes, self._committer))
        self._noting = asyncio.create_task(self._note_what_is_lost())
        self._evaluating = asyncio.create_task(self.evaluations.run(), name="evaluate rules")
        self._ready = True

    def _open(self) -> None:
        for keys in self.store.series_keys():
            self.index.add(keys)
        stored = len(self.index)
        about, saved = snapshot.load(self.folder.state, self.options.fingerprint, self.index.keys.checksum)
        left, offsets, seq = self._left_over(about)
        self._committer = Committer(
            self.folder.log, self.index, self.options.limits, self.clock, self.counters, self.ledger, seq + 1,
            offsets, self._fail,
        )  # fmt: skip
        self._committer.series_log.stored = stored
        take_up(self.index, self._committer.series_log)
        for segment in left:
            self._check_series(segment)
        judge = go_on(saved, self._new_judge, self.alarms) if saved is not None else None
        self._judge = judge or self._new_judge()
        self._flusher = Flusher(
            self.folder, self.index, self.store, self._committer, self._judge, self.alarms, self.options.fingerprint,
            self.clock, self.counters, self.feed.publish, self._fail, self.ledger, self._each_second,
        )  # fmt: skip
        self._readers, self._rule_readers = Readers(self.store), Readers(self.store, threads=1)
        self._decoding = ThreadPoolExecutor(DECODERS, "decode", name_thread)
        self.counters.sample(self._sampled)
        self.counters.sample_by(self._sampled_ledger)
        self._flusher.start(stored, snapshot.Seen(about.seq) if judge is None else about.seen, left)
        self._committer.start()

    def _each_second(self) -> None:
        """For the flush thread, once alarms have heard of the clock."""
        if not self._flusher.problem and not self._flusher.alarm_problem:
            self.vigil.tick()
        self.jobs.turn()

    def _new_judge(self) -> Judge:
        return Judge(self.index, self.options.watches, self.counters, self.metadata, self.options.budgets)

    def _left_over(self, about: snapshot.About) -> tuple[deque[Segment], dict[str, int], int]:
        """Segments of a former run; up to where each bus was read; and the highest seq that was ever given."""
        offsets = dict(about.offsets)
        left: deque[Segment] = deque()
        # The store is asked too: it takes no row with a seq that it has seen, so none may be given twice.
        stored = store_seq() if (store_seq := getattr(self.store, "last_seq", None)) else 0
        seq = max(about.seq, stored, self.ledger.counted)
        for path in left_over(self.folder.log):
            seq = max(seq, int(path.stem))
            if (found := read_file(path)) is None:
                path.unlink()  # it was begun and not whole: nothing of it was acknowledged
                continue
            segment, after, torn = found
            left.append(segment)
            self.ledger.take_up(segment.seq, segment.notes)
            offsets |= {bus: max(offset, offsets.get(bus, -1)) for bus, offset in after.items()}
            if torn:
                log.warning("%d bytes at the end of %s were never acknowledged; left out", torn, path)
        return left, offsets, seq

    def _check_series(self, segment: Segment) -> None:
        ids = segment.columns.id[: segment.n]
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(self.index):
            raise FolderError(
                f"{self.folder.log}: segment {segment.seq} has rows of series {ids.max()}, and the store and the log "
                f"have only {len(self.index)}; was store/ removed? Put it back, or move log/ and state/ away too"
            )

    async def stop(self) -> None:
        """Take nothing more, store and judge what is committed, write down what was learned."""
        self._ready = False
        self._monitor.cancel()
        self._noting.cancel()
        self._evaluating.cancel()
        await asyncio.gather(self._evaluating, return_exceptions=True)
        with contextlib.suppress(Refused, StoreError):
            await self._commit_lost()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        try:
            self._flusher.settle().result(DRAIN_S)
        except (TimeoutError, AlmenaraError) as error:
            log.warning("not everything could be stored in time; the log keeps it for the next start %s", error)
        self._committer.stop()
        ended = self._flusher.stop(max(1.0, deadline - time.monotonic()))
        self._decoding.shutdown(cancel_futures=True)
        if not ended:  # it is in the middle of a write: what it holds goes with the process
            log.warning("the store is still busy; it is left as it is, and the log keeps what it has not got")
            self.left_busy = True
            return
        self._readers.close()
        self._rule_readers.close()
        self.vigil.close()
        self.jobs.close()
        self.metadata.close()
        self.origins.close()
        self.ledger.close()
        try:
            self.store.close()
        finally:
            self.folder.close()

    def _fail(self, error: BaseException) -> None:
        """A thread that the hub cannot do without has ended: say so, and let whoever runs the hub stop it."""
        log.critical("the hub cannot go on: %s", error, exc_info=error)
        self.failure = self.failure or error
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self.failed.set)

    # --- writing

    async def write(self, packet: Packet, codec: str) -> Outcome:
        """Commit what a payload holds. Raises DecodeError (nothing in it can be read) or Refused (not taken now)."""
        transport = packet.source.partition(":")[0]
        self.counters.add("almenara_payloads_total", transport=transport)
        try:
            if len(packet.payload) <= SMALL_BYTES and self.decoders.is_warm(codec):
                decoded = self.decoders.decode(codec, packet)  # two threads to wake would cost more
            else:
                decoded = await self._decode(self.decoders.decode, codec, packet)
        except DecodeError as error:
            self.ledger.lost(packet.source, "rejected", UNDECODABLE, 1)
            self._intake.undecodable(packet, error)
            raise
        self.counters.add("almenara_rows_received_total", len(decoded.batch), transport=transport)
        notes = self._intake.note(packet, codec, decoded)
        try:
            rows, turned = await self.commit(decoded.batch, notes=notes, rejected=decoded.rejected)
        except AlreadyKept as again:
            self.counters.add("almenara_payloads_again_total", transport=transport)
            return again.outcome
        except Refused as error:
            self.counters.add("almenara_writes_refused_total", reason=type(error).__name__)
            raise
        await self._keep_metadata([decoded])
        rejected = [*decoded.rejected, *(one.rejected for one in turned)]
        self._intake.kept(packet, rejected)
        return Outcome(rows, rejected)

    async def take(self, bus: str, packets: Sequence[Packet]) -> list[Outcome]:
        """Commit packets of a link, and up to where it is read, together; says what became of each.

        Raises Refused when they are not taken now."""
        offset = max([p.offset for p in packets])
        rest = [packet for packet in packets if not packet.key]
        if len(rest) == len(packets):
            return await self._take_together(bus, packets, offset)
        named = {at: await self._take_named(packet) for at, packet in enumerate(packets) if packet.key}
        outcomes = iter(await self._take_together(bus, rest, offset))
        return [named[at] if at in named else next(outcomes) for at in range(len(packets))]

    async def _take_named(self, packet: Packet) -> Outcome:
        """A packet with a key is committed alone. Raises Refused."""
        try:
            return await self.write(packet, packet.codec or self.decoders.for_topic(packet.topic))
        except (DecodeError, KeyReused) as error:
            return Outcome(error=error)

    async def _take_together(self, bus: str, packets: Sequence[Packet], offset: int) -> list[Outcome]:
        many = await self._decode(decode_together, self.decoders, packets)
        rows = np.bincount(many.owner, minlength=len(packets))
        notes = self._intake.notes(packets, many.notes, rows)
        _, turned = await self.commit(many.batch, bus if offset >= 0 else "", offset, notes=notes)
        await self._keep_metadata(one for one in many.notes.values() if isinstance(one, Decoded))
        outcomes, remarkable = outcomes_of(many, rows, turned)
        for at in remarkable:
            error, rejected = outcomes[at].error, outcomes[at].rejected
            if isinstance(error, DecodeError):
                self._intake.undecodable(packets[at], error)
            elif rejected:
                self._intake.kept(packets[at], rejected)
        self.counters.add("almenara_payloads_total", len(packets), transport=bus)
        self.counters.add("almenara_rows_received_total", len(many.batch), transport=bus)
        return outcomes

    async def _decode(self, work: Callable[..., T], *arguments: object) -> T:
        return await self._loop.run_in_executor(self._decoding, work, *arguments)

    async def _keep_metadata(self, decoded: Iterable[Decoded]) -> None:
        """What payloads say of series, for those that have one by now."""
        decoded = list(decoded)
        tables = {id(one.batch.series): one.batch.series for one in decoded}.values()
        changes = [c for one in decoded if one.metadata for c in self.metadata.changes(one.metadata)]
        try:
            if changes:
                self._judge.kinds.note(await asyncio.to_thread(self.metadata.keep, changes))
            if self.origins.fresh(tables):
                await asyncio.to_thread(self.origins.keep, tables)
        except (Refused, StoreError) as error:  # the rows are kept; the next payload says it again
            log.warning("what was told of series is not kept: %s", error)

    async def _note_what_is_lost(self) -> None:
        while True:
            await asyncio.sleep(NOTE_S)
            with contextlib.suppress(Refused, StoreError):  # tried again in a moment
                await self._commit_lost()

    async def _commit_lost(self) -> None:
        """Write down what the ledger was told of rows that never came to a commit. Raises Refused or StoreError."""
        if (notes := self.ledger.pending.take(self.clock())) is None:
            return
        try:
            await self.commit(Batch.of(()), own=True, notes=notes)
        except BaseException:  # goes on as it is; what a cancelled task has taken is still to be told
            self.ledger.pending.give_back(notes)
            raise

    async def commit(
        self, batch: Batch, bus: str = "", offset: int = -1, *, own: bool = False, notes: Notes | None = None,
        rejected: Sequence[Rejected] = (),
    ) -> tuple[int, Sequence[Turned]]:  # fmt: skip
        """Rows kept and rows turned away, once they are synced to the log. Raises Refused or StoreError; AlreadyKept or
        KeyReused where the notes have a key.

        own: the hub says it itself (see `Submission`). notes: whose rows they are; the hub's where there are none.
        rejected: by whoever decoded.
        """
        answer: asyncio.Future[tuple[int, Sequence[Turned]]] = self._loop.create_future()

        def tell(rows: int, turned: Sequence[Turned], error: Exception | None) -> None:
            if answer.done():  # whoever waited has gone
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result((rows, turned))

        def done(rows: int, turned: Sequence[Turned], error: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
                self._loop.call_soon_threadsafe(tell, rows, turned, error)

        self._committer.submit(Submission(batch, bus, offset, done, own, notes, rejected))
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

    @property
    def flushed_seq(self) -> int:
        """The segment that was stored and judged last."""
        return self._flusher.last_seq

    async def read_segments(self, selection: Selection, after: int, until: int) -> Batch:
        """Rows that came in segments after `after`, up to `until`, which must be stored."""
        return await self._in_reader(
            lambda: self._readers.reader().read(selection, EARLIEST_NS, LATEST_NS, since_seq=after, until_seq=until)
        )

    async def last(self, selection: Selection) -> Batch:
        """The last row of each series."""
        await self.settle()
        return await self._in_reader(lambda: self._readers.reader().last(selection))

    async def read_with(self, work: Callable[[StoreReader], T]) -> T:
        """Do `work`, in a thread, with a reader that sees everything committed so far."""
        await self.settle()
        return await self._in_reader(lambda: work(self._readers.reader()))

    async def read_events(
        self, start: int, end: int, selectors: Sequence[Sequence[Matcher]] = (), limit: int = 1000
    ) -> list[Event]:
        """The newest events in [start, end), newest first, that any of the selectors holds."""
        await self.settle()
        return await self._in_reader(lambda: newest_events(self._readers.reader(), start, end, selectors, limit))

    async def query(self, expression: str, start: int, end: int, step_ns: int) -> Matrix:
        """The answer to a PromQL expression. Raises QueryError."""
        expr = parse(expression)
        await self.settle()
        return await self._in_reader(lambda: evaluate(expr, start, end, step_ns, self._source()))

    async def ask_rule(self, rule: Rule, now_ns: int) -> Answer:
        """What a rule that is evaluated says of what is stored by now. Raises QueryError."""
        await self.settle()
        alarms = self.alarms.open() if rule.condition.rules else ()

        def work() -> Answer:
            return stored_answer(rule, now_ns, self._rule_readers.reader(), self.index, alarms)

        return await self._loop.run_in_executor(self._rule_readers.pool, work)

    async def _take_answers(self, answers: Sequence[Answer]) -> None:
        await asyncio.wrap_future(self._flusher.between(lambda: self.alarms.take(answers)))

    async def replay(self, ids: np.ndarray, start: int, end: int, detector: str = "") -> Replayed:
        """What a detector (the first, unless named) says of stored rows in [start, end) of these series."""
        await self.settle()
        watch = self._watch(detector)
        found: Replayed = await self._in_reader(
            lambda: replay(self._readers.reader(), self.index, watch, ids, start, end, self.kinds(ids))
        )
        return replace(found, causes=replace(found.causes, when=self.options.when))

    def backtest(
        self, ids: np.ndarray, start: int, end: int, contenders: Sequence[Contender]
    ) -> Generator[Backtest, None, None]:
        """What detectors would have flagged in [start, end); each step is a second or so of work for a thread."""
        reader = self.store.reader()
        try:
            for found in backtest(reader, self.index, self.metadata, ids, start, end, contenders):
                found.causes = [replace(one, when=self.options.when) for one in found.causes]
                yield found
        finally:
            reader.close()

    def kinds(self, ids: np.ndarray) -> np.ndarray:
        """uint8[k]: what these series are (pipeline.kinds), by what was told or by what they do."""
        return self._judge.kinds_now(ids)

    def _in_reader(self, work: Callable[[], object]) -> asyncio.Future:
        return self._loop.run_in_executor(self._readers.pool, work)

    def _watch(self, name: str) -> Watch:
        return next(w for w in self.options.watches if not name or w.name == name)

    def _source(self) -> StoredRows:
        reader = self._readers.reader()
        names = [w.name for w in self.options.watches]

        def replayer(detector: str, ids: np.ndarray, start: int, end: int) -> Replayed:
            watch = self._watch(detector)
            watched = np.intersect1d(ids, self.index.select((*watch.matchers, NOT_OURS)), assume_unique=True)
            return replay(reader, self.index, watch, watched, start, end, self.kinds(watched))

        return StoredRows(self.index, reader, replayer, names)

    def _again(self) -> Job:
        """The job that judges series again whose past late rows have changed."""
        return Job(
            "judge again", JUDGE_AGAIN_S, wanted=lambda: self._judge.wants_again,
            run=lambda now_ns, _: judge_again(self.store, self.index, self._judge, now_ns, self._flusher.store_made),
        )  # fmt: skip

    async def judge_again(self, ids: np.ndarray) -> None:
        """Have the detectors forget these series and learn them from their stored rows, soon, in a job."""

        def ask() -> Sequence[Transition]:
            self._judge.ask_again(ids)
            return ()

        await asyncio.wrap_future(self._flusher.between(ask))

    @property
    def to_judge_again(self) -> int:
        """How many series wait for it."""
        return len(self._judge.again())

    async def replace_rules(self, rules: Sequence[object], notifiers: Any) -> None:
        """Decide alarms by these rules from now on; open alarms of rules that are gone are resolved."""
        await asyncio.wrap_future(self._flusher.between(lambda: self.alarms.replace_rules(rules, notifiers)))

    async def replace_calendars(self, calendars: Sequence[Calendar], watches: Sequence[Watch]) -> None:
        """Have the detectors go on with other calendars, in steps between segments; replays and backtests are made by
        these watches from then on, which differ in calendars alone."""
        steps = self._judge.replace_calendars(calendars, watches, lambda: self.alarms.replace_causes(self.causes))
        await self._flusher.take_steps(steps)
        self.options = replace(self.options, watches=tuple(watches))

    async def take_alerts(self, alerts: Iterable[Alert]) -> None:
        """Take alerts that another system sends; done when what they change is on disk. Raises StoreError, Refused."""
        await asyncio.wrap_future(self._flusher.between(lambda: self.alarms.take_alerts(alerts, self.clock())))

    async def with_alarms(self, do: Callable[[Alarms], Sequence[Transition]]) -> None:
        """Have alarms changed between two segments, as by `lambda alarms: alarms.split(...)`. Raises what it raises."""
        await asyncio.wrap_future(self._flusher.between(lambda: do(self.alarms)))

    @property
    def causes(self) -> Causes:
        """What the causes of verdicts point into, and whose they are."""
        return replace(self._judge.causes, when=self.options.when)

    def budgets(self) -> list[Kept]:
        """How each alarm budget is kept."""
        return self._judge.budgets_kept()

    # --- how it is doing

    def sources(self) -> list[SourceStatus]:
        """The ledger, a line a source, of all segments that are stored by now."""
        return self.ledger.statuses()

    async def account(self) -> list[SourceStatus]:
        """The ledger, of everything that was committed or lost by now."""
        with contextlib.suppress(Refused, StoreError):  # then without what was lost within this second
            await self._commit_lost()
        await self.settle()
        return self.sources()

    def health(self) -> list[str]:
        """Why the hub is not ready, in words; empty when it is."""
        reasons = [] if self._ready else ["starting or stopping"]
        if not self._ready:
            return reasons
        reasons += [f"nothing is stored: {self._flusher.problem}"] if self._flusher.problem else []
        reasons += [f"writes are refused: {self._committer.refusing}"] if self._committer.refusing else []
        reasons += [f"MQTT messages are not kept: {self.bus_outage}"] if self.bus_outage else []
        reasons += [f"it failed: {self.failure}"] if self.failure else []
        reasons += [f"detector {name} is out of service: {why}" for name, why in self._judge.problems.items()]
        reasons += [f"alarms are not decided: {self._flusher.alarm_problem}"] if self._flusher.alarm_problem else []
        return reasons

    @property
    def judged_to_ns(self) -> int:
        """All that came before this time, by the hub's clock, is judged; it stands still where judging does."""
        waits = self._committer.oldest_ns if self._ready else 0
        return min(self.vigil.ticked_ns, waits or self.vigil.ticked_ns)

    def troubles(self) -> list[str]:
        """Why nobody should rely on this hub now, in words: it is not ready, judges late, or cannot tell anybody."""
        reasons = self.health()
        if not self._ready:
            return reasons
        if (behind := self.clock() - self.judged_to_ns) > BEHIND_NS:
            reasons.append(f"judging is {format_duration(behind / NS)} behind")
        try:
            stuck = self.vigil.stuck()
        except StoreError as error:
            stuck = str(error)
        return [*reasons, f"messages do not get out: {stuck}"] if stuck else reasons

    def _sampled_ledger(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for (kind, outcome), rows in self.ledger.by_kind().items():
            yield "almenara_ledger_rows_total", {"source_kind": kind, "outcome": outcome}, rows

    def _sampled(self) -> list[tuple[str, float]]:
        oldest_ns = self._committer.oldest_ns
        return [
            ("almenara_queue_rows", self._committer.waiting_rows),
            ("almenara_segment_lag_seconds", max(0.0, (self.clock() - oldest_ns) / NS) if oldest_ns else 0.0),
            ("almenara_series", len(self.index)),
            ("almenara_alarms_open", len(self.alarms.open())),
            ("almenara_alerts_left_out_total", self.alarms.alerts_left_out),
            ("almenara_store_bytes", self._flusher.store_size.get("bytes", 0)),
            ("almenara_disk_free_bytes", self.folder.free_bytes()),
            ("almenara_cpu_seconds_total", time.process_time()),
            ("almenara_uptime_seconds", time.monotonic() - self._started_s),
        ]
