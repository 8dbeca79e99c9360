"""ClickHouse's Native format: blocks of typed columns, from and to numpy without touching single rows.

A block is: number of columns, number of rows, then for each column its name, its type and its values one after another;
numbers are little-endian, lengths are LEB128 (https://clickhouse.com/docs/interfaces/formats/Native). An answer is any
number of blocks, one after another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

_DTYPES = {
    "UInt8": "<u1",
    "UInt16": "<u2",
    "UInt32": "<u4",
    "UInt64": "<u8",
    "Int32": "<i4",
    "Int64": "<i8",
    "Float64": "<f8",
}
_CHUNK_ROWS = 32_768


def _length(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def _text(text: bytes) -> bytes:
    return _length(len(text)) + text


def encode_strings(strings: Iterable[bytes]) -> bytes:
    """The values of a String column."""
    return b"".join(map(_text, strings))


def encode_chunks(columns: Sequence[tuple[str, str, Any]], rows: int) -> Iterator[bytes]:
    """One block of (name, type, values), in chunks; values are a numpy array or a list of bytes, each of length `rows`.

    Chunks are small, so that their memory is used again and stays in the cache: one large block costs three times as
    much. Raises ValueError where a column's length is not `rows`, for the engine would read past its end.
    """
    for name, _, values in columns:
        if len(values) != rows:
            raise ValueError(f"column {name}: {len(values)} values; expected {rows}")
    head = _length(len(columns)) + _length(rows)
    for name, kind, values in columns:
        yield head + _text(name.encode()) + _text(kind.encode())
        head = b""
        for first in range(0, rows, _CHUNK_ROWS):
            some = values[first : first + _CHUNK_ROWS]
            yield encode_strings(some) if kind == "String" else np.asarray(some, _DTYPES[kind]).tobytes()


def encode_block(columns: Sequence[tuple[str, str, Any]], rows: int) -> bytes:
    """The same in one piece."""
    return b"".join(encode_chunks(columns, rows))


class _Reader:
    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def length(self) -> int:
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def text(self) -> bytes:
        n = self.length()
        self.at += n
        return self.data[self.at - n : self.at]

    def column(self, kind: str, rows: int) -> Any:
        if kind == "String":
            return [self.text() for _ in range(rows)]
        dtype = np.dtype(_DTYPES[kind])
        values = np.frombuffer(self.data, dtype, rows, self.at)
        self.at += rows * dtype.itemsize
        return values


def decode_blocks(data: bytes) -> list[Any]:
    """The columns of an answer in their order, each a numpy array or, for String, a list of bytes.

    No blocks at all give an empty list: the names and types of no rows are not known.
    """
    reader, parts = _Reader(data), []
    while reader.at < len(data):
        columns, rows = reader.length(), reader.length()
        block = []
        for _ in range(columns):
            reader.text()
            block.append(reader.column(reader.text().decode(), rows))
        parts.append(block)
    if len(parts) == 1:
        return parts[0]
    return [_joined(column) for column in zip(*parts, strict=True)]


def _joined(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], list):
        return [text for part in parts for text in part]
    return np.concatenate(parts)
