"""The agent's spool: payloads wait on disk until the broker has taken them, so that no outage and no kill loses one.

    lock                held while an agent runs
    0000000001.spool    a log file (see log.py); its name is its first sequence number, marks are sequence numbers
    position            everything up to this sequence number was acknowledged

A file goes once everything in it is acknowledged. What was acknowledged shortly before a crash is sent again; rows
carry their own time, so the store folds them into one. Where the disk takes nothing (it is full, or broken) the newest
payloads wait in memory: a full disk is just what an agent has to tell.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from almenara.model.errors import DiskFull, FolderError, StoreError
from almenara.pipeline.log import LogReader, LogWriter, sync_folder

log = logging.getLogger(__name__)

HEADER = b"spool 1"
SUFFIX = ".spool"
MAX_BYTES = 512 << 20
#: A spool is cut into at least this many files, since the oldest go a file at a time.
_FILES = 8
_SEGMENT_BYTES = 2 << 20
_MEMORY_BYTES = 1 << 20
_MAX_PAYLOAD = 120_000  # the strictest of the large MQTT services takes 128 kB
_TOPIC = struct.Struct("<H")
_OVERHEAD = 16 + _TOPIC.size
_SAVE_EVERY_S = 1.0

#: Why payloads were dropped. These are labels of a counter, which begins at 0 for each of them.
REASONS = ("spool_full", "disk_full", "damaged")


@dataclass(frozen=True, slots=True)
class Entry:
    """One payload that waits. seq: its sequence number, rising by one; 0 where it could not be put on disk."""

    seq: int
    topic: str
    payload: bytes


class Spool:
    """A bounded queue on disk of (topic, payload), oldest first; safe from every thread.

    `take` hands entries out in order, `ack` says that one has arrived; what was taken and never acknowledged is handed
    out again after the next start. `dropped` counts, by reason, the payloads that will never be sent.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        """Make or open `folder` and lock it. Raises FolderError where another agent owns it or it cannot be used."""
        if max_bytes < 1 << 16:
            raise ValueError(f"max_bytes must be at least {1 << 16}; got {max_bytes}")
        self.folder, self.max_bytes = folder, max_bytes
        #: Larger payloads are refused.
        self.max_payload = min(_MAX_PAYLOAD, max_bytes // _FILES // 2)
        self.dropped: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.acknowledged = 0  # payloads, since the start
        self._segment_bytes = min(_SEGMENT_BYTES, max_bytes // _FILES)
        self._guard = threading.Lock()
        self._sizes: dict[int, int] = {}  # bytes of each file by its first sequence number, in order
        self._writer: LogWriter | None = None
        self._reader: Iterator[tuple[bytes, int]] | None = None
        self._reader_end = 0
        self._taken: dict[int, None] = {}  # handed out and not acknowledged, in order
        # The newest payloads, so that a healthy link never reads from disk. Those on disk among them follow one another
        # without a gap up to `_last`.
        self._recent: deque[Entry] = deque()
        self._recent_bytes = 0
        self._failing = False
        self._saved, self._saved_s = -1, 0.0
        self._lock_file = _lock(folder)
        try:
            self._open()
        except BaseException:
            os.close(self._lock_file)
            raise

    def _open(self) -> None:
        self._position = _read_position(self.folder / "position")
        for path in self.folder.glob(f"*{SUFFIX}"):
            if path.stem.isdecimal():
                self._sizes[int(path.stem)] = path.stat().st_size
        self._sizes = dict(sorted(self._sizes.items()))
        self._last = max(self._position, self._last_on_disk())
        self._next = max(self._position + 1, next(iter(self._sizes), self._last + 1))
        self._remove_acknowledged()

    def _last_on_disk(self) -> int:
        """The last sequence number in the last file that holds one; empty files behind it go."""
        while self._sizes:
            first = next(reversed(self._sizes))
            marks = [mark for _, mark in self._records(first)]
            if marks:
                return marks[-1]
            self._remove(first)
        return 0

    # --- in ---

    def put(self, topic: str, payload: bytes) -> bool:
        """Keep a payload; True when it is on disk, synced; False when the disk did not take it and it waits in memory.

        Where the spool is full the oldest payloads go, counted in `dropped`. Raises ValueError past `max_payload`.
        """
        name = topic.encode()
        if len(payload) > self.max_payload:
            raise ValueError(f"payload has {len(payload)} bytes; expected at most {self.max_payload}")
        with self._guard:
            kept = self._keep([_TOPIC.pack(len(name)), name, payload])
            self._recent.append(Entry(self._last if kept else 0, topic, payload))
            self._recent_bytes += len(payload)
            while self._recent_bytes > _MEMORY_BYTES and len(self._recent) > 1:
                old = self._forget_oldest()
                if not old.seq:  # it was nowhere else
                    self.dropped["disk_full"] += 1
            return kept

    def _keep(self, body: list[bytes]) -> bool:
        size = _OVERHEAD + sum(map(len, body))
        while self._bytes() + size > self.max_bytes and self._drop_oldest("spool_full"):
            pass
        for last_try in (False, True):
            try:
                self._append(body, size)
            except DiskFull as error:
                if last_try or not self._drop_oldest("disk_full"):
                    return self._failed(error)
            except (StoreError, OSError) as error:
                self._abandon()
                return self._failed(error)
            else:
                break
        if self._failing:
            log.warning("spool: the disk takes payloads again")
            self._failing = False
        return True

    def _append(self, body: list[bytes], size: int) -> None:
        if self._writer is not None and self._writer.size + size > self._segment_bytes and not self._is_empty():
            self._writer.close()
            self._writer = None
            self._remove_acknowledged()
        if self._writer is None:
            self._writer = LogWriter(self.folder / f"{self._last + 1:010d}{SUFFIX}", HEADER)
            self._sizes[self._last + 1] = self._writer.size
        self._writer.append([(body, self._last + 1)])
        self._last += 1
        self._sizes[self._active()] = self._writer.size

    def _active(self) -> int:
        """The first sequence number of the file being written; -1 when there is none."""
        return next(reversed(self._sizes)) if self._writer is not None else -1

    def _is_empty(self) -> bool:
        return self._active() > self._last

    def _abandon(self) -> None:
        """Write no more to the file in hand: after a failure its end may not be as it should."""
        if self._writer is None:
            return
        active, empty = self._active(), self._is_empty()
        self._writer.close()
        self._writer = None
        if empty:
            self._remove(active)

    def _failed(self, error: Exception) -> bool:
        if not self._failing:
            log.error("spool: %s; until then the newest payloads wait in memory", error)
            self._failing = True
        return False

    def _drop_oldest(self, reason: str) -> bool:
        """Give up the oldest file; False where there is none but the one being written."""
        first = next(iter(self._sizes), -1)
        if first < 0 or first == self._active():
            return False
        end = self._end(first)
        lost = max(0, end - max(self._next, first))  # those already taken are on their way
        self.dropped[reason] += lost
        self._remove(first)
        if self._next < end:
            self._next, self._reader = end, None
            self._recent = deque(e for e in self._recent if not 0 < e.seq < end)
            self._recent_bytes = sum(len(e.payload) for e in self._recent)
        if lost:
            log.warning("%s: the %d oldest payloads were dropped", reason.replace("_", " "), lost)
        self._advance()
        return True

    # --- out ---

    def take(self) -> Entry | None:
        """The oldest payload not handed out yet; None when there is none."""
        with self._guard:
            while True:
                on_disk_before = next((e.seq for e in self._recent if e.seq), self._last + 1)
                if self._next < on_disk_before:
                    entry = self._read(on_disk_before)
                else:
                    self._reader = None
                    if not self._recent:
                        return None
                    entry = self._forget_oldest()
                if entry is not None:
                    return self._hand_out(entry)

    def _hand_out(self, entry: Entry) -> Entry:
        if entry.seq:
            self._next = entry.seq + 1
            self._taken[entry.seq] = None
        return entry

    def ack(self, entry: Entry) -> None:
        """It has arrived: it need not be kept any longer."""
        with self._guard:
            self.acknowledged += 1
            self._taken.pop(entry.seq, None)
            self._advance()

    def _forget_oldest(self) -> Entry:
        entry = self._recent.popleft()
        self._recent_bytes -= len(entry.payload)
        return entry

    def _read(self, before: int) -> Entry | None:
        """The next payload on disk; None where it turned out that one is missing."""
        if self._reader is None:
            first = max((f for f in self._sizes if f <= self._next), default=-1)
            if first < 0:  # between the position and the first file nothing is left
                self._skip_to(min(next(iter(self._sizes), before), before))
                return None
            self._reader, self._reader_end = self._records(first), self._end(first)
        for body, mark in self._reader:
            if self._next <= mark < self._reader_end:
                self._skip_to(mark)
                (length,) = _TOPIC.unpack_from(body)
                at = _TOPIC.size + length
                return Entry(mark, body[_TOPIC.size : at].decode(), body[at:])
        self._reader = None
        self._skip_to(self._reader_end)
        return None

    def _skip_to(self, seq: int) -> None:
        """Go on from `seq`; what should have stood before it is damaged."""
        if seq > self._next:
            self.dropped["damaged"] += seq - self._next
            log.error("spool: payloads %d to %d cannot be read any more", self._next, seq - 1)
            self._next = seq
            self._advance()

    def _records(self, first: int) -> Iterator[tuple[bytes, int]]:
        path = self._path(first)
        try:
            reader = LogReader(path)
        except (FolderError, OSError) as error:
            log.error("spool: %s: cannot be read: %s", path, error)
            return iter(())
        if reader.header not in (HEADER, None):
            raise FolderError(f"{path}: was made by a newer version ({reader.header[:20]!r}); update almenara")
        return iter(reader)

    # --- what is kept ---

    @property
    def bytes(self) -> int:
        """Size on disk."""
        with self._guard:
            return self._bytes()

    @property
    def waiting(self) -> int:
        """Payloads not acknowledged yet."""
        with self._guard:
            return self._last - self._next + 1 + len(self._taken) + sum(not e.seq for e in self._recent)

    def close(self) -> None:
        """Give the folder to the next agent; what waits in memory alone is lost, and counted."""
        with self._guard:
            self.dropped["disk_full"] += sum(not e.seq for e in self._recent)
            if self._writer is not None:
                self._writer.close()
                self._writer = None
            self._remove_acknowledged()
            self._save_position(at_once=True)
            os.close(self._lock_file)

    def _bytes(self) -> int:
        return sum(self._sizes.values())

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:010d}{SUFFIX}"

    def _end(self, first: int) -> int:
        """One past the last sequence number of a file."""
        return min((f for f in self._sizes if f > first), default=self._last + 1)

    def _advance(self) -> None:
        """Move the position to just before the oldest payload that is not acknowledged."""
        self._position = max(self._position, next(iter(self._taken), self._next) - 1)
        self._remove_acknowledged()
        self._save_position()

    def _remove_acknowledged(self) -> None:
        for first in list(self._sizes):
            if first == self._active() or self._end(first) - 1 > self._position:
                return
            self._remove(first)

    def _remove(self, first: int) -> None:
        del self._sizes[first]
        try:
            self._path(first).unlink(missing_ok=True)
        except OSError as error:
            log.error("spool: %s: cannot be removed: %s", self._path(first), error.strerror)

    def _save_position(self, at_once: bool = False) -> None:
        # Not synced: a position that is too old only means that some is sent twice.
        now = time.monotonic()
        if self._position == self._saved or (now - self._saved_s < _SAVE_EVERY_S and not at_once):
            return
        new = self.folder / "position.new"
        try:
            new.write_text(f"{self._position}\n")
            new.replace(self.folder / "position")
        except OSError as error:
            log.debug("spool: position not saved: %s", error)
        self._saved, self._saved_s = self._position, now


def _lock(folder: Path) -> int:
    try:
        fresh = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if fresh:
            sync_folder(folder.parent)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FolderError(f"{folder}: cannot be used as spool: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise FolderError(
            f"{folder}: is in use by another agent; stop that one, or give --data another folder"
        ) from None
    return handle


def _read_position(path: Path) -> int:
    """0 where there is none, or a power cut left half of one."""
    with contextlib.suppress(OSError, ValueError):
        text = path.read_text()
        if text.endswith("\n") and text.strip().isdecimal():
            return int(text)
    return 0
