"""From files to bodies for a hub: which reader reads what, and rows put together into messages of `columns`."""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from almenara.codecs.columns import message, used_ids
from almenara.files import Reader
from almenara.files.csv import CsvFile
from almenara.files.hdf5 import Hdf5
from almenara.files.lines import SUFFIXES, Lines
from almenara.files.parquet import Parquet
from almenara.files.rrd import Rrd
from almenara.files.whisper import Whisper
from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import AlmenaraError, ConfigError, Problem
from almenara.model.series import Metadata, Series, SeriesTable, encode_key
from almenara.plugin import options, registry
from almenara.plugin.values import Invalid, check_value

#: Rows of one body: 10 MB, below what a hub takes at a time.
CHUNK_ROWS = 500_000

#: Formats that have a reader of their own; the others are read by the codec of their name.
OWN: dict[str, Any] = {"parquet": Parquet, "hdf5": Hdf5, "rrd": Rrd}
BY_CODEC = ("csv", "whisper", *SUFFIXES)
FORMATS = (*OWN, *BY_CODEC)

_SUFFIX_OF = {
    **{suffix: name for name, one in OWN.items() for suffix in one.suffixes},
    **{suffix: name for name, some in SUFFIXES.items() for suffix in some},
    **dict.fromkeys(CsvFile.suffixes, "csv"),
    **dict.fromkeys(Whisper.suffixes, "whisper"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, and the folder it was found in, where a folder was given."""

    path: Path
    format: str
    root: Path | None

    @property
    def identity(self) -> tuple[str, str, int, int]:
        """What tells that a file is the same as before."""
        about = self.path.stat()
        return str(self.path.resolve()), self.format, about.st_size, about.st_mtime_ns


def sources_of(paths: Sequence[Path], form: str) -> list[Source]:
    """The files meant, in order: of folders all that are of a known format. Raises AlmenaraError, OSError."""
    found = []
    for path in paths:
        if not path.is_dir():
            path.stat()  # a missing file is told by the system's words
            found.append(Source(path, form or _format_of(path), None))
            continue
        inside = [Path(folder, name) for folder, _, names in os.walk(path) for name in names]
        told = [(one, _SUFFIX_OF.get(_suffix(one), "")) for one in sorted(inside)]
        some = [Source(one, form or kind, path) for one, kind in told if kind and (not form or kind == form)]
        if not some:
            raise AlmenaraError(f"{path}: found no file of a known format, expected names such as a.csv or b.parquet")
        found += some
    return found


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _format_of(path: Path) -> str:
    form = _SUFFIX_OF.get(_suffix(path))
    if form is None:
        raise AlmenaraError(f"{path}: its name does not tell the format; give --format {'|'.join(FORMATS)}")
    return form


class Readers:
    """Readers by format, with the options that a user gave; one reader reads all files of its format."""

    def __init__(self, given: Mapping[str, str]):
        self._given, self._made = dict(given), dict[tuple[str, Path | None], Reader]()

    def reader(self, source: Source) -> Reader:
        """The reader of a file. Raises ConfigError for options that are none, MissingExtra."""
        place = source.format, source.root if source.format == "whisper" else None
        if place not in self._made:
            self._made[place] = self._new(source)
        return self._made[place]

    def _new(self, source: Source) -> Reader:
        form = source.format
        if form in OWN:
            return built(OWN[form], self._given)
        name = "graphite" if form == "whisper" else form
        codec = built(registry.load("codec", name), self._given)
        if form == "csv":
            return CsvFile(codec)
        if form == "whisper":
            return Whisper(codec, source.root)
        return Lines(codec, suffixes=SUFFIXES[form])


def built(cls: Any, given: Mapping[str, str]) -> Any:
    """An instance with options that are all texts, as a command line has them. Raises ConfigError."""
    table = {}
    for option in options.options_of(cls):
        if option.name in given:
            table[option.name] = _valued(given[option.name], option.annotation)
    unknown = [name for name in given if name not in table]
    if unknown:
        known = ", ".join(option.name for option in options.options_of(cls)) or "none"
        hint = f"{cls.__name__} has {known}"
        raise ConfigError([Problem(f"--option {name}", "unknown option", hint) for name in unknown])
    return options.build(cls, table, "--option")


def _valued(text: str, annotation: Any) -> Any:
    """A text as the value of an option: itself, a number, true or false, or a list with commas."""
    candidates: list[Any] = [text]
    with contextlib.suppress(tomllib.TOMLDecodeError):
        candidates.append(tomllib.loads(f"x = {text}")["x"])
    candidates.append(text.split(","))
    for one in candidates:
        try:
            check_value(one, annotation)
        except Invalid:
            continue
        return one
    return text


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to rows on their way. start <= time < end, ns; labels are added to each series."""

    labels: Mapping[str, str] = field(default_factory=dict)
    start: int = -(2**63)
    end: int = 2**63 - 1

    def key(self, key: bytes) -> bytes:
        """The key that a series gets."""
        if not self.labels:
            return key
        series = Series.from_key(key)
        return encode_key(series.name, dict(series.labels) | dict(self.labels))

    def rows(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The columns of the rows that stay."""
        id, time, value = np.asarray(batch.id), np.asarray(batch.time), np.asarray(batch.value)
        if not len(id) or (int(time.min()) >= self.start and int(time.max()) < self.end):
            return id, time, value
        keep = (time >= self.start) & (time < self.end)
        return id[keep], time[keep], value[keep]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """One body. number: from 0, the same for the same files and options. done: bytes of files read behind it."""

    number: int
    body: bytes
    rows: int
    done: float


class Chunks:
    """Files as bodies of about CHUNK_ROWS rows; the same files and options give the same bodies.

    What was found on the way: `table`, the series; `seen`, which of them have rows; `first` and `last` time in ns;
    `rejected`, rows left out by reason. `bad` is told each of them with its file.
    """

    def __init__(
        self, sources: Sequence[Source], readers: Readers, change: Change, bad: Callable[[Path, Rejected], None],
        skip: int = 0,
    ):  # fmt: skip
        self._sources, self._readers, self._change, self._bad, self._skip = sources, readers, change, bad, skip
        self.table, self.rows = SeriesTable(), 0
        self.first, self.last = 2**63 - 1, -(2**63)
        self.rejected: dict[str, int] = {}
        self._ids: dict[int, tuple[Any, np.ndarray]] = {}  # by id() of a table, which is kept
        self._told: dict[bytes, Metadata] = {}
        self._untold: dict[bytes, Metadata] = {}
        self._number, self._waiting = 0, list[tuple[np.ndarray, np.ndarray, np.ndarray]]()

    def __iter__(self) -> Iterator[Chunk]:
        done = 0.0
        for source in self._sources:
            size = source.path.stat().st_size
            for decoded, share in self._readers.reader(source).batches(source.path):
                yield from self._take(source.path, decoded, done + share * size)
            done += size
        if self._waiting:
            yield self._made(done)

    def _take(self, path: Path, decoded: Decoded, done: float) -> Iterator[Chunk]:
        for one in decoded.rejected:
            self.rejected[one.reason] = self.rejected.get(one.reason, 0) + one.rows
            self._bad(path, one)
        for key, about in decoded.metadata.items():
            key = self._change.key(key)
            if self._told.get(key) != about:
                self._untold[key] = self._told[key] = about
        id, time, value = self._change.rows(decoded.batch)
        if not len(id):
            return
        self.first, self.last = min(self.first, int(time.min())), max(self.last, int(time.max()))
        id = self._own(decoded.batch)[id]
        while len(id):
            room = CHUNK_ROWS - sum(len(one[0]) for one in self._waiting)
            self._waiting.append((id[:room], time[:room], value[:room]))
            id, time, value = id[room:], time[room:], value[room:]
            if sum(len(one[0]) for one in self._waiting) >= CHUNK_ROWS:
                yield self._made(done)

    def _own(self, batch: Batch) -> np.ndarray:
        """int32: for each series of a batch's table its id in ours."""
        table, known = self._ids.get(id(batch.series), (batch.series, np.empty(0, np.int32)))
        if len(known) < len(table):
            new = [self.table.intern(self._change.key(table.keys[i])) for i in range(len(known), len(table))]
            known = np.concatenate([known, np.array(new, np.int32)])
            if len(self._ids) > 64:  # a table of its own for each file of thousands
                self._ids.clear()
            self._ids[id(batch.series)] = batch.series, known
        return known

    def _made(self, done: float) -> Chunk:
        parts, self._waiting = self._waiting, []
        number, self._number = self._number, self._number + 1
        rows = sum(len(one[0]) for one in parts)
        self.rows += rows
        if number < self._skip:
            return Chunk(number, b"", rows, done)
        ids, times, values = (
            np.concatenate(column) if len(parts) > 1 else column[0] for column in zip(*parts, strict=True)
        )
        used, local = used_ids(ids, len(self.table))
        keys = [self.table.keys[i] for i in used.tolist()]
        about = (
            {at: self._untold.pop(key) for at, key in enumerate(keys) if key in self._untold} if self._untold else {}
        )
        return Chunk(number, message(keys, local, times, values, about), rows, done)


def placed(path: Path, one: Rejected) -> str:
    """What was left out, and where: `a.csv:17: not a number: found 'x'`."""
    where = replace(one, where=one.where.removeprefix("line ")).where
    return f"{path}:{where}: {one.reason.replace('_', ' ')}" + (f": {one.detail}" if one.detail else "")
