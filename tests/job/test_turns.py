"""Running jobs: a step at a time, every run on record, and what fails harms nobody else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from almenara.job.runs import Outcome, Run, Runs
from almenara.job.schedule import Job, Skipped, Steps
from almenara.job.turns import Turns
from almenara.model.errors import DiskFull, StoreError
from almenara.model.time import HOUR_NS, MINUTE_NS, NS
from almenara.testing.hub import Clock

NOW = 1_800_000_000 * NS


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    one = Runs(lambda: sqlite3.connect(tmp_path / "hub.db", isolation_level=None, check_same_thread=False))
    yield one
    one.close()


def three(now_ns: int, last: Run | None) -> Steps:
    for k in (1, 2, 3):
        yield {"rows": k}


def raising(error: Exception, after: int = 1) -> Callable[[int, Run | None], Steps]:
    def run(now_ns: int, last: Run | None) -> Iterator[Mapping[str, int]]:
        for k in range(after):
            yield {"rows": k}
        raise error

    return run


def turns_of(jobs: list[Job], runs: Runs, clock: Clock) -> Turns:
    """One step a turn."""
    return Turns(jobs, runs, clock, turn_s=0)


def steps(turns: Turns, n: int) -> None:
    for _ in range(n):
        turns.turn()


def test_one_call_does_one_step(runs: Runs) -> None:
    clock = Clock(NOW)
    turns = turns_of([Job("a", 3600, three)], runs, clock)
    steps(turns, 3)
    assert runs.last("a") == Run("a", NOW, id=1)
    clock.now_ns += 5 * NS
    steps(turns, 1)
    assert runs.last("a") == Run("a", NOW, NOW + 5 * NS, Outcome.OK, "", {"rows": 3}, 1)
    steps(turns, 10)
    assert len(runs.recent()) == 1
    clock.now_ns = NOW + HOUR_NS
    steps(turns, 4)
    assert [run.started_ns for run in runs.recent()] == [NOW + HOUR_NS, NOW]


def test_a_restart_neither_forgets_nor_doubles_a_turn(runs: Runs) -> None:
    clock = Clock(NOW)
    steps(turns_of([Job("a", 3600, three)], runs, clock), 4)
    clock.now_ns += 59 * MINUTE_NS
    turns = turns_of([Job("a", 3600, three)], runs, clock)
    steps(turns, 4)
    assert len(runs.recent()) == 1
    assert [at for _, at in turns.next_turns()] == [NOW + HOUR_NS]
    clock.now_ns += MINUTE_NS
    steps(turns, 4)
    assert len(runs.recent()) == 2


@pytest.mark.parametrize("error", [StoreError("store: torn"), DiskFull("no space"), ZeroDivisionError("by zero")])
def test_a_job_that_fails_is_recorded_and_tried_again(runs: Runs, error: Exception) -> None:
    clock = Clock(NOW)
    turns = turns_of([Job("a", 86_400, raising(error)), Job("b", 86_400, three)], runs, clock)
    steps(turns, 10)
    failed = runs.last("a")
    assert failed is not None
    assert (failed.outcome, failed.figures) == (Outcome.FAILED, {"rows": 0})
    assert str(error) in failed.message
    other = runs.last("b")
    assert other is not None
    assert other.outcome is Outcome.OK
    clock.now_ns += 10 * MINUTE_NS
    steps(turns, 10)
    assert [run.job for run in runs.recent()] == ["a", "b", "a"]


def test_a_job_may_say_why_it_is_not_done_now(runs: Runs) -> None:
    turns = turns_of([Job("a", 3600, raising(Skipped("not today"), after=0))], runs, Clock(NOW))
    steps(turns, 3)
    assert runs.recent() == [Run("a", NOW, NOW, Outcome.SKIPPED, "not today", {}, 1)]


def test_a_turn_takes_short_steps_together_and_long_ones_alone(runs: Runs) -> None:
    clock = Clock(NOW)
    Turns([Job("a", 3600, three)], runs, clock, turn_s=60).turn()
    assert [run.outcome for run in runs.recent()] == [Outcome.OK]
    clock.now_ns += HOUR_NS
    Turns([Job("a", 3600, three)], runs, clock, turn_s=0).turn()
    assert [run.outcome for run in runs.recent()] == [Outcome.RUNNING, Outcome.OK]


def test_a_record_that_cannot_be_written_does_not_keep_a_job_from_running(runs: Runs) -> None:
    done: list[int] = []

    def run(now_ns: int, last: Run | None) -> Steps:
        done.append(now_ns)
        yield {}

    turns = turns_of([Job("a", 3600, run)], runs, Clock(NOW))
    runs.close()
    steps(turns, 10)
    assert done == [NOW]
