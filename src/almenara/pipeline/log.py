"""An append-only file of records, each synced before anyone is told it is kept: the hub's log and the agent's spool.

    file     b"ALMLOG1\\n"  then records; the first is the header
    record   u32 body length | u32 CRC-32 of what follows | i64 mark | body

`mark` is the writer's own number (a stream offset, a time). All integers are little-endian. A record that is cut off or
fails its checksum ends the file: it was never acknowledged, and neither was anything behind it.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from almenara.model.errors import DiskFull, FolderError, LogUnwritable, StoreError

MAGIC = b"ALMLOG1\n"
_HEAD = struct.Struct("<IIq")
_MARK = struct.Struct("<q")

#: No record is larger; a longer length in a file is damage.
MAX_RECORD = 1 << 30
_IOV_MAX = 1000
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

Buffers = Sequence[bytes | memoryview]


class LogWriter:
    """One log file being written, by one thread."""

    def __init__(self, path: Path, header: bytes = b""):
        """Make the file, which must not exist, and sync it and its folder. Raises DiskFull or StoreError."""
        self.path = path
        self.size = 0
        self.broken = False  # set when the file could not be put back to its last good length: write another one
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise disk_error(error, path) from error
        try:
            self._write([MAGIC, *_record((header,), 0)])
            sync_folder(path.parent)
        except BaseException as error:
            self.close()
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise disk_error(error, path) from error
            raise

    def append(self, records: Sequence[tuple[Buffers, int]]) -> None:
        """Write these (buffers of the body, mark) in one go and sync. All of them are kept, or none.

        Raises DiskFull or StoreError; the file is then as it was before, or `broken` is set.
        """
        if self.broken:
            raise StoreError(f"{self.path}: is broken by an earlier failure")
        buffers: list[bytes | memoryview] = []
        for body, mark in records:
            if (length := sum(map(len, body))) > MAX_RECORD:
                raise StoreError(f"{self.path}: a record of {length} bytes; at most {MAX_RECORD} can be read back")
            buffers += _record(body, mark)
        self._write(buffers)

    def close(self) -> None:
        """Let go of the file; what was appended is synced already."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, buffers: list[bytes | memoryview]) -> None:
        good = self.size
        try:
            for first in range(0, len(buffers), _IOV_MAX):
                self.size += _write_all(self._fd, buffers[first : first + _IOV_MAX])
            os.fdatasync(self._fd)
        except OSError as error:
            self._go_back(good)
            raise disk_error(error, self.path) from error

    def _go_back(self, good: int) -> None:
        """A torn record would hide everything behind it, so the file goes back to its last good length."""
        self.size = good
        try:
            os.ftruncate(self._fd, good)
            os.lseek(self._fd, good, os.SEEK_SET)
        except OSError:
            self.broken = True


def _record(body: Buffers, mark: int) -> list[bytes | memoryview]:
    length = sum(map(len, body))
    checksum = zlib.crc32(_MARK.pack(mark))
    for part in body:
        checksum = zlib.crc32(part, checksum)
    return [_HEAD.pack(length, checksum, mark), *body]


def _write_all(fd: int, buffers: list[bytes | memoryview]) -> int:
    """writev until everything is out, since a nearly full disk takes only a part."""
    total = done = os.writev(fd, buffers)
    while done < sum(map(len, buffers)):
        while done >= len(buffers[0]):
            done -= len(buffers[0])
            buffers = buffers[1:]
        buffers = [memoryview(buffers[0])[done:], *buffers[1:]]
        done = os.writev(fd, buffers)
        total += done
    return total


def disk_error(error: OSError, path: Path) -> DiskFull | StoreError:
    """The error to raise for a failed write to `path`."""
    return _full(path.parent) if error.errno in _NO_ROOM else StoreError(f"{path}: {error.strerror}")


def refusal(error: OSError, folder: Path) -> DiskFull | LogUnwritable:
    """What writers are told while the log in `folder` cannot be written, for this reason."""
    if error.errno in _NO_ROOM:
        return _full(folder)
    why = f"{folder}: the log cannot be written: {error.strerror}; mend that, and writing goes on by itself"
    return LogUnwritable(why, retry_after_s=2)


def _full(folder: Path) -> DiskFull:
    return DiskFull(f"{folder}: no space left; free some, and writing goes on by itself", retry_after_s=5)


def sync_folder(folder: Path) -> None:
    """Make names in `folder` durable: a new file is lost after a power cut until its folder is synced."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class LogReader:
    """What a log file holds, up to its first torn or damaged record."""

    def __init__(self, path: Path):
        """Open and read the header record. Raises FolderError when this is no log file; `header` is None when the
        file was cut off before its header was whole, so nothing in it was ever acknowledged."""
        self.path = path
        self.torn = 0  # bytes behind the last good record, known once `records` is through
        self.header: bytes | None = None
        self._data = path.read_bytes()
        if not MAGIC.startswith(self._data[: len(MAGIC)]):
            raise FolderError(f"{path}: is no log of this program; found {self._data[:8]!r}, expected {MAGIC!r}")
        self._records = self._read()
        self.header = next(self._records, (None, 0))[0]

    def __iter__(self) -> Iterator[tuple[bytes, int]]:
        """(body, mark) of each record after the header."""
        return self._records

    def _read(self) -> Iterator[tuple[bytes, int]]:
        data, at = self._data, len(MAGIC)
        while at + _HEAD.size <= len(data):
            length, checksum, mark = _HEAD.unpack_from(data, at)
            body = data[at + _HEAD.size : at + _HEAD.size + length]
            if length > MAX_RECORD or len(body) < length or zlib.crc32(body, zlib.crc32(_MARK.pack(mark))) != checksum:
                break
            at += _HEAD.size + length
            yield body, mark
        self.torn = max(0, len(data) - at)
