"""Backtest: what detectors would have flagged over stored history, each with options of its own, beside each other.

History is judged as a hub would have judged it when it came: every detector starts blank, learns from the warm-up
before the time that counts, and goes through the rows once. Nothing is stored and nobody is alarmed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from almenara.analysis.alerts import Anomalies, spans
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.series import SeriesTable
from almenara.model.time import DAY_NS, NS, WEEK_NS
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.judge import WARMUP_S
from almenara.pipeline.kinds import HISTOGRAM, kinds_of
from almenara.pipeline.metadata import KnownMetadata
from almenara.pipeline.rates import Rates, step_in_turns
from almenara.plugin.contracts import Detector, Selection, StoreReader

#: Rows read and judged at a time.
CHUNK_ROWS = 2_000_000
#: Of more anomalies than these the ones with the highest scores are told one by one.
KEPT = 1000
_COUNT_SERIES = 10_000
#: What is told of an anomaly.
_WHOLE = ("id", "begins", "ends", "worst", "rows", "cause", "also", "by")
_COLUMNS = (*_WHOLE, "score", "value", "yhat", "lower", "upper")


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the detectors that are compared: its name for people, and how to make a blank one."""

    name: str
    make: Callable[[], Detector]


@dataclass(slots=True)
class Tally:
    """What one contender flagged. judged: rows with a score; over: rows over the limit; alerts: anomalies; also:
    anomalies in which another contender flagged a row too; by_day: anomalies by the UTC day they begin in, in ns;
    by_series: anomalies by series id."""

    judged: int = 0
    over: int = 0
    alerts: int = 0
    also: int = 0
    by_day: Counter[int] = field(default_factory=Counter)
    by_series: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class Backtest:
    """What was found by now. series, rows: how much of it is done, of `of` series; start, end: [ns, ns) that counts.

    anomalies: the worst of all, the highest score first, as columns. int64: id; begins, ends, worst, times in ns; rows
    over the limit; cause, index into the contender's causes; also, 1 where another contender flagged a row of it; by,
    which contender. float64: score, value, yhat, lower, upper of the worst row.
    """

    start: int
    end: int
    of: int
    tallies: list[Tally]
    causes: list[Causes]
    series: int = 0
    rows: int = 0
    anomalies: dict[str, np.ndarray] = field(
        default_factory=lambda: {name: np.empty(0, np.int64 if name in _WHOLE else np.float64) for name in _COLUMNS}
    )

    @property
    def weeks(self) -> float:
        """Length of the time that counts."""
        return (self.end - self.start) / WEEK_NS


def backtest(
    reader: StoreReader, index: SeriesIndex, known: KnownMetadata | None, ids: np.ndarray, start: int, end: int,
    contenders: Sequence[Contender],
) -> Generator[Backtest, None, None]:  # fmt: skip
    """Judge the stored rows in [start, end) of these series (int32[k], rising) by every contender; the same object is
    given after each step, with what was found by then. Raises StoreError, and what a detector raises."""
    blank = [one.make() for one in contenders]
    warmup = max(int(getattr(d, "warmup_s", WARMUP_S) * NS) for d in blank)
    found = Backtest(
        start,
        end,
        len(ids),
        [Tally() for _ in contenders],
        [Causes.of([(c.name, d.causes)]) for c, d in zip(contenders, blank, strict=True)],
    )
    for group, edges in _portions(reader, index, ids, start - warmup, end):
        course = _Course(index, known, group, contenders)
        for low, high in pairwise(edges):
            rows = reader.read(Selection(index, group), low, high)
            _count(found, rows, group, course.step(rows))
            found.rows += len(rows)
            yield found
        found.series += len(group)
    found.series = len(ids)
    yield found


