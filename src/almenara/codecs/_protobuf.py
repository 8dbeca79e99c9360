"""Walking over Protocol Buffers on the wire, compiled: tags, lengths, numbers, and blocks of repeated fields by memo.

The labels of a series, or the attributes of a data point, stand in a payload as a run of fields with one tag: a block.
What a block means is learned once, in Python (`almenara.codecs._blocks`); after that only its bytes are compared. Which
block comes is guessed from what followed last time, and a hash is made only where the guess was wrong.

Positions are offsets into buf, uint8[n]; a next position of -1 says that the bytes are damaged. Standard:
https://protobuf.dev/programming-guides/encoding/. Trap: numba keeps compiled code by the date of one file, so after a
change here the kernels that use it have to be saved too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from almenara._compiled import njit
from almenara.codecs._bytes import hash_bytes, put, same

# Columns of `Memo.table`, int64[entries, 6]. CONTEXT tells blocks with the same bytes apart, NEXT is what came after it
# last time (-1 unknown), MEANING what Python learned of it: usually an id, or -code where its rows are refused.
OFFSET, LENGTH, NEXT, HASH, CONTEXT, MEANING = 0, 1, 2, 3, 4, 5


class Memo(NamedTuple):
    """Blocks that are known. arena: uint8, their bytes; slots: int32[power of two], open hash table, -1 empty."""

    arena: np.ndarray
    table: np.ndarray
    slots: np.ndarray


class Columns(NamedTuple):
    """Where rows go. id: int32[n], time: int64[n], value: float64[n]."""

    id: np.ndarray
    time: np.ndarray
    value: np.ndarray


@intrinsic
def load_double(typing_context: Any, buf: Any, pos: Any) -> tuple:
    """The double at buf[pos:pos + 8], at any alignment; buf is uint8 and contiguous, and the caller checked the end."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.DoubleType().as_pointer())
        return builder.load(address, align=1)

    return types.float64(buf, types.int64), generate


@njit(cache=True, nogil=True, _nrt=False)
def _long_varint(buf: np.ndarray, pos: int, end: int) -> tuple:
    value, shift = np.int64(0), 0
    while pos < end and shift < 64:
        byte = np.int64(buf[pos])
        pos += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, pos
        shift += 7
    return np.int64(0), -1


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def varint(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(int64 of the 64 bits, next position) of the varint at pos."""
    if pos < end and buf[pos] < 128:
        return np.int64(buf[pos]), pos + 1
    return _long_varint(buf, pos, end)


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def length(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(first byte, byte after the last) of what a length at pos counts; (-1, -1) where it does not fit before end."""
    size, pos = varint(buf, pos, end)
    if pos < 0 or size < 0 or size > end - pos:
        return -1, -1
    return pos, pos + size


@njit(cache=True, nogil=True, _nrt=False)
def skip(buf: np.ndarray, pos: int, end: int, wire: int) -> int:
    """The position after a field's value of this wire type. Groups, which nobody writes any more, are damage."""
    if wire == 0:
        _, pos = varint(buf, pos, end)
        return pos
    if wire == 2:
        _, pos = length(buf, pos, end)
        return pos
    if wire == 1:
        return pos + 8 if end - pos >= 8 else -1
    if wire == 5:
        return pos + 4 if end - pos >= 4 else -1
    return -1


@njit(cache=True, nogil=True, _nrt=False)
def run_end(buf: np.ndarray, pos: int, end: int, tag: int) -> int:
    """The position after all fields from pos on whose tag is this one byte, of wire type 2."""
    while pos >= 0 and pos < end and buf[pos] == tag:
        _, pos = length(buf, pos + 1, end)
    return pos


@njit(cache=True, nogil=True, _nrt=False)
def find(buf: np.ndarray, pos: int, stop: int, context: int, seed: int, memo: Memo) -> int:
    """The entry of block buf[pos:stop] in this context, -1 if it is new."""
    hashed = hash_bytes(buf, pos, stop, seed ^ (context * 0x2545F4914F6CDD1D))
    mask = len(memo.slots) - 1
    at = hashed & mask
    while memo.slots[at] >= 0:
        entry = memo.slots[at]
        row = memo.table[entry]
        if (
            row[HASH] == hashed
            and row[CONTEXT] == context
            and row[LENGTH] == stop - pos
            and same(buf, pos, stop, memo.arena, row[OFFSET], stop - pos)
        ):
            return entry
        at = (at + 1) & mask
    return -1


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def block(buf: np.ndarray, pos: int, end: int, tag: int, context: int, before: int, seed: int, memo: Memo) -> tuple:
    """(entry or -1 if it is new, position after it) of the block of fields with this tag at pos, which may be empty.

    before: the entry that came before it, whose successor is guessed; -1 none.
    """
    guess = memo.table[before, NEXT] if before >= 0 else -1
    if guess >= 0:
        row = memo.table[guess]
        stop = pos + row[LENGTH]
        if (
            row[CONTEXT] == context
            and stop <= end
            and (stop == end or buf[stop] != tag)
            and same(buf, pos, end, memo.arena, row[OFFSET], row[LENGTH])
        ):
            return guess, stop
    stop = run_end(buf, pos, end, tag)
    if stop < 0:
        return -1, -1
    entry = find(buf, pos, stop, context, seed, memo)
    if entry >= 0 and before >= 0:
        memo.table[before, NEXT] = entry
    return entry, stop


@njit(cache=True, nogil=True, _nrt=False)
def enter(memo: Memo, first: int, count: int, seed: int) -> None:
    """Hash entries first..count, and put them into the slots, which have room."""
    for entry in range(first, count):
        row = memo.table[entry]
        row[HASH] = hash_bytes(
            memo.arena, row[OFFSET], row[OFFSET] + row[LENGTH], seed ^ (row[CONTEXT] * 0x2545F4914F6CDD1D)
        )
        put(memo.slots, row[HASH], entry)
