"""Where an expression gets its rows: the protocol, and all that one expression needs, fetched once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from almenara.model.batch import Batch
from almenara.model.errors import QueryTooLarge
from almenara.model.series import Series
from almenara.query.expression import Expr, Selector, needs
from almenara.query.matcher import NAME, Matcher


class Source(Protocol):
    """What rows are selected from: a store with its index, or a batch in memory."""

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int, /) -> Batch:
        """Rows with start_ns < time <= end_ns of the series that fulfil all matchers, ordered by (id, time), each
        (id, time) once; `batch.series[id]` is the Series. May raise QueryTooLarge."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows of k series: those of series i are [offsets[i], offsets[i + 1]).

    labels: k dicts, the name under `__name__`. offsets: int64[k + 1]. time: int64[n] ns, rising within a series.
    value: float64[n]; NaN = known to be missing.
    """

    labels: list[dict[str, str]]
    offsets: np.ndarray
    time: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, batch: Batch) -> Rows:
        """Checks the order that a source promises. Raises ValueError where it is broken."""
        ids, time, value = np.asarray(batch.id), np.asarray(batch.time), np.asarray(batch.value)
        later = ids[1:] > ids[:-1]
        if not np.all(later | ((ids[1:] == ids[:-1]) & (time[1:] > time[:-1]))):
            raise ValueError("rows of a source must be ordered by (id, time), each once")
        firsts = np.concatenate(([0], np.flatnonzero(later) + 1)) if len(ids) else np.zeros(0, np.int64)
        labels = [labels_of(batch.series[int(ids[first])]) for first in firsts]
        offsets = np.append(firsts, len(ids)).astype(np.int64)
        return cls(labels, offsets, np.ascontiguousarray(time, np.int64), np.ascontiguousarray(value, np.float64))

    def block(self, series: slice) -> Rows:
        """Some of the series, next to each other."""
        first, stop, _ = series.indices(len(self.labels))
        offsets = self.offsets[first : stop + 1]
        rows = slice(int(offsets[0]), int(offsets[-1]))
        return Rows(self.labels[series], offsets - offsets[0], self.time[rows], self.value[rows])

    def without_nan(self) -> Rows:
        """The same without rows that are NaN; series may be left with none."""
        keep = self.value == self.value
        if keep.all():
            return self
        before = np.concatenate(([0], np.cumsum(keep)))
        return Rows(self.labels, before[self.offsets].astype(np.int64), self.time[keep], self.value[keep])


def labels_of(series: Series) -> dict[str, str]:
    """All labels of a series, the name among them as `__name__`."""
    return {NAME: series.name, **dict(series.labels)} if series.name else dict(series.labels)


class Fetched:
    """All rows that an expression needs: each selector is read once, for the whole range it looks at."""

    def __init__(self, expr: Expr, start: int, end: int, lookback_ns: int, source: Source, max_samples: int):
        wanted: dict[tuple[Matcher, ...], list[tuple[int, int]]] = {}
        for selector, window in needs(expr, lookback_ns):
            span = (start - selector.offset_ns - window, end - selector.offset_ns)
            wanted.setdefault(selector.matchers, []).append(span)
        self._spans: dict[tuple[Matcher, ...], list[tuple[int, int, Rows]]] = {}
        total = 0
        for matchers, spans in wanted.items():
            for lower, upper in _merged(spans):
                rows = Rows.of(source.select(matchers, lower, upper))
                total += len(rows.time)
                if total > max_samples:
                    raise QueryTooLarge(
                        f"query reads more than {max_samples:,} samples; select fewer series or a shorter range"
                    )
                self._spans.setdefault(matchers, []).append((lower, upper, rows))

    def rows(self, selector: Selector, end: int) -> Rows:
        """The rows of a selector whose range ends at `end` (before its offset)."""
        upper = end - selector.offset_ns
        return next(rows for low, high, rows in self._spans[selector.matchers] if low < upper <= high)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch become one."""
    merged: list[tuple[int, int]] = []
    for lower, upper in sorted(spans):
        if merged and lower <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(upper, merged[-1][1]))
        else:
            merged.append((lower, upper))
    return merged
