"""The compiled loop that reads OTLP metrics; called by `almenara.codecs.otlp`.

    Request 1 ResourceMetrics: 1 Resource, 2 ScopeMetrics: 1 Scope, 2 Metric: 1 name, 2 description, 3 unit, and one of
        5 Gauge, 7 Sum, 9 Histogram, 10 ExponentialHistogram, 11 Summary: 1 data points, 2 temporality, 3 monotonic

Resource, scope, the head of a metric and the attributes of a point are blocks in a memo, each in the context of the one
above it. One call reads the whole payload; where it meets blocks that it does not know it only lists them, and Python
learns them and calls again. Standard: https://opentelemetry.io/docs/specs/otlp/. Trap: save this file after a change in
`_otlp_points`, `_protobuf` or `_bytes`.
"""

from __future__ import annotations

import numpy as np

from almenara._compiled import njit
from almenara.codecs._otlp_points import (
    AT,
    DAMAGED,
    DONE,
    KINDS,
    LIST_FULL,
    METRIC,
    METRICS,
    RESOURCE,
    SCOPE,
    STATUS,
    UNUSUAL,
    Work,
    add_new,
    points,
)
from almenara.codecs._protobuf import Memo, find, length, skip, varint

# Tag of the data of a metric -> kind.
GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = KINDS


@njit(cache=True, nogil=True, _nrt=False)
def _kind_of(tag: int) -> int:
    if tag == 42:
        return GAUGE
    if tag == 58:
        return SUM
    if tag == 74:
        return HISTOGRAM
    if tag == 82:
        return EXPONENTIAL
    if tag == 90:
        return SUMMARY
    return -1


@njit(cache=True, nogil=True, _nrt=False)
def _flavour(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(temporality 0..2, monotonic 0..1) of the data of a metric, which stand behind its points."""
    temporality, monotonic = 0, 0
    while pos >= 0 and pos < end:
        tag, pos = varint(buf, pos, end)
        if pos < 0:
            break
        if tag == 16:
            value, pos = varint(buf, pos, end)
            temporality = value if 0 <= value <= 2 else 0
        elif tag == 24:
            value, pos = varint(buf, pos, end)
            monotonic = 1 if value != 0 else 0
        else:
            pos = skip(buf, pos, end, tag & 7)
    return temporality, monotonic


@njit(cache=True, nogil=True, _nrt=False)
def _metric(w: Work, memo: Memo, pos: int, end: int, scope: int, seed: int, received: int) -> int:
    """Status of reading a Metric."""
    buf, head = w.buf, pos
    while pos >= 0 and pos < end and (buf[pos] == 10 or buf[pos] == 18 or buf[pos] == 26):
        pos = skip(buf, pos + 1, end, 2)
    head_end = pos
    while pos >= 0 and pos < end:
        tag, pos = varint(buf, pos, end)
        if pos < 0:
            break
        kind = _kind_of(tag)
        if 1 <= tag >> 3 <= 3:
            return UNUSUAL
        if kind < 0:
            pos = skip(buf, pos, end, tag & 7)
            continue
        first, pos = length(buf, pos, end)
        if pos < 0:
            break
        temporality, monotonic = _flavour(buf, first, pos)
        context = scope * 64 + METRIC + kind * 6 + temporality * 2 + monotonic
        entry = find(buf, head, head_end, context, seed, memo)
        if entry < 0:
            status = add_new(w, context, head, head_end)
        else:
            if w.result[METRICS] == len(w.metrics):
                return LIST_FULL
            w.metrics[w.result[METRICS]] = entry
            w.result[METRICS] += 1
            status = points(w, memo, first, pos, kind, entry, seed, received, head, head_end)
        if status != DONE:
            return status
    return DONE if pos >= 0 else DAMAGED


@njit(cache=True, nogil=True, _nrt=False)
def _head_of(buf: np.ndarray, pos: int, end: int) -> tuple:
    """(start, stop, position after it) of the first field where it is a message numbered 1; empty without one."""
    if pos < end and buf[pos] == 10:
        start, stop = length(buf, pos + 1, end)
        return start, stop, stop
    return pos, pos, pos


@njit(cache=True, nogil=True, _nrt=False)
def _scope(w: Work, memo: Memo, pos: int, end: int, resource: int, seed: int, received: int) -> int:
    """Status of reading a ScopeMetrics."""
    start, stop, pos = _head_of(w.buf, pos, end)
    if pos < 0:
        return DAMAGED
    entry = find(w.buf, start, stop, resource * 64 + SCOPE, seed, memo)
    if entry < 0:
        return add_new(w, resource * 64 + SCOPE, start, stop)
    while pos < end:
        tag, pos = varint(w.buf, pos, end)
        if pos < 0:
            return DAMAGED
        if tag == 18:
            first, pos = length(w.buf, pos, end)
            status = _metric(w, memo, first, pos, entry, seed, received) if pos >= 0 else DAMAGED
            if status != DONE:
                return status
        else:
            pos = skip(w.buf, pos, end, tag & 7) if tag >> 3 != 1 else -2
        if pos < 0:
            return DAMAGED if pos == -1 else UNUSUAL
    return DONE


@njit(cache=True, nogil=True, _nrt=False)
def _resource(w: Work, memo: Memo, pos: int, end: int, seed: int, received: int) -> int:
    """Status of reading a ResourceMetrics."""
    start, stop, pos = _head_of(w.buf, pos, end)
    if pos < 0:
        return DAMAGED
    entry = find(w.buf, start, stop, RESOURCE, seed, memo)
    if entry < 0:
        return add_new(w, RESOURCE, start, stop)
    while pos < end:
        tag, pos = varint(w.buf, pos, end)
        if pos < 0:
            return DAMAGED
        if tag == 18:
            first, pos = length(w.buf, pos, end)
            status = _scope(w, memo, first, pos, entry, seed, received) if pos >= 0 else DAMAGED
            if status != DONE:
                return status
        else:
            pos = skip(w.buf, pos, end, tag & 7) if tag >> 3 != 1 else -2
        if pos < 0:
            return DAMAGED if pos == -1 else UNUSUAL
    return DONE


@njit(cache=True, nogil=True, _nrt=False)
def read(w: Work, memo: Memo, seed: int, received: int) -> None:
    """Rows of an ExportMetricsServiceRequest into w.out, unless there is something new; see `Work`.

    received: the time of points that carry none, ns.
    """
    end, pos = len(w.buf), 0
    w.result[:] = 0
    while pos < end:
        at = pos
        tag, pos = varint(w.buf, pos, end)
        status = DONE
        if pos >= 0 and tag == 10:
            first, pos = length(w.buf, pos, end)
            status = _resource(w, memo, first, pos, seed, received) if pos >= 0 else DAMAGED
        elif pos >= 0:
            pos = skip(w.buf, pos, end, tag & 7)
        if pos < 0:
            status = DAMAGED
        if status != DONE:
            w.result[STATUS], w.result[AT] = status, at
            return
