"""Byte strings to dense numbers 0, 1, 2...: an open-addressing hash table over one arena, compiled, compared by bytes.

A million keys of 100 bytes take about 140 MB. One thread adds; others may look up what was there when they began.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Sequence

import numpy as np

from almenara._compiled import njit

EMPTY = np.int32(-1)


@njit(cache=True, nogil=True, inline="always")
def _hash(data, start, end, seed):  # type: ignore[no-untyped-def]
    # FNV-1a, closed by the finalizer of MurmurHash3 so that the low bits are good enough for a power-of-two table.
    h = np.uint64(seed)
    for at in range(start, end):
        h = (h ^ np.uint64(data[at])) * np.uint64(0x100000001B3)
    h ^= h >> np.uint64(33)
    h *= np.uint64(0xFF51AFD7ED558CCD)
    h ^= h >> np.uint64(33)
    return h


@njit(cache=True, nogil=True)
def _find(slots, hashes, arena, ends, count, text, text_ends, seed, add, found):  # type: ignore[no-untyped-def]
    """Number of each text into `found`, -1 where it is unknown; with `add` unknown ones get the next number."""
    mask = np.uint64(len(slots) - 1)
    start = 0
    for i in range(len(text_ends)):
        end = text_ends[i]
        h = _hash(text, start, end, seed)
        slot = h & mask
        number = EMPTY
        while True:
            number = slots[slot]
            if number == EMPTY:
                break
            if hashes[number] == h:
                there = ends[number - 1] if number > 0 else 0
                same = ends[number] - there == end - start
                for k in range(end - start if same else 0):
                    if arena[there + k] != text[start + k]:
                        same = False
                        break
                if same:
                    break
            slot = (slot + np.uint64(1)) & mask
        if number == EMPTY and add:
            number = np.int32(count)
            slots[slot] = number
            hashes[number] = h
            there = ends[number - 1] if number > 0 else 0
            for k in range(end - start):
                arena[there + k] = text[start + k]
            ends[number] = there + end - start
            count += 1
        found[i] = number
        start = end
    return count


@njit(cache=True, nogil=True)
def _refill(slots, hashes, count):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(slots) - 1)
    for number in range(count):
        slot = hashes[number] & mask
        while slots[slot] != EMPTY:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = number


def join(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Texts laid end to end: uint8[sum of lengths], and int64[n] where each ends."""
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)), dtype=np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), ends


class KeyTable:
    """Byte strings numbered in the order in which they were first added."""

    def __init__(self) -> None:
        self._count = 0
        # A random seed, so that nobody outside can choose keys that all collide.
        self._seed = np.uint64(secrets.randbits(64))
        self._slots = np.full(1024, EMPTY, np.int32)
        self._hashes = np.empty(512, np.uint64)
        self._ends = np.empty(512, np.int64)
        self._arena = np.empty(16_384, np.uint8)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> bytes:
        if not 0 <= number < self._count:
            raise IndexError(f"no key {number}; there are {self._count}")
        start = self._ends[number - 1] if number else 0
        return self._arena[start : self._ends[number]].tobytes()

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._slots.nbytes + self._hashes.nbytes + self._ends.nbytes + self._arena.nbytes

    def checksum(self, n: int) -> int | None:
        """A checksum of the first n texts; None where there are fewer."""
        if n > self._count:
            return None
        ends = self._ends[:n]
        return zlib.crc32(self._arena[: int(ends[-1]) if n else 0].data, zlib.crc32(ends.tobytes()))

    def find(self, texts: Sequence[bytes]) -> np.ndarray:
        """int32[n]: the number of each text, -1 where it was never added. Safe beside the thread that adds."""
        return self._run(*join(texts), add=False)[0]

    def add(self, texts: Sequence[bytes]) -> np.ndarray:
        """int32[n]: the number of each text, given now where it is new."""
        return self.add_joined(*join(texts))

    def add_joined(self, text: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """As `add`, of texts laid end to end: uint8[bytes], int64[n] where each ends."""
        self._make_room(len(ends), len(text))
        found, self._count = self._run(text, ends, add=True)
        return found

    def _run(self, text: np.ndarray, ends: np.ndarray, *, add: bool) -> tuple[np.ndarray, int]:
        found = np.empty(len(ends), np.int32)
        # Slots are read first: whoever grows the table replaces them last, so they never point past the other arrays.
        slots = self._slots
        count = _find(
            slots, self._hashes, self._arena, self._ends, self._count, text, ends, self._seed, add, found
        )  # fmt: skip
        return found, count

    def _make_room(self, keys: int, size: int) -> None:
        """Room for so many more keys and bytes. Arrays are replaced, not resized: readers may hold the old ones."""
        used = int(self._ends[self._count - 1]) if self._count else 0
        if used + size > len(self._arena):
            self._arena = _grown(self._arena, used, used + size)
        need = self._count + keys
        if need > len(self._ends):
            self._ends = _grown(self._ends, self._count, need)
            self._hashes = _grown(self._hashes, self._count, need)
        if 2 * need > len(self._slots):
            slots = np.full(1 << (2 * need - 1).bit_length(), EMPTY, np.int32)
            _refill(slots, self._hashes, self._count)
            self._slots = slots


def _grown(array: np.ndarray, used: int, need: int) -> np.ndarray:
    new = np.empty(max(need, len(array) + len(array) // 2), array.dtype)
    new[:used] = array[:used]
    return new
