"""Where `seasonal` keeps what only some series need: numbered records, lent to a kernel that takes and gives back."""

from __future__ import annotations

import numpy as np


class Places:
    """Records of one dtype, numbered from 1; 0 means none. A kernel gets `records` and a stack of free numbers, int32:
    how many there are in front, then they. Where it finds none it stops, and goes on after `grow`."""

    def __init__(self, dtype: np.dtype) -> None:
        self.records = np.zeros(1, dtype)
        self._free = np.zeros(1, np.int32)

    def lend(self, borrowers: int) -> list[np.ndarray]:
        """One stack of free numbers for each, with room for all that could come back."""
        if borrowers == 1:
            return [self._free]
        count, stacks = int(self._free[0]), []
        for k in range(borrowers):
            mine = self._free[1 + k : 1 + count : borrowers]
            stacks.append(np.zeros(len(self.records), np.int32))
            stacks[k][0] = len(mine)
            stacks[k][1 : 1 + len(mine)] = mine
        return stacks

    def take_back(self, stacks: list[np.ndarray]) -> None:
        """All that is free again, of what `lend` gave."""
        if len(stacks) > 1:
            free = np.concatenate([stack[1 : 1 + stack[0]] for stack in stacks])
            self._free[0] = len(free)
            self._free[1 : 1 + len(free)] = free

    def grow(self, least: int = 1) -> None:
        """Make room for `least` more, and for as many again as there are."""
        used = len(self.records)
        records = np.zeros(max(2 * used, used + least, 64), self.records.dtype)
        records[:used] = self.records
        free, count = np.zeros(len(records), np.int32), int(self._free[0])
        free[1 : 1 + count] = self._free[1 : 1 + count]
        self.records, self._free = records, free
        self._give(np.arange(len(records) - 1, used - 1, -1))

    def packed(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(numbers int32[n] counted anew from 1 in their order, 0 stays; the records they name, a copy)."""
        used = numbers > 0
        return np.where(used, np.cumsum(used), 0).astype(np.int32), self.records[numbers[used]]

    def put(self, old: np.ndarray, numbers: np.ndarray, records: np.ndarray) -> np.ndarray:
        """Give the places `old` back and put in `records`, which `numbers` names as `packed` does: int32[n], where."""
        self._give(old[old > 0])
        if (short := len(records) - int(self._free[0])) > 0:
            self.grow(short)
        end = 1 + int(self._free[0])
        places = self._free[end - len(records) : end].copy()
        self._free[0] -= len(records)
        self.records[places] = records
        return np.where(numbers > 0, np.r_[0, places][numbers], 0).astype(np.int32)

    def _give(self, numbers: np.ndarray) -> None:
        count = int(self._free[0])
        self._free[1 + count : 1 + count + len(numbers)] = numbers
        self._free[0] = count + len(numbers)
