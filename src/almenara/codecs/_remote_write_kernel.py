"""The compiled loop that reads a Prometheus WriteRequest; called by `almenara.codecs.remote_write`.

    WriteRequest  1 TimeSeries, 3 MetricMetadata          TimeSeries  1 Label, 2 Sample, 3 Exemplar, 4 Histogram
    Sample        1 value (double), 2 milliseconds (int64)

One call reads the whole payload. Where it meets blocks of labels that it does not know it only lists them, and Python
learns them and calls again. Trap: save this file after a change in `_protobuf` or `_bytes`.
"""

from __future__ import annotations

import numpy as np

from almenara._compiled import njit
from almenara.codecs._protobuf import MEANING, Columns, Memo, block, length, load_double, skip, varint

# Status: what the call came to.
DONE, ROWS_FULL, LIST_FULL, UNUSUAL, DAMAGED, VERSION_2 = 0, 1, 2, 3, 4, 5

# The result, int64[RESULT]: status, how much of each list is filled, where the bytes are damaged.
STATUS, ROWS, NEW, METADATA, AT = 0, 1, 2, 3, 4
RESULT = 5

# Why rows are refused. Up to BAD_LABELS the reader decides; from there on Python did, when it learned the labels.
NOT_FINITE, TIME_RANGE, EXEMPLAR, HISTOGRAM, BAD_LABELS = 1, 2, 3, 4, 5
CODES = 12

_MOST_MS = 9_223_372_036_854


@njit(cache=True, nogil=True, _nrt=False)
def _refuse(refused: np.ndarray, code: int, series: int, start: int, stop: int) -> None:
    if refused[code, 0] == 0:
        refused[code, 1], refused[code, 2], refused[code, 3] = series, start, stop
    refused[code, 0] += 1


@njit(cache=True, nogil=True, _nrt=False, inline="always")
def _sample(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(value, milliseconds, next position) of the Sample whose length stands at pos."""
    value, ms = 0.0, np.int64(0)
    if end - pos >= 11 and buf[pos + 1] == 9 and buf[pos + 10] == 16 and buf[pos] < 128 and buf[pos] <= end - pos - 1:
        stop = pos + 1 + np.int64(buf[pos])
        ms, after = varint(buf, pos + 11, stop)
        if after == stop:  # as nearly all are: 09 value 10 time
            return load_double(buf, pos + 2), ms, stop
    pos, stop = length(buf, pos, end)
    ms = np.int64(0)
    while pos >= 0 and pos < stop:
        tag, pos = varint(buf, pos, stop)
        if pos < 0:
            break
        if tag == 9 and stop - pos >= 8:
            value = load_double(buf, pos)
            pos += 8
        elif tag == 16:
            ms, pos = varint(buf, pos, stop)
        else:
            pos = skip(buf, pos, stop, tag & 7)
    return value, ms, (stop if pos == stop and stop >= 0 else -1)


@njit(cache=True, nogil=True, _nrt=False)
def _series(
    buf: np.ndarray, pos: int, end: int, number: int, entry: int, row: int, memo: Memo, out: Columns,
    refused: np.ndarray, learning: bool, labels: tuple,
) -> tuple:  # fmt: skip
    """(row, status, position) of a TimeSeries after its labels. labels: (start, stop) of them."""
    id = memo.table[entry, MEANING] if entry >= 0 else 0
    while pos < end:
        at = pos
        tag, pos = varint(buf, pos, end)
        if pos < 0:
            return row, DAMAGED, at
        if tag == 18:
            value, ms, pos = _sample(buf, pos, end)
            if pos < 0:
                return row, DAMAGED, at
            if learning:
                continue
            code = 0
            if id < 0:
                code = -id
            elif np.isinf(value):
                code = NOT_FINITE
            elif ms > _MOST_MS or ms < -_MOST_MS:
                code = TIME_RANGE
            if code:
                _refuse(refused, code, number, labels[0], labels[1])
            elif row == len(out.id):
                return row, ROWS_FULL, at
            else:
                out.id[row], out.time[row], out.value[row] = id, ms * 1_000_000, value
                row += 1
        elif tag >> 3 == 1 or tag >> 3 == 2:
            return row, UNUSUAL if tag == 10 or tag & 7 == 2 else DAMAGED, at
        else:
            if (tag == 26 or tag == 34) and not learning:
                _refuse(refused, EXEMPLAR if tag == 26 else HISTOGRAM, number, labels[0], labels[1])
            pos = skip(buf, pos, end, tag & 7)
            if pos < 0:
                return row, DAMAGED, at
    return row, DONE, pos


@njit(cache=True, nogil=True, _nrt=False)
def read(
    buf: np.ndarray, seed: int, memo: Memo, out: Columns, new: np.ndarray, metadata: np.ndarray, refused: np.ndarray,
    result: np.ndarray,
) -> None:  # fmt: skip
    """Rows of a WriteRequest into `out`, unless there are new labels.

    new, metadata: int64[k, 2], (start, stop) of blocks of labels to learn, and of MetricMetadata. refused: int64[CODES,
    4], zeroed: (rows, number of the first series, start and stop of its labels). result: int64[RESULT].
    """
    end, pos, row, number, before = len(buf), 0, 0, 0, -1
    result[:] = 0
    while pos < end:
        at = pos
        tag, pos = varint(buf, pos, end)
        status, start, stop = DONE, -1, -1
        if pos >= 0 and tag & 7 == 2:
            start, stop = length(buf, pos, end)
            pos = stop
        elif pos >= 0:
            pos = skip(buf, pos, end, tag & 7)
        if pos < 0:
            status = DAMAGED
        elif tag == 10:
            number += 1
            entry, first = block(buf, start, stop, 10, 0, before, seed, memo)
            if first < 0:
                status = DAMAGED
            else:
                if entry < 0:
                    if result[NEW] == len(new):
                        status = LIST_FULL
                    else:
                        new[result[NEW], 0], new[result[NEW], 1] = start, first
                        result[NEW] += 1
                if status == DONE:
                    row, status, at = _series(
                        buf, first, stop, number, entry, row, memo, out, refused, result[NEW] > 0, (start, first)
                    )
                before = entry
        elif tag == 26:
            if result[METADATA] == len(metadata):
                status = LIST_FULL
            else:
                metadata[result[METADATA], 0], metadata[result[METADATA], 1] = start, stop
                result[METADATA] += 1
        elif tag == 34 or tag == 42:
            status = VERSION_2
        if status != DONE:
            result[STATUS], result[AT] = status, at
            break
    result[ROWS] = row
