"""The commit: what is acknowledged is in the log, and whatever goes wrong is told to whoever waits."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.faults import NOW, rows

from almenara.model.batch import Batch
from almenara.model.errors import DiskFull, FolderError, Overloaded, StoreError
from almenara.model.series import SeriesTable, encode_key
from almenara.pipeline import commit
from almenara.pipeline.admission import Limits
from almenara.pipeline.hub import Options
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.ledger import Ledger
from almenara.pipeline.serieslog import SeriesLog, take_up
from almenara.testing.hub import Clock, pipeline
from brokers import until


def test_a_full_disk_costs_no_allowance_and_is_over_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    async def scenario() -> None:
        hub = pipeline(tmp_path, Options(limits=Limits(new_series_per_minute=3)), clock=Clock(NOW))
        await hub.start()
        batch = Batch.of((encode_key("x", {"n": str(n)}), NOW, 1.0) for n in range(3))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", full)
            for _ in range(5):
                hub._committer.refusing = None  # as if a trial write had gone well
                with pytest.raises(DiskFull):
                    await hub.commit(batch)
            assert any("no space left" in reason for reason in hub.health())
        await until(lambda: not hub.health())
        assert (await hub.commit(batch))[0] == 3
        await hub.stop()

    asyncio.run(scenario())


def test_a_mistake_in_the_commit_ends_the_hub_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, clock=Clock(NOW))
        await hub.start()
        monkeypatch.setattr(hub._committer, "_append", lambda records, total: 1 / 0)
        with pytest.raises(StoreError, match="committing has ended"):
            await asyncio.wait_for(hub.commit(rows("x", [NOW], [1.0])), 60)
        await asyncio.wait_for(hub.failed.wait(), 60)
        assert "it failed: division by zero" in hub.health()
        with pytest.raises(Overloaded):
            await hub.commit(rows("x", [NOW], [1.0]))
        await hub.stop()

    asyncio.run(scenario())


def test_a_batch_that_is_none_harms_only_its_sender(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, clock=Clock(NOW))
        await hub.start()
        with pytest.raises(ValueError, match="points to series"):
            await hub.commit(Batch(SeriesTable(), np.zeros(1, np.int32), np.full(1, NOW), np.zeros(1)))
        assert (await hub.commit(rows("x", [NOW], [1.0])))[0] == 1
        await hub.stop()

    asyncio.run(scenario())


def test_too_much_that_waits_is_refused_and_the_hubs_own_rows_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "MAX_WAITING_ROWS", 10)
    told: list[int] = []
    holding = threading.Event()
    committer = commit.Committer(tmp_path, SeriesIndex(), Limits(), Clock(NOW), pipeline_counters(), ledger())
    batch = rows("x", list(range(NOW, NOW + 8)), [1.0] * 8)
    committer.submit(commit.Submission(batch, done=lambda n, turned, error: told.append(1)))
    with pytest.raises(Overloaded):
        committer.submit(commit.Submission(batch))
    done = commit.Submission(batch, done=lambda n, turned, error: (told.append(2), holding.set()), own=True)
    committer.submit(done)
    committer.start()
    assert holding.wait(60)
    committer.stop()
    assert told == [2, 1]  # own rows go first
    with pytest.raises(Overloaded, match="stopping"):
        committer.submit(commit.Submission(batch))


def ledger() -> Ledger:
    return Ledger(lambda: sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False))


def pipeline_counters() -> object:
    from almenara.pipeline.counters import Counters

    return Counters()


def test_the_series_log_is_never_without_a_key_the_store_has_not(tmp_path: Path) -> None:
    log = SeriesLog(tmp_path / "series.log")
    log.append(0, [b"a", b"b"])
    again = SeriesLog(log.path)
    again.append(2, [b"c"])
    assert [key for _, keys in SeriesLog(log.path).read() for key in keys] == [b"a", b"b", b"c"]
    index = SeriesIndex()
    index.add([b"a"])  # the store has this one
    take_up(index, SeriesLog(log.path))
    assert [index.keys[i] for i in range(3)] == [b"a", b"b", b"c"]


def test_a_long_series_log_is_begun_anew_once_the_store_has_its_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("almenara.pipeline.serieslog.LONG_BYTES", 1000)
    log = SeriesLog(tmp_path / "series.log")
    for n in range(500):
        log.append(n, [b"key %d" % n])
        log.stored = max(0, n - 3)
        if n > 400:
            log.stored = n + 1
    assert log.path.stat().st_size < 2000
    assert list(log.read())[-1] == (499, [b"key 499"])


def test_parts_of_two_hubs_are_not_mixed(tmp_path: Path) -> None:
    log = SeriesLog(tmp_path / "series.log")
    log.append(1, [b"b"])
    index = SeriesIndex()
    with pytest.raises(FolderError, match="the store has only 0"):
        take_up(index, log)
    index.add([b"a", b"another"])
    with pytest.raises(FolderError, match="was store/ removed or replaced"):
        take_up(index, log)
