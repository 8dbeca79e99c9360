"""Ordering rows by (series, time), compiled: a segment's rows come in the order of senders and are stored in this one.

Rows are counted out to their series in one pass, straight into the result; only series whose rows did not come in
order of time are then sorted. Nothing else is kept in memory: at this rate pages touched for the first time cost most.
"""

from __future__ import annotations

import numpy as np

from almenara._compiled import njit


@njit(cache=True, nogil=True)
def _count_out(id, time, value, first, width, out_id, out_time, out_value):  # type: ignore[no-untyped-def]
    """Rows to their places by id, stably; ids lie in [first, first + width). Returns whether (id, time) rises."""
    n = len(id)
    place = np.zeros(width + 1, np.int64)
    for i in range(n):
        place[id[i] - first + 1] += 1
    for k in range(width):
        place[k + 1] += place[k]
        for at in range(place[k], place[k + 1]):
            out_id[at] = first + k
    for i in range(n):
        k = id[i] - first
        at = place[k]
        place[k] = at + 1
        out_time[at], out_value[at] = time[i], value[i]
    rises = True
    for at in range(1, n):
        rises &= out_id[at] != out_id[at - 1] or out_time[at] > out_time[at - 1]
    return rises


@njit(cache=True, nogil=True)
def _mend(id, time, value):  # type: ignore[no-untyped-def]
    """Order each series' run by time in place, stably, and keep the last of equal times; returns how many rows stay."""
    n, start, kept = len(id), 0, 0
    while start < n:
        end, in_order = start + 1, True
        while end < n and id[end] == id[start]:
            in_order &= time[end] >= time[end - 1]
            end += 1
        if not in_order:
            order = np.argsort(time[start:end], kind="mergesort")
            time[start:end], value[start:end] = time[start:end][order], value[start:end][order]
        for at in range(start, end):
            if at + 1 == end or time[at + 1] != time[at]:
                id[kept], time[kept], value[kept] = id[at], time[at], value[at]
                kept += 1
        start = end
    return kept


def sort_rows(id: np.ndarray, time: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns (int32[n], int64[n], float64[n]) ordered by (id, time); of equal (id, time) the last row stays."""
    n = len(id)
    if not n == len(time) == len(value):
        raise ValueError(f"columns differ in length: id {n}, time {len(time)}, value {len(value)}")
    if n == 0:
        return id.copy(), time.copy(), value.copy()
    first, width = int(id.min()), int(id.max()) - int(id.min()) + 1
    if width <= 8 * n + 1024:  # else zeroing a counter for each id would cost more than comparing
        out = np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.float64)
        if _count_out(id, time, value, first, width, *out):
            return out
    else:
        order = np.lexsort((time, id))
        out = id[order], time[order], value[order]
    kept = _mend(*out)
    return out[0][:kept], out[1][:kept], out[2][:kept]
