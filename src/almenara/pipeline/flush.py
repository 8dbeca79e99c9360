"""The flush: a closed segment is sorted, stored and judged, its alarms are decided, and people hear; in one thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np

from almenara.alarm.answers import Answer
from almenara.alarm.external import Alert
from almenara.alarm.letters import Letter
from almenara.alarm.lines import Line
from almenara.alarm.rules import Rule
from almenara.alarm.silences import Silences
from almenara.alarm.tables import Key
from almenara.alarm.told import Told
from almenara.model.alarm import Alarm, Incident, Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.errors import AlmenaraError, Refused, StoreError
from almenara.model.time import NS
from almenara.pipeline import snapshot
from almenara.pipeline.commit import Committer
from almenara.pipeline.counters import Counters
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.judge import Judge, empty_verdict
from almenara.pipeline.learned import rest_of
from almenara.pipeline.ledger import Ledger
from almenara.pipeline.made import Made, Waiter, tell
from almenara.pipeline.memory import give_back_memory
from almenara.pipeline.recent import Accountant
from almenara.pipeline.relearn import first_times, relearn
from almenara.pipeline.segment import Segment, path_of
from almenara.pipeline.slices import Slices
from almenara.pipeline.snapshot import Seen
from almenara.pipeline.threads import name_thread
from almenara.plugin.contracts import Store

log = logging.getLogger(__name__)

#: A hub that is not idle closes a segment at least so often.
SEGMENT_S = 1.0
#: On a hub with little to do, flushing takes at most this part of the time.
DUTY = 1 / 40
#: Rows older than this when their segment was opened are history: they teach, and raise no alarm.
HISTORY_NS = 15 * 60 * NS
#: What was learned is written down so often, or when so many rows wait in the log for it.
SNAPSHOT_S = 60.0
SNAPSHOT_ROWS = 16_000_000
MAINTAIN_S = 60.0
#: Alarms hear of the clock so often.
TICK_S = 1.0
RETRY_S = 2.0
#: The store is asked for its size so often.
SIZE_S = 10.0

T = TypeVar("T")

NO_ROWS = np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What became of a segment: all its rows ordered by (id, time), their verdict (NaN where late or not judged)."""

    batch: Batch
    verdict: Verdict
    transitions: Sequence[Transition]
    seq: int = 0  # of the segment; 0 where no rows made the transitions


class Alarms(Protocol):
    """What decides alarms; see `almenara.alarm`. `step`, `tick`, `take` are the flush thread's, the rest anybody's."""

    @property
    def silences(self) -> Silences: ...
    def step(self, seq: int, batch: Batch, verdict: Verdict, fresh_from_ns: int) -> Sequence[Transition]: ...
    def tick(self, now_ns: int) -> Sequence[Transition]: ...
    def replace_rules(self, rules: Sequence[Any], notifiers: Any) -> Sequence[Transition]: ...
    def replace_causes(self, causes: Causes) -> None: ...
    def take_alerts(self, alerts: Iterable[Alert], now_ns: int) -> Sequence[Transition]: ...
    def alerts(self) -> list[Alert]: ...
    @property
    def alerts_left_out(self) -> int: ...
    def inhibited(self, alarms: Iterable[tuple[Key, Mapping[str, str]]]) -> list[Mapping[str, str] | None]: ...
    def receivers(self, labels: Mapping[str, str] | None = None) -> list[str]: ...
    def take(self, answers: Sequence[Answer]) -> Sequence[Transition]: ...
    @property
    def changes(self) -> int: ...
    def evaluated(self) -> Sequence[Rule]: ...
    def rules(self) -> Sequence[Rule]: ...
    def split(self, incident: int, alarms: Sequence[tuple[str, bytes]], who: str) -> Sequence[Transition]: ...
    def join(self, incident: int, other: int, who: str) -> Sequence[Transition]: ...
    def open(self) -> list[Alarm]: ...
    def journal(self, limit: int = 100, before_ns: int | None = None) -> list[Transition]: ...
    def incidents(self, limit: int = 100, open_only: bool = False) -> list[Incident]: ...
    def incident(self, number: int) -> Incident | None: ...
    def lines(self, incident: int) -> list[Line]: ...
    def changes_of(self, incident: int, limit: int = 200) -> list[Transition]: ...
    def told(self, limit: int = 100, incident: int = 0, outcome: str = "") -> list[Told]: ...
    def post(self, letter: Letter, notifiers: Sequence[str]) -> int: ...
    def acknowledge(self, incident: int, who: str, note: str = "", until: int = 0) -> bool: ...
    def unacknowledge(self, incident: int, who: str) -> bool: ...
    def state(self) -> Mapping[str, np.ndarray]: ...
    def restore(self, arrays: Mapping[str, np.ndarray]) -> None: ...


