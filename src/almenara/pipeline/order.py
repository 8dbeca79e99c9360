"""Ordering rows by (series, time), compiled: a segment's rows come in the order of senders and are stored in this one.

Rows are counted out to their series in one pass, straight into the result; only series whose rows did not come in
order of time are then sorted. Nothing else is kept in memory: at this rate pages touched for the first time cost most.
"""

from __future__ import annotations

import numpy as np

from almenara._compiled import njit

#: Runs are merged in place while that takes at most so many moves a row, and so many rows of a run at a time.
_MOVES_A_ROW, _RUN = 16, 1024


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
def _merge_runs(time, value, start, end, aside_time, aside_value):  # type: ignore[no-untyped-def]
    """Order rows [start, end) by time in place, stably, each rising run merged into those before it; whether that was
    cheap enough. If not it is given up, with all rows still there and equal ones in order.

    Rows of two senders come in short runs that have changed places: moving them back costs a move or two a row."""
    left, at = _MOVES_A_ROW * (end - start), start + 1
    while at < end:
        if time[at] >= time[at - 1]:
            at += 1
            continue
        stop = at + 1
        while stop < end and stop - at < len(aside_time) and time[stop] >= time[stop - 1]:
            stop += 1
        n = stop - at
        for k in range(n):
            aside_time[k], aside_value[k] = time[at + k], value[at + k]
        low, run, to = at - 1, n - 1, stop - 1
        while run >= 0:
            if low >= start and time[low] > aside_time[run]:
                time[to], value[to] = time[low], value[low]
                low -= 1
            else:
                time[to], value[to] = aside_time[run], aside_value[run]
                run -= 1
            to -= 1
        left -= stop - 1 - to
        at = stop
        if left < 0:
            return False
    return True


@njit(cache=True, nogil=True)
def _merge_sort(time, value, start, end):  # type: ignore[no-untyped-def]
    """Order rows [start, end) by time, stably: runs of 1, 2, 4 ... rows merged in pairs."""
    n, width = end - start, 1
    times, values = np.empty(n, np.int64), np.empty(n, np.float64)
    while width < n:
        for low in range(0, n, 2 * width):
            middle, high = min(low + width, n), min(low + 2 * width, n)
            a, b = low, middle
            for to in range(low, high):
                if b == high or (a < middle and time[start + a] <= time[start + b]):
                    at, a = start + a, a + 1
                else:
                    at, b = start + b, b + 1
                times[to], values[to] = time[at], value[at]
        for k in range(n):
            time[start + k], value[start + k] = times[k], values[k]
        width *= 2


@njit(cache=True, nogil=True)
def _mend(id, time, value):  # type: ignore[no-untyped-def]
    """Order each series' run by time in place, stably, and keep the last of equal times; returns how many rows stay."""
    n, start, kept = len(id), 0, 0
    aside_time, aside_value = np.empty(_RUN, np.int64), np.empty(_RUN, np.float64)
    while start < n:
        end = start + 1
        while end < n and id[end] == id[start]:
            end += 1
        if not _merge_runs(time, value, start, end, aside_time, aside_value):
            _merge_sort(time, value, start, end)
        for at in range(start, end):
            if at + 1 == end or time[at + 1] != time[at]:
                if kept != at:
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
