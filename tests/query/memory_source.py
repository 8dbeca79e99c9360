"""Rows in memory that answer selectors: what the tests of this folder evaluate expressions over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from almenara.model.batch import Batch
from almenara.model.series import Series, SeriesTable
from almenara.query import NAME, Matcher, match_all


class MemorySource:
    """A `Source` over (series, time in ns, value) rows in any order; counts how often it is asked."""

    def __init__(self, rows: Iterable[tuple[Series, int, float]]):
        batch = Batch.of(rows)
        ids, times, values = (np.asarray(column) for column in (batch.id, batch.time, batch.value))
        order = np.lexsort((times, ids))
        self.table: SeriesTable = batch.series
        self.id, self.time, self.value = ids[order], times[order], values[order]
        self.asked: list[tuple[str, int, int]] = []

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int, /) -> Batch:
        self.asked.append((",".join(map(str, matchers)), start_ns, end_ns))
        wanted = [i for i, s in enumerate(self.table) if match_all(matchers, {NAME: s.name, **dict(s.labels)})]
        keep = np.isin(self.id, wanted) & (self.time > start_ns) & (self.time <= end_ns)
        return Batch(self.table, self.id[keep], self.time[keep], self.value[keep])
