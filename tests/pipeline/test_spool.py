"""Rules of the agent's spool: nothing is lost until it is acknowledged, and what must go is counted."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from almenara.model.errors import FolderError
from almenara.pipeline import log as log_module
from almenara.pipeline.spool import Spool

SMALL = 1 << 17


@contextmanager
def opened(folder: Path, max_bytes: int = SMALL) -> Iterator[Spool]:
    spool = Spool(folder, max_bytes)
    try:
        yield spool
    finally:
        spool.close()


def crash(spool: Spool) -> None:
    """Leave the folder as kill -9 would: nothing is written any more, the lock goes."""
    if spool._writer is not None:
        spool._writer.close()
    os.close(spool._lock_file)


def take_all(spool: Spool) -> list[bytes]:
    found = []
    while (entry := spool.take()) is not None:
        found.append(entry.payload)
        spool.ack(entry)
    return found


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob("*.spool"))


def test_what_goes_in_comes_out_in_order(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for i in range(100):
            assert spool.put(f"puma/{i}", b"%d" % i)
        assert spool.waiting == 100
        entries = [spool.take() for _ in range(100)]
        assert spool.take() is None
        assert [(e.seq, e.topic, e.payload) for e in entries if e] == [
            (i + 1, f"puma/{i}", b"%d" % i) for i in range(100)
        ]
        assert spool.waiting == 100  # none is acknowledged


def test_a_put_is_on_disk_when_it_returns(tmp_path: Path) -> None:
    code = f"""
import os, signal, pathlib
from almenara.pipeline.spool import Spool
spool = Spool(pathlib.Path({str(tmp_path)!r}))
for i in range(50): spool.put("t", b"%d" % i)
for _ in range(10): spool.ack(spool.take())
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    with opened(tmp_path) as spool:
        found = take_all(spool)
        assert found == [b"%d" % i for i in range(50 - len(found), 50)]
        assert 40 <= len(found) <= 50  # the position is written once a second: some may come twice


