"""The series that hold what detectors found: rows over the limit, with the evidence they had at the time."""

from __future__ import annotations

import numpy as np

from almenara.model.batch import Batch, Verdict
from almenara.model.series import SeriesTable, encode_key
from almenara.pipeline.index import SeriesIndex

#: Names of the rows that judging makes. They are not judged themselves, and neither are the figures of hub and agent:
#: most are totals, and an alarm would raise the next one.
ANOMALY_NAMES = ("anomaly", "anomaly_yhat", "anomaly_lower", "anomaly_upper")


def grown(array: np.ndarray, n: int, fill: float) -> np.ndarray:
    """`array`, made at least n long with `fill`."""
    if len(array) >= n:
        return array
    new = np.full(max(n, len(array) * 3 // 2), fill, array.dtype)
    new[: len(array)] = array
    return new


class AnomalySeries:
    """The series that hold what a detector found, made when a series has its first anomaly."""

    def __init__(self, index: SeriesIndex, detector: str):
        self._index, self._detector = index, detector
        self._table = SeriesTable()
        self._first = np.full(0, -1, np.int32)  # by series: id of its `anomaly` in the table; the others follow it

    def rows(self, judged: Batch, said: Verdict, rows: np.ndarray) -> Batch:
        ids = judged.id[rows]
        self._first = grown(self._first, len(self._index), -1)
        for id in np.unique(ids[self._first[ids] < 0]).tolist():
            self._first[id] = self._add(id)
        columns = [said.score[rows], said.yhat[rows], said.lower[rows], said.upper[rows]]
        made = (self._first[ids][None, :] + np.arange(4, dtype=np.int32)[:, None]).ravel()
        return Batch(self._table, made.astype(np.int32), np.tile(judged.time[rows], 4), np.concatenate(columns))

    def _add(self, id: int) -> int:
        series = self._index[id]
        labels = dict(series.labels) | {"of": series.name, "detector": self._detector}
        first, *_ = (self._table.intern(encode_key(name, labels)) for name in ANOMALY_NAMES)
        return first
