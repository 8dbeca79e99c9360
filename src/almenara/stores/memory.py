"""A store that forgets everything at the end of the process: for tests, trials, and to read what the contract means.

Everything lies in one set of numpy columns sorted by (id, time), made anew with each append, so a reader's view never
changes under its hands. An append costs time in proportion to all rows kept: use it below some ten million rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from almenara.model.batch import Batch, Column, Event
from almenara.model.series import SeriesList
from almenara.plugin.contracts import Selection
from almenara.stores.rows import check_buckets, check_series, checked_ids, checked_rows, last_of_each, reduce_buckets

_CHUNK = 65_536

Columns = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


def _no_rows() -> Columns:
    return np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.int64)


class Memory:
    """Keeps all rows in memory; nothing is left after `close` or the end of the process."""

    def __init__(self) -> None:
        self._columns = _no_rows()
        self._keys: list[bytes] = []
        self._events: list[tuple[int, int, int, Event]] = []
        self._seqs: set[int] = set()
        self._event_seqs: set[int] = set()
        self._lock = Lock()

    def add_series(self, first_id: int, keys: Sequence[bytes]) -> None:
        """As the contract says. Raises StoreError where ids have other keys already or would be left out."""
        self._keys.extend(check_series(first_id, keys, self._keys[first_id : first_id + len(keys)], len(self._keys)))

    def series_keys(self) -> Iterator[Sequence[bytes]]:
        """All keys in the order of their ids, in chunks."""
        for first in range(0, len(self._keys), _CHUNK):
            yield self._keys[first : first + _CHUNK]

    def append(self, batch: Batch, seq: int) -> None:
        """Keep all rows. Raises StoreError, and keeps none, unless they are sorted by (id, time), each once."""
        rows = checked_rows(batch)
        if seq in self._seqs:
            return
        old, new = self._columns, (*rows, np.full(len(rows[0]), seq, np.int64))
        id, time = np.concatenate([old[0], new[0]]), np.concatenate([old[1], new[1]])
        value, seqs = np.concatenate([old[2], new[2]]), np.concatenate([old[3], new[3]])
        order = np.lexsort((seqs, time, id))
        id, time, value, seqs = id[order], time[order], value[order], seqs[order]
        wins = np.ones(len(id), bool)
        wins[:-1] = (id[1:] != id[:-1]) | (time[1:] != time[:-1])
        self._columns = (id[wins], time[wins], value[wins], seqs[wins])
        self._seqs.add(seq)

    def last_seq(self) -> int:
        """The highest seq that was appended; -1 none."""
        return max(self._seqs, default=-1)

    def append_events(self, events: Sequence[Event], seq: int) -> None:
        """Keep events; the same seq again does nothing."""
        if seq in self._event_seqs:
            return
        with self._lock:
            self._events.extend((event.time, seq, n, event) for n, event in enumerate(events))
            self._events.sort(key=lambda entry: entry[:3])
        self._event_seqs.add(seq)

    def read_events(self, start: int, end: int, limit: int = 1000) -> list[Event]:
        """The newest events in [start, end), newest first."""
        with self._lock:
            found = [event for time, _, _, event in self._events if start <= time < end]
        return found[::-1][:limit]

    def delete_events(self, start: int, end: int) -> int:
        """Remove events in [start, end); says how many went."""
        with self._lock:
            before = len(self._events)
            self._events = [entry for entry in self._events if not start <= entry[0] < end]
            return before - len(self._events)

    def reader(self) -> MemoryReader:
        """A reader for one thread."""
        return MemoryReader(self)

    def delete(self, selection: Selection | None, start: int, end: int) -> int:
        """Remove rows in [start, end) of these series (None: of all); says how many rows went."""
        id, time, value, seq = self._columns
        gone = (time >= start) & (time < end)
        if selection is not None:
            gone &= np.isin(id, checked_ids(selection))
        self._columns = (id[~gone], time[~gone], value[~gone], seq[~gone])
        return int(gone.sum())

    def maintain(self) -> None:
        """Nothing to keep up here: every answer is made from the rows themselves."""

    def size(self) -> dict[str, int]:
        """`rows` and `bytes`, of memory here."""
        return {"rows": len(self._columns[0]), "bytes": sum(column.nbytes for column in self._columns)}

    def close(self) -> None:
        """Let go of everything."""
        self._columns, self._keys, self._events = _no_rows(), [], []


class MemoryReader:
    """Reads what the store holds at the moment of each call."""

    def __init__(self, store: Memory) -> None:
        self._store = store

    def read(
        self,
        selection: Selection,
        start: int,
        end: int,
        every_ns: int | None = None,
        how: str = "avg",
        since_seq: int | None = None,
        until_seq: int | None = None,
    ) -> Batch:
        """As the contract says. Raises StoreError for an unknown `how` or a bucket that is not above 0."""
        id, time, value, seq = self._store._columns
        wanted = (time >= start) & (time < end) & np.isin(id, checked_ids(selection))
        if since_seq is not None:
            wanted &= seq > since_seq
        if until_seq is not None:
            wanted &= seq <= until_seq
        rows = id[wanted], time[wanted], value[wanted]
        if every_ns is not None:
            check_buckets(every_ns, how)
            rows = reduce_buckets(rows, every_ns, how)
        return Batch(selection.series, *rows)

    def last(self, selection: Selection, before: int | None = None) -> Batch:
        """The last row of each series (before `before`), for those that have one, ordered by id."""
        id, time, value, _ = self._store._columns
        wanted = np.isin(id, checked_ids(selection))
        if before is not None:
            wanted &= time < before
        id, time, value = id[wanted], time[wanted], value[wanted]
        ends = last_of_each(id)
        return Batch(selection.series, id[ends], time[ends], value[ends])

    def find(self, series: SeriesList, id: Column, time: Column) -> Batch:
        """The rows stored under exactly these (id, time), ordered by both."""
        id, time, _ = checked_rows(Batch(series, id, time, np.zeros(len(id))))
        my_id, my_time, my_value, _ = self._store._columns
        some = np.flatnonzero(np.isin(my_id, id) & np.isin(my_time, time))
        wanted = set(zip(id.tolist(), time.tolist(), strict=True))
        rows = zip(some.tolist(), my_id[some].tolist(), my_time[some].tolist(), strict=True)
        at = np.array([k for k, i, t in rows if (i, t) in wanted], np.int64)
        return Batch(series, my_id[at], my_time[at], my_value[at])

    def read_events(self, start: int, end: int, limit: int = 1000) -> list[Event]:
        """The newest events in [start, end), newest first."""
        return self._store.read_events(start, end, limit)

    def close(self) -> None:
        """Nothing to give back."""
