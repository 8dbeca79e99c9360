"""What a spool of perfdata files holds: which files are whole, and how they are cut, always in the same way."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

#: Bytes of a piece, which ends with a line; and how long a file without an end of line may still be written.
PIECE_BYTES = 1 << 20
_UNFINISHED_S = 60.0
#: What a file is renamed to in which nothing can be read.
UNREADABLE = ".unreadable"
#: What a file is called, behind a dot, while it is taken away.
_TAKEN = ".taken"


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines of a file, from byte `start` on. key: the same for the same lines at the same place."""

    path: Path
    inode: int  # which file it is: another one may have taken its name since
    start: int
    payload: bytes
    key: str
    last: bool  # nothing follows it

    @property
    def file(self) -> tuple[str, int]:
        """Which file it is of."""
        return self.path.name, self.inode

    @property
    def end(self) -> int:
        """The byte behind it."""
        return self.start + len(self.payload)


def pieces(path: Path, start: Callable[[int], int], most: int) -> Iterator[Piece]:
    """A whole file from a byte on (by its inode), at most about so many bytes. Where it is cut depends on its bytes."""
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        size, inode = about.st_size, about.st_ino
        at = first = start(inode)
        while at < size and at - first < most:
            payload = cut(os.pread(file.fileno(), min(PIECE_BYTES, size - at), at), whole=at + PIECE_BYTES >= size)
            yield Piece(path, inode, at, payload, key_of(at, payload), at + len(payload) >= size)
            at += len(payload)
        if not size:
            yield Piece(path, inode, 0, b"", "", True)


def cut(payload: bytes, *, whole: bool = False) -> bytes:
    """Up to the last end of line; all of it where it is the `whole` rest, or a line that is longer than a piece."""
    end = payload.rfind(b"\n") + 1
    return payload if whole or not end else payload[:end]


def key_of(start: int, payload: bytes) -> str:
    """A name for these bytes at this place: sent again under it they are answered, not kept twice. The name of the file
    is no part of it, since whoever rotates files may rename them at any time."""
    return hashlib.blake2b(b"%d\0" % start + payload, digest_size=20).hexdigest()


def take_away(piece: Piece, aim: Path | None) -> bool:
    """Move the file of a piece to `aim`, or delete it; where another file has its name by now, that one stays.

    False where it has grown behind the piece, because whoever moved it there did so while it was still written to:
    then it stays. Raises OSError."""
    claimed = piece.path.with_name(f".{piece.path.name}{_TAKEN}")
    try:
        piece.path.rename(claimed)
    except FileNotFoundError:
        return True  # renamed by whoever rotates files: it comes again under its new name, and is known by its bytes
    about = claimed.stat()
    if about.st_ino != piece.inode or about.st_size > piece.end:
        claimed.rename(unused(piece.path))
        return about.st_ino != piece.inode
    if aim is None:
        claimed.unlink()
    else:
        aim.parent.mkdir(parents=True, exist_ok=True)
        claimed.rename(unused(aim))
    return True


def unused(path: Path) -> Path:
    """The path, or the same with a number at its end that no file has yet."""
    number, found = 0, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}.{number}")
    return found


class Watch:
    """Looks at a folder again and again, and says which files are whole: not written since the last look."""

    def __init__(self, folder: Path, pattern: str):
        self._folder, self._pattern = folder, pattern
        self._seen: dict[tuple[str, int], tuple[int, int, float]] = {}

    def give_back(self) -> None:
        """Files that were being taken away when the hub was killed get their names back; they are known by their bytes.
        Without the folder nothing happens."""
        for path in self._folder.glob(f".*{_TAKEN}"):
            name = path.name[1 : -len(_TAKEN)]
            if path.with_name(name).match(self._pattern):
                path.rename(unused(path.with_name(name)))

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
