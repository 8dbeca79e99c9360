"""Reads of the chdb store: raw rows, buckets from raw rows and rollups, last values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from almenara.model.batch import Batch, Column, Event
from almenara.model.series import EQUALS, FIELD, SeriesList
from almenara.plugin.contracts import Selection
from almenara.stores.dirty import HOUR_NS, Dirty
from almenara.stores.engine import Session
from almenara.stores.latest import Latest
from almenara.stores.rows import Rows, check_buckets, checked_ids, checked_rows
from almenara.stores.tables import AGGREGATES, LOWEST, ROLLUPS, bucket, clip, ids_sql, time_sql

Ranges = list[tuple[int, int]]

#: More ranges than this cost the planner more than the rows between the closest of them.
MAX_RANGES = 30

_DAY_NS = 24 * HOUR_NS
_LOOK_BACK = (HOUR_NS, _DAY_NS, 32 * _DAY_NS, 400 * _DAY_NS)


def _rows(columns: list[Any]) -> Rows:
    if not columns:
        return np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float64)
    return columns[0].astype(np.int32), columns[1], columns[2]


def _in_order(*parts: Rows) -> Rows:
    """Rows of different ids, ordered by id."""
    id, time, value = (np.concatenate([part[k] for part in parts]) for k in range(3))
    order = np.argsort(id, kind="stable")
    return id[order], time[order], value[order]


def _runs(hours: NDArray[np.int64]) -> Ranges:
    """Hours (sorted, each once) as ranges of ns."""
    breaks = np.flatnonzero(np.diff(hours) != 1) + 1
    return [(int(run[0]) * HOUR_NS, (int(run[-1]) + 1) * HOUR_NS) for run in np.split(hours, breaks) if len(run)]


def _merged(ranges: Ranges) -> Ranges:
    """Ranges in order, those that touch made one, and the closest until there are no more than MAX_RANGES."""
    merged: Ranges = []
    for start, end in ranges:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    if len(merged) <= MAX_RANGES:
        return merged
    gaps = [merged[i + 1][0] - merged[i][1] for i in range(len(merged) - 1)]
    kept = sorted(sorted(range(len(gaps)), key=gaps.__getitem__)[-(MAX_RANGES - 1) :])
    firsts, lasts = [0, *(i + 1 for i in kept)], [*kept, len(merged) - 1]
    return [(merged[first][0], merged[last][1]) for first, last in zip(firsts, lasts, strict=True)]


def _gaps(ranges: Ranges, start: int, end: int) -> Ranges:
    """What of [start, end) is in none of the ranges."""
    edges = [start, *(edge for pair in ranges for edge in pair), end]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]


def last_before(session: Session, id: NDArray[np.int32], before: int) -> Rows:
    """The last rows of these ids before a time, looked for in ever longer stretches of the past."""
    before = clip(before)
    found, end = [], before
    for start in (*(before - back for back in _LOOK_BACK), LOWEST + 1):
        start = max(start, LOWEST + 1)
        if not len(id) or start >= end:
            break
        rows = _rows(
            session.query(
                f"SELECT sid, max(ts), argMax(v, ts) FROM samples FINAL WHERE {ids_sql(id)} "
                f"AND {time_sql([(start, end)])} GROUP BY sid ORDER BY sid",
                "reading last values",
            )
        )
        found.append(rows)
        id, end = id[~np.isin(id, rows[0])], start
    return _in_order(_rows([]), *found)


class ChdbReader:
    """Reads through a session of its own, from one thread."""

    def __init__(self, session: Session, latest: Latest, dirty: Dirty):
        self._session, self._latest, self._dirty = session, latest, dirty
        self._asks = False  # whether the table for `find` is there

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
        """As the contract says. Raises StoreError for an unknown `how`, a bucket not above 0, or what failed."""
        id, start, end = checked_ids(selection), clip(start), clip(end)
        id = id[id >= 0]
        if every_ns is not None:
            check_buckets(every_ns, how)
        if not len(id) or start >= end:
            return Batch(selection.series, *_rows([]))
        since = _seq_sql(since_seq, until_seq)
        if every_ns is None:
            sql = (
                f"SELECT sid, ts, v FROM samples FINAL {since} WHERE {ids_sql(id)} AND {time_sql([(start, end)])} "
                "ORDER BY sid, ts"
            )
        else:
            sql = self._bucket_sql(id, start, end, every_ns, how, since)
        return Batch(selection.series, *_rows(self._session.query(sql, "reading rows")))

    def last(self, selection: Selection, before: int | None = None) -> Batch:
        """The last row of each series (before `before`), for those that have one, ordered by id."""
        id, time, value = self._latest.get(checked_ids(selection))
        if before is None:
            return Batch(selection.series, id, time, value)
        late = time >= before
        older = last_before(self._session, id[late], before)
        return Batch(selection.series, *_in_order((id[~late], time[~late], value[~late]), older))

    def find(self, series: SeriesList, id: Column, time: Column) -> Batch:
        """The rows stored under exactly these (id, time), ordered by both."""
        id, time, _ = checked_rows(Batch(series, id, time, np.zeros(len(id))))
        if not len(id):
            return Batch(series, *_rows([]))
        if not self._asks:
            self._session.do("CREATE TEMPORARY TABLE asked (sid UInt32, ts Int64)")
            self._asks = True
        self._session.do("TRUNCATE TABLE asked")
        columns = [("sid", "UInt32", id.view(np.uint32)), ("ts", "Int64", time)]
        self._session.insert("asked", columns, len(id), "finding rows", "1")
        sql = (
            f"SELECT sid, ts, v FROM samples FINAL WHERE sid >= {id[0]} AND sid <= {id[-1]} "
            f"AND ts >= {time.min()} AND ts <= {time.max()} AND (sid, ts) IN (SELECT sid, ts FROM asked) "
            "ORDER BY sid, ts"
        )
        return Batch(series, *_rows(self._session.query(sql, "finding rows")))

    def read_events(self, start: int, end: int, limit: int = 1000) -> list[Event]:
        """The newest events in [start, end), newest first."""
        return read_events(self._session, start, end, limit)

    def close(self) -> None:
        """Give the session back."""
        self._session.close()

    def _bucket_sql(self, id: NDArray[np.int32], start: int, end: int, every_ns: int, how: str, since: str) -> str:
        widths = [(table, width) for table, width in ROLLUPS.items() if every_ns % width == 0]
        raw = [(start, end)] if since or not widths else self.raw_ranges(id, start, end)
        of_raw, of_rollup, make = AGGREGATES[how]
        head = f"SELECT sid, {bucket(every_ns)} AS b"
        # NaN is left out after FINAL: a NaN that overwrote a number must win first.
        arms = [
            f"{head}, {of_raw} FROM samples FINAL {since} WHERE {ids_sql(id)} AND {time_sql(raw)} AND NOT isNaN(v)"
        ] * bool(raw)
        rolled = _gaps(raw, start, end)
        if rolled:
            table = widths[-1][0]
            arms.append(f"{head}, {of_rollup} FROM {table} FINAL WHERE {ids_sql(id)} AND {time_sql(rolled)} AND n > 0")
        return f"SELECT sid, b, {make} FROM ({' UNION ALL '.join(arms)}) GROUP BY sid, b ORDER BY sid, b"

    def raw_ranges(self, id: NDArray[np.int32], start: int, end: int) -> Ranges:
        """Where rollups cannot answer: hours cut by start or end, and hours in which a row came since."""
        first, last = -(-start // HOUR_NS), end // HOUR_NS
        if last <= first:
            return [(start, end)]
        dirty = _runs(self._dirty.hours(id, first, last))
        return _merged([(start, first * HOUR_NS), *dirty, (last * HOUR_NS, end)])


def _seq_sql(since: int | None, until: int | None) -> str:
    """Of two rows at one time the higher seq wins, so leaving out low ones before FINAL changes nothing; leaving out
    high ones gives what the row was by then."""
    wanted = [f"seq > {since}"] if since is not None and since >= 0 else []
    wanted += [f"seq <= {until}"] if until is not None else []
    return "PREWHERE " + " AND ".join(wanted) if wanted else ""


def read_events(session: Session, start: int, end: int, limit: int) -> list[Event]:
    """The newest events in [start, end), newest first."""
    sql = (
        f"SELECT ts, labels, text FROM events FINAL WHERE {time_sql([(clip(start), clip(end))])} "
        f"ORDER BY ts DESC, seq DESC, n DESC LIMIT {limit}"
    )
    columns = session.query(sql, "reading events")
    return [Event(int(t), _labels(labels), text.decode()) for t, labels, text in zip(*columns, strict=True)]


def _labels(joined: bytes) -> tuple[tuple[str, str], ...]:
    fields = (field.partition(EQUALS) for field in joined.split(FIELD)) if joined else ()
    return tuple((k.decode(), v.decode()) for k, _, v in fields)


def count_rows(session: Session, table: str, conditions: Sequence[str]) -> int:
    """Rows of a table, each (sid, ts) once."""
    return int(
        session.query(f"SELECT count() FROM {table} FINAL WHERE {' AND '.join(conditions)}", "counting rows")[0][0]
    )
