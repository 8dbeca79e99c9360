"""The hub's own store: samples, series, events and rollups in ClickHouse, which runs inside this process (`chdb`).

What is where, in the folder: `clickhouse/` the tables; `checkpoint.npz` what can be made again from the tables, only
slower (last values, and which hours the rollups do not know); `delete.json` a delete that was begun and not finished.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from almenara.model.batch import Batch, Event
from almenara.model.errors import StoreError
from almenara.model.series import EQUALS, FIELD
from almenara.plugin.contracts import Selection
from almenara.stores.dirty import HOUR_NS, Dirty, pairs_of, split_pairs
from almenara.stores.engine import Engine, explain
from almenara.stores.latest import Latest
from almenara.stores.reading import ChdbReader, count_rows, last_before, read_events
from almenara.stores.rows import check_series, checked_ids, checked_rows
from almenara.stores.tables import CREATE, HIGHEST, LOWEST, ROLLUPS, bucket, clip, ids_sql, time_sql

_KEYS_AT_ONCE = 65_536
_PAIRS_AT_ONCE = 20_000
_MAINTAIN_S = 2.0
_ROWS_BETWEEN_CHECKPOINTS = 5_000_000
_SEQS_KEPT = 100_000


class Chdb:
    """Keeps rows in ClickHouse inside this process; the default of a hub.

    One process can have one folder open, and one process can have a folder.

    Options:
        cache_mb: Memory for the engine's indexes and marks.
        threads: How many a query, and merging, may use.

    `append` returns when the rows are on disk (fsync). When it raises, or the process ends in it, some months of the
    batch may be visible; the same seq again completes it. `size()["rows"]` counts overwritten rows until a merge.
    """

    def __init__(self, folder: Path, *, cache_mb: int = 256, threads: int = 2):
        self._engine = Engine(Path(folder), cache_mb, threads)
        self._session = self._engine.main
        self._latest, self._dirty = Latest(), Dirty()
        self._folder = self._engine.folder
        self._seqs: dict[int, None] = {}  # appended by this process, in their order
        self._max_seq, self._saved_seq, self._unsaved_rows = -1, -1, 0
        try:
            for statement in CREATE:
                self._session.do(statement)
            highest = self._session.query("SELECT count(), toUInt64(max(sid)) FROM series", "opening the store")
            self._series = int(highest[1][0]) + 1 if highest[0][0] else 0
            self._recover()
            self._finish_delete()
        except BaseException:
            self._engine.close()
            raise

    # --- series and events --------------------------------------------------------------------------------------------

    def add_series(self, first_id: int, keys: Sequence[bytes]) -> None:
        """As the contract says. Raises StoreError where ids have other keys already or would be left out."""
        known: list[bytes] = []
        if 0 <= first_id < self._series:
            known = self._keys(first_id, min(self._series, first_id + len(keys)))
        new = check_series(first_id, keys, known, self._series)
        if not new:
            return
        sid = np.arange(self._series, self._series + len(new), dtype=np.uint32)
        columns = [("sid", "UInt32", sid), ("key", "String", new)]
        self._session.insert("series", columns, len(new), "adding series", f"sid >= {self._series}")
        self._series += len(new)

    def series_keys(self) -> Iterator[Sequence[bytes]]:
        """All keys in the order of their ids, in chunks."""
        for first in range(0, self._series, _KEYS_AT_ONCE):
            yield self._keys(first, first + _KEYS_AT_ONCE)

    def _keys(self, first: int, end: int) -> list[bytes]:
        sql = f"SELECT key FROM series FINAL WHERE sid >= {first} AND sid < {end} ORDER BY sid"
        return (self._session.query(sql, "reading series") or [[]])[0]

    def append_events(self, events: Sequence[Event], seq: int) -> None:
        """Keep events; the same seq again does nothing."""
        if not events:
            return
        labels = [FIELD.join(k.encode() + EQUALS + v.encode() for k, v in event.labels) for event in events]
        n = len(events)
        columns = [
            ("ts", "Int64", np.array([event.time for event in events], np.int64)),
            ("seq", "UInt64", np.full(n, seq, np.uint64)),
            ("n", "UInt32", np.arange(n, dtype=np.uint32)),
            ("labels", "String", labels),
            ("text", "String", [event.text.encode() for event in events]),
        ]
        self._session.insert("events", columns, n, "storing events", f"seq = {seq}", token=str(seq))

    def read_events(self, start: int, end: int, limit: int = 1000) -> list[Event]:
        """The newest events in [start, end), newest first. From the writing thread."""
        return read_events(self._session, start, end, limit)

    def delete_events(self, start: int, end: int) -> int:
        """Remove events in [start, end); says how many went."""
        where = time_sql([(clip(start), clip(end))])
        gone = self._session.query(f"SELECT count() FROM events FINAL WHERE {where}", "counting events")[0][0]
        if gone:
            self._session.do(f"DELETE FROM events WHERE {where}", "deleting events")
        return int(gone)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def append(self, batch: Batch, seq: int) -> None:
        """Keep all rows, on disk when this returns. Raises DiskFull, or StoreError: unsorted rows, or what failed."""
        id, times, value = checked_rows(batch)
        if seq < 0:
            raise StoreError(f"append: seq must be 0 or more; got {seq}")
        if seq in self._seqs or not len(id):
            return
        if seq <= self._saved_seq:
            # After a crash, rows with a higher seq than the checkpoint's are looked at again: this one must be one.
            self._save(seq - 1)
        self._dirty.add(pairs_of(id, times))
        columns = [
            ("sid", "UInt32", id.view(np.uint32)),
            ("ts", "Int64", times),
            ("v", "Float64", value),
            ("seq", "UInt64", np.broadcast_to(np.uint64(seq), len(id))),
        ]
        where = f"seq = {seq} AND ts >= {times.min()} AND ts <= {times.max()}"
        self._session.insert("samples", columns, len(id), f"storing {len(id)} rows", where, token=str(seq))
        self._latest.update(id, times, value, seq)
        self._max_seq, self._unsaved_rows = max(seq, self._max_seq), self._unsaved_rows + len(id)
        self._seqs[seq] = None
        if len(self._seqs) > _SEQS_KEPT:
            del self._seqs[next(iter(self._seqs))]

    def last_seq(self) -> int:
        """The highest seq of the rows there are, and of those appended by this process; -1 none."""
        return self._max_seq

    def reader(self) -> ChdbReader:
        """A reader for one thread, with a session of its own; `close` it."""
        return ChdbReader(self._engine.session(), self._latest, self._dirty)

    def delete(self, selection: Selection | None, start: int, end: int) -> int:
        """Remove rows in [start, end) of these series (None: of all); says how many went. Whole months cost nothing."""
        start, end = clip(start), clip(end)
        ids = None if selection is None else checked_ids(selection)
        if not count_rows(self._session, "samples", [ids_sql(ids), time_sql([(start, end)])]):
            return 0  # most months of a first retention; what follows syncs to the disk several times
        plan = json.dumps({"ids": None if ids is None else ids.tolist(), "start": start, "end": end})
        _replace(self._folder / "delete.json", plan.encode())
        return self._finish_delete()

    # --- housekeeping -------------------------------------------------------------------------------------------------

    def maintain(self) -> None:
        """Make the rollups of hours that nothing was written to since the last call, for about two seconds at most."""
        deadline = time.monotonic() + _MAINTAIN_S
        ripe, done = self._dirty.ripe(), 0
        try:
            while done < len(ripe) and time.monotonic() < deadline:
                self._roll(ripe[done : done + _PAIRS_AT_ONCE])
                done += _PAIRS_AT_ONCE
        finally:
            self._dirty.age(ripe[:done])
        if self._unsaved_rows >= _ROWS_BETWEEN_CHECKPOINTS:
            self._save(self._max_seq)

    def size(self) -> dict[str, int]:
        """`rows` and `bytes` on disk; `parts` and `rollup_bytes` too. Overwritten rows count until they are merged."""
        sql = (
            "SELECT toUInt64(sumIf(rows, table = 'samples')), toUInt64(sum(bytes_on_disk)), toUInt64(count()), "
            "toUInt64(sumIf(bytes_on_disk, table LIKE 'rollup%')) "
            "FROM system.parts WHERE active AND database = currentDatabase()"
        )
        columns = self._session.query(sql, "reading the store's size")
        return dict(zip(("rows", "bytes", "parts", "rollup_bytes"), (int(c[0]) for c in columns), strict=True))

    def check(self) -> None:
        """Raises StoreError unless the engine answers."""
        self._session.query("SELECT 1", "asking the store")

    def close(self) -> None:
        """Write the checkpoint and let go of the folder; closes every reader."""
        try:
            if self._unsaved_rows:
                self._save(self._max_seq)
        finally:
            self._engine.close()

    def _roll(self, pairs: NDArray[np.int64]) -> None:
        """Make the rollups of these (series, hour) pairs. Rows of NaN alone give n = 0, in place of what was there."""
        sid, hour = split_pairs(pairs)
        self._session.do("TRUNCATE TABLE todo")
        self._session.insert("todo", [("sid", "UInt32", sid), ("hour", "Int64", hour)], len(sid), "making rollups", "1")
        span = [(int(hour.min()) * HOUR_NS, (int(hour.max()) + 1) * HOUR_NS)]
        where = (
            f"sid >= {sid.min()} AND sid <= {sid.max()} AND {time_sql(span)} "
            f"AND (sid, toInt64(intDiv({bucket(HOUR_NS)}, {HOUR_NS}))) IN (SELECT sid, hour FROM todo)"
        )
        (fine, fine_ns), (coarse, coarse_ns) = ROLLUPS.items()
        ok = "NOT isNaN(v)"
        self._session.do(
            f"INSERT INTO {fine} SELECT sid, {bucket(fine_ns)} AS b, minIf(v, {ok}), maxIf(v, {ok}), sumIf(v, {ok}), "
            f"countIf({ok}), argMinIf(v, ts, {ok}), argMaxIf(v, ts, {ok}) FROM samples FINAL WHERE {where} "
            "GROUP BY sid, b",
            "making rollups",
        )
        self._session.do(
            f"INSERT INTO {coarse} SELECT sid, {bucket(coarse_ns)} AS b, minIf(mn, n > 0), maxIf(mx, n > 0), "
            f"sumIf(sm, n > 0), sum(n), argMinIf(f, ts, n > 0), argMaxIf(l, ts, n > 0) FROM {fine} FINAL "
            f"WHERE {where} GROUP BY sid, b",
            "making rollups",
        )

    def _finish_delete(self) -> int:
        """Do what `delete.json` asks; done again after a crash it comes to the same."""
        path = self._folder / "delete.json"
        if not path.exists():
            return 0
        plan = json.loads(path.read_bytes())
        start, end = plan["start"], plan["end"]
        id = None if plan["ids"] is None else np.array(plan["ids"], np.int32)
        gone = count_rows(self._session, "samples", [ids_sql(id), time_sql([(start, end)])])
        self._delete_rows("samples", id, start, end)
        # Hours that are cut through lose their rollup and are made again; the others have nothing left.
        cut = {edge // HOUR_NS * HOUR_NS for edge in (start, end) if edge % HOUR_NS and edge > LOWEST + HOUR_NS}
        for table in ROLLUPS:
            self._delete_rows(table, id, start // HOUR_NS * HOUR_NS, -(-end // HOUR_NS) * HOUR_NS)
        for edge in cut:
            touched = self._latest.between(edge, HIGHEST)
            touched = touched if id is None else touched[np.isin(touched, id)]
            self._dirty.add(pairs_of(touched, np.full(len(touched), edge, np.int64)))
        lost = self._latest.between(start, end)
        lost = lost if id is None else lost[np.isin(lost, id)]
        self._latest.replace(lost, last_before(self._session, lost, start))
        self._save(self._max_seq)
        path.unlink()
        return gone

    def _delete_rows(self, table: str, id: NDArray[np.int32] | None, start: int, end: int) -> None:
        where = [ids_sql(id), time_sql([(clip(start), clip(end))])]
        if id is None:
            sql = f"SELECT CAST(_partition_id, 'String') AS month, min(ts), max(ts) FROM {table} GROUP BY month"
            months = self._session.query(sql, "deleting months")
            for month, first, last in zip(*months, strict=True):
                part = f"PARTITION ID '{month.decode()}'"
                if start <= first and last < end:
                    self._session.do(f"ALTER TABLE {table} DROP {part}", "deleting months")
                elif first < end and start <= last:
                    self._session.do(f"DELETE FROM {table} IN {part} WHERE {' AND '.join(where)}", "deleting rows")
        elif count_rows(self._session, table, where):
            self._session.do(f"DELETE FROM {table} WHERE {' AND '.join(where)}", "deleting rows")

    # --- what can be made again ---------------------------------------------------------------------------------------

    def _save(self, seq: int) -> None:
        """Write the checkpoint: it holds good for all rows up to this seq."""
        path = self._folder / "checkpoint.npz"
        dirty = np.diff(self._dirty.save(), prepend=np.int64(0))
        arrays = {"holds_to": np.int64(seq), "dirty": dirty, **self._latest.save()}
        try:
            with open(path.with_suffix(".tmp"), "wb") as file:
                np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
            _swap(path)
        except OSError as error:
            raise explain(error, "writing the store's checkpoint") from error
        self._saved_seq, self._unsaved_rows = seq, 0

    def _recover(self) -> None:
        """Last values and dirty hours: from the checkpoint, and from the rows that came after it."""
        try:
            with np.load(self._folder / "checkpoint.npz", allow_pickle=False) as file:
                arrays = dict(file)
            self._dirty.add(np.cumsum(arrays["dirty"]))
            self._latest.load(arrays)
            self._saved_seq = int(arrays["holds_to"])
        except (FileNotFoundError, EOFError, BadZipFile, KeyError, ValueError):
            self._latest, self._dirty, self._saved_seq = Latest(), Dirty(), -1
        newer = f"PREWHERE seq > {self._saved_seq}" if self._saved_seq >= 0 else ""
        sql = f"SELECT toUInt32(sid), max(ts), argMax(v, ts), argMax(seq, ts), max(seq) FROM samples FINAL {newer}"
        rows: list[Any] = self._session.query(f"{sql} GROUP BY sid ORDER BY sid", "reading last values")
        self._max_seq = self._saved_seq
        if not rows:
            return
        self._latest.update(rows[0].astype(np.int32), *rows[1:4])
        self._max_seq = max(self._max_seq, int(rows[4].max()))
        hour = f"{bucket(HOUR_NS)} AS hour"
        pairs = self._session.query(
            f"SELECT DISTINCT sid, {hour} FROM samples {newer} ORDER BY sid, hour", "reading hours"
        )
        self._dirty.add(pairs_of(*pairs))


def _swap(path: Path) -> None:
    """Put `path`.tmp in the place of `path`, so that after a crash one of the two is there, whole."""
    temporary = path.with_suffix(".tmp")
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(path: Path, content: bytes) -> None:
    try:
        path.with_suffix(".tmp").write_bytes(content)
        _swap(path)
    except OSError as error:
        raise explain(error, f"writing {path.name}") from error