def test_what_was_taken_and_not_acknowledged_comes_again(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for i in range(5):
            spool.put("t", b"%d" % i)
        entries = [spool.take() for _ in range(5)]
        for i in (0, 1, 3):  # answers may come in any order
            spool.ack(entries[i])  # type: ignore[arg-type]
    with opened(tmp_path) as spool:
        assert take_all(spool) == [b"2", b"3", b"4"]
    with opened(tmp_path) as spool:
        assert take_all(spool) == []
        spool.put("t", b"next")
        assert (entry := spool.take()) is not None
        assert entry.seq == 6


def test_files_go_once_everything_in_them_is_acknowledged(tmp_path: Path) -> None:
    with opened(tmp_path, 1 << 20) as spool:
        for i in range(100):
            spool.put("t", bytes(8000) + b"%d" % i)
        assert len(files(tmp_path)) == 7
        before = spool.bytes
        for _ in range(50):
            entry = spool.take()
            assert entry is not None
            spool.ack(entry)
        assert len(files(tmp_path)) == 4
        assert spool.bytes < before * 0.6
        assert spool.bytes == sum(p.stat().st_size for p in tmp_path.glob("*.spool"))
        take_all(spool)
        assert len(files(tmp_path)) == 1
    assert files(tmp_path) == []
    assert (tmp_path / "position").read_text() == "100\n"


def test_more_than_memory_holds_is_read_from_disk_in_order(tmp_path: Path) -> None:
    with opened(tmp_path, 64 << 20) as spool:
        payloads = [random.Random(i).randbytes(100_000) for i in range(60)]
        for payload in payloads[:40]:
            spool.put("t", payload)
        found = []
        for payload in payloads[40:]:  # goes on growing while it is read
            entry = spool.take()
            assert entry is not None
            found.append(entry.payload)
            spool.ack(entry)
            spool.put("t", payload)
        assert found + take_all(spool) == payloads
        assert sum(spool.dropped.values()) == 0


def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with opened(tmp_path) as spool:
        for i in range(1000):
            assert spool.put("t", b"%04d" % i + bytes(496))
            assert spool.bytes <= SMALL
        found = [int(p[:4]) for p in take_all(spool)]
        assert found == list(range(found[0], 1000))
        assert spool.dropped["spool_full"] == found[0] > 700
        assert sum(spool.dropped.values()) == found[0]
    assert "oldest payloads were dropped" in caplog.text


def test_what_is_on_its_way_is_not_counted_as_dropped(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.put("t", bytes(500))
        under_way = spool.take()
        for _ in range(1000):
            spool.put("t", bytes(500))
        assert under_way is not None
        spool.ack(under_way)
        assert spool.dropped["spool_full"] + len(take_all(spool)) == 1000
        assert spool.acknowledged == 1001 - spool.dropped["spool_full"]


def test_a_smaller_limit_holds_from_the_first_put(tmp_path: Path) -> None:
    with opened(tmp_path, 1 << 20) as spool:
        for _ in range(100):
            spool.put("t", bytes(8000))
    with opened(tmp_path, 1 << 18) as spool:
        spool.put("t", b"new")
        assert spool.bytes <= 1 << 18
        assert len(take_all(spool)) + spool.dropped["spool_full"] == 101


def test_a_torn_end_costs_nothing_that_was_kept(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SMALL)
    for i in range(10):
        spool.put("t", b"%d" % i)
    crash(spool)
    with (tmp_path / files(tmp_path)[-1]).open("ab") as file:
        file.write(b"\x10\0\0\0half a rec")
    with opened(tmp_path) as spool:
        spool.put("t", b"10")
        assert take_all(spool) == [b"%d" % i for i in range(11)]
        assert sum(spool.dropped.values()) == 0


def test_an_empty_or_cut_off_last_file_is_begun_again(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.put("t", b"1")
    for content in (b"", b"ALMLOG1\n", b"ALM"):
        (tmp_path / "0000000002.spool").write_bytes(content)
        with opened(tmp_path) as spool:
            assert spool.waiting == 1
    with opened(tmp_path) as spool:
        assert spool.put("t", b"2")
        assert take_all(spool) == [b"1", b"2"]


def test_damage_in_the_middle_is_counted_and_the_rest_arrives(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for i in range(100):
            spool.put("t", b"%03d" % i + bytes(997))
    second = tmp_path / files(tmp_path)[1]
    data = bytearray(second.read_bytes())
    data[5000] ^= 1
    second.write_bytes(data)
    with opened(tmp_path) as spool:
        found = [int(p[:3]) for p in take_all(spool)]
        assert spool.dropped["damaged"] == 100 - len(found) > 0
        assert found[0] == 0
        assert found[-1] == 99
        assert spool.waiting == 0


def test_a_file_that_is_gone_or_foreign_is_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        for i in range(100):
            spool.put("t", b"%03d" % i + bytes(997))
    names = files(tmp_path)
    (tmp_path / names[1]).write_bytes(b"something else")
    (tmp_path / names[3]).unlink()
    with opened(tmp_path) as spool:
        found = take_all(spool)
        assert len(found) + spool.dropped["damaged"] == 100
        assert files(tmp_path) == []


@pytest.mark.parametrize("text", ["", "12", "\0\0\0\0", "-4\n", "x\n"])
def test_a_damaged_position_only_sends_again(tmp_path: Path, text: str) -> None:
    with opened(tmp_path) as spool:
        for i in range(4):
            spool.put("t", b"%d" % i)
        entry = spool.take()
        assert entry is not None
        spool.ack(entry)
    (tmp_path / "position").write_text(text)
    with opened(tmp_path) as spool:
        assert take_all(spool) == [b"0", b"1", b"2", b"3"]


def test_a_full_disk_keeps_the_newest_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(fd: int, buffers: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with opened(tmp_path) as spool:
        assert spool.put("t", b"on disk")
        with monkeypatch.context() as patch:
            patch.setattr(log_module.os, "writev", full)
            assert not spool.put("t", b"first in memory")
            for i in range(200):
                assert not spool.put("t", b"%d" % i + bytes(8000))
        assert spool.put("t", b"on disk again")
        found = take_all(spool)
        assert found[0] == b"on disk"
        assert found[-1] == b"on disk again"
        assert 100 < len(found) < 140  # a megabyte
        assert spool.dropped["disk_full"] == 203 - len(found)
    assert caplog.text.count("no space left") == 1
    assert "takes payloads again" in caplog.text


def test_a_full_disk_gives_up_the_oldest_file_for_the_newest_payload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as spool:
        for i in range(100):
            spool.put("t", b"%03d" % i + bytes(997))
        real, failures = os.writev, [1]

        def full_once(fd: int, buffers: object) -> int:
            if failures:
                failures.pop()
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(fd, buffers)  # type: ignore[arg-type]

        monkeypatch.setattr(log_module.os, "writev", full_once)
        assert spool.put("t", b"new")
        found = take_all(spool)
        assert found[-1] == b"new"
        assert spool.dropped["disk_full"] == 101 - len(found) > 0


def test_a_broken_disk_is_no_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with opened(tmp_path) as spool:
        with monkeypatch.context() as patch:
            patch.setattr(log_module.os, "fdatasync", broken)
            assert not spool.put("t", b"0")
            assert not spool.put("t", b"1")
        assert spool.put("t", b"2")
        assert take_all(spool) == [b"0", b"1", b"2"]


def test_one_agent_owns_a_spool(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(FolderError, match="in use by another agent"):
        Spool(tmp_path)
    with opened(tmp_path):
        pass


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    log_module.LogWriter(tmp_path / "0000000001.spool", b"spool 2").close()
    with pytest.raises(FolderError, match="newer version"):
        Spool(tmp_path)
    (tmp_path / "0000000001.spool").unlink()
    with opened(tmp_path):
        pass


def test_limits_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_bytes must be at least 65536; got 10"):
        Spool(tmp_path, 10)
    with opened(tmp_path) as spool, pytest.raises(ValueError, match="payload has 8193 bytes; expected at most 8192"):
        spool.put("t", bytes(8193))


def play(folder: Path, seed: int, max_bytes: int, crashes: float) -> tuple[int, set[int], int]:
    """Puts, takes, answers out of order, crashes and clean ends; gives how many were sent, which arrived, and how many
    were dropped."""
    dice, spool = random.Random(seed), Spool(folder, max_bytes)
    sent, dropped, under_way, arrived = 0, 0, [], set()
    for _ in range(2000):
        action = dice.random()
        if action < 0.5:
            spool.put("t", b"%d:" % sent + bytes(dice.randrange(1500)))
            sent += 1
        elif action < 0.8 and (entry := spool.take()) is not None:
            under_way.append(entry)
        elif action < 0.99 and under_way:
            entry = under_way.pop(dice.randrange(len(under_way)))
            spool.ack(entry)
            arrived.add(int(entry.payload.partition(b":")[0]))
        elif action > 1 - crashes:
            dropped += sum(spool.dropped.values())
            (crash if dice.random() < 0.5 else Spool.close)(spool)
            under_way, spool = [], Spool(folder, max_bytes)
    for entry in under_way:
        spool.ack(entry)
        arrived.add(int(entry.payload.partition(b":")[0]))
    last = [int(p.partition(b":")[0]) for p in take_all(spool)]
    assert last == sorted(set(last))
    assert spool.waiting == 0
    spool.close()
    assert files(folder) == []
    return sent, arrived.union(last), dropped + sum(spool.dropped.values())


@pytest.mark.parametrize("seed", range(4))
def test_whatever_happens_every_payload_arrives(tmp_path: Path, seed: int) -> None:
    sent, arrived, dropped = play(tmp_path, seed, 4 << 20, crashes=0.01)
    assert arrived == set(range(sent))
    assert dropped == 0


@pytest.mark.parametrize("seed", range(4))
def test_whatever_overflows_is_counted_to_the_last_payload(tmp_path: Path, seed: int) -> None:
    sent, arrived, dropped = play(tmp_path, seed, 1 << 16, crashes=0)
    assert sent == len(arrived) + dropped
    assert dropped > 0
