"""What is due: jobs, their turns, and the last runs that tell when the next turn is. Pure; time is an argument.

A job's turn comes `every_s` after the start of its last run, or at the times of the clock that it names. However many
turns were missed while the hub was down, the job runs once when the hub is back. A job that never ran is due at once;
one that failed is tried again after `retry_s`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from almenara.job.runs import Outcome, Run
from almenara.model.time import NS

#: A run in steps: yields its figures so far after each, so that whoever runs it can do other work in between.
Steps = Iterator[Mapping[str, int | float]]


class Skipped(Exception):
    """Raised by a job that should not be done now; the message says why. It is asked again at its next turn."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something to do again and again. `run(now_ns, last run or None)` gives its steps; done twice it does no harm,
    since a run that was cut off is begun anew."""

    name: str
    every_s: float
    run: Callable[[int, Run | None], Steps]
    retry_s: float = 600.0
    at: Callable[[int], int] | None = None  # the first turn after a time, both in ns, for a job with times of its own
    wanted: Callable[[], bool] = lambda: True  # asked when it is due: a job that has nothing to do leaves no record


def next_turn(job: Job, last: Run | None, now_ns: int) -> int:
    """When this job is due, in ns; not after `now_ns` means now."""
    if last is None:
        return now_ns
    cut_off = last.outcome in (Outcome.FAILED, Outcome.RUNNING)
    wait_ns = round((min(job.every_s, job.retry_s) if cut_off else job.every_s) * NS)
    if last.started_ns - now_ns > wait_ns:
        return now_ns  # the clock was set back by more than a turn: do not sleep until the old time is there again
    if job.at is not None and not cut_off:
        return job.at(last.started_ns)
    return last.started_ns + wait_ns


def due(jobs: Iterable[Job], last_runs: Mapping[str, Run | None], now_ns: int) -> list[Job]:
    """The jobs whose turn it is, the one that has waited longest first."""
    turns = [(next_turn(job, last_runs.get(job.name), now_ns), job) for job in jobs]
    return [job for turn, job in sorted(turns, key=lambda one: one[0]) if turn <= now_ns and job.wanted()]
