"""Data points of OTLP metrics to rows, compiled; called by `almenara.codecs._otlp_kernel` for each metric.

Fields are told by their tag, number << 3 | wire type, as the comments at each reader say. Trap: save `_otlp_kernel`
after a change here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from almenara._compiled import njit
from almenara.codecs._bytes import load8
from almenara.codecs._protobuf import MEANING, Columns, Memo, block, find, length, load_double, skip, varint

# Levels of a context, which is entry above * 64 + level. A metric's level also tells its kind and flavour:
# METRIC + kind * 6 + temporality * 2 + monotonic.
RESOURCE, SCOPE, POINT, BOUNDS, QUANTILE, METRIC = 1, 2, 3, 4, 5, 8
KINDS = GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = 0, 1, 2, 3, 4

# Status: what a call came to.
DONE, ROWS_FULL, LIST_FULL, UNUSUAL, DAMAGED = 0, 1, 2, 3, 4
# The result, int64[RESULT]: status, how much of each list is filled, points seen, where the bytes are damaged.
STATUS, ROWS, NEW, METRICS, AT = 0, 1, 2, 3, 4
RESULT = 5

# Why points are refused; from BAD_LABELS on Python said so, when it learned a block.
NOT_FINITE, TIME_RANGE, EXEMPLAR, NO_VALUE, BAD_BUCKETS, BUCKETS, DELTA, BAD_LABELS = 1, 2, 3, 4, 5, 6, 7, 8
CODES = 16

_NO_VALUE_FLAG = 1  # DataPointFlags: the point says that there is no value


class Work(NamedTuple):
    """One call's arrays.

    buf: uint8[n]. ids: int32, series ids of points that give several rows, at MEANING of their block on. new: int64[k,
    3], (context, start, stop) of blocks to learn. metrics: int64[k], entries of the metrics seen. refused: int64[CODES,
    3], zeroed: (points, start and stop of the head of the first one's metric). result: int64[RESULT].
    """

    buf: np.ndarray
    ids: np.ndarray
    out: Columns
    new: np.ndarray
    metrics: np.ndarray
    refused: np.ndarray
    result: np.ndarray


@njit(cache=True, nogil=True, _nrt=False)
def add_new(w: Work, context: int, start: int, stop: int) -> int:
    """List a block that is not known. Status."""
    at = w.result[NEW]
    if at == len(w.new):
        return LIST_FULL
    w.new[at, 0], w.new[at, 1], w.new[at, 2] = context, start, stop
    w.result[NEW] += 1
    return DONE


@njit(cache=True, nogil=True, _nrt=False)
def refuse(w: Work, code: int, head: int, head_end: int) -> int:
    """Count a point that is left out. DONE."""
    if w.refused[code, 0] == 0:
        w.refused[code, 1], w.refused[code, 2] = head, head_end
    w.refused[code, 0] += 1
    return DONE


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def _put(w: Work, id: int, time: int, value: float, head: int, head_end: int) -> None:
    """A row; the caller saw to the room. id: negative = -code."""
    if id < 0 or np.isinf(value):
        refuse(w, -id if id < 0 else NOT_FINITE, head, head_end)
        return
    row = w.result[ROWS]
    w.out.id[row], w.out.time[row], w.out.value[row] = id, time, value
    w.result[ROWS] = row + 1


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def _time_of(raw: np.uint64, received: int) -> np.int64:
    """The time in ns; -1 where it is past 64 bits with a sign."""
    time = np.int64(raw)
    return np.int64(received) if time == 0 else time if time > 0 else np.int64(-1)


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def _attributes(w: Work, memo: Memo, pos: int, end: int, tag: int, metric: int, before: int, seed: int) -> tuple:
    """(status, entry, position after it) of the block of attributes at pos; a new one is listed, its entry is -1."""
    entry, stop = block(w.buf, pos, end, tag, metric * 64 + POINT, before, seed, memo)
    if stop < 0:
        return DAMAGED, -1, -1
    if entry < 0:
        return add_new(w, metric * 64 + POINT, pos, stop), -1, stop
    return DONE, entry, stop


@njit(cache=True, nogil=True, _nrt=False)
def _number(
    w: Work, memo: Memo, pos: int, end: int, metric: int, before: int, seed: int, received: int, head: int,
    head_end: int,
) -> tuple:  # fmt: skip
    """(status, entry) of a NumberDataPoint: 25 time, 33 double, 42 exemplar, 49 int, 58 attributes, 64 flags."""
    buf, value, has, flags, entry, status = w.buf, 0.0, False, np.int64(0), -2, DONE
    time, exemplars = np.int64(received), 0
    while pos < end:
        at, tag = pos, np.int64(buf[pos])
        pos += 1
        if tag == 25 and end - pos >= 8:
            time = _time_of(load8(buf, pos), received)
            pos += 8
        elif tag == 33 and end - pos >= 8:
            value, has = load_double(buf, pos), True
            pos += 8
        elif tag == 49 and end - pos >= 8:
            value, has = np.float64(np.int64(load8(buf, pos))), True
            pos += 8
        elif tag == 58:
            if entry != -2:
                return UNUSUAL, -1
            status, entry, pos = _attributes(w, memo, at, end, 58, metric, before, seed)
            if status != DONE:
                return status, -1
        elif tag == 64:
            flags, pos = varint(buf, pos, end)
        else:
            tag, pos = varint(buf, at, end)
            if tag == 58:
                return UNUSUAL, -1
            exemplars += tag == 42
            pos = skip(buf, pos, end, tag & 7) if pos >= 0 else -1
        if pos < 0:
            return DAMAGED, -1
    if entry == -2:
        status, entry, _ = _attributes(w, memo, end, end, 58, metric, before, seed)
    if status != DONE or entry < 0 or w.result[NEW] > 0:
        return status, entry
    for _ in range(exemplars):
        refuse(w, EXEMPLAR, head, head_end)
    if flags & _NO_VALUE_FLAG:
        value, has = np.nan, True
    if w.result[ROWS] == len(w.out.id):
        return ROWS_FULL, -1
    if not has or time < 0:
        refuse(w, TIME_RANGE if time < 0 else NO_VALUE, head, head_end)
    else:
        _put(w, memo.table[entry, MEANING], time, value, head, head_end)
    return DONE, entry


@njit(cache=True, nogil=True, _nrt=False)
def _distribution(
    w: Work, memo: Memo, pos: int, end: int, kind: int, metric: int, before: int, seed: int, received: int, head: int,
    head_end: int,
) -> tuple:  # fmt: skip
    """(status, entry) of another point: 17 start, 25 time, 33 count, 41 sum; and attributes, buckets or quantiles.

    Histogram: 50 counts, 58 bounds, 66 exemplar, 74 attributes, 80 flags. Summary: 50 quantile, 58 attributes, 64
    flags. Exponential: 10 attributes, 80 flags, 90 exemplar.
    """
    buf, count, total, has_sum, flags, entry = w.buf, 0.0, 0.0, kind == SUMMARY, np.int64(0), -2
    time, exemplars, status, counts, counts_end, bounds, bounds_end = np.int64(received), 0, DONE, 0, 0, end, end
    tag_of = 74 if kind == HISTOGRAM else 58 if kind == SUMMARY else 10
    first = pos
    while pos < end:
        at = pos
        tag, pos = varint(buf, pos, end)
        if pos < 0:
            return DAMAGED, -1
        if tag == tag_of:
            if entry != -2 or buf[at] != tag_of:
                return UNUSUAL, -1
            status, entry, pos = _attributes(w, memo, at, end, tag_of, metric, before, seed)
            if status != DONE:
                return status, -1
        elif (tag == 25 or tag == 33 or tag == 41) and end - pos >= 8:
            if tag == 25:
                time = _time_of(load8(buf, pos), received)
            elif tag == 33:
                count = np.float64(load8(buf, pos))
            else:
                total, has_sum = load_double(buf, pos), True
            pos += 8
        elif kind == HISTOGRAM and (tag == 50 or tag == 58):
            start, pos = length(buf, pos, end)
            if (tag == 50 and counts_end > 0) or (tag == 58 and bounds < end):
                return UNUSUAL, -1
            if tag == 50:
                counts, counts_end = start, pos
            else:
                bounds, bounds_end = start, pos
        elif kind == HISTOGRAM and (tag == 49 or tag == 57):
            return UNUSUAL, -1
        elif tag == (64 if kind == SUMMARY else 80):
            flags, pos = varint(buf, pos, end)
        else:
            exemplars += tag == (66 if kind == HISTOGRAM else 90)
            pos = skip(buf, pos, end, tag & 7)
        if pos < 0:
            return DAMAGED, -1
    if entry == -2:
        status, entry, _ = _attributes(w, memo, end, end, tag_of, metric, before, seed)
    if status != DONE or entry < 0:
        return status, entry
    if flags & _NO_VALUE_FLAG:
        count = total = np.nan
    for _ in range(exemplars if w.result[NEW] == 0 else 0):
        refuse(w, EXEMPLAR, head, head_end)
    if time < 0:
        return refuse(w, TIME_RANGE, head, head_end), entry
    if kind == HISTOGRAM:
        spans = (counts, counts_end, bounds, bounds_end)
        return _buckets(w, memo, entry, spans, time, count, total, has_sum, seed, head, head_end), entry
    if kind == SUMMARY:
        status = _quantiles(w, memo, entry, first, end, time, count != count, seed, head, head_end)
    elif w.result[NEW] == 0:
        refuse(w, BUCKETS, head, head_end)
    if status == DONE:
        status = _totals(w, memo.table[entry, MEANING], time, count, total, has_sum, head, head_end)
    return status, entry


@njit(cache=True, nogil=True, _nrt=False)
def _totals(w: Work, at: int, time: int, count: float, total: float, has_sum: bool, head: int, head_end: int) -> int:
    """Status of the rows of count and sum, whose ids stand at `at`; negative = -code."""
    if w.result[NEW] > 0:
        return DONE
    if at < 0:
        return refuse(w, -at, head, head_end)
    if len(w.out.id) - w.result[ROWS] < 2:
        return ROWS_FULL
    _put(w, w.ids[at], time, count, head, head_end)
    if has_sum:
        _put(w, w.ids[at + 1], time, total, head, head_end)
    return DONE


@njit(cache=True, nogil=True, _nrt=False)
def _buckets(
    w: Work, memo: Memo, entry: int, spans: tuple, time: int, count: float, total: float, has_sum: bool, seed: int,
    head: int, head_end: int,
) -> int:  # fmt: skip
    """Status of the rows of a histogram: cumulative buckets, the one of +Inf, count and sum."""
    counts, counts_end, bounds, bounds_end = spans
    n = (bounds_end - bounds) // 8
    if (bounds_end - bounds) % 8 or (counts_end - counts != 8 * (n + 1) and (counts_end > counts or n > 0)):
        return refuse(w, BAD_BUCKETS, head, head_end)
    which = find(w.buf, bounds, bounds_end, entry * 64 + BOUNDS, seed, memo)
    if which < 0:
        return add_new(w, entry * 64 + BOUNDS, bounds, bounds_end)
    if w.result[NEW] > 0:
        return DONE
    at = memo.table[which, MEANING]
    if at < 0:
        return refuse(w, -at, head, head_end)
    if len(w.out.id) - w.result[ROWS] < n + 1:
        return ROWS_FULL
    below = count * 0.0  # NaN where the point says that it has no value
    for k in range(n):
        below += np.float64(load8(w.buf, counts + 8 * k))
        _put(w, w.ids[at + k], time, below, head, head_end)
    _put(w, w.ids[at + n], time, count, head, head_end)
    return _totals(w, at + n + 1, time, count, total, has_sum, head, head_end)


@njit(cache=True, nogil=True, _nrt=False)
def _quantiles(
    w: Work, memo: Memo, entry: int, pos: int, end: int, time: int, missing: bool, seed: int, head: int, head_end: int
) -> int:
    """Status of the rows of a summary's ValueAtQuantile, 9 quantile, 17 value; the fields were walked before."""
    buf = w.buf
    while pos < end:
        tag, pos = varint(buf, pos, end)
        if tag != 50:
            pos = skip(buf, pos, end, tag & 7)
            continue
        pos, stop = length(buf, pos, end)
        value, start, start_end = 0.0, stop, stop
        while pos >= 0 and pos < stop:
            tag, pos = varint(buf, pos, stop)
            if (tag == 9 or tag == 17) and pos >= 0 and stop - pos >= 8:
                if tag == 9:
                    start, start_end = pos, pos + 8
                else:
                    value = load_double(buf, pos)
                pos += 8
            else:
                pos = skip(buf, pos, stop, tag & 7) if pos >= 0 else -1
        if pos < 0:
            return DAMAGED
        which = find(buf, start, start_end, entry * 64 + QUANTILE, seed, memo)
        if which < 0:
            if add_new(w, entry * 64 + QUANTILE, start, start_end) != DONE:
                return LIST_FULL
        elif w.result[NEW] == 0:
            if w.result[ROWS] == len(w.out.id):
                return ROWS_FULL
            _put(w, memo.table[which, MEANING], time, np.nan if missing else value, head, head_end)
    return DONE


@njit(cache=True, nogil=True, _nrt=False)
def points(
    w: Work, memo: Memo, pos: int, end: int, kind: int, metric: int, seed: int, received: int, head: int, head_end: int
) -> int:
    """Status of reading all points of a metric's data in buf[pos:end]. metric: its entry; head: its name and unit."""
    refused, before = memo.table[metric, MEANING], metric
    while pos < end:
        tag, pos = varint(w.buf, pos, end)
        if pos < 0:
            return DAMAGED
        if tag != 10:
            pos = skip(w.buf, pos, end, tag & 7)
            if pos < 0:
                return DAMAGED
            continue
        first, pos = length(w.buf, pos, end)
        if pos < 0:
            return DAMAGED
        status = DONE
        if refused < 0:
            refuse(w, -refused, head, head_end)
        elif kind <= SUM:
            status, before = _number(w, memo, first, pos, metric, before, seed, received, head, head_end)
        else:
            status, before = _distribution(w, memo, first, pos, kind, metric, before, seed, received, head, head_end)
        if status != DONE:
            return status
    return DONE
