"""What an HTTP interface that can be switched on is given, and what the app may ask of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from starlette.types import Scope

from almenara.config.dialects import Dweet, Queue, Stream
from almenara.model.errors import DiskFull
from almenara.web.body import Limits
from almenara.web.openapi import Endpoint

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Settings:
    """Which dialects are on, and their sections."""

    on: Sequence[str] = ()
    dweet: Dweet = field(default_factory=Dweet)
    queue: Queue = field(default_factory=Queue)
    streams: Mapping[str, Stream] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class House:
    """What dialects are given. reserved: first parts of paths that the hub has itself, filled before it serves."""

    pipeline: Pipeline
    limits: Limits
    is_token: Callable[[bytes], bool]
    closing: asyncio.Event
    reserved: set[str] = field(default_factory=set)

    def check_disk(self) -> None:
        """Raise DiskFull where there is less free disk than the configuration wants."""
        if self.pipeline.folder.free_bytes() < self.pipeline.options.min_free_bytes:
            raise DiskFull("free disk is below [data] min_free_mb; free some, and it goes on by itself", 5)


class Dialect(Protocol):
    """One interface."""

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Its paths."""

    def admits(self, scope: Scope) -> bool:
        """Whether this request shows a key of the dialect's own, and needs no token beside it."""

    async def close(self) -> None:
        """Let go of files, after the last answer."""


class Closing(Protocol):
    """What can be closed."""

    def close(self) -> None:
        """Let go of files."""


C = TypeVar("C", bound=Closing)


class Kept(Generic[C]):
    """Tables of hub.db in the hands of one thread: opened when they are first asked for."""

    def __init__(self, name: str, make: Callable[[], C]):
        self._make = make
        self._made: C | None = None
        self._thread = ThreadPoolExecutor(1, name)

    async def __call__(self, work: Callable[[C], R]) -> R:
        """Do some work with the tables, one after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)

    def _do(self, work: Callable[[C], R]) -> R:
        if self._made is None:
            self._made = self._make()
        return work(self._made)

    @property
    def opened(self) -> C | None:
        """The tables, once they were asked for: for what is safe from every thread."""
        return self._made

    async def close(self) -> None:
        """Do what is waiting, then let go."""
        await asyncio.to_thread(self._thread.shutdown)
        if self._made is not None:
            self._made.close()
