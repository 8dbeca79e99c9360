"""Appends payloads to a file, synced to disk, and begins a new one when it is large; for routes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated

from almenara.model.errors import BusError
from almenara.plugin.contracts import Packet
from almenara.plugin.options import Range


class File:
    """Writes what a route sends to a file.

    Options:
        path: The file; its folder must exist.
        max_mb: With more than this in it the file is renamed to PATH.1, that one to PATH.2 and so on; 0 = never.
        keep: So many renamed files are kept.
    """

    example = {"path": "rows.lp"}  # noqa: RUF012 - read by the contract checks

    def __init__(
        self, *, path: Path, max_mb: Annotated[float, Range(0)] = 100.0, keep: Annotated[int, Range(1, 1000)] = 5
    ) -> None:
        self._path, self._most, self._keep = path, int(max_mb * 1e6), keep
        self._writing = asyncio.Lock()

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """Nothing, ever: this link only sends."""
        await asyncio.Event().wait()
        yield ()

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Returns when the payload is synced, with a line end behind it. Raises BusError where it cannot be written;
        nothing of it stands in the file then."""
        async with self._writing:
            await asyncio.to_thread(self._append, payload)

    def _append(self, payload: bytes) -> None:
        try:
            size = self._path.stat().st_size if self._path.exists() else 0
            if self._most and size and size + len(payload) > self._most:
                self._rotate()
                size = 0
            with self._path.open("ab", buffering=0) as file:
                try:
                    _write_all(file.fileno(), payload if payload.endswith(b"\n") else payload + b"\n")
                    os.fdatasync(file.fileno())
                except OSError:
                    file.truncate(size)
                    raise
        except OSError as error:
            raise BusError(f"{self._path}: {error.strerror or error}") from error

    def _rotate(self) -> None:
        for number in range(self._keep - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