def _portions(
    reader: StoreReader, index: SeriesIndex, ids: np.ndarray, start: int, end: int
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """(series, edges of the times to read one after the other), so that each read is of about CHUNK_ROWS."""
    for at in range(0, len(ids), _COUNT_SERIES):
        some = ids[at : at + _COUNT_SERIES]
        counts = reader.read(Selection(index, some), start, end, DAY_NS, "count")
        counted, day, rows = np.asarray(counts.id), np.asarray(counts.time), np.asarray(counts.value)
        bounds = np.append(np.searchsorted(counted, some), len(counted))
        waiting: list[int] = []
        size = 0.0
        edges = pairwise(bounds.tolist())
        for id, (low, high) in zip(some.tolist(), edges, strict=True):
            mine = float(rows[low:high].sum())
            if waiting and size + mine > CHUNK_ROWS:
                yield np.array(waiting, np.int32), [start, end]
                waiting, size = [], 0.0
            if mine > CHUNK_ROWS:
                part = np.cumsum(rows[low:high]) // CHUNK_ROWS
                cuts = day[low:high][1:][part[1:] != part[:-1]]
                yield np.array([id], np.int32), [start, *(c for c in cuts.tolist() if start < c < end), end]
            elif mine:
                waiting.append(id)
                size += mine
        if waiting:
            yield np.array(waiting, np.int32), [start, end]


class _Course:
    """A few series on their way through all contenders; series are known by their place in `group`."""

    def __init__(
        self, index: SeriesIndex, known: KnownMetadata | None, group: np.ndarray, contenders: Sequence[Contender]
    ):
        self._table = SeriesTable.of(index.keys[i] for i in group.tolist())
        self._group, self._kinds, self._rates = group, kinds_of(index, known, group), Rates()
        self._parts = [(one.make(), one.make, Anomalies()) for one in contenders]

    def step(self, rows: Batch) -> list[tuple[Batch, Verdict, np.ndarray]]:
        """For each contender: the rows as judged, what it says of them, and which of its anomaly each row is."""
        bounds = np.append(np.searchsorted(np.asarray(rows.id), self._group), len(rows))
        local = np.repeat(np.arange(len(self._group), dtype=np.int32), np.diff(bounds))
        batch = Batch(self._table, local, np.asarray(rows.time), np.asarray(rows.value))
        if not (kept := self._kinds[local] != HISTOGRAM).all():
            batch = Batch(self._table, local[kept], batch.time[kept], batch.value[kept])
        if not len(batch):
            return []
        rates, turned = self._rates.of(batch, np.ones(len(batch), np.bool_), self._kinds)
        judged = batch if rates is None else Batch(self._table, batch.id, batch.time, rates)
        said = [(step_in_turns(one, make, judged, turned), anomalies) for one, make, anomalies in self._parts]
        return [(judged, verdict, anomalies.step(judged.id, verdict.score)) for verdict, anomalies in said]


def _count(found: Backtest, rows: Batch, group: np.ndarray, parts: Sequence[tuple[Batch, Verdict, np.ndarray]]) -> None:
    """Add what was said of a portion of rows."""
    flagged = [np.flatnonzero(nth > 0) for _, _, nth in parts]
    for by, (judged, said, nth) in enumerate(parts):
        time, score, tally = np.asarray(judged.time), np.asarray(said.score), found.tallies[by]
        counts = time >= found.start
        tally.judged += int(np.count_nonzero(counts & ~np.isnan(score)))
        tally.over += int(np.count_nonzero(counts[flagged[by]]))
        first, last, worst, length = spans(nth, score)
        first, last, worst, length = (c[time[first] >= found.start] for c in (first, last, worst, length))
        others = [c for other, c in enumerate(flagged) if other != by]
        also = np.zeros(len(first), np.bool_)
        for theirs in others:
            also |= np.searchsorted(theirs, last, side="right") > np.searchsorted(theirs, first)
        ids = group[np.asarray(judged.id)[first]]
        tally.alerts += len(first)
        tally.also += int(np.count_nonzero(also))
        tally.by_day.update((time[first] // DAY_NS * DAY_NS).tolist())
        tally.by_series.update(ids.tolist())
        told = (
            ids, time[first], time[last], time[worst], length, said.cause[worst], also, np.full(len(first), by),
            score[worst], np.asarray(judged.value)[worst], said.yhat[worst], said.lower[worst], said.upper[worst],
        )  # fmt: skip
        _keep(found, dict(zip(_COLUMNS, told, strict=True)))


def _keep(found: Backtest, more: Mapping[str, np.ndarray]) -> None:
    """Put anomalies among the worst of all."""
    joined = {name: np.concatenate((old, more[name]), dtype=old.dtype) for name, old in found.anomalies.items()}
    order = np.argsort(-joined["score"], kind="stable")[:KEPT]
    found.anomalies = {name: column[order] for name, column in joined.items()}
