"""What a decoder of Protocol Buffers remembers: blocks of bytes, such as the labels of a series as sent, and their
meaning. The compiled walker (`almenara.codecs._protobuf`) looks them up; new ones are entered here."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np

from almenara.codecs import _protobuf as wire


class Blocks:
    """Entries are numbered from 0 on and never change; make a new object when it has grown too large."""

    def __init__(self) -> None:
        self.seed = secrets.randbits(62)  # nobody outside can choose blocks that collide
        self.count = self.bytes = 0
        self.memo = wire.Memo(np.empty(4096, np.uint8), np.empty((64, 6), np.int64), np.full(256, -1, np.int32))

    def add(self, entries: Sequence[tuple[int, bytes, int]]) -> None:
        """Enter (context, bytes, meaning); none of them may be known, nor twice in one call."""
        text = b"".join(block for _, block, _ in entries)
        old = self.memo
        arena = _room(old.arena, self.bytes, len(text))
        arena[self.bytes : self.bytes + len(text)] = np.frombuffer(text, np.uint8)
        table = _room(old.table, self.count, len(entries))
        offset, rows = self.bytes, []
        for context, block, meaning in entries:
            rows.append((offset, len(block), -1, 0, context, meaning))
            offset += len(block)
        if rows:
            table[self.count : self.count + len(rows)] = rows
        first, self.count, self.bytes = self.count, self.count + len(entries), offset
        slots = old.slots
        if 2 * self.count > len(slots):
            slots, first = np.full(1 << (4 * self.count).bit_length(), -1, np.int32), 0
        self.memo = wire.Memo(arena, table, slots)
        wire.enter(self.memo, first, self.count, self.seed)


def _room(array: np.ndarray, used: int, more: int) -> np.ndarray:
    """`array`, or a longer copy, with room for `more` after the first `used`."""
    if used + more <= len(array):
        return array
    longer = np.empty((max(used + more, 2 * len(array)), *array.shape[1:]), array.dtype)
    longer[:used] = array[:used]
    return longer


def columns(rows: int) -> wire.Columns:
    """Room for so many rows."""
    return wire.Columns(np.empty(rows, np.int32), np.empty(rows, np.int64), np.empty(rows, np.float64))
