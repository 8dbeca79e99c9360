"""The commit: decoded rows are admitted, appended to the log and synced, and only then acknowledged, by one thread."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from almenara.model.batch import Batch, Rejected
from almenara.model.errors import AlmenaraError, DiskFull, Overloaded, Refused, StoreError
from almenara.pipeline.admission import Admission, Limits, Turned
from almenara.pipeline.counters import Counters
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.keys import answer_of
from almenara.pipeline.ledger import Ledger
from almenara.pipeline.log import LogWriter, refusal
from almenara.pipeline.notes import HUB, Key, Notes
from almenara.pipeline.segment import SEGMENT_ROWS, Columns, Rows, Segment, create_file
from almenara.pipeline.serieslog import SeriesLog
from almenara.pipeline.threads import name_thread

#: Rows and events waiting to be committed; a writer past this is told to come back.
MAX_WAITING_ROWS = 2_000_000
#: A segment is closed when it has so many events.
SEGMENT_EVENTS = 50_000
#: Closed segments waiting to be stored; past this nothing more is committed.
MAX_CLOSED = 1
#: A stopping hub waits so long for its store before it turns down what still waits to be committed.
STOP_WAIT_S = 3.0

Done = Callable[[int, Sequence[Turned], Exception | None], None]


def _ignore(rows: int, turned: Sequence[Turned], error: Exception | None) -> None:
    """For rows whose sender waits for nothing."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A batch to commit. `done(rows kept, turned away, error)` is called from the commit thread; it must not raise.

    `own` rows are what the hub says of itself and of its series. They go first, and past the bound on what waits and
    the limits of series, since they are few and wanted most when there is too much of all else.
    """

    batch: Batch
    bus: str = ""
    offset: int = -1
    done: Done = _ignore
    own: bool = False
    notes: Notes | None = None  # whose rows they are, and what came with them; None: the hub's
    rejected: Sequence[Rejected] = ()  # by whoever decoded, for the answer that is kept under a key

    def __len__(self) -> int:
        return len(self.batch) + (len(self.notes.events) if self.notes is not None else 0)

    @property
    def key(self) -> Key | None:
        """The key it came with."""
        return None if self.notes is None else self.notes.key


def _raise(error: BaseException) -> None:
    """For a committer that nobody watches."""
    raise error


class Committer:
    """Owns the active segment and, alone, changes the series index."""

    def __init__(
        self, folder: Path, index: SeriesIndex, limits: Limits, clock: Callable[[], int], counters: Counters,
        ledger: Ledger, next_seq: int = 1, offsets: dict[str, int] | None = None,
        failed: Callable[[BaseException], None] = _raise,
    ):  # fmt: skip
        self._folder, self._clock, self._counters, self._failed = folder, clock, counters, failed
        self._ledger = ledger
        self.series_log = SeriesLog(folder / "series.log")
        self._admission = Admission(index, limits, self.series_log.append)
        self._next_seq = next_seq
        self.offsets: dict[str, int] = dict(offsets or {})  # bus -> up to where it is committed
        self.committed = 0  # commits of this run
        # One lock; a thread is woken only by what it waits for, since each time costs more than a small commit.
        self._lock = threading.RLock()
        self._for_commit, self._for_flush = threading.Condition(self._lock), threading.Condition(self._lock)
        self._waiting: deque[Submission] = deque()
        self._own: deque[Submission] = deque()  # what the hub says itself, which goes first
        self._waiting_rows = 0
        self._active: tuple[Segment, LogWriter] | None = None
        self._appending = False  # while set, the active segment must not be closed
        self._wanted = False  # the flush thread waits for that
        self._woken = False  # somebody waits for the flush thread
        self._closed: deque[Segment] = deque()
        self._spare: deque[Columns] = deque()
        self._stopping, self._stopping_s = False, 0.0
        self.refusing: Refused | None = None  # set while nothing is taken, by us and by whoever watches the disk
        self._thread = threading.Thread(target=self._run, name="commit", daemon=True)

    # --- called by whoever has rows

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def submit(self, submission: Submission) -> None:
        """Queue rows. Raises Overloaded, DiskFull or LogUnwritable at once when they cannot be taken now."""
        if (refusing := self.refusing) is not None:
            raise type(refusing)(str(refusing), refusing.retry_after_s)
        n = len(submission)
        with self._lock:
            if self._stopping:
                raise Overloaded("the hub is stopping", retry_after_s=5)
            if self._waiting and not submission.own and self._waiting_rows + n > MAX_WAITING_ROWS:
                raise Overloaded(f"{self._waiting_rows} rows wait to be committed; send again later")
            (self._own if submission.own else self._waiting).append(submission)
            self._waiting_rows += n
            self._for_commit.notify()

    @property
    def waiting_rows(self) -> int:
        """Rows that wait to be committed."""
        return self._waiting_rows

    def stop(self) -> None:
        """Commit what waits, take nothing more, and end the thread."""
        with self._lock:
            self._stopping, self._stopping_s = True, time.monotonic()
            self._for_commit.notify()
        self._thread.join()
        self._close_active()

    # --- called by the flush thread

    def take_closed(self, timeout_s: float, due_in: Callable[[], float]) -> Segment | None:
        """The oldest closed segment, waiting so long for one; the active one is closed when it is due, in so many s."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            while not self._closed:
                # `commit`, not `n`: a segment of offsets alone holds no rows, and somebody may wait for it.
                wait_s = due_in() if self._active is not None and self._active[0].commit > 0 else timeout_s
                self._wanted = wait_s <= 0
                if self._wanted and not self._appending:
                    self._close_active()
                    break
                left = deadline - time.monotonic()
                if not self._wanted and (left <= 0 or self._woken):
                    self._woken = False
                    return None
                self._for_flush.wait(None if self._wanted else min(left, wait_s))
            self._wanted = False
            segment = self._closed.popleft()
            self._for_commit.notify()
            return segment

    @property
    def oldest_ns(self) -> int:
        """When the oldest segment was opened that still waits to be stored; 0 when none does."""
        with self._lock:
            waiting = [*self._closed, *([self._active[0]] if self._active and self._active[0].commit else [])]
            return waiting[0].opened_ns if waiting else 0

    @property
    def has_closed(self) -> bool:
        """Whether a closed segment waits."""
        return bool(self._closed)

    def wake(self) -> None:
        """Make `take_closed` ask `due_in` again, and come back at once where there is nothing to close."""
        with self._lock:
            self._woken = True
            self._for_flush.notify()

    def give_back(self, columns: Columns) -> None:
        """Let a later segment use these columns."""
        if len(columns) == SEGMENT_ROWS and len(self._spare) < MAX_CLOSED + 1:
            self._spare.append(columns)

    # --- the thread

    def _run(self) -> None:
        name_thread()
        taken: list[Submission] = []
        try:
            while taken := self._take():
                began = time.monotonic()
                self._commit(taken)
                self._counters.add("almenara_commit_seconds_total", time.monotonic() - began)
        except BaseException as error:
            self._turn_down(taken, error)
            self._failed(error)

    def _turn_down(self, taken: Sequence[Submission], error: BaseException) -> None:
        """A mistake of ours ends the thread: take nothing more, and let nobody wait for ever."""
        with self._lock:
            self._stopping, self._stopping_s = True, time.monotonic()
            waiting = [*taken, *self._own, *self._waiting]  # some of `taken` were told already; they do not mind
            self._own.clear()
            self._waiting.clear()
            self._waiting_rows = 0
            self._for_flush.notify()
        for submission in waiting:
            submission.done(0, (), StoreError(f"committing has ended: {error!r}"))

    def _take(self) -> list[Submission]:
        """What waits, up to a segment's worth; empty when it is time to end."""
        with self._lock:
            while not (self._own or self._waiting or self._stopping):
                self._for_commit.wait()
            taken: list[Submission] = []
            rows = 0
            while (queue := self._own or self._waiting) and (not taken or rows + len(queue[0]) <= SEGMENT_ROWS):
                taken.append(queue.popleft())
                rows += len(taken[-1])
            self._waiting_rows -= rows
            return taken

    def _commit(self, taken: Sequence[Submission]) -> None:
        taken, again = self._first_time(taken)
        self._commit_new(taken)
        for submission in again:  # sent twice within this commit: the first one's answer is known now
            if self._answer_again(submission):
                continue
            submission.done(0, (), Overloaded("the same body was being committed and was not; send it again"))

    def _first_time(self, taken: Sequence[Submission]) -> tuple[Sequence[Submission], Sequence[Submission]]:
        """Those that were not committed before under the same key, and those whose key another one of them has."""
        if not any(one.key is not None for one in taken):
            return taken, ()
        new, again, named = [], [], set()
        for one in taken:
            if one.key is not None and one.key.digest in named:
                again.append(one)
            elif not self._answer_again(one):
                new.append(one)
                named |= {one.key.digest} if one.key is not None else set()
        return new, again

    def _answer_again(self, submission: Submission) -> bool:
        """Tell a sender what was answered before to the same body; whether there is such an answer."""
        if submission.key is None:
            return False
        try:
            known = self._ledger.keys.find(submission.key, self._clock())
        except AlmenaraError as error:
            known = error
        if known is not None:
            submission.done(0, (), known)
        return known is not None

    def _commit_new(self, taken: Sequence[Submission]) -> None:
        admitted = [some for submission in taken if (some := self._admit(submission)) is not None]
        records = [r for _, r, _ in admitted if len(r) or r.bus or (r.notes is not None and r.notes.says_something)]
        total = sum(map(len, records))
        try:
            if records:
                self._append(records, total)
        except AlmenaraError as error:
            told = self._remembered(error)
            for submission, _, _ in admitted:
                submission.done(0, (), told)
            return
        self._counters.add("almenara_rows_committed_total", total)
        for submission, rows, turned in admitted:
            if rows.bus:
                self.offsets[rows.bus] = max(rows.offset, self.offsets.get(rows.bus, -1))
            if rows.notes is not None and rows.notes.key is not None:
                self._ledger.keys.put(rows.notes.key)
            for one in turned:
                self._counters.add("almenara_rows_rejected_total", len(one.at), reason=one.rejected.reason)
            submission.done(len(rows), turned, None)

    def _admit(self, submission: Submission) -> tuple[Submission, Rows, list[Turned]] | None:
        try:
            ids, times, values, turned = self._admission.admit(submission.batch, self._clock(), own=submission.own)
        except (AlmenaraError, ValueError, TypeError, LookupError) as error:  # not ours: a plugin's batch that is none
            submission.done(0, (), self._remembered(error))
            return None
        notes = submission.notes or Notes.of(HUB, len(submission.batch), self._clock())
        notes = notes.without([(one.rejected.reason, one.at) for one in turned])
        if notes.key is not None:
            answer = answer_of(len(ids), [*submission.rejected, *(one.rejected for one in turned)])
            notes = replace(notes, key=replace(notes.key, answer=answer))
        return submission, Rows(ids, times, values, submission.bus, submission.offset, notes), turned

    def _remembered(self, error: Exception) -> Exception:
        """The error to tell. While the disk refuses, nothing more is taken until a trial write succeeds (`room.py`)."""
        if isinstance(error, StoreError) and isinstance(error.__cause__, OSError):
            error = refusal(error.__cause__, self._folder)
        elif not isinstance(error, DiskFull):
            return error
        self.refusing = error
        return error

    def _append(self, records: Sequence[Rows], total: int) -> None:
        segment, writer = self._segment_for(total)
        was_empty = segment.commit == 0
        try:
            self._ledger.names.keep()
            writer.append([(rows.buffers(), rows.offset) for rows in records])
            segment.put(records)
            segment.commit = self.committed = self.committed + 1
        finally:
            with self._lock:
                self._appending = False
                if segment.n >= SEGMENT_ROWS or segment.events >= SEGMENT_EVENTS or writer.broken:
                    self._close_active()
                elif was_empty or self._wanted:
                    self._for_flush.notify()

    def _segment_for(self, rows: int) -> tuple[Segment, LogWriter]:
        """The active segment with room for so many rows; waits while too many closed ones wait to be stored."""
        with self._lock:
            if self._active is not None and self._active[0].n + rows > len(self._active[0].columns):
                self._close_active()
            while self._active is None and len(self._closed) >= MAX_CLOSED:
                if self._stopping and time.monotonic() - self._stopping_s > STOP_WAIT_S:
                    raise Overloaded("the hub is stopping, and its store does not take rows")
                self._for_commit.wait(0.1 if self._stopping else None)
            if self._active is None:
                self._active = self._open(rows)
            self._appending = True
            return self._active

    def _open(self, rows: int) -> tuple[Segment, LogWriter]:
        columns = self._spare.popleft() if self._spare and rows <= SEGMENT_ROWS else Columns(max(SEGMENT_ROWS, rows))
        segment = Segment(self._next_seq, self._clock(), columns, dict(self.offsets))
        try:
            writer = create_file(self._folder, segment)
        except AlmenaraError:
            self.give_back(columns)
            raise
        self._next_seq += 1
        return segment, writer

    def _close_active(self) -> None:
        with self._lock:
            if self._active is not None:
                segment, writer = self._active
                self._active = None
                writer.close()
                self._closed.append(segment)
                self._for_flush.notify()
