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
from functools import partial
from pathlib import Path
from typing import Annotated

from almenara.model.errors import ConfigError, DecodeError, PluginError, Problem
from almenara.plugin.contracts import Outcome, Packet
from almenara.plugin.options import Range
from almenara.transports._follow import Follow
from almenara.transports._listen import ask
from almenara.transports._spool import UNREADABLE, Piece, Watch, pieces, take_away

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
        # By name and inode, since both are given again: committed files that cannot be removed; and of files begun the
        # byte to go on from, and whether any line was readable.
        self._stays: set[tuple[str, int]] = set()
        self._at: dict[tuple[str, int], tuple[int, bool]] = {}
        self._closed = asyncio.Event()
        self.problem = ""

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """What is in the files, piece by piece; nothing more before the last piece is committed."""
        self._closed = asyncio.Event()
        self._at = {}
        if self._watch is not None:
            await asyncio.to_thread(self._watch.give_back)
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
            try:
                new = list(pieces(path, partial(self._begin_of, path.name), left))
            except FileNotFoundError:  # renamed by whoever rotates files
                continue
            if not new or new[0].file in self._stays:
                continue
            if not new[0].payload:
                self._retire(new[0], readable=True)
                continue
            found += new
            left -= sum(len(piece.payload) for piece in new)
        return found

    def _begin_of(self, name: str, inode: int) -> int:
        return self._at.get((name, inode), (0, False))[0]

    def _settle(self, found: Sequence[Piece], outcomes: Sequence[Outcome]) -> None:
        """Go on behind pieces that are committed, and let go of files whose last one is."""
        broken: set[tuple[str, int]] = set()
        for piece, outcome in zip(found, outcomes, strict=False):
            if piece.file in broken or not _is_settled(outcome):
                broken.add(piece.file)
                continue
            readable = self._at.get(piece.file, (0, False))[1] or outcome.error is None
            self._at[piece.file] = (piece.end, readable)
            if piece.last:
                self._retire(piece, readable=readable)

    def _retire(self, piece: Piece, *, readable: bool) -> None:
        path = piece.path
        aim = self._done / path.name if self._done is not None else None
        try:
            if take_away(piece, aim if readable else path.with_name(path.name + UNREADABLE)):
                self._at.pop(piece.file, None)
        except OSError as error:
            self._stays.add(piece.file)
            self.problem = f"{path}: is read and cannot be removed: {error.strerror}; let the hub's user write there"


def _grown(following: Sequence[Follow]) -> list[tuple[Follow, Piece]]:
    found = [(one, one.next()) for one in following]
    return [(one, piece) for one, piece in found if piece is not None]


def _is_settled(outcome: Outcome) -> bool:
    """Whether a piece need not come again: it is committed, or nothing in it can be read."""
    return outcome.error is None or isinstance(outcome.error, DecodeError)


async def _wait(closed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await closed.wait()
    except TimeoutError:
        pass
