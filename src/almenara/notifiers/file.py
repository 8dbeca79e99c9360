"""Writes each notice into a file, as a line of text or of JSON."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from almenara.model.alarm import Notice
from almenara.model.errors import NotifyError
from almenara.model.time import format_time
from almenara.notifiers._plain import fields, notice_json, one_line, to_json


class FileNotifier:
    """Appends a line to a file for each notice.

    The file is opened anew for each line, so logrotate and the like may move it away at any time and need to tell
    nobody.

    Options:
        path: The file; it is made where it is not there, its folder is not.
        format: json, everything as one JSON object a line; or text, time, severity, kind, incident, title and facts.
        sync: Write through to the disk before the notice counts as told.
    """

    example = {"path": "alarms.log"}  # noqa: RUF012 - read by the contract checks

    def __init__(
        self,
        *,
        path: Path,
        format: Literal["json", "text"] = "json",
        sync: bool = True,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._path, self._format, self._sync, self._clock = path, format, sync, clock

    async def notify(self, notice: Notice) -> None:
        """Append it; the graph is not written. Raises NotifyError, always worth another try: a disk may have room
        again."""
        line = text_line(notice, self._clock()) if self._format == "text" else json_line(notice, self._clock())
        await self._done(self._append, line)

    async def check(self) -> None:
        """Can the file be written? Raises NotifyError. It is made where it is not there."""
        await self._done(self._append, b"")

    async def _done(self, do: Callable[[bytes], None], line: bytes) -> None:
        try:
            await asyncio.to_thread(do, line)
        except OSError as error:
            raise NotifyError(f"file {self._path}: {error.strerror or error}", retry=True) from error

    def _append(self, line: bytes) -> None:
        # Not blocking, for a pipe that nobody reads would hold us up for ever.
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o640)
        try:
            plain = stat.S_ISREG(os.fstat(handle).st_mode)
            if plain:
                fcntl.flock(handle, fcntl.LOCK_EX)
            self._write(handle, line, os.fstat(handle).st_size if plain else -1)
            if self._sync and plain and line:
                os.fsync(handle)
        finally:
            os.close(handle)

    @staticmethod
    def _write(handle: int, line: bytes, size: int) -> None:
        """The whole line or none of it: half of one would spoil the next."""
        try:
            written = os.write(handle, line)
            if written < len(line):
                written += os.write(handle, line[written:])
            if written < len(line):
                raise OSError(0, f"only {written} of {len(line)} bytes were written")
        except OSError:
            if size >= 0:
                with contextlib.suppress(OSError):
                    os.ftruncate(handle, size)
            raise


def json_line(notice: Notice, now_ns: int) -> bytes:
    """The notice with the time of writing as one line of JSON."""
    return to_json({"time": format_time(now_ns), **notice_json(notice)}) + b"\n"


def text_line(notice: Notice, now_ns: int) -> bytes:
    """The notice in one line for people and grep."""
    values = fields(notice)
    head = f"{format_time(now_ns)} {values['severity']} {values['kind']} incident={values['incident']}"
    facts = "; ".join(f"{fact.name}: {fact.text}" for fact in notice.facts)
    parts = [head, one_line(notice.title), one_line(facts), one_line(notice.link)]
    return (" | ".join(part for part in parts if part) + "\n").encode(errors="replace")
