"""Follows a file that others go on writing to: what is read next is noted on disk first, and again once kept.

So a piece that was on its way when the hub was killed comes again exactly as it was, under the same key.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from almenara.transports._spool import PIECE_BYTES, Piece, cut, key_of

_HEAD_BYTES = 256


@dataclass(slots=True)
class Place:
    """Up to which byte a file is kept, and up to which it is being read.

    head: digest of its first `head_bytes`: the number of a deleted file (inode) is given to others again."""

    inode: int
    kept: int = 0
    reading: int = 0
    head: str = ""
    head_bytes: int = 0


class Follow:
    """One file, by its path. A piece that `next` gave comes again until `keep` was called for it."""

    def __init__(self, path: Path, notes: Path):
        """notes: the file in which the place stands. Raises OSError, or ValueError where it is damaged."""
        self._path, self._notes = path, notes
        self._place = Place(**json.loads(notes.read_text())) if notes.exists() else None

    def next(self) -> Piece | None:
        """Whole lines that are new, about a megabyte at most; None where there are none. Raises OSError."""
        for path in self._files():
            with path.open("rb") as file:
                found = self._read(path, file.fileno())
            if found is not None:
                return found
        return None

    def keep(self, piece: Piece) -> None:
        """It is committed. Raises OSError."""
        if self._place is not None:
            self._place.kept = piece.end
            self._note()

    def _files(self) -> Iterator[Path]:
        """The file that was read last, under the name that it has now, and then the one that stands at the path."""
        place = self._place
        if place is not None and not _is_same(self._path, place):
            yield from (p for p in self._path.parent.iterdir() if _is_same(p, place))
            self._place = None
        if self._path.is_file():
            yield self._path

    def _read(self, path: Path, file: int) -> Piece | None:
        about = os.fstat(file)
        place = self._place or Place(about.st_ino)
        size = place.reading - place.kept if place.reading > place.kept else PIECE_BYTES
        payload = os.pread(file, size, place.kept)
        if place.reading <= place.kept:
            # A file that has another name by now gets no more lines.
            payload = cut(payload, whole=(len(payload) == PIECE_BYTES and b"\n" not in payload) or path != self._path)
            if not payload.endswith(b"\n") and len(payload) < PIECE_BYTES and path == self._path:
                return None
        if not payload:
            return None
        place.reading = place.kept + len(payload)
        place.head_bytes = min(_HEAD_BYTES, place.reading)
        place.head = _digest(os.pread(file, place.head_bytes, 0))
        self._place = place
        self._note()
        return Piece(path, place.inode, place.kept, payload, key_of(place.kept, payload), False)

    def _note(self) -> None:
        if self._place is None:
            return
        self._notes.parent.mkdir(parents=True, exist_ok=True)
        new = self._notes.with_suffix(".new")
        with new.open("w") as file:
            json.dump(asdict(self._place), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._notes)


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=16).hexdigest()


def _is_same(path: Path, place: Place) -> bool:
    """Whether this is the file of a place: it only grew since."""
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if about.st_ino != place.inode or about.st_size < max(place.kept, place.reading):
                return False
            return not place.head_bytes or _digest(os.pread(file.fileno(), place.head_bytes, 0)) == place.head
    except OSError:
        return False
