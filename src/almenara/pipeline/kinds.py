"""What series are: gauges, counters or parts of histograms, as far as anybody says.

What a series is comes from its metadata; where that says nothing, from the names that Prometheus' conventions give
(prometheus.io/docs/practices/naming): a name that ends in `_total` is a counter, `_bucket` with a label `le` is part of
a histogram. Parts of histograms are not judged one by one: what moves one moves them all. Of all others nobody tells;
`rates` recognises counters among them by what they do.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from almenara.model.series import EQUALS, FIELD, Metadata
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.metadata import KnownMetadata

GAUGE, COUNTER, HISTOGRAM, UNTOLD = np.uint8(0), np.uint8(1), np.uint8(2), np.uint8(3)
#: Kinds as metadata names them; all others are gauges. Formats have words for not knowing, too.
_KINDS = {"counter": COUNTER, "histogram": HISTOGRAM, "unknown": UNTOLD, "untyped": UNTOLD}

_UNKNOWN = Metadata()


def kind_of(key: bytes, about: Metadata) -> np.uint8:
    """What a series is, by its metadata, else by its name."""
    name, _, labels = key.partition(FIELD)
    if about.kind == "histogram":
        return HISTOGRAM if name.endswith(b"_bucket") else COUNTER
    if about.kind:
        return _KINDS.get(about.kind, GAUGE)
    if name.endswith(b"_bucket") and any(label.startswith(b"le" + EQUALS) for label in labels.split(FIELD)):
        return HISTOGRAM
    return COUNTER if name.endswith(b"_total") else UNTOLD


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
        self._index, self.known = index, known
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
        new = kinds_of(self._index, self.known, known)
        other = known[self._of[known] != new]
        self._of[known] = new
        return other

    def of(self) -> np.ndarray:
        """uint8[len(index)]."""
        have, now = len(self._of), len(self._index)
        if now > have:
            self._of = np.concatenate((self._of, kinds_of(self._index, self.known, np.arange(have, now))))
        return self._of
