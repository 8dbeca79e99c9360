"""`SeriesIndex`: every series the hub knows, by key, by number, and by label. The commit thread alone adds to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from almenara._compiled import njit
from almenara.model.series import EQUALS, FIELD, Series
from almenara.pipeline.keytable import KeyTable, join
from almenara.query import Matcher

NAME = "__name__"

_FIELD, _EQUALS = FIELD[0], EQUALS[0]


@njit(cache=True, nogil=True)
def _split(text, ends, cuts, is_value, owner):  # type: ignore[no-untyped-def]
    """Cut keys into parts: where each part ends in `text`, whether it is a value, and which key it is of."""
    part = 0
    at = 0
    for key in range(len(ends)):
        value = True  # the first part is the value of __name__
        while at <= ends[key]:
            stop = at == ends[key] or text[at] == _FIELD or (text[at] == _EQUALS and not value)
            if stop:
                cuts[part] = at
                is_value[part] = value
                owner[part] = key
                part += 1
                if at == ends[key]:
                    break
                value = text[at] == _EQUALS
            at += 1
    return part


@njit(cache=True, nogil=True)
def _gather(text, starts, ends, out):  # type: ignore[no-untyped-def]
    at = 0
    for i in range(len(starts)):
        for k in range(starts[i], ends[i]):
            out[at] = text[k]
            at += 1


def _parts(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lengths = ends - starts
    out = np.empty(int(lengths.sum()), np.uint8)
    _gather(text, starts, ends, out)
    return out, np.cumsum(lengths, dtype=np.int64)


class _Column:
    """A growing int32 column; a slice taken before it grew stays right."""

    def __init__(self) -> None:
        self._data = np.empty(1024, np.int32)
        self._n = 0

    def extend(self, more: np.ndarray) -> None:
        need = self._n + len(more)
        if need > len(self._data):
            new = np.empty(max(need, len(self._data) * 3 // 2), np.int32)
            new[: self._n] = self._data[: self._n]
            self._data = new
        self._data[self._n : need] = more
        self._n = need

    def view(self) -> np.ndarray:
        n = self._n  # first: the data of a moment later has these rows, those of a moment before might not
        return self._data[:n]


class SeriesIndex:
    """Series numbered 0, 1, 2... in the order in which the hub first saw them; a number is never reused.

    Usable wherever a `SeriesTable` is read: `index[id]`, `index.keys[id]`, `len(index)`.
    """

    def __init__(self) -> None:
        self.keys = KeyTable()
        self._labels = KeyTable()  # label names
        self._values = KeyTable()  # label values
        self._labels.add([NAME.encode()])
        self.names = KeyTable()  # metric names, numbered on their own
        self._name = _Column()  # by series
        # One row a label of a series, in order of series: (label, value, series).
        self._label, self._value, self._owner = _Column(), _Column(), _Column()
        self._known = 0  # series whose labels are in the columns; set last, so that readers never see half a series

    def __len__(self) -> int:
        return self._known

    def __getitem__(self, id: int) -> Series:
        return Series.from_key(self.keys[id])

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        columns = sum(c.view().nbytes for c in (self._label, self._value, self._owner, self._name))
        return columns + sum(table.nbytes for table in (self.keys, self._labels, self._values, self.names))

    def find(self, keys: Sequence[bytes]) -> np.ndarray:
        """int32[n]: the id of each key, -1 where it is not known."""
        return self.keys.find(keys)

    def add(self, keys: Sequence[bytes]) -> np.ndarray:
        """int32[n]: the id of each key, given now where it is new. Keys must be well formed (`encode_key`)."""
        before = len(self.keys)
        ids = self.keys.add(keys)
        new = [self.keys[id] for id in range(before, len(self.keys))]
        if new:
            self._add_labels(new, before)
        return ids

    def _add_labels(self, keys: list[bytes], first_id: int) -> None:
        text, ends = join(keys)
        room = len(text) + len(keys)
        cuts, is_value, owner = np.empty(room, np.int64), np.empty(room, np.bool_), np.empty(room, np.int32)
        n = _split(text, ends, cuts, is_value, owner)
        cuts, is_value, owner = cuts[:n], is_value[:n], owner[:n]
        starts = np.concatenate(([0], cuts[:-1] + 1))
        fresh = np.concatenate(([True], owner[1:] != owner[:-1]))  # a key's first part follows no separator
        starts[fresh] = np.concatenate(([0], ends[:-1]))
        label = np.zeros(n, np.int32)
        label[~is_value] = self._labels.add_joined(*_parts(text, starts[~is_value], cuts[~is_value]))
        label[is_value & ~fresh] = label[~is_value]
        names = _parts(text, starts[fresh], cuts[fresh])
        self._name.extend(self.names.add_joined(*names))
        self._label.extend(label[is_value])
        self._value.extend(self._values.add_joined(*_parts(text, starts[is_value], cuts[is_value])))
        self._owner.extend(owner[is_value] + np.int32(first_id))
        self._known = len(self.keys)

    def select(self, matchers: Sequence[Matcher], first_id: int = 0) -> np.ndarray:
        """int32[k]: ids from `first_id` on of the series that satisfy every matcher, sorted."""
        known = self._known
        owner = self._owner.view()
        begin, end = np.searchsorted(owner, [first_id, known])
        label, value, owner = self._label.view()[begin:end], self._value.view()[begin:end], owner[begin:end] - first_id
        keep = np.ones(known - first_id, np.bool_)
        for matcher in matchers:
            keep &= self._satisfying(matcher, label, value, owner, len(keep))
        return (np.flatnonzero(keep) + first_id).astype(np.int32)

    def _satisfying(
        self, matcher: Matcher, label: np.ndarray, value: np.ndarray, owner: np.ndarray, n: int
    ) -> np.ndarray:
        """bool[n]: whether each series satisfies one matcher; a label that is not there counts as empty."""
        satisfied = np.full(n, matcher.matches(""), np.bool_)
        number = self._labels.find([matcher.label.encode()])[0]
        rows = np.flatnonzero(label == number)
        if matcher.op in ("=", "!="):
            right = (value[rows] == self._values.find([matcher.value.encode()])[0]) == (matcher.op == "=")
        else:
            distinct, back = np.unique(value[rows], return_inverse=True)
            right = np.fromiter((matcher.matches(self._values[v].decode()) for v in distinct), np.bool_, len(distinct))[
                back
            ]
        satisfied[owner[rows]] = right
        return satisfied

    def name_numbers(self) -> np.ndarray:
        """int32[len(self)]: the metric name of each series, as its number in `names`."""
        known = self._known
        return self._name.view()[:known]

    def mentions(self, word: str) -> np.ndarray:
        """uint8[len(self)]: 2 where the name or a label's value of a series is this word, 1 where one has it inside,
        whatever the case; else 0."""
        known, wanted = self._known, word.casefold()
        owner = self._owner.view()
        owner = owner[: np.searchsorted(owner, known)]
        value = self._value.view()[: len(owner)]
        texts = (self._values[i].decode().casefold() for i in range(len(self._values)))
        grade = np.array([(wanted in text) + (wanted == text) for text in texts], np.uint8)
        found = np.zeros(known, np.uint8)
        np.maximum.at(found, owner, grade[value])
        return found

    def label_names(self) -> list[str]:
        """Every label name in use, sorted; `__name__` among them."""
        return sorted(self._labels[i].decode() for i in range(len(self._labels)))

    def label_values(self, label: str) -> list[str]:
        """Every value of a label, sorted; of `__name__` the metric names."""
        number = self._labels.find([label.encode()])[0]
        values = self._value.view()
        return sorted(self._values[v].decode() for v in np.unique(values[self._label.view()[: len(values)] == number]))


class Selector:
    """Which series a selector holds, kept up to date as the index grows; for one thread."""

    def __init__(self, index: SeriesIndex, matchers: Sequence[Matcher]):
        self._index, self._matchers = index, tuple(matchers)
        self._mask = np.zeros(0, np.bool_)

    def mask(self) -> np.ndarray:
        """bool[len(index)]: which series are selected."""
        have, known = len(self._mask), len(self._index)
        if known > have:
            grown = np.zeros(known, np.bool_)
            grown[:have] = self._mask
            ids = self._index.select(self._matchers, have)
            grown[ids[ids < known]] = True
            self._mask = grown
        return self._mask
