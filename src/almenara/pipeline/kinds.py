"""Counters as people look at them: judged and shown as their rate a second, through resets; and which series are none.

What a series is comes from its metadata; where that says nothing, from the names that Prometheus' conventions give
(prometheus.io/docs/practices/naming): a name that ends in `_total` is a counter, `_bucket` with a label `le` is part of
a histogram. Parts of histograms are not judged one by one: what moves one moves them all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from almenara._compiled import njit
from almenara.model.batch import Batch
from almenara.model.series import EQUALS, FIELD, Metadata
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.metadata import KnownMetadata

GAUGE, COUNTER, HISTOGRAM = np.uint8(0), np.uint8(1), np.uint8(2)
#: Kinds as metadata names them; all others are gauges.
_KINDS = {"counter": COUNTER, "histogram": HISTOGRAM}

_UNKNOWN = Metadata()

NEVER = np.iinfo(np.int64).min


def kind_of(key: bytes, about: Metadata) -> np.uint8:
    """What a series is, by its metadata, else by its name."""
    name, _, labels = key.partition(FIELD)
    if about.kind == "histogram":
        return HISTOGRAM if name.endswith(b"_bucket") else COUNTER
    if about.kind:
        return _KINDS.get(about.kind, GAUGE)
    if name.endswith(b"_bucket") and any(label.startswith(b"le" + EQUALS) for label in labels.split(FIELD)):
        return HISTOGRAM
    return COUNTER if name.endswith(b"_total") else GAUGE


def kinds_of(index: SeriesIndex, known: KnownMetadata | None, ids: np.ndarray) -> np.ndarray:
    """uint8[k]: the kind of each of these series."""
    name = index.name_numbers()[ids].astype(np.int64)
    text = np.full(len(ids), -1, np.int32) if known is None else known.numbers(ids)
    # Series of one name of which the same is known are of one kind, unless a label decides.
    _, first, which = np.unique(name << 32 | (text + 1), return_index=True, return_inverse=True)
    about = [known.text(number) if known else _UNKNOWN for number in text[first].tolist()]
    keys = [index.keys[id] for id in ids[first].tolist()]
    kinds = np.array([kind_of(key, one) for key, one in zip(keys, about, strict=True)], np.uint8)[which]
    by_label = [
        not one.kind and key.partition(FIELD)[0].endswith(b"_bucket") for key, one in zip(keys, about, strict=True)
    ]
    rows = np.flatnonzero(np.array(by_label, np.bool_)[which])
    kinds[rows] = [kind_of(index.keys[id], _UNKNOWN) for id in ids[rows].tolist()]
    return kinds


class Kinds:
    """The kind of every series by id; for one thread, but `note` may be called from any."""

    def __init__(self, index: SeriesIndex, known: KnownMetadata | None):
        self._index, self._known = index, known
        self._of = np.empty(0, np.uint8)
        self._noted: deque[np.ndarray] = deque()

    def note(self, ids: np.ndarray) -> None:
        """The metadata of these series changed."""
        self._noted.append(ids)

    def changed(self) -> np.ndarray:
        """int32[k]: series whose kind was taken for another one until now."""
        if not self._noted:
            return np.empty(0, np.int32)
        noted = np.unique(np.concatenate([self._noted.popleft() for _ in range(len(self._noted))]))
        known = noted[noted < len(self._of)]  # the kind of others was not asked for yet
        new = kinds_of(self._index, self._known, known)
        other = known[self._of[known] != new]
        self._of[known] = new
        return other

    def of(self) -> np.ndarray:
        """uint8[len(index)]."""
        have, now = len(self._of), len(self._index)
        if now > have:
            self._of = np.concatenate((self._of, kinds_of(self._index, self._known, np.arange(have, now))))
        return self._of


@njit(cache=True, nogil=True)
def _rates(id, time, value, wanted, kind, last_time, last_value, out):  # type: ignore[no-untyped-def]
    """Rows ordered by (id, time), those of counters as rates; `last_*`, by series, move on over `wanted` rows."""
    found = False
    for k in range(len(id)):
        i = id[k]
        out[k] = value[k]
        if kind[i] != 1:
            continue
        found = True
        if not wanted[k] or np.isnan(value[k]) or time[k] <= last_time[i]:
            out[k] = np.nan
            continue
        if last_time[i] == NEVER:
            out[k] = np.nan
        else:
            grown = value[k] - last_value[i]
            if grown < 0:  # it was reset, and has counted from 0 since
                grown = value[k]
            out[k] = grown / ((time[k] - last_time[i]) / 1e9)
        last_time[i], last_value[i] = time[k], value[k]
    return found


class Rates:
    """The last value of every counter, so that the next one gives a rate. One thread's."""

    def __init__(self) -> None:
        self._time, self._value = np.empty(0, np.int64), np.empty(0)

    def of(self, batch: Batch, wanted: np.ndarray, kind: np.ndarray) -> np.ndarray | None:
        """float64[n]: the rows' values, those of counters as rates a second, NaN at the first; None where no row is of
        a counter. Rows are ordered by (id, time); those not `wanted` (bool[n]) are passed over."""
        if not (kind == COUNTER).any():
            return None
        n = len(kind)
        if n > len(self._time):
            more = max(n, len(self._time) * 3 // 2) - len(self._time)
            self._time = np.concatenate((self._time, np.full(more, NEVER, np.int64)))
            self._value = np.concatenate((self._value, np.zeros(more)))
        id, time, value = _columns(batch)
        if not len(id) == len(wanted) or (len(id) and int(id.max()) >= n):
            raise ValueError(f"{len(wanted)} flags and {n} kinds for {len(id)} rows of series up to {id.max()}")
        out = np.empty(len(id))
        return out if _rates(id, time, value, wanted, kind, self._time, self._value, out) else None

    def state(self) -> dict[str, np.ndarray]:
        """As arrays, by series."""
        return {"counter_time": self._time.copy(), "counter_value": self._value.copy()}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave; from nothing where it has nothing."""
        if "counter_time" in arrays:
            self._time = np.array(arrays["counter_time"], np.int64)
            self._value = np.array(arrays["counter_value"], np.float64)


def as_judged(batch: Batch, kind: np.ndarray) -> Batch:
    """Whole series, rows ordered by (id, time), with counters as rates. kind: uint8 by id."""
    values = Rates().of(batch, np.ones(len(batch), np.bool_), kind) if len(batch) else None
    return batch if values is None else Batch(batch.series, batch.id, batch.time, values)


def _columns(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.asarray(batch.id, np.int32), np.asarray(batch.time, np.int64), np.asarray(batch.value, np.float64)
