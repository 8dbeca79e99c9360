"""`Poll`: the base of collectors that look every so many seconds. A subclass writes only `collect() -> Batch`."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

from almenara.model.batch import Batch
from almenara.model.time import NS


class Poll(ABC):
    """Collects on whole multiples of `every_s`, so that samples of different machines line up.

    `clock` gives now in ns; it may run faster than real time, and polling then does so too.
    """

    def __init__(self, every_s: float, clock: Callable[[], int] = time.time_ns):
        if every_s <= 0:
            raise ValueError(f"every_s must be above 0; got {every_s}")
        self.every_s = every_s
        self.clock = clock

    @abstractmethod
    def collect(self) -> Batch:
        """Rows as they are now. Runs in a thread, so it may block."""

    async def batches(self) -> AsyncIterator[Batch]:
        """A batch every `every_s`; a slow `collect` skips a turn and never piles up."""
        every_ns = int(self.every_s * NS)
        while True:
            await self._sleep_until((self.clock() // every_ns + 1) * every_ns)
            yield await asyncio.to_thread(self.collect)

    async def _sleep_until(self, due_ns: int) -> None:
        # In short naps, since the clock may jump, or run faster than the loop's.
        while (left := (due_ns - self.clock()) / NS) > 0:
            before, slept = self.clock(), min(left, 0.2)
            await asyncio.sleep(slept)
            if self.clock() < before:  # it was set back: begin a new turn from there
                return
            speed = (self.clock() - before) / NS / slept
            if speed > 2:
                await asyncio.sleep(max(0.0, min(1.0, (due_ns - self.clock()) / NS / speed)))
