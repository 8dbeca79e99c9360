"""Perfdata that Nagios, Naemon or Icinga leaves in files: a spool of whole files, or a file that goes on growing.

`almenara help nagios` prints the lines for nagios.cfg. The folder is looked at every second; nothing is asked of the
kernel, so it may lie on any file system. A file goes only after the rows in it are synced to the hub's log.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Annotated

from almenara.model.errors import ConfigError, DecodeError, PluginError, Problem
from almenara.plugin.contracts import Outcome, Packet
from almenara.plugin.options import Range
from almenara.transports._follow import Follow
from almenara.transports._listen import ask
from almenara.transports._spool import UNREADABLE, Piece, Watch, pieces

#: Bytes handed on at a time.
_MOST_BYTES = 4 << 20


class Nagios:
    """Reads files of perfdata and removes each once its rows are committed.

    A file in which nothing can be read stays, under its name with `.unreadable` behind it. After a kill no row is kept
    twice and none is lost: pieces are cut in the same way again and come under the same key.

    Options:
        spool: The folder that Nagios moves its files into; the hub must be allowed to write in it.
        pattern: Names of the files to read. The file that Nagios itself writes to must not be among them.
        done: A folder that read files are moved to; without it they are deleted.
        follow: Files that Nagios only appends to; they are read as they grow, and stay.
        poll_s: Time between two looks.
    """

    codec = "nagios_perfdata"
    example = {"spool": "spool"}  # noqa: RUF012 - read by the contract checks

    def __init__(
        self,
        *,
        spool: Path | None = None,
        pattern: str = "*perfdata.*",
        done: Path | None = None,
        follow: Sequence[Path] = (),
        poll_s: Annotated[float, Range(0.05, 3600)] = 1.0,
        folder: Path | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        if spool is None and not follow:
            hint = "give the folder that Nagios moves its files into; almenara help nagios prints both sides"
            raise ConfigError([Problem("spool", "is missing, and follow names no file", hint)])
        if "/" in pattern:
            raise ConfigError([Problem("pattern", f"must be of names, without a folder; got {pattern!r}")])
        if follow and folder is None:
            raise ConfigError([Problem("follow", "needs a folder of the hub to note places in")])
        self._spool, self._done, self._poll_s, self._clock = spool, done, poll_s, clock
        self._watch = Watch(spool, pattern) if spool is not None else None
        self._follow = list(follow)
        self._places = folder
        self._stays: set[tuple[str, int]] = set()  # committed files that cannot be removed, by name and number
        self._at: dict[Path, tuple[int, bool]] = {}  # files begun: the byte to go on from, whether a line was readable
        self._closed = asyncio.Event()
        self.problem = ""

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """What is in the files, piece by piece; nothing more before the last piece is committed."""
        self._closed = asyncio.Event()
        self._at = {}
        following = await asyncio.to_thread(lambda: [Follow(path, self._notes_of(path)) for path in self._follow])
        while not self._closed.is_set():
            found = await asyncio.to_thread(self._look)
            grown = await asyncio.to_thread(_grown, following)
            if not found and not grown:
                await _wait(self._closed, self._poll_s)
                continue
            waiting = [self._packet(piece) for piece in (*found, *(piece for _, piece in grown))]
            yield [packet for packet, _ in waiting]
            outcomes = await asyncio.gather(*(outcome for _, outcome in waiting))
            await asyncio.to_thread(self._settle, found, outcomes)
            for (one, piece), outcome in zip(grown, outcomes[len(found) :], strict=True):
                if _is_settled(outcome):
                    await asyncio.to_thread(one.keep, piece)

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """This link only receives. Raises PluginError."""
        raise PluginError(f"nagios only receives; choose another link to send {topic!r}")

    async def close(self) -> None:
        """Look no more, end `receive`."""
        self._closed.set()

    def _notes_of(self, path: Path) -> Path:
        digest = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=8).hexdigest()
        assert self._places is not None
        return self._places / f"{path.name}-{digest}.json"

    def _packet(self, piece: Piece) -> tuple[Packet, asyncio.Future]:
        answer, done = ask(asyncio.get_running_loop())
        source = f"nagios:{piece.path.parent}"
        packet = Packet(
            piece.path.name, piece.payload, self._clock(), source, codec=self.codec, key=piece.key, done=done
        )
        return packet, answer

    def _look(self) -> list[Piece]:
        """The next pieces of whole files, up to about _MOST_BYTES; files without a byte go at once."""
        if self._watch is None:
            return []
        try:
            paths = self._watch.look()
        except OSError as error:
            self.problem = f"{self._spool}: cannot be read: {error.strerror}; the hub's user must own it or its group"
            return []
        self.problem = "" if not self._stays else self.problem
        found: list[Piece] = []
        left = _MOST_BYTES
        for path in paths:
            if left <= 0:
                break
            if _name_of(path) in self._stays:
                continue
            start, _ = self._at.get(path, (0, False))
            new = list(pieces(path, start, left))
            if not new:
                self._retire(path, readable=True)
            found += new
            left -= sum(len(piece.payload) for piece in new)
        return found

    def _settle(self, found: Sequence[Piece], outcomes: Sequence[Outcome]) -> None:
        """Go on behind pieces that are committed, and let go of files whose last one is."""
        broken: set[Path] = set()
        for piece, outcome in zip(found, outcomes, strict=False):
            if piece.path in broken:
                continue
            if not _is_settled(outcome):
                broken.add(piece.path)
                continue
            readable = self._at.get(piece.path, (0, False))[1] or outcome.error is None
            self._at[piece.path] = (piece.end, readable)
            if piece.last:
                self._retire(piece.path, readable=readable)

    def _retire(self, path: Path, *, readable: bool) -> None:
        name = _name_of(path)
        self._at.pop(path, None)
        try:
            if not readable:
                path.rename(path.with_name(path.name + UNREADABLE))
            elif self._done is not None:
                self._done.mkdir(parents=True, exist_ok=True)
                path.rename(self._done / path.name)
            else:
                path.unlink()
        except OSError as error:
            self._stays.add(name)
            self.problem = f"{path}: is read and cannot be removed: {error.strerror}; let the hub's user write there"


def _grown(following: Sequence[Follow]) -> list[tuple[Follow, Piece]]:
    found = [(one, one.next()) for one in following]
    return [(one, piece) for one, piece in found if piece is not None]


def _name_of(path: Path) -> tuple[str, int]:
    return path.name, path.lstat().st_ino


def _is_settled(outcome: Outcome) -> bool:
    """Whether a piece need not come again: it is committed, or nothing in it can be read."""
    return outcome.error is None or isinstance(outcome.error, DecodeError)


async def _wait(closed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await closed.wait()
    except TimeoutError:
        pass
