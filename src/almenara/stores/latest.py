"""The last row of every series, in arrays by id: written by the store's writer, read by all its readers."""

from __future__ import annotations

from threading import Lock

import numpy as np
from numpy.typing import NDArray

from almenara.stores.rows import Rows, last_of_each

_FIELDS = (("time", np.int64), ("value", np.float64), ("seq", np.int64), ("known", np.bool_))


class Latest:
    """time, value and seq of the last row of each id; of two at one time the one with the higher seq."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray] = {name: np.zeros(0, kind) for name, kind in _FIELDS}
        self._used = 0
        self._lock = Lock()

    def __len__(self) -> int:
        """One more than the highest id that was ever seen."""
        return self._used

    def update(self, id: NDArray, time: NDArray, value: NDArray, seq: NDArray | int) -> None:
        """Learn from rows sorted by (id, time), each once."""
        if not len(id):
            return
        ends = last_of_each(id)
        id, time, value = id[ends], time[ends], value[ends]
        seq = np.broadcast_to(np.asarray(seq, np.int64), ends.shape) if np.ndim(seq) == 0 else np.asarray(seq)[ends]
        with self._lock:
            self._grow(int(id[-1]) + 1)
            a = self._arrays
            same = (time == a["time"][id]) & (seq >= a["seq"][id])
            newer = ~a["known"][id] | (time > a["time"][id]) | same
            self._put(id[newer], time[newer], value[newer], seq[newer])

    def replace(self, id: NDArray, rows: Rows) -> None:
        """What these ids have now that rows were deleted: `rows`, or nothing."""
        with self._lock:
            self._arrays["known"][id] = False
            # The deleted row's seq is not kept: whatever comes next at the same time is newer.
            self._put(*rows, np.full(len(rows[0]), -1, np.int64))

    def get(self, id: NDArray[np.int32]) -> Rows:
        """The last rows of those of these ids (sorted) that have one."""
        with self._lock:
            id = id[(id >= 0) & (id < self._used)]
            id = id[self._arrays["known"][id]]
            return id, self._arrays["time"][id], self._arrays["value"][id]

    def between(self, start: int, end: int) -> NDArray[np.int32]:
        """The ids whose last row is in [start, end)."""
        with self._lock:
            a = {name: array[: self._used] for name, array in self._arrays.items()}
            return np.flatnonzero(a["known"] & (a["time"] >= start) & (a["time"] < end)).astype(np.int32)

    def save(self) -> dict[str, NDArray]:
        """Copies of the arrays."""
        with self._lock:
            return {name: array[: self._used].copy() for name, array in self._arrays.items()}

    def load(self, arrays: dict[str, NDArray]) -> None:
        """Go on from what `save` gave."""
        with self._lock:
            self._arrays = {name: arrays[name].astype(kind) for name, kind in _FIELDS}
            self._used = len(self._arrays["time"])

    def _grow(self, used: int) -> None:
        room = len(self._arrays["time"])
        if used > room:
            more = max(used, 2 * room) - room
            for name, kind in _FIELDS:
                self._arrays[name] = np.concatenate([self._arrays[name], np.zeros(more, kind)])
        self._used = max(self._used, used)

    def _put(self, id: NDArray, time: NDArray, value: NDArray, seq: NDArray) -> None:
        for name, values in (("time", time), ("value", value), ("seq", seq), ("known", True)):
            self._arrays[name][id] = values
