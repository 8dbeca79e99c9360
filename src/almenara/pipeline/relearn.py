"""Relearning: detectors for which no snapshot fits learn again from stored rows, so that they do not start blank."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from almenara.model.batch import Batch
from almenara.model.time import DAY_NS, NS
from almenara.pipeline.anomalies import grown
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.judge import Judge
from almenara.pipeline.segment import Segment
from almenara.pipeline.snapshot import Seen
from almenara.plugin.contracts import Selection, Store, StoreReader

log = logging.getLogger(__name__)

#: So long a start may take for it; series that were not reached by then begin blank.
LIMIT_S = 60.0
#: Rows read at a time.
CHUNK_ROWS = 2_000_000
_COUNT_SERIES = 10_000

FOREVER = np.iinfo(np.int64).max


def first_times(segments: Iterable[Segment], seen: Seen, n: int) -> np.ndarray:
    """int64[n]: the earliest time of each series in these segments, of rows that are still to be judged."""
    first = np.full(n, FOREVER, np.int64)
    for segment in segments:
        if segment.seq > seen.least:
            id, time = segment.columns.id[: segment.n], segment.columns.time[: segment.n]
            new = seen.not_by(id, segment.seq)
            np.minimum.at(first, id[new], time[new])
    return first


def relearn(
    reader: StoreReader, index: SeriesIndex, judge: Judge, now_ns: int, before: np.ndarray,
    go_on: Callable[[], bool], limit_s: float = LIMIT_S,
) -> int:  # fmt: skip
    """Have the blank detectors of `judge` step through the last `warmup_s` of their series, as far as rows are earlier
    than `before` (int64, by id). No anomaly is stored and no alarm is raised. Says how many rows were learned.

    Ends early when `go_on()` is false, which is asked after every chunk, or `limit_s` have passed. Raises StoreError.
    """
    began, learned, left = time.monotonic(), 0, 0
    for name in judge.blank:
        start = now_ns - int(judge.warmup_s(name) * NS)
        for ids, since in _chunks(reader, index, judge.selected(name), start, now_ns):
            if time.monotonic() - began > limit_s or not go_on():
                left += len(ids)
                continue
            rows = reader.read(Selection(index, ids), since, now_ns + DAY_NS)
            early = np.asarray(rows.time) < grown(before, len(index), FOREVER)[rows.id]
            judge.learn(name, Batch(index, rows.id[early], rows.time[early], rows.value[early]))
            learned += int(np.count_nonzero(early))
    seconds = time.monotonic() - began
    if learned:
        log.info("detectors %s learned again from %d stored rows in %.1f s", ", ".join(judge.blank), learned, seconds)
    if left:
        log.warning("%d series were not learned again in %.0f s; they learn from their next rows on", left, seconds)
    return learned


def judge_again(
    store: Store, index: SeriesIndex, judge: Judge, now_ns: int, keep: Callable[[Sequence[Batch]], None]
) -> Iterator[dict[str, int | float]]:
    """Have every detector forget the series whose past has changed, and learn them from their stored rows, the last
    `warmup_s` of each; in steps. `keep` is given what would have been flagged. No alarm is raised for the past. Raises
    StoreError."""
    ids = judge.again()
    series = rows = 0
    reader = store.reader()
    try:
        for name in tuple(judge.detectors):
            mine = np.intersect1d(ids, judge.selected(name), assume_unique=True).astype(np.int32)
            if not len(mine) or not judge.can_again(name):
                continue
            newest = int(judge.last_times(mine).min())
            start = min(now_ns, newest if newest > 0 else now_ns) - int(judge.warmup_s(name) * NS)
            for some, since in _chunks(reader, index, mine, start, now_ns):
                batch = reader.read(Selection(index, some), since, now_ns + DAY_NS)
                keep(judge.judge_again(name, some, batch))
                series, rows = series + len(some), rows + len(batch)
                yield {"series": series, "rows": rows}
        judge.judged_again(ids)
        yield {"series": series, "rows": rows}
    finally:
        reader.close()


def _chunks(
    reader: StoreReader, index: SeriesIndex, ids: np.ndarray, start: int, now_ns: int
) -> Iterator[tuple[np.ndarray, int]]:
    """(series, from when) to read at a time, so that each read is of about CHUNK_ROWS."""
    for at in range(0, len(ids), _COUNT_SERIES):
        some = ids[at : at + _COUNT_SERIES]
        counts = reader.read(Selection(index, some), start, now_ns + DAY_NS, DAY_NS, "count")
        yield from packed(np.asarray(counts.id), np.asarray(counts.time), np.asarray(counts.value), start)


def packed(id: np.ndarray, day: np.ndarray, rows: np.ndarray, start: int) -> Iterator[tuple[np.ndarray, int]]:
    """Series with rows, so many at a time that their rows are about CHUNK_ROWS; of a series with more only the last.

    id: int32[n], day: int64[n], its begin, and rows: float64[n] in it; ordered by (id, day).
    """
    waiting: list[int] = []
    total = 0.0
    bounds = np.flatnonzero(np.concatenate(([True], id[1:] != id[:-1], [True]))) if len(id) else np.zeros(1, np.int64)
    for first, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        mine = float(rows[first:end].sum())
        if mine > CHUNK_ROWS:
            fits = np.flatnonzero(np.cumsum(rows[first:end][::-1]) <= CHUNK_ROWS)
            yield id[first : first + 1], int(day[end - max(1, len(fits))])
            continue
        if waiting and total + mine > CHUNK_ROWS:
            yield np.array(waiting, np.int32), start
            waiting, total = [], 0.0
        waiting.append(int(id[first]))
        total += mine
    if waiting:
        yield np.array(waiting, np.int32), start
