"""The flush: a closed segment is sorted, stored and judged, its alarms are decided, and people hear; in one thread."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from almenara.model.alarm import Alarm, Incident, Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.errors import AlmenaraError, Refused, StoreError
from almenara.model.time import NS
from almenara.pipeline import snapshot
from almenara.pipeline.admission import Turned
from almenara.pipeline.commit import Committer, Submission
from almenara.pipeline.counters import Counters
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.judge import Judge, empty_verdict
from almenara.pipeline.segment import Segment, path_of
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
RETRY_S = 2.0

T = TypeVar("T")

NO_ROWS = np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What became of a segment: all its rows ordered by (id, time), their verdict (NaN where late or not judged)."""

    batch: Batch
    verdict: Verdict
    transitions: Sequence[Transition]


class Alarms(Protocol):
    """What decides alarms; see `almenara.alarm`. `step` and `tick` are the flush thread's, the rest anybody's."""

    def step(self, seq: int, batch: Batch, verdict: Verdict, fresh_from_ns: int) -> Sequence[Transition]: ...
    def tick(self, now_ns: int) -> Sequence[Transition]: ...
    def replace_rules(self, rules: Sequence[Any], notifiers: Any) -> Sequence[Transition]: ...
    def open(self) -> list[Alarm]: ...
    def journal(self, limit: int = 100, before_ns: int | None = None) -> list[Transition]: ...
    def incidents(self, limit: int = 100, open_only: bool = False) -> list[Incident]: ...


class Flusher:
    """Holds the store's writing side, the detectors' and the alarms' state; nobody else touches them."""

    def __init__(
        self, folder: DataFolder, index: SeriesIndex, store: Store, committer: Committer, judge: Judge, alarms: Alarms,
        fingerprint: str, clock: Callable[[], int], counters: Counters, publish: Callable[[Judged], None],
        failed: Callable[[BaseException], None],
    ):  # fmt: skip
        self._folder, self._index, self._store, self._committer = folder, index, store, committer
        self._judge, self._alarms, self._fingerprint = judge, alarms, fingerprint
        self._clock, self._counters, self._publish, self._failed = clock, counters, publish, failed
        self._stored_series = 0
        self._left_over: Iterable[Segment] = ()
        self._done: deque[tuple[int, int]] = deque()  # (seq, rows) judged, their log files kept until a snapshot
        self._last_seq = 0
        self._made: deque[_Made] = deque()  # rows that judging made and that are not committed yet
        self._snapshot_s = time.monotonic()
        self._flushed_s, self._cost_s = 0.0, 0.0
        self._ticked_s = time.monotonic()
        self._maintained_s = time.monotonic()
        self._waiters: deque[_Waiter] = deque()
        self._errands: deque[tuple[Callable[[], Sequence[Transition]], Future[None]]] = deque()
        self._flushed = 0  # commits of this run that are stored and judged
        self._stopping = False
        self.problem = ""  # why nothing is stored at the moment
        self._thread = threading.Thread(target=self._run, name="flush", daemon=True)

    # --- called from other threads

    def start(self, stored_series: int, judged_seq: int, left_over: Iterable[Segment] = ()) -> None:
        """Begin. The store has so many series; all up to segment `judged_seq` is judged; a former run left these."""
        self._stored_series, self._last_seq, self._left_over = stored_series, judged_seq, left_over
        self._thread.start()

    def settle(self) -> Future[None]:
        """Done when everything committed by now, and what judging makes of it, is stored and judged."""
        waiter = _Waiter(self._committer.committed)
        self._waiters.append(waiter)
        self._committer.wake()
        return waiter.answer

    def between(self, do: Callable[[], Sequence[Transition]]) -> Future[None]:
        """Do something with the alarms between two segments, in the flush thread; people hear of what it changes."""
        done: Future[None] = Future()
        self._errands.append((do, done))
        self._committer.wake()
        return done

    def stop(self, timeout_s: float) -> None:
        """Flush what is committed, write a snapshot, and end; what cannot be stored stays in the log."""
        self._stopping = True
        self._committer.wake()
        self._thread.join(timeout_s)

    # --- the thread

    def _run(self) -> None:
        try:
            self._catch_up()
            while not (self._stopping and not self._committer.has_closed):
                self._round()
            self._housekeep(self._snapshot)
        except _Stopped:
            pass
        except BaseException as error:
            self._failed(error)
            raise

    def _catch_up(self) -> None:
        """Store again what a former run left, as it was, and judge what its snapshot had not seen."""
        judged = self._last_seq
        for segment in self._left_over:
            if segment.seq <= judged:
                self._until_kept(self.store, segment)
                self._done.append((segment.seq, segment.n))
            else:
                self.flush(segment)

    def _round(self) -> None:
        segment = self._committer.take_closed(0.25, lambda segment: self._is_due())
        if segment is not None:
            self.flush(segment)
        self._answer_waiters()
        while self._errands:
            self._run_errand(*self._errands.popleft())
        if time.monotonic() - self._ticked_s >= 1:
            self._ticked_s = time.monotonic()
            self._every_second()

    def _run_errand(self, do: Callable[[], Sequence[Transition]], done: Future[None]) -> None:
        try:
            self._publish(Judged(Batch(self._index, *NO_ROWS), empty_verdict(0), do()))
            done.set_result(None)
        except AlmenaraError as error:
            done.set_exception(error)

    def _answer_waiters(self) -> None:
        self._made = deque(one for one in self._made if not one.flushed(self._flushed))
        for _ in range(len(self._waiters)):
            waiter = self._waiters.popleft()
            if waiter.is_served(self._flushed, self._made):
                waiter.answer.set_result(None)
            else:
                self._waiters.append(waiter)

    def _is_due(self) -> bool:
        """Whether to close the active segment now: at once when idle, else so rarely that flushing stays cheap."""
        since = time.monotonic() - self._flushed_s
        return self._stopping or bool(self._waiters) or since >= min(SEGMENT_S, self._cost_s / DUTY)

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
                self.problem = str(error)
                if self._stopping:
                    raise _Stopped from error
                time.sleep(RETRY_S)

    def flush(self, segment: Segment) -> None:
        """Store, judge, decide, tell."""
        began = time.monotonic()
        batch = self._until_kept(self.store, segment)
        verdict, made = self._judge.step(batch)
        self._store_made(made)
        history = segment.opened_ns - HISTORY_NS
        transitions = self._until_kept(self._alarms.step, segment.seq, batch, verdict, history)
        self._done.append((segment.seq, segment.n))
        self._last_seq, self._flushed = segment.seq, max(self._flushed, segment.commit)
        self._committer.give_back(segment.columns)
        self._flushed_s = time.monotonic()
        self._cost_s = self._flushed_s - began
        self._counters.add("almenara_flush_seconds_total", self._cost_s)
        self._counters.add("almenara_segments_total")
        self._publish(Judged(batch, verdict, transitions))

    def store(self, segment: Segment) -> Batch:
        """Store the rows of a segment and the series they use; the same segment again changes nothing."""
        known = len(self._index)
        if known > self._stored_series:
            new = [self._index.keys[i] for i in range(self._stored_series, known)]
            self._store.add_series(self._stored_series, new)
            self._stored_series = known
        batch = Batch(self._index, *segment.sorted())
        if len(batch):
            self._store.append(batch, segment.seq)
        self._counters.add("almenara_rows_stored_total", len(batch))
        self._counters.add("almenara_rows_folded_total", segment.n - len(batch))
        return batch

    def _store_made(self, made: Sequence[Batch]) -> None:
        """Send what judging made back in at the front; it is committed, stored and found like everything else."""
        self._made.extend(map(_Made, made))
        for one in self._made:
            one.send(self._committer)

    def _every_second(self) -> None:
        now = time.monotonic()
        if transitions := self._until_kept(self._alarms.tick, self._clock()):
            self._publish(Judged(Batch(self._index, *NO_ROWS), empty_verdict(0), transitions))
        self._store_made(())
        rows = sum(n for _, n in self._done)
        if self._done and (now - self._snapshot_s >= SNAPSHOT_S or rows >= SNAPSHOT_ROWS):
            self._housekeep(self._snapshot)
        if now - self._maintained_s >= MAINTAIN_S:
            self._maintained_s = now
            self._housekeep(self._store.maintain)

    def _housekeep(self, do: Callable[[], None]) -> None:
        """Do what can as well be done later."""
        try:
            do()
        except (StoreError, Refused) as error:
            log.warning("%s", error)

    def _snapshot(self) -> None:
        """Write down what was learned; the log files that it covers are then not needed any more."""
        self._store_made(())
        if self._made or not self._done:
            return
        about = snapshot.About(self._last_seq, dict(self._committer.offsets), self._fingerprint)
        snapshot.save(self._folder.state, about, self._judge.state())
        self._snapshot_s = time.monotonic()
        while self._done:
            seq, _ = self._done.popleft()
            path_of(self._folder.log, seq).unlink(missing_ok=True)


