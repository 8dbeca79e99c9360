"""What is measured: `Series` for people, `SeriesTable` for columns.

A series key is one byte string, the same everywhere (log, index, store), so that equality of series is equality of
bytes:  name FF label FE value FF label FE value ...  with labels sorted. FE and FF never occur in UTF-8 text, so
nothing has to be escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

FIELD = b"\xff"  # stands before each label
EQUALS = b"\xfe"  # stands between a label and its value

#: Limits of one series, in UTF-8 bytes and labels; admission rejects a row whose series is past one of them.
MAX_KEY_BYTES = 4096
MAX_LABELS = 64

#: A label set apart: whose data it is.
TENANT = "tenant"

_NAME_TAIL = re.compile(r"[^a-zA-Z0-9_:]")
_LABEL_TAIL = re.compile(r"[^a-zA-Z0-9_]")


def metric_name(text: str) -> str:
    """`text` as a metric name that every Prometheus client accepts: other characters become `_`."""
    name = _NAME_TAIL.sub("_", text)
    return name if name and not name[0].isdigit() else "_" + name


def label_name(text: str) -> str:
    """`text` as a label name that every Prometheus client accepts: other characters become `_`."""
    name = _LABEL_TAIL.sub("_", text)
    return name if name and not name[0].isdigit() else "_" + name


def encode_key(name: str, labels: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> bytes:
    """The key of a series. Labels with an empty value are left out, as in Prometheus."""
    pairs = labels.items() if isinstance(labels, Mapping) else labels
    parts = [name.encode()]
    parts += [k.encode() + EQUALS + v.encode() for k, v in sorted(pairs) if v != ""]
    return FIELD.join(parts)


@dataclass(frozen=True, slots=True)
class Series:
    """One measured thing: a name and its labels, sorted by label. Made only for people, never on the data path."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    _key: bytes = field(default=b"", init=False, repr=False, compare=False)  # once it was asked for

    @classmethod
    def of(cls, name: str, **labels: str) -> Series:
        """`Series.of("temperature", city="Mumbai")`."""
        return cls.from_key(encode_key(name, labels))

    @classmethod
    def from_key(cls, key: bytes) -> Series:
        """The series that `key` stands for."""
        name, *fields = key.split(FIELD)
        labels = (f.partition(EQUALS) for f in fields)
        return cls(name.decode(), tuple((k.decode(), v.decode()) for k, _, v in labels))

    @property
    def key(self) -> bytes:
        """The key that stands for this series."""
        if not self._key:
            object.__setattr__(self, "_key", encode_key(self.name, self.labels))
        return self._key

    def __str__(self) -> str:
        """As in PromQL: `temperature{city="Mumbai"}`."""
        quoted = (v.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for _, v in self.labels)
        inside = ",".join(f'{k}="{q}"' for (k, _), q in zip(self.labels, quoted, strict=True))
        return f"{self.name}{{{inside}}}" if inside else self.name


class KeyList(Protocol):
    """Keys by id."""

    def __getitem__(self, id: int, /) -> bytes: ...
    def __len__(self) -> int: ...


class SeriesList(Protocol):
    """What ids of a batch point into: a `SeriesTable`, or the hub's own index."""

    @property
    def keys(self) -> KeyList: ...
    def __getitem__(self, id: int, /) -> Series: ...
    def __len__(self) -> int: ...


@dataclass(slots=True, eq=False, weakref_slot=True)
class SeriesTable:
    """The series that ids of a batch point into: id i means `keys[i]`.

    It only grows, so an id stays right for ever and a decoder may go on using one table for all its batches: only keys
    it never saw reach Python, and whoever maps ids of this table to their own need look at new ones only.
    """

    keys: list[bytes] = field(default_factory=list)
    _ids: dict[bytes, int] = field(default_factory=dict, repr=False)
    #: (name, measurement, field) of names that a codec made of two parts, each once; it only grows, too.
    origins: list[tuple[str, str, str]] = field(default_factory=list, repr=False)

    @classmethod
    def of(cls, series: Iterable[Series | bytes]) -> SeriesTable:
        """A table of these series or keys, ids in their order; they must differ."""
        table = cls()
        for one in series:
            table.intern(one if isinstance(one, bytes) else one.key)
        return table

    def intern(self, key: bytes) -> int:
        """The id of `key`, given now if it is new."""
        found = self._ids.setdefault(key, len(self.keys))
        if found == len(self.keys):
            self.keys.append(key)
        return found

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, id: int) -> Series:
        return Series.from_key(self.keys[id])

    def __iter__(self) -> Iterator[Series]:
        return map(Series.from_key, self.keys)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known about a series beyond its identity; it may arrive later or be corrected, the last one wins."""

    unit: str = ""
    kind: str = ""  # gauge, counter, histogram, state; empty where it is not known
    help: str = ""
