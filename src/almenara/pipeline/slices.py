"""Taking a snapshot without stopping the flow: slices of series are copied between segments, another thread writes.

Each slice is of its own moment: it has seen the segments up to the one judged last by then. What is not by series is
taken with the last slice. A restart goes through the segments in between again, for the slices that had not seen them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from almenara.pipeline import snapshot
from almenara.pipeline.log import disk_error
from almenara.pipeline.made import Made
from almenara.pipeline.snapshot import About, State
from almenara.pipeline.threads import name_thread

#: Series whose state is copied between two segments: with the default detector 17 MB, some ms. Whoever syncs something
#: else to the same disk, as each commit does, waits for a slice that is being written.
SLICE_SERIES = 8192


class Slices:
    """The snapshot that is being taken; for the flush thread."""

    def __init__(
        self, folder: Path, now: Callable[[], tuple[int, int]], about: Callable[[int], About],
        part: Callable[[int, int], State], rest: Callable[[], State], written: Callable[[], None],
    ):  # fmt: skip
        """now: the segment judged last, how many series there are; about: what a snapshot of this moment, and so many
        series, is of; part: what is known of series first to end - 1, rest: all else,
        both as copies; written: called, from another thread, when there is something to do again."""
        self._folder, self._now, self._about, self._part, self._take_rest = folder, now, about, part, rest
        self._written = written
        self._writer = ThreadPoolExecutor(1, "snapshot", name_thread)
        self._writing: Future[None] | None = None
        self._given_up = False
        self._forget()

    def _forget(self) -> None:
        self.is_taking = False
        self._parts: list[tuple[int, int, int]] = []
        self._rest: tuple[About, State, Sequence[Made]] | None = None
        self._finishing: About | None = None

    def begin(self) -> None:
        """Take a new snapshot, from now on; one that is not finished is given up."""
        if self._writing is not None:
            wait([self._writing])
            self._writing = None
        self._forget()
        self.is_taking = True
        self._write(snapshot.begin, self._folder)

    def turn(self, made: Sequence[Made]) -> About | None:
        """Do the next step, if nothing is being written: some ms. made: rows that judging made and that are not stored
        yet. Gives what the snapshot is of once it is whole. Raises DiskFull, StoreError: it is given up."""
        if self._writing is not None:
            if not self._writing.done():
                return None
            writing, self._writing = self._writing, None
            try:
                writing.result()
            except OSError as error:
                self._forget()
                raise disk_error(error, self._folder) from error
        if (whole := self._finishing) is not None:
            self._forget()
            return whole
        if self._rest is None:
            self._take(made)
        elif all(one.is_kept for one in self._rest[2]):
            # After a crash nobody would make these rows again.
            about, rest, _ = self._rest
            self._finishing = about
            self._write(snapshot.finish, self._folder, about, rest)
        return None

    def whole(self, made: Sequence[Made]) -> About | None:
        """Take one now and wait for it; None while `made` is not committed, and where it was given up."""
        self.begin()
        while self.is_taking and not self._given_up:
            if self._writing is not None:
                wait([self._writing])
            elif self._rest is not None:
                return None
            if (about := self.turn(made)) is not None:
                return about
        return None

    def give_up(self) -> None:
        """From any thread: end `whole` after the slice that is being written."""
        self._given_up = True

    def close(self) -> None:
        """Wait for what is being written."""
        self._writer.shutdown()

    def _take(self, made: Sequence[Made]) -> None:
        """Copy the next slice; with the last one all that is not by series."""
        seq, series = self._now()
        first = self._parts[-1][1] if self._parts else 0
        end = min(first + SLICE_SERIES, series)
        part = self._part(first, end)
        self._parts.append((first, end, seq))
        if end == series:
            self._rest = replace(self._about(series), parts=self._parts), self._take_rest(), list(made)
        self._write(snapshot.save_part, self._folder, len(self._parts) - 1, part)

    def _write(self, do: Callable[..., None], *arguments: object) -> None:
        self._writing = self._writer.submit(do, *arguments)
        self._writing.add_done_callback(lambda _: self._written())
