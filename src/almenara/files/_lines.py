"""Text files in blocks of whole lines, also compressed with gzip; bounded memory, whatever the size of the file."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

from almenara.model.batch import Rejected
from almenara.model.errors import DecodeError

#: Read at a time, and the longest line.
BLOCK_BYTES, MOST_BYTES = 8 << 20, 64 << 20

_LINE = re.compile(r"\bline (\d+)")


def blocks(path: Path, *, quoted: bool = False) -> Iterator[tuple[bytes, int, float]]:
    """(whole lines, the number of the first one from 1, share of the file read behind them).

    quoted: line breaks between double quotes end no line. Raises OSError; DecodeError for damaged gzip, and where no
    line ends within MOST_BYTES.
    """
    size, line, rest = path.stat().st_size, 1, b""
    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if zipped else raw
        while True:
            piece = _read(stream, path)
            rest += piece
            end = _end(rest, quoted) if piece else len(rest)
            if end:
                yield rest[:end], line, min(1.0, raw.tell() / size) if piece and size else 1.0
                line += rest.count(b"\n", 0, end)
                rest = rest[end:]
            if not piece:
                return
            if len(rest) > MOST_BYTES:
                raise DecodeError(f"{path}: line {line}: found no end of it within {MOST_BYTES >> 20} MB")


def _read(stream: IO[bytes], path: Path) -> bytes:
    try:
        return stream.read(BLOCK_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DecodeError(f"{path}: is damaged or cut short: {error}") from error


def _end(text: bytes, quoted: bool) -> int:
    """Where the last whole line ends."""
    end = text.rfind(b"\n") + 1
    if not quoted or not end or text.count(b'"', 0, end) % 2 == 0:
        return end
    while end and text.count(b'"', 0, end) % 2:
        end = text.rfind(b"\n", 0, end - 1) + 1
    return end


def placed(rejected: Sequence[Rejected], before: int) -> list[Rejected]:
    """The same with lines counted from the beginning of the file; `before`: lines before the block."""

    def in_file(found: re.Match[str]) -> str:
        return f"line {int(found[1]) + before}"

    return [replace(one, where=_LINE.sub(in_file, one.where, count=1)) for one in rejected]
