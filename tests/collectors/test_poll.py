"""Rules of polling: on whole multiples of the period, by whatever clock, never piling up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median

import pytest

from almenara.collectors.poll import Poll
from almenara.model.batch import Batch
from almenara.model.series import Series
from almenara.model.time import NS

START = 1_700_000_003 * NS


class Look(Poll):
    """Each look is one row, and takes `work_s`."""

    def __init__(self, every_s: float, clock: Callable[[], int] = time.time_ns, work_s: float = 0.0) -> None:
        super().__init__(every_s, clock)
        self.work_s = work_s

    def collect(self) -> Batch:
        now = self.clock()
        time.sleep(self.work_s)
        return Batch.of([(Series.of("look"), now, 1.0)])


class Clock:
    """Real time times `speed`, from `START`; `shift_ns` sets it."""

    def __init__(self, speed: float = 1.0) -> None:
        self.speed, self.shift_ns, self._began_s = speed, 0, time.monotonic()

    def __call__(self) -> int:
        return START + int((time.monotonic() - self._began_s) * self.speed * NS) + self.shift_ns


async def times(poll: Poll, count: int, on_row: Callable[[int], None] = lambda number: None) -> Sequence[int]:
    """Times in ns of the first `count` looks."""
    found: list[int] = []
    async with asyncio.timeout(60):
        async for batch in poll.batches():
            found.append(batch.time[0])
            on_row(len(found))
            if len(found) == count:
                break
    return found


def test_looks_fall_on_whole_multiples() -> None:
    found = asyncio.run(times(Look(0.2), 4))
    turns = [t // (NS // 5) for t in found]
    assert turns == sorted(set(turns))
    assert median(t % (NS // 5) for t in found) < 0.1 * NS


def test_a_slow_look_skips_turns_and_never_piles_up() -> None:
    found = asyncio.run(times(Look(0.1, work_s=0.15), 4))
    turns = [t // (NS // 10) for t in found]
    assert all(b - a >= 2 for a, b in pairwise(turns))


def test_a_clock_that_runs_faster_is_followed() -> None:
    """A period of 10 s of a clock at 60 times real time is 0.17 s: no turn is missed."""
    found = asyncio.run(times(Look(10.0, Clock(60)), 10))[1:]  # the speed is learned on the first
    assert median(b - a for a, b in pairwise(found)) == pytest.approx(10 * NS, abs=5 * NS)


def test_a_clock_set_back_does_not_stop_the_looks() -> None:
    clock = Clock()

    def set_back(number: int) -> None:
        if number == 2:
            clock.shift_ns = -3600 * NS

    found = asyncio.run(times(Look(1.0, clock), 4, set_back))
    assert START - 3600 * NS < found[2] < found[3] < START
    assert found[3] % NS < 0.5 * NS


def test_a_clock_set_back_during_a_nap_begins_a_new_turn() -> None:
    clock = Clock()

    async def run() -> Sequence[int]:
        asyncio.get_running_loop().call_later(0.3, lambda: setattr(clock, "shift_ns", -3600 * NS))
        return await times(Look(1.0, clock), 2)

    found = asyncio.run(run())
    assert all(t % NS < 0.5 * NS for t in found)
    assert found[-1] < START


def test_a_clock_set_ahead_is_followed_at_once() -> None:
    clock = Clock()

    async def run() -> Sequence[int]:
        asyncio.get_running_loop().call_later(0.2, lambda: setattr(clock, "shift_ns", 3600 * NS))
        return await times(Look(100, clock), 1)

    assert asyncio.run(run())[0] >= START + 3600 * NS


@pytest.mark.parametrize("every_s", [0, -1.0, 1e-12, float("nan")])
def test_the_period_is_checked(every_s: float) -> None:
    with pytest.raises(ValueError, match="every_s must be above 0"):
        Look(every_s)
