"""Drives the compiled reader of OTLP over a payload: room for rows, new blocks and what they mean, rejections."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from almenara.codecs import _labels as labels_of
from almenara.codecs import _otlp_kernel as kernel
from almenara.codecs import _otlp_points as point
from almenara.codecs import _wire as wire
from almenara.codecs._blocks import Blocks, columns
from almenara.codecs._bounds import check_new
from almenara.codecs._labels import BadLabels, key_of, utf8
from almenara.codecs._otlp_names import labels_of as labels_of_attributes
from almenara.codecs._otlp_names import prometheus_name, prometheus_unit
from almenara.codecs._otlp_values import attributes, number_text
from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import Metadata, SeriesTable, encode_key

_POINTS = wire.Shape(messages={1: wire.Shape()})
_HISTOGRAM = wire.Shape(messages={1: wire.Shape(packed=frozenset({6, 7}))})
_METRIC = wire.Shape(
    messages={5: _POINTS, 7: _POINTS, 9: _HISTOGRAM, 10: _POINTS, 11: _POINTS}, once=frozenset({5, 7, 9, 10, 11})
)
_SCOPE = wire.Shape(messages={1: wire.Shape(), 2: _METRIC}, once=frozenset({1}))
_RESOURCE = wire.Shape(messages={1: wire.Shape(), 2: _SCOPE}, once=frozenset({1}))
_REQUEST = wire.Shape(messages={1: _RESOURCE})

_CUMULATIVE = 2
_REASON = {
    point.NOT_FINITE: ("not_finite", "an infinite value"),
    point.TIME_RANGE: ("time_out_of_range", "expected ns within 63 bits"),
    point.EXEMPLAR: ("exemplar", "exemplars are not kept"),
    point.NO_VALUE: ("no_value", "a point without a value"),
    point.BAD_BUCKETS: ("bad_buckets", "expected one count more than bounds"),
    point.BUCKETS: ("exponential_histogram", "count and sum are kept, buckets are not; use explicit bounds"),
    point.DELTA: (
        "delta_temporality",
        "expected cumulative (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative)",
    ),
}
_MAX_HELP = 1000
#: Blocks that are learned in one pass: the same one may stand in a payload millions of times.
_AT_ONCE = 1 << 16
_DOUBLE = struct.Struct("<d")


@dataclass(slots=True)
class _Metric:
    """What the head of a metric and all above it mean."""

    name: str
    kind: int
    labels: dict[str, str]
    metadata: dict[bytes, Metadata] = field(default_factory=dict)


@dataclass(slots=True)
class _Point:
    """The name and labels of a point that gives several series."""

    name: str
    labels: dict[str, str]


class Reader:
    """Reads one payload after the other; what it remembers of blocks is in `_blocks`, their meaning in `_meaning`."""

    def __init__(self, resource_labels: Sequence[str], scope_labels: bool, max_series: int, max_bytes: int):
        self._resource_labels, self._scope_labels = frozenset(resource_labels), scope_labels
        self._limits = max_series, max_bytes
        self._rows_per_byte = 0.0  # of the last payload: how much room the next one will want
        self._forget()

    def _forget(self) -> None:
        self._blocks, self._table, self._key_bytes = Blocks(), SeriesTable(), 0
        self._meaning: dict[int, dict[str, str] | _Metric | _Point] = {}
        self._ids, self._ids_used = np.empty(256, np.int32), 0
        self._seen, self._said = b"", dict[bytes, Metadata]()  # metrics of the last payload, and their metadata

    def read(self, payload: bytes, received_ns: int) -> Decoded:
        """All rows of an ExportMetricsServiceRequest."""
        if self._blocks.count > self._limits[0] or self._blocks.bytes + self._key_bytes > self._limits[1]:
            self._forget()
        try:
            try:
                return self._read(payload, received_ns)
            except _Unusual:
                return self._read(wire.canonical(payload, _REQUEST), received_ns)
        except (wire.Damaged, _Unusual) as error:
            raise DecodeError(f"no OTLP metrics: {error}") from error

    def _read(self, payload: bytes, received_ns: int) -> Decoded:
        buf, result = np.frombuffer(payload, np.uint8), np.zeros(point.RESULT, np.int64)
        out = columns(int(len(buf) * self._rows_per_byte * 1.1) + 1024)
        new, metrics = np.empty((1024, 3), np.int64), np.empty(256, np.int64)
        known = self._blocks.count
        while True:
            refused = np.zeros((point.CODES, 3), np.int64)
            work = point.Work(buf, self._ids, out, new, metrics, refused, result)
            kernel.read(work, self._blocks.memo, self._blocks.seed, received_ns)
            status, rows, unknown, seen, at = result.tolist()
            if status == point.ROWS_FULL:
                out = columns(2 * len(out.id))
            elif status == point.LIST_FULL and unknown < _AT_ONCE:
                new, metrics = np.empty((2 * len(new), 3), np.int64), np.empty(2 * len(metrics), np.int64)
            elif status == point.UNUSUAL:
                raise _Unusual(f"fields of a wrong type at byte {at}")
            elif status == point.DAMAGED:
                raise DecodeError(f"no OTLP metrics: damaged at byte {at} of {len(payload)}")
            elif unknown:  # each pass goes one level deeper: resource, scope, metric, point, buckets
                self._learn(payload, new[:unknown].tolist())
                check_new(self._blocks.count - known)
            else:
                break
        self._rows_per_byte = rows / max(len(payload), 1)
        batch = Batch(self._table, *(column[:rows] for column in out))
        return Decoded(batch, rejected=_rejections(payload, refused), metadata=self._told(metrics[:seen]))

    def _told(self, metrics: np.ndarray) -> dict[bytes, Metadata]:
        """Metadata of the metrics seen, by key; a key without labels stands for all series of that name."""
        if len(metrics) > _AT_ONCE:
            metrics = np.unique(metrics)
        if (seen := metrics.tobytes()) != self._seen:  # senders send the same metrics again and again
            found: dict[bytes, Metadata] = {}
            for entry in dict.fromkeys(metrics.tolist()):
                metric = self._meaning.get(entry)
                if isinstance(metric, _Metric):
                    found |= metric.metadata
            self._seen, self._said = seen, found
        return self._said

    # --- learning

    def _learn(self, payload: bytes, new: list[list[int]]) -> None:
        """Take in blocks that were never seen."""
        entries: dict[tuple[int, bytes], tuple[int, bytes, int]] = {}
        for context, start, stop in new:
            block = payload[start:stop]
            if (context, block) not in entries:
                number = self._blocks.count + len(entries)
                try:
                    meaning = self._mean(number, context >> 6, context & 63, block)
                except BadLabels as bad:
                    meaning = -(point.BAD_LABELS + bad.code)
                except wire.Damaged:
                    meaning = -(point.BAD_LABELS + labels_of.DAMAGED)
                entries[context, block] = (context, block, meaning)
        self._blocks.add(list(entries.values()))

    def _mean(self, number: int, above: int, level: int, block: bytes) -> int:
        """What the walker needs to know of a new entry. Raises BadLabels, Damaged."""
        over = self._meaning.get(above)
        if level == point.RESOURCE:
            self._meaning[number] = self._of_resource(block)
        elif level == point.SCOPE:
            self._meaning[number] = _known(over) | self._of_scope(block)
        elif level >= point.METRIC:
            return self._of_metric(number, _known(over), level - point.METRIC, block)
        elif level == point.POINT and isinstance(over, _Metric):
            return self._of_point(number, over, block)
        elif isinstance(over, _Point):
            return self._of_part(over, level, block)
        return 0

    def _of_resource(self, block: bytes) -> dict[str, str]:
        given = attributes(value for n, _, value in wire.fields(block) if n == 1 and isinstance(value, bytes))
        labels = labels_of_attributes({k: v for k, v in given.items() if k in self._resource_labels})
        service, space = given.get("service.name", ""), given.get("service.namespace", "")
        job = f"{space}/{service}" if space and service else service
        return labels | {"job": job} | {"instance": given.get("service.instance.id", "")}

    def _of_scope(self, block: bytes) -> dict[str, str]:
        if not self._scope_labels:
            return {}
        told = {n: value for n, _, value in wire.fields(block) if n in (1, 2) and isinstance(value, bytes)}
        return {
            "otel_scope_name": utf8(told.get(1, b""), "the scope's name"),
            "otel_scope_version": utf8(told.get(2, b""), "the scope's version"),
        }

    def _of_metric(self, number: int, labels: dict[str, str], flavour: int, block: bytes) -> int:
        kind, temporality, monotonic = flavour // 6, flavour % 6 // 2, flavour % 2
        told = {n: value for n, _, value in wire.fields(block) if isinstance(value, bytes)}
        name, help, unit = (utf8(told.get(n, b""), "the metric") for n in (1, 2, 3))
        if kind in (kernel.SUM, kernel.HISTOGRAM, kernel.EXPONENTIAL) and temporality != _CUMULATIVE:
            return -point.DELTA
        counter = kind == kernel.SUM and monotonic == 1
        known = prometheus_name(name, unit, counter=counter, gauge=kind == kernel.GAUGE)
        if not known:
            raise BadLabels(labels_of.NO_NAME, f"found {name[:40]!r}, of which nothing can be a metric name")
        metric = _Metric(known, kind, labels)
        about = Metadata(prometheus_unit(unit), _kind(kind, counter), help[:_MAX_HELP])
        metric.metadata[encode_key(known)] = about
        if kind not in (kernel.GAUGE, kernel.SUM):
            part = about if about.kind == "histogram" else Metadata(about.unit, "counter", about.help)
            for suffix in ("_bucket", "_count", "_sum")[kind != kernel.HISTOGRAM :]:
                metric.metadata[encode_key(known + suffix)] = part
        self._meaning[number] = metric
        return 0

    def _of_point(self, number: int, metric: _Metric, block: bytes) -> int:
        given = attributes(value for _, _, value in wire.fields(block) if isinstance(value, bytes))
        labels = metric.labels | labels_of_attributes(given)
        if metric.kind in (kernel.GAUGE, kernel.SUM):
            return self._intern(metric.name, labels)
        self._meaning[number] = _Point(metric.name, labels)
        if metric.kind == kernel.HISTOGRAM:
            return 0
        return self._list([(metric.name + suffix, labels) for suffix in ("_count", "_sum")])

    def _of_part(self, one: _Point, level: int, block: bytes) -> int:
        if level == point.QUANTILE:
            quantile = number_text(_DOUBLE.unpack(block)[0] if block else 0.0)
            return self._intern(one.name, one.labels | {"quantile": quantile})
        bounds = [number_text(bound) for (bound,) in _DOUBLE.iter_unpack(block)]
        parts = [(f"{one.name}_bucket", one.labels | {"le": bound}) for bound in [*bounds, "+Inf"]]
        return self._list([*parts, *((one.name + suffix, one.labels) for suffix in ("_count", "_sum"))])

    def _list(self, series: list[tuple[str, dict[str, str]]]) -> int:
        """Where the ids of these series stand."""
        ids = [self._intern(name, labels) for name, labels in series]
        at, self._ids_used = self._ids_used, self._ids_used + len(ids)
        if self._ids_used > len(self._ids):
            self._ids = np.concatenate([self._ids, np.empty(self._ids_used, np.int32)])
        self._ids[at : self._ids_used] = ids
        return at

    def _intern(self, name: str, labels: dict[str, str]) -> int:
        key = key_of(name, labels)
        self._key_bytes += len(key)
        return self._table.intern(key)


class _Unusual(Exception):
    """Fields of the message come in another order than everybody writes them."""


def _known(labels: object) -> dict[str, str]:
    """The labels of what stands above. Raises BadLabels where it could not be read."""
    if not isinstance(labels, dict):
        raise BadLabels(labels_of.DAMAGED, "the resource or scope cannot be read")
    return labels


def _kind(kind: int, counter: bool) -> str:
    if kind in (kernel.HISTOGRAM, kernel.EXPONENTIAL):
        return "histogram"
    return "counter" if counter else "gauge"


def _rejections(payload: bytes, refused: np.ndarray) -> list[Rejected]:
    """How many points were left out for each reason, and the first metric it happened to."""
    found = []
    for code in np.flatnonzero(refused[:, 0]).tolist():
        rows, start, stop = refused[code].tolist()
        told = {n: value for n, _, value in wire.fields(payload[start:stop])}
        name = told.get(1, b"")
        shown = name.decode(errors="replace")[:80] if isinstance(name, bytes) else ""
        reason, detail = _REASON.get(code, ("", ""))
        reason = reason or labels_of.REASONS[code - point.BAD_LABELS]
        found.append(Rejected(f"metric {shown}" if shown else "a metric without a name", reason, rows, detail))
    return found
