"""`Poll`: the base of collectors that look every so many seconds. A subclass writes only `collect() -> Batch`."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable

from almenara.model.batch import Batch
from almenara.model.time import NS

_FASTEST = 10_000.0


class Poll(ABC):
    """Collects on whole multiples of `every_s`, so that samples of different machines line up.

    `clock` gives now in ns; it may run faster than real time, and polling then does so too.
    """

    def __init__(self, every_s: float, clock: Callable[[], int] = time.time_ns):
        if not every_s * NS >= 1:
            raise ValueError(f"every_s must be above 0; got {every_s}")
        self.every_s = every_s
        self.clock = clock
        self._speed = 1.0  # of the clock, measured

    @abstractmethod
    def collect(self) -> Batch:
        """Rows as they are now. Runs in a thread, so it may block."""

    async def batches(self) -> AsyncIterator[Batch]:
        """A batch every `every_s`; a slow `collect` skips a turn and never piles up."""
        every_ns = int(self.every_s * NS)
        while True:
            # Where the clock was set back meanwhile, the next turn is one of the new time.
            while not await self._has_slept_until((self.clock() // every_ns + 1) * every_ns):
                pass
            yield await asyncio.to_thread(self.collect)

    async def _has_slept_until(self, due_ns: int) -> bool:
        # In short naps, since the clock may jump, or run faster than the loop's.
        while (left_s := (due_ns - self.clock()) / NS) > 0:
            before, began_s = self.clock(), time.monotonic()
            await asyncio.sleep(min(left_s / self._speed, 0.25))
            passed_s = (self.clock() - before) / NS
            if passed_s < 0:
                return False
            self._speed = min(max(passed_s / max(time.monotonic() - began_s, 1e-9), 1.0), _FASTEST)
        return True
