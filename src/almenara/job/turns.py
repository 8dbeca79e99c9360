"""Runs jobs when they are due, one at a time and a few steps at a time, in the thread that calls `turn`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from almenara.job.runs import Outcome, Run, Runs
from almenara.job.schedule import Job, Skipped, Steps, due, next_turn
from almenara.model.errors import AlmenaraError, Refused, StoreError

log = logging.getLogger(__name__)


class Turns:
    """Jobs and their last runs. `turn` is one thread's; the rest anybody's."""

    def __init__(self, jobs: Sequence[Job], runs: Runs, clock: Callable[[], int], *, turn_s: float = 0.2):
        """clock: now, ns UTC. turn_s: no step is begun later than this after the first one. Raises StoreError."""
        self.jobs, self.runs, self._clock, self._turn_s = tuple(jobs), runs, clock, turn_s
        self._last: dict[str, Run | None] = {job.name: runs.last(job.name) for job in jobs}
        self._going: tuple[Run, Steps] | None = None

    def turn(self) -> None:
        """A few steps of the job whose turn it is, one at least; nothing where it is no job's turn. What fails is
        recorded, and tried again at its next turn."""
        deadline = time.monotonic() + self._turn_s
        while self._step() and time.monotonic() < deadline:
            pass

    def _step(self) -> bool:
        """One step, or the end of a run; False where it is no job's turn."""
        if self._going is None:
            now = self._clock()
            found = due(self.jobs, self._last, now)
            if not found:
                return False
            job, last = found[0], self._last[found[0].name]
            self._going = self._record(Run(job.name, now)), job.run(now, last)
        run, steps = self._going
        try:
            self._going = replace(run, figures=dict(next(steps))), steps
        except StopIteration:
            self._end(run, Outcome.OK)
        except Skipped as reason:
            self._end(run, Outcome.SKIPPED, str(reason))
        except AlmenaraError as error:
            self._end(run, Outcome.FAILED, str(error))
        except Exception as error:  # a mistake in a job must not end the thread that stores and judges
            log.exception("job %s", run.job)
            self._end(run, Outcome.FAILED, f"{type(error).__name__}: {error}")
        return True

    def next_turns(self) -> list[tuple[Job, int]]:
        """Each job and when it is due next, in ns; a time that is past means as soon as the hub comes to it."""
        now = self._clock()
        return [(job, next_turn(job, self._last[job.name], now)) for job in self.jobs]

    def close(self) -> None:
        """Let go of the record. A run that is not at its end is found there by the next start."""
        self.runs.close()

    def _end(self, run: Run, outcome: Outcome, message: str = "") -> None:
        self._going = None
        if outcome is not Outcome.OK:
            log.warning("job %s %s: %s", run.job, outcome, message)
        self._record(replace(run, ended_ns=self._clock(), outcome=outcome, message=message))

    def _record(self, run: Run) -> Run:
        """Write a run down. Where that fails the job goes on: it may be what makes room on a full disk."""
        try:
            run = self.runs.keep(run)
        except (StoreError, Refused) as error:
            log.warning("a run of job %s is not recorded: %s", run.job, error)
        self._last[run.job] = run
        return run
