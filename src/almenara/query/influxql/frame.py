"""The rows of one measurement side by side: a row for each time of each set of tags, a column for each field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from almenara.model.errors import QueryTooLarge
from almenara.query.influxql.names import Source, labels_of, named
from almenara.query.matcher import Matcher

#: Series that one statement looks at in a measurement.
MAX_SERIES = 200_000


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Series of a measurement. ids: int32[k], sorted; owner: int64[k], which of `tags` each has; field: int64[k], which
    of `fields` each is."""

    ids: np.ndarray
    owner: np.ndarray
    field: np.ndarray
    fields: Sequence[str]
    tags: Sequence[Mapping[str, str]]

    def only(self, mask: np.ndarray) -> Chosen:
        """Those whose tags are wanted: bool[len(tags)]."""
        if mask.all():
            return self
        keep = mask[self.owner]
        return Chosen(self.ids[keep], self.owner[keep], self.field[keep], self.fields, self.tags)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """n rows. owner: int64[n], which of `tags`; time: int64[n] ns; columns: float64[n] by field, NaN = no value."""

    tags: Sequence[Mapping[str, str]]
    owner: np.ndarray
    time: np.ndarray
    columns: Mapping[str, np.ndarray]

    def take(self, which: np.ndarray) -> Frame:
        """Some rows: an index or a mask."""
        columns = {field: column[which] for field, column in self.columns.items()}
        return Frame(self.tags, self.owner[which], self.time[which], columns)


def choose(source: Source, series: Mapping[str, str], matchers: Sequence[Matcher]) -> Chosen:
    """The series of some fields (field -> name of its series) that fulfil all matchers. Raises QueryTooLarge."""
    fields = list(series)
    numbers = {name: at for at, name in enumerate(series.values())}
    ids = source.select([named(numbers), *matchers]) if numbers else np.zeros(0, np.int32)
    if len(ids) > MAX_SERIES:
        raise QueryTooLarge(f"{len(ids):,} series are more than {MAX_SERIES:,}; name some tags")
    found = [source.series[id] for id in ids.tolist()]
    keys = sorted({one.labels for one in found})
    places = {labels: at for at, labels in enumerate(keys)}
    owner = np.fromiter((places[one.labels] for one in found), np.int64, len(found))
    field = np.fromiter((numbers[one.name] for one in found), np.int64, len(found))
    firsts = {one.labels: one for one in found}
    return Chosen(ids, owner, field, fields, [labels_of(firsts[labels]) for labels in keys])


def read(source: Source, chosen: Chosen, start: int, end: int) -> Frame:
    """The rows of these series in [start, end); values that are known to be missing are left out."""
    batch = source.read(chosen.ids, start, end)
    keep = ~np.isnan(batch.value)
    id, time, value = (np.asarray(column)[keep] for column in (batch.id, batch.time, batch.value))
    place = np.searchsorted(chosen.ids, id)
    owner, field = chosen.owner[place], chosen.field[place]
    if len(chosen.fields) == 1:
        return Frame(chosen.tags, owner, time, {chosen.fields[0]: value})
    order = np.lexsort((time, owner))
    owner, time, value, field = owner[order], time[order], value[order], field[order]
    fresh = np.ones(len(order), np.bool_)
    fresh[1:] = (owner[1:] != owner[:-1]) | (time[1:] != time[:-1])
    row = np.cumsum(fresh) - 1
    n = int(fresh.sum())
    columns = {name: np.full(n, np.nan) for name in chosen.fields}
    for at, column in enumerate(columns.values()):
        mine = field == at
        column[row[mine]] = value[mine]
    return Frame(chosen.tags, owner[fresh], time[fresh], columns)
