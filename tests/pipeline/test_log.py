"""The log keeps what it said it keeps, whatever happens to the file's end."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from almenara.model.errors import DiskFull, FolderError, StoreError
from almenara.pipeline.log import LogReader, LogWriter


def written(path: Path, bodies: list[bytes]) -> list[int]:
    """Write a log of these bodies; the size of the file after each."""
    writer = LogWriter(path, b"head")
    sizes = []
    for mark, body in enumerate(bodies):
        writer.append([([body[:3], body[3:]], mark)])
        sizes.append(writer.size)
    writer.close()
    return sizes


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    bodies = [b"", b"one", bytes(range(256)) * 100]
    written(tmp_path / "a", bodies)
    reader = LogReader(tmp_path / "a")
    assert reader.header == b"head"
    assert list(reader) == list(zip(bodies, range(3), strict=True))
    assert reader.torn == 0


def test_many_small_buffers_go_out_in_one_append(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "a")
    writer.append([([str(i).encode()], i) for i in range(5000)])
    writer.close()
    assert [mark for _, mark in LogReader(tmp_path / "a")] == list(range(5000))


def test_a_torn_end_hides_only_what_was_never_acknowledged(tmp_path: Path) -> None:
    bodies = [b"x" * n for n in (5, 50, 500)]
    sizes = written(tmp_path / "a", bodies)
    data = (tmp_path / "a").read_bytes()
    for cut in range(len(data)):
        (tmp_path / "b").write_bytes(data[:cut])
        reader = LogReader(tmp_path / "b")
        assert len(list(reader)) == sum(size <= cut for size in sizes), cut


def test_a_flipped_bit_ends_the_log_there(tmp_path: Path) -> None:
    sizes = written(tmp_path / "a", [b"x" * 40] * 3)
    data = bytearray((tmp_path / "a").read_bytes())
    rng = random.Random(1)
    for _ in range(200):
        at = rng.randrange(8, len(data))
        data[at] ^= 1 << rng.randrange(8)
        (tmp_path / "b").write_bytes(data)
        reader = LogReader(tmp_path / "b")
        assert len(list(reader)) == (0 if reader.header is None else sum(size <= at for size in sizes))
        data = bytearray((tmp_path / "a").read_bytes())


def test_another_kind_of_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(FolderError, match="is no log of this program"):
        LogReader(tmp_path / "a")


def failing(error: int) -> Callable[[int], None]:
    def fail(fd: int) -> None:
        raise OSError(error, os.strerror(error))

    return fail


def test_a_failed_append_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = LogWriter(tmp_path / "a")
    writer.append([([b"kept"], 1)])
    for error, named in ((errno.ENOSPC, DiskFull), (errno.EIO, StoreError)):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(error))
            with pytest.raises(named):
                writer.append([([b"lost"], 2)])
    assert not writer.broken
    writer.append([([b"kept too"], 3)])
    writer.close()
    assert [body for body, _ in LogReader(tmp_path / "a")] == [b"kept", b"kept too"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_file_that_cannot_be_put_back_takes_nothing_more(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path / "a")
    os.close(writer._fd)
    writer._fd = os.open("/dev/full", os.O_WRONLY)  # full, and not to be cut
    with pytest.raises(DiskFull):
        writer.append([([b"lost"], 1)])
    assert writer.broken
    with pytest.raises(StoreError, match="broken"):
        writer.append([([b"lost"], 2)])
    writer.close()


def test_a_record_that_nobody_could_read_back_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("almenara.pipeline.log.MAX_RECORD", 10)
    writer = LogWriter(tmp_path / "a")
    with pytest.raises(StoreError, match="at most 10"):
        writer.append([([b"x" * 11], 1)])
    writer.append([([b"x" * 10], 2)])
    writer.close()
    assert [mark for _, mark in LogReader(tmp_path / "a")] == [2]


def test_a_file_that_cannot_be_made_is_a_named_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(StoreError):
        LogWriter(tmp_path / "a")
    assert not (tmp_path / "a").exists()