class Flusher:
    """Holds the store's writing side, the detectors' and the alarms' state; nobody else touches them."""

    def __init__(
        self, folder: DataFolder, index: SeriesIndex, store: Store, committer: Committer, judge: Judge, alarms: Alarms,
        fingerprint: str, clock: Callable[[], int], counters: Counters, publish: Callable[[Judged], None],
        failed: Callable[[BaseException], None], ledger: Ledger, jobs: Callable[[], None] = lambda: None,
    ):  # fmt: skip
        self._folder, self._index, self._store, self._committer = folder, index, store, committer
        self._judge, self._alarms, self._fingerprint = judge, alarms, fingerprint
        self._clock, self._counters, self._publish, self._failed = clock, counters, publish, failed
        self._ledger = ledger
        self._accountant = Accountant(index, store)
        self._jobs = jobs  # does a little of the job that is due
        self._stored_series = 0
        self._left_over: deque[Segment] = deque()
        self._done: deque[tuple[int, int]] = deque()  # (seq, rows) judged, their log files kept until a snapshot
        self._last_seq = 0
        self._made: deque[Made] = deque()  # rows that judging made and that are not stored yet
        self._seen = Seen(0)  # the segments that the judge had seen when this began
        rest = partial(rest_of, judge, alarms)
        self._slices = Slices(
            folder.state, lambda: (self._last_seq, len(index)), self._about, judge.part, rest, committer.wake
        )
        self._unsaved = False  # whether anything was learned since the last snapshot
        self._snapshot_s = self._ticked_s = self._maintained_s = time.monotonic()
        self._sized_s = -SIZE_S
        self._flushed_s, self._cost_s = 0.0, 0.0
        self._waiters: deque[Waiter] = deque()
        self._errands: deque[tuple[Callable[[], Sequence[Transition]], Future[None]]] = deque()
        self._flushed = 0  # commits of this run that are stored and judged
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # of `_ended`: who asks after that is told at once
        self._ended: AlmenaraError | None = None
        self.problem = ""  # why nothing is stored at the moment
        self.alarm_problem = ""  # why no alarms are decided
        self.store_size: Mapping[str, int] = {}
        self._thread = threading.Thread(target=self._run, name="flush", daemon=True)

    # --- called from other threads

    def start(self, stored_series: int, seen: Seen, left_over: Iterable[Segment] = ()) -> None:
        """Begin. The store has so many series; the judge has seen these segments; a former run left those."""
        self._stored_series, self._seen, self._left_over = stored_series, seen, deque(left_over)
        self._last_seq = seen.seq
        self._thread.start()

    @property
    def last_seq(self) -> int:
        """The segment that was stored and judged last."""
        return self._last_seq

    def settle(self) -> Future[None]:
        """Done when everything committed by now, and what judging makes of it, is stored and judged.

        While the disk refuses it is done at once: who reads then sees what is stored. Fails when flushing has ended.
        """
        waiter = Waiter(self._committer.committed)
        with self._lock:
            if self._ended is not None:
                tell(waiter.answer, self._ended)
            elif self.problem:
                tell(waiter.answer)
            else:
                self._waiters.append(waiter)
        self._committer.wake()
        return waiter.answer

    def between(self, do: Callable[[], Sequence[Transition]]) -> Future[None]:
        """Do something with the alarms between two segments, in the flush thread; people hear of what it changes."""
        done: Future[None] = Future()
        with self._lock:
            if self._ended is not None:
                tell(done, self._ended)
            else:
                self._errands.append((do, done))
        self._committer.wake()
        return done

    async def take_steps(self, steps: Iterator[object]) -> None:
        """As `between`, a step at a time: segments are stored and judged in between. Raises what a step raises."""
        left = [steps]

        def step() -> Sequence[Transition]:
            if next(steps, steps) is steps:
                left.clear()
            return ()

        while left:
            await asyncio.wrap_future(self.between(step))

    def stop(self, timeout_s: float) -> bool:
        """Flush what is committed, write a snapshot, and end; what cannot be stored stays in the log. False: it did not
        end in time, and still holds the store."""
        self._stopping.set()
        self._committer.wake()
        self._thread.join(timeout_s)
        self._slices.give_up()
        return not self._thread.is_alive()

    # --- the thread

    def _run(self) -> None:
        name_thread()
        ended: AlmenaraError = StoreError("the hub has stopped")
        try:
            self._catch_up()
            while not (self._stopping.is_set() and not self._committer.has_closed):
                self._round()
            self._housekeep(self._last_snapshot)
        except _Stopped:
            pass
        except BaseException as error:
            ended = StoreError(f"storing and judging has ended: {error!r}")
            self._failed(error)
        finally:
            self._slices.close()
            self._accountant.close()
            self._end(ended)

    def _end(self, error: AlmenaraError) -> None:
        """Whoever waits, and whoever asks from now on, is told."""
        with self._lock:
            self._ended = error
        for answer in [*(waiter.answer for waiter in self._waiters), *(done for _, done in self._errands)]:
            tell(answer, error)

    def _catch_up(self) -> None:
        """Store again what a former run left, as it was; have detectors that know nothing learn from the store; judge
        what the snapshot had not seen. Who reads while they learn sees all rows, not all judged."""
        for segment in self._left_over:
            self._until_kept(self.store, segment)
        self._housekeep(self._measure_store)
        if self._judge.blank and self.store_size.get("rows"):
            self._housekeep(self._relearn)
        while self._left_over:
            segment = self._left_over.popleft()
            if segment.seq > self._seen.seq:
                self.flush(segment)
                continue
            if segment.seq > self._seen.least:
                id, time, value = segment.sorted()
                new = self._seen.not_by(id, segment.seq)
                self._judge.learn_left(Batch(self._index, id[new], time[new], value[new]))
            self._done.append((segment.seq, segment.n))
            self._unsaved = True

    def _relearn(self) -> None:
        before = first_times(self._left_over, self._seen, len(self._index))

        def go_on() -> bool:
            self._answer_waiters()
            return not self._stopping.is_set()

        reader = self._store.reader()
        try:
            self._unsaved |= relearn(reader, self._index, self._judge, self._clock(), before, go_on) > 0
        finally:
            reader.close()

    def _round(self) -> None:
        segment = self._committer.take_closed(0.25, self._due_in)
        if segment is not None:
            self.flush(segment)
        self._answer_waiters()
        while self._errands:
            self._run_errand(*self._errands.popleft())
        if time.monotonic() - self._ticked_s >= TICK_S:
            self._ticked_s = time.monotonic()
            self._every_second()
        if self._slices.is_taking:
            self._housekeep(lambda: self._saved(self._slices.turn(list(self._made))))

    def _run_errand(self, do: Callable[[], Sequence[Transition]], done: Future[None]) -> None:
        try:
            self._say(do())
            tell(done)
        except Exception as error:  # whatever it is, it is the answer to whoever asked
            tell(done, error)

    def _say(self, transitions: Sequence[Transition]) -> None:
        """People hear of changes that no row made."""
        if transitions:
            self._publish(Judged(Batch(self._index, *NO_ROWS), empty_verdict(0), transitions))

    def _answer_waiters(self, *, all_of_them: bool = False) -> None:
        self._made = deque(one for one in self._made if not one.flushed(self._flushed))
        for _ in range(len(self._waiters)):
            waiter = self._waiters.popleft()
            if all_of_them or waiter.is_served(self._flushed, self._made):
                tell(waiter.answer)
            else:
                self._waiters.append(waiter)

    def _due_in(self) -> float:
        """Seconds until the active segment is closed: none when idle, else so many that flushing stays cheap."""
        if self._stopping.is_set() or self._waiters:
            return 0.0
        since = time.monotonic() - self._flushed_s
        return min(SEGMENT_S, self._cost_s / DUTY) - since

    def _until_kept(self, do: Callable[..., T], *arguments: object) -> T:
        """Do it, again while the disk refuses. When the hub stops before it works the log keeps the rows."""
        while True:
            try:
                done = do(*arguments)
                self.problem = ""
                return done
            except (StoreError, Refused) as error:
                if not self.problem:
                    log.error("nothing is stored at the moment: %s", error)
                with self._lock:
                    self.problem = str(error)
                self._answer_waiters(all_of_them=True)
                if self._stopping.is_set():
                    raise _Stopped from error
                self._stopping.wait(RETRY_S)

    def _decided(self, do: Callable[..., Sequence[Transition]], *arguments: object) -> Sequence[Transition]:
        """What alarms say; when they fail by a mistake of ours storing and judging still go on."""
        try:
            changes = self._until_kept(do, *arguments)
            self.alarm_problem = ""
            return changes
        except _Stopped:
            raise
        except Exception as error:
            if not self.alarm_problem:
                log.exception("alarms are not decided")
            self.alarm_problem = f"{type(error).__name__}: {error}"
            self._counters.add("almenara_alarms_failed_total")
            return ()

    def flush(self, segment: Segment) -> None:
        """Store, judge, decide, tell."""
        began = time.monotonic()
        batch = self._until_kept(self.store, segment)
        verdict, made = self._judge.step(batch)
        self._unsaved = True
        self.store_made(made)
        transitions = self._decided(self._alarms.step, segment.seq, batch, verdict, segment.opened_ns - HISTORY_NS)
        self._done.append((segment.seq, segment.n))
        self._last_seq, self._flushed = segment.seq, max(self._flushed, segment.commit)
        self._committer.give_back(segment.columns)
        self._flushed_s = time.monotonic()
        self._cost_s = self._flushed_s - began
        self._counters.add("almenara_flush_seconds_total", self._cost_s)
        self._counters.add("almenara_segments_total")
        self._publish(Judged(batch, verdict, transitions, segment.seq))

    def store(self, segment: Segment) -> Batch:
        """Store the rows of a segment and the series they use; the same segment again changes nothing."""
        known = len(self._index)
        if known > self._stored_series:
            new = [self._index.keys[i] for i in range(self._stored_series, known)]
            self._store.add_series(self._stored_series, new)
            self._stored_series = self._committer.series_log.stored = known
        batch = Batch(self._index, *segment.sorted())
        if segment.seq > self._ledger.counted:  # else it was counted by a former run, or before the store failed
            self._ledger.count(segment.seq, segment.notes, self._accountant.became(segment, batch))
        if len(batch):
            self._store.append(batch, segment.seq)
            self._accountant.stored(segment)
        if segment.events:
            self._store.append_events([event for note in segment.notes for _, event in note.events], segment.seq)
        self._counters.add("almenara_rows_stored_total", len(batch))
        self._counters.add("almenara_rows_folded_total", segment.n - len(batch))
        return batch

    def store_made(self, made: Sequence[Batch]) -> None:
        """For the flush thread. Send what judging made back in at the front; it is committed, stored and found like
        everything else."""
        self._made.extend(Made(batch, self._committer) for batch in made)
        for one in self._made:
            one.send()

    def _every_second(self) -> None:
        now = time.monotonic()
        self._say(self._decided(self._alarms.tick, self._clock()))
        self.store_made(())
        wait_s = SNAPSHOT_S if sum(n for _, n in self._done) < SNAPSHOT_ROWS else 2 * RETRY_S
        if self._unsaved and now - self._snapshot_s >= wait_s and not self._slices.is_taking:
            self._snapshot_s = now
            self._slices.begin()
        if now - self._maintained_s >= MAINTAIN_S:
            self._maintained_s = now
            self._housekeep(self._store.maintain)
            give_back_memory()
            self._housekeep(lambda: self._ledger.keys.forget(self._clock()))
        if now - self._sized_s >= SIZE_S:
            self._housekeep(self._measure_store)
        self._jobs()

    def _measure_store(self) -> None:
        self._sized_s = time.monotonic()
        self.store_size = self._store.size()

    def _housekeep(self, do: Callable[[], None]) -> None:
        """Do what can as well be done later."""
        try:
            do()
        except (AlmenaraError, OSError) as error:
            log.warning("%s", error)

    def _last_snapshot(self) -> None:
        self.store_made(())
        if self._unsaved:
            self._saved(self._slices.whole(list(self._made)))

    def _saved(self, about: snapshot.About | None) -> None:
        """A snapshot of this is on disk: log files that all of its slices have seen are not needed any more."""
        if about is None:
            return
        least = about.seen.least
        self._unsaved = self._last_seq > least
        while self._done and self._done[0][0] <= least:
            path_of(self._folder.log, self._done.popleft()[0]).unlink(missing_ok=True)

    def _about(self, n: int) -> snapshot.About:
        offsets, keys = dict(self._committer.offsets), self._index.keys.checksum(n) or 0
        return snapshot.About(self._last_seq, offsets, self._fingerprint, n, keys)


class _Stopped(Exception):
    """The hub stops while its store fails."""
