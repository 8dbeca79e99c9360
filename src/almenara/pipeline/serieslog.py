"""`series.log`: keys that have an id, made durable before rows that use them; a little later the store has them too."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from almenara.model.errors import FolderError
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.log import LogReader, LogWriter, disk_error, sync_folder

_HEAD = struct.Struct("<qI")  # first id, number of keys

#: A longer file is begun anew as soon as the store has every key of it.
LONG_BYTES = 16_000_000

_REMEDY = "was store/ removed or replaced? Put it back, or move log/ and state/ away too"

Record = tuple[int, list[bytes]]


class SeriesLog:
    """The keys from the last one that the store is known to have; for one thread, `stored` apart."""

    def __init__(self, path: Path):
        self.path = path
        self.stored = 0  # the store has ids below this; set by whoever stores them
        self._next = 0  # id behind the last one in the file
        self._writer: LogWriter | None = None

    def append(self, first_id: int, keys: Sequence[bytes]) -> None:
        """Keep keys as ids first_id, first_id + 1, ... Raises DiskFull or StoreError, and keeps none."""
        writer = self._writer
        if writer is None or writer.broken or (writer.size > LONG_BYTES and self.stored >= self._next):
            writer = self._begin_anew()
        writer.append([(_body(first_id, keys), 0)])
        self._next = first_id + len(keys)

    def read(self) -> Iterator[Record]:
        """(first id, keys) of each record that is there. Raises FolderError when it is no such file."""
        if not self.path.exists():
            return
        for body, _ in LogReader(self.path):
            yield _parsed(body)

    def _begin_anew(self) -> LogWriter:
        """Another file with those keys that the store may not have yet; it takes the old one's place once it is whole,
        so that there is no moment at which a key is nowhere."""
        kept = [(first, keys) for first, keys in self.read() if first + len(keys) > self.stored]
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        writer = LogWriter(new)
        try:
            if kept:
                writer.append([(_body(*record), 0) for record in kept])
            os.replace(new, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            writer.close()
            raise disk_error(error, self.path) from error
        except BaseException:
            writer.close()
            raise
        writer.path, self._writer = self.path, writer
        return writer


def _body(first_id: int, keys: Sequence[bytes]) -> list[bytes | memoryview]:
    return [_HEAD.pack(first_id, len(keys)), struct.pack(f"<{len(keys)}I", *map(len, keys)), b"".join(keys)]


def _parsed(body: bytes) -> Record:
    first_id, n = _HEAD.unpack_from(body)
    at, keys = _HEAD.size + 4 * n, []
    for length in struct.unpack_from(f"<{n}I", body, _HEAD.size):
        keys.append(body[at : at + length])
        at += length
    return first_id, keys


def take_up(index: SeriesIndex, log: SeriesLog) -> None:
    """Add the keys of a former run's log that the store, read into `index` before, does not have.

    Raises FolderError where the same id has two keys, or ids are missing: the folder's parts are not of one hub.
    """
    for first, keys in log.read():
        known = len(index)
        if first > known:
            raise FolderError(f"{log.path}: goes on with series {first}, and the store has only {known}; {_REMEDY}")
        for id in range(first, min(first + len(keys), known)):
            if keys[id - first] != (found := index.keys[id]):
                raise FolderError(
                    f"{log.path}: series {id} is {keys[id - first]!r} here and {found!r} in the store; {_REMEDY}"
                )
        index.add(keys[known - first :])
