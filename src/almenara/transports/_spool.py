"""What a spool of perfdata files holds: which files are whole, and how they are cut, always in the same way."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Bytes of a piece, which ends with a line; and how long a file without an end of line may still be written.
PIECE_BYTES = 1 << 20
_UNFINISHED_S = 60.0
#: What a file is renamed to in which nothing can be read.
UNREADABLE = ".unreadable"


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines of a file, from byte `start` on. key: the same for the same lines of the same file."""

    path: Path
    start: int
    payload: bytes
    key: str
    last: bool  # nothing follows it

    @property
    def end(self) -> int:
        """The byte behind it."""
        return self.start + len(self.payload)


def pieces(path: Path, start: int, most: int, who: str = "") -> Iterator[Piece]:
    """A whole file from `start` on, at most about so many bytes. Where it is cut depends on its bytes alone."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = start
        while at < size and at - start < most:
            payload = cut(os.pread(file.fileno(), min(PIECE_BYTES, size - at), at), whole=at + PIECE_BYTES >= size)
            yield Piece(path, at, payload, key_of(who or path.name, at, payload), at + len(payload) >= size)
            at += len(payload)


def cut(payload: bytes, *, whole: bool = False) -> bytes:
    """Up to the last end of line; all of it where it is the `whole` rest, or a line that is longer than a piece."""
    end = payload.rfind(b"\n") + 1
    return payload if whole or not end else payload[:end]


def key_of(who: str, start: int, payload: bytes) -> str:
    """A name for these bytes at this place: sent again under it they are answered, not kept twice."""
    found = hashlib.blake2b(f"{who}\0{start}\0".encode(errors="surrogateescape"), digest_size=20)
    found.update(payload)
    return found.hexdigest()


class Watch:
    """Looks at a folder again and again, and says which files are whole: not written since the last look."""

    def __init__(self, folder: Path, pattern: str):
        self._folder, self._pattern = folder, pattern
        self._seen: dict[tuple[str, int], tuple[int, int, float]] = {}

    def look(self) -> list[Path]:
        """Files to read, the oldest first. Raises OSError where the folder cannot be read."""
        seen, whole, now = {}, [], time.monotonic()
        for path in self._folder.iterdir():
            if not path.match(self._pattern) or path.name.startswith(".") or path.name.endswith(UNREADABLE):
                continue
            try:
                about = path.lstat()
            except FileNotFoundError:
                continue
            if not os.path.isfile(path) or path.is_symlink():
                continue
            name = (path.name, about.st_ino)
            size, written, since = self._seen.get(name, (-1, -1, now))
            same = (size, written) == (about.st_size, about.st_mtime_ns)
            seen[name] = (about.st_size, about.st_mtime_ns, since if same else now)
            if same and (_ends(path, size) or now - since > _UNFINISHED_S):
                whole.append((written, path))
        self._seen = seen
        return [path for _, path in sorted(whole)]


def _ends(path: Path, size: int) -> bool:
    """Whether a file ends with a line."""
    if not size:
        return True
    with path.open("rb") as file:
        return os.pread(file.fileno(), 1, size - 1) == b"\n"
