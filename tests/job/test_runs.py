"""The record of runs: what was written is read back, also by the next process, and it does not grow for ever."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import almenara.job.runs
from almenara.job.runs import Outcome, Run, Runs
from almenara.model.errors import StoreError


@pytest.fixture
def database(tmp_path: Path) -> Callable[[], sqlite3.Connection]:
    return lambda: sqlite3.connect(tmp_path / "hub.db", isolation_level=None, check_same_thread=False)


def test_a_run_is_read_back_as_it_was_written(database: Callable[[], sqlite3.Connection]) -> None:
    runs = Runs(database)
    assert runs.last("a") is None
    begun = runs.keep(Run("a", 1_800_000_000_123_456_789))
    assert runs.recent() == [begun]
    done = runs.keep(
        replace(begun, ended_ns=1_800_000_001_000_000_000, outcome=Outcome.OK, figures={"rows": 3, "x": 0.5})
    )
    other = runs.keep(Run("b", 5, 6, Outcome.FAILED, "the disk: 'full'"))
    assert runs.last("a") == done
    assert runs.recent() == [other, done]
    assert runs.recent(1) == [other]
    runs.close()


def test_a_run_that_its_process_did_not_end_is_found_as_failed(database: Callable[[], sqlite3.Connection]) -> None:
    killed = Runs(database)
    begun = killed.keep(Run("a", 7, figures={"rows": 2}))
    killed.close()
    runs = Runs(database)
    assert runs.last("a") == replace(begun, outcome=Outcome.FAILED, message="the hub ended before the job did")
    runs.close()


def test_the_last_of_each_job_are_kept(
    database: Callable[[], sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(almenara.job.runs, "KEPT", 20)  # each is synced to the disk
    runs = Runs(database)
    rare = runs.keep(Run("rare", 1))
    for k in range(25):
        runs.keep(Run("often", k))
    found = runs.recent(100)
    assert [run.started_ns for run in found if run.job == "often"] == list(range(24, 4, -1))
    assert runs.last("rare") == rare
    runs.close()


def test_a_closed_or_broken_database_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_bytes(b"this is no database, but long enough to be looked at" * 100)
    with pytest.raises(StoreError, match=r"hub\.db"):
        Runs(lambda: sqlite3.connect(tmp_path / "hub.db", isolation_level=None))
