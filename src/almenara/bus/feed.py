"""Who hears which item, in memory: any thread publishes, coroutines of one asyncio loop listen.

A reader that is too slow loses the oldest items, never holds up the others, and knows how many it lost.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Subscription(Generic[T]):
    """What one reader gets: `async for item in subscription`. `lost` counts items it was too slow for."""

    def __init__(self, feed: Feed[T], depth: int, loop: asyncio.AbstractEventLoop):
        self.lost = 0
        self._feed, self._loop = feed, loop
        self._items: deque[T] = deque()
        self._depth = depth
        self._lock = threading.Lock()
        self._news = asyncio.Event()
        self._waking = False
        self._closed = False

    def close(self) -> None:
        """Hear no more; a reader that waits comes back at once, and items not yet read are gone."""
        self._feed._forget(self)
        with self._lock:
            self._closed = True
            self._items.clear()
            self._wake()

    def __aiter__(self) -> Subscription[T]:
        return self

    async def __anext__(self) -> T:
        while True:
            with self._lock:
                if self._closed:
                    raise StopAsyncIteration
                if self._items:
                    return self._items.popleft()
                self._news.clear()
            await self._news.wait()

    def _put(self, item: T) -> None:
        with self._lock:
            if self._closed:
                return
            if len(self._items) >= self._depth:
                self._items.popleft()
                self.lost += 1
            self._items.append(item)
            self._wake()

    def _wake(self) -> None:
        """Called with the lock held. One wake-up of the loop serves any number of items."""
        if self._waking:
            return
        try:
            self._loop.call_soon_threadsafe(self._woken)
            self._waking = True
        except RuntimeError:  # the loop of this reader is closed: nobody listens any more
            self._closed = True

    def _woken(self) -> None:
        with self._lock:
            self._waking = False
        self._news.set()


class Feed(Generic[T]):
    """One stream of items and its readers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers: tuple[Subscription[T], ...] = ()

    def __len__(self) -> int:
        """How many readers there are; with none, publishing costs nothing."""
        return len(self._readers)

    def publish(self, item: T) -> None:
        """Give `item` to every reader; from any thread, never blocks."""
        for reader in self._readers:
            reader._put(item)

    def subscribe(self, depth: int = 64) -> Subscription[T]:
        """A reader that holds at most `depth` unread items; called on the loop that will read."""
        if depth < 1:
            raise ValueError(f"depth must be at least 1; got {depth}")
        reader = Subscription(self, depth, asyncio.get_running_loop())
        with self._lock:
            self._readers = (*self._readers, reader)
        return reader

    def _forget(self, reader: Subscription[T]) -> None:
        with self._lock:
            self._readers = tuple(r for r in self._readers if r is not reader)
