"""Reading: stored rows, what a detector says of them (replay), and both as the source of queries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from almenara.analysis.alerts import Anomalies
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.errors import QueryError, QueryTooLarge
from almenara.model.series import Series, SeriesTable, encode_key
from almenara.model.time import NS
from almenara.pipeline.index import NAME, SeriesIndex
from almenara.pipeline.judge import Watch, empty_verdict
from almenara.pipeline.rates import rated, step_in_turns
from almenara.plugin.contracts import Selection, Store, StoreReader
from almenara.query import Matcher

T = TypeVar("T")

#: A query or replay that would read more is refused.
MAX_ROWS = 20_000_000
MAX_REPLAYED_SERIES = 1_000

#: Virtual series, replayed when somebody asks: name -> column of the verdict.
VIRTUAL = {"anomaly_score": "score", "anomaly_alert": "nth", "yhat": "yhat", "yhat_lower": "lower",
           "yhat_upper": "upper"}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """Stored rows ordered by (id, time), counters as rates a second, and what a detector that starts from the warm-up
    says of them.

    causes: what `verdict.cause` points into.
    """

    batch: Batch
    verdict: Verdict
    causes: Causes = field(default_factory=Causes)


class Readers:
    """A few threads that read, each with a session of the store of its own."""

    def __init__(self, store: Store, threads: int = 2):
        self._store = store
        self._local = threading.local()
        self._open: list[StoreReader] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read")

    def run(self, work: Callable[[StoreReader], T]) -> T:
        """Do `work` with the reader of a thread of the pool, and wait; call it from a thread that may wait."""
        return self._pool.submit(self._with_reader, work).result()

    @property
    def pool(self) -> ThreadPoolExecutor:
        """The threads."""
        return self._pool

    def _with_reader(self, work: Callable[[StoreReader], T]) -> T:
        return work(self.reader())

    def reader(self) -> StoreReader:
        """The reader of the calling thread, which is one of the pool's."""
        if not hasattr(self._local, "reader"):
            self._local.reader = self._store.reader()
            self._open.append(self._local.reader)
        return self._local.reader

    def close(self) -> None:
        """End the threads and give their sessions back."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for reader in self._open:
            reader.close()


def replay(
    reader: StoreReader, index: SeriesIndex, watch: Watch, ids: np.ndarray, start: int, end: int, kinds: np.ndarray
) -> Replayed:
    """What the detector of `watch` says of the stored rows in [start, end) of series `ids`, having learned from
    `warmup_s` before them. kinds: uint8[ids]. Raises QueryTooLarge for more than 1,000 series."""
    if len(ids) > MAX_REPLAYED_SERIES:
        raise QueryTooLarge(f"{len(ids)} series to judge again; at most {MAX_REPLAYED_SERIES}: name fewer")
    detector = watch.make()
    warmup_ns = int(getattr(detector, "warmup_s", 28 * 86_400) * NS)
    rows = _checked(reader.read(Selection(index, ids), start - warmup_ns, end))
    # Slots of a detector are by id, so the few series get small ids of their own.
    local = np.asarray(np.searchsorted(ids, rows.id), np.int32)
    table = SeriesTable.of(index.keys[i] for i in ids.tolist())
    mine, turned, _ = rated(Batch(table, local, rows.time, rows.value), kinds)
    verdict = step_in_turns(detector, watch.make, mine, turned) if len(rows) else empty_verdict(0)
    nth = Anomalies().step(local, verdict.score)
    shown = np.flatnonzero(np.asarray(rows.time) >= start)
    columns = (verdict.score, verdict.yhat, verdict.lower, verdict.upper, verdict.share, verdict.cause)
    rows = Batch(index, rows.id[shown], rows.time[shown], mine.value[shown])
    told = ((row, text) for row, text in verdict.notes.items() if mine.time[row] >= start)
    notes = {int(np.searchsorted(shown, row)): text for row, text in told}
    score, yhat, lower, upper, share, cause = (c[shown] for c in columns)
    said = Verdict(score, yhat, lower, upper, share, cause, nth=nth[shown], notes=notes)
    return Replayed(rows, said, Causes.of([(watch.name, detector.causes)]))


def _checked(batch: Batch) -> Batch:
    if len(batch) > MAX_ROWS:
        raise QueryTooLarge(f"{len(batch)} rows to read; at most {MAX_ROWS}: take a shorter range or fewer series")
    return batch


class _Replayer(Protocol):
    def __call__(self, detector: str, ids: np.ndarray, start: int, end: int) -> Replayed: ...


class StoredRows:
    """The source of queries: stored series, and the virtual ones `anomaly_score`, `anomaly_alert` (1 where an anomaly
    begins, else 0), `yhat`, `yhat_lower`, `yhat_upper`.

    A virtual series has the labels of the series it is about, and `of`, its name:
    `anomaly_score{of="cpu_usage",host="a"}`.
    """

    def __init__(self, index: SeriesIndex, reader: StoreReader, replayer: _Replayer, detectors: Sequence[str]):
        self._index, self._reader, self._replayer, self._detectors = index, reader, replayer, tuple(detectors)

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Batch:
        """Rows with start_ns < time <= end_ns, ordered by (id, time)."""
        name = next((m.value for m in matchers if m.label == NAME and m.op == "=" and m.value in VIRTUAL), None)
        if name is not None:
            return self._select_virtual(name, matchers, start_ns + 1, end_ns + 1)
        ids = self._index.select(matchers)
        return _checked(self._reader.read(Selection(self._index, ids), start_ns + 1, end_ns + 1))

    def _select_virtual(self, name: str, matchers: Sequence[Matcher], start: int, end: int) -> Batch:
        wanted = [m for m in matchers if m.label == "detector"]
        detector = next((d for d in self._detectors if all(m.matches(d) for m in wanted)), None)
        if detector is None:
            raise QueryError(f"no such detector; there are {', '.join(self._detectors)}")
        about = [_about(m) for m in matchers if m.label not in (NAME, "detector")]
        replayed = self._replayer(detector, self._index.select(about), start, end)
        column = getattr(replayed.verdict, VIRTUAL[name])
        if name == "anomaly_alert":
            column = alert_of(replayed.verdict)
        ready = np.flatnonzero(~np.isnan(column))
        ids, local = np.unique(replayed.batch.id[ready], return_inverse=True)
        table = SeriesTable.of(_virtual_key(name, self._index[i]) for i in ids.tolist())
        return Batch(table, local.astype(np.int32), replayed.batch.time[ready], column[ready])


def alert_of(verdict: Verdict) -> np.ndarray:
    """float64[n]: 1 where an anomaly begins, 0 for other judged rows, NaN for those that are not judged."""
    return np.where(np.isnan(verdict.score), np.nan, np.asarray(verdict.nth) == 1)


def _about(matcher: Matcher) -> Matcher:
    return Matcher(NAME, matcher.op, matcher.value) if matcher.label == "of" else matcher


def _virtual_key(name: str, series: Series) -> bytes:
    return encode_key(name, dict(series.labels) | {"of": series.name})
