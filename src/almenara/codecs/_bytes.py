"""Comparing and hashing stretches of bytes eight at a time, for the compiled readers.

Functions here are compiled without reference counts (`_nrt=False`): the caller keeps the arrays alive for the whole
call, and counting each use of an array by an atomic instruction cost half of the reader's time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from almenara._compiled import njit


@intrinsic
def load8(typing_context: Any, buf: Any, pos: Any) -> tuple:
    """The uint64 at buf[pos:pos + 8], at any alignment; buf is uint8 and contiguous, and the caller checked the end."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(address, align=1)

    return types.uint64(buf, types.int64), generate


@njit(cache=True, nogil=True, _nrt=False)
def same(buf: np.ndarray, pos: int, end: int, other: np.ndarray, offset: int, length: int) -> bool:
    """Whether buf[pos:end] begins with other[offset:offset + length]."""
    if pos + length > end:
        return False
    if length < 8:
        equal = True
        for k in range(length):
            equal &= buf[pos + k] == other[offset + k]
        return equal
    last = length - 8
    for k in range(0, last, 8):
        if load8(buf, pos + k) != load8(other, offset + k):
            return False
    return load8(buf, pos + last) == load8(other, offset + last)


@njit(cache=True, nogil=True, _nrt=False)
def hash_bytes(buf: np.ndarray, start: int, stop: int, seed: int) -> np.int64:
    """A 64-bit hash of buf[start:stop]."""
    factor = np.uint64(0x9E3779B97F4A7C15)
    h = np.uint64(seed) ^ (np.uint64(stop - start) * factor)
    while start + 8 <= stop:
        h = (h ^ load8(buf, start)) * factor
        h ^= h >> np.uint64(29)
        start += 8
    while start < stop:
        h = (h ^ np.uint64(buf[start])) * factor
        start += 1
    return np.int64(h ^ (h >> np.uint64(32)))


@njit(cache=True, nogil=True, _nrt=False)
def put(slots: np.ndarray, hashed: int, index: int) -> None:
    """Enter `index` into an open hash table. slots: int32[power of two], -1 = empty, with room."""
    mask = len(slots) - 1
    at = hashed & mask
    while slots[at] >= 0:
        at = (at + 1) & mask
    slots[at] = index


@intrinsic
def store8(typing_context: Any, buf: Any, pos: Any, value: Any) -> tuple:
    """Put an int64 into buf[pos:pos + 8], at any alignment; buf is uint8 and contiguous, the caller checked the end."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(arguments[2], address, align=1)
        return context.get_dummy_value()

    return types.void(buf, types.int64, types.int64), generate