class _Stopped(Exception):
    """The hub stops while its store fails."""


class _Waiter:
    """Somebody who waits until so many commits are flushed, and what judging made of them too."""

    def __init__(self, target: int):
        self.answer: Future[None] = Future()
        self._target = target
        self._made: list[_Made] | None = None  # known once the target is reached; what is made later is not waited for

    def is_served(self, flushed: int, made: Iterable[_Made]) -> bool:
        """Whether the wait is over, `flushed` commits being through and `made` being on its way."""
        if flushed < self._target:
            return False
        if self._made is None:
            self._made = list(made)
        return all(one.flushed(flushed) for one in self._made)


class _Made:
    """Rows that judging made, on their way through the commit. The segment they are of stays in the log until then."""

    def __init__(self, batch: Batch):
        self._batch = batch
        self._sent = False
        self._committer: Committer | None = None
        self._kept_at: int | None = None  # number of the commit that has them

    def send(self, committer: Committer) -> None:
        """Submit them unless that is done; when they are refused the next call tries again."""
        if self._sent:
            return
        self._committer, self._sent = committer, True
        try:
            committer.submit(Submission(self._batch, done=self._answer), own=True)
        except Refused:
            self._sent = False

    def _answer(self, rows: int, turned: Sequence[Turned], error: Exception | None) -> None:
        if error is not None or self._committer is None:
            self._sent = False
        else:
            self._kept_at = self._committer.committed
            self._committer.wake()

    def flushed(self, flushed: int) -> bool:
        """Whether they are stored, `flushed` commits being so."""
        return self._kept_at is not None and flushed >= self._kept_at
