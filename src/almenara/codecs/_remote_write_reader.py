"""Drives the compiled reader of remote write over a payload: room for rows, new labels, metadata, rejections."""

from __future__ import annotations

import numpy as np

from almenara.codecs import _labels as labels_of
from almenara.codecs import _remote_write_kernel as kernel
from almenara.codecs import _wire as wire
from almenara.codecs._blocks import Blocks, columns
from almenara.codecs._bounds import check_new
from almenara.codecs._labels import BadLabels, clean_label, key_of, utf8
from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError
from almenara.model.series import Metadata, SeriesTable, encode_key, metric_name

_SHAPE = wire.Shape(messages={1: wire.Shape(first=(1,))})
_REASON = {
    kernel.NOT_FINITE: ("not_finite", "an infinite value"),
    kernel.TIME_RANGE: ("time_out_of_range", "expected milliseconds within 64 bits of nanoseconds"),
    kernel.EXEMPLAR: ("exemplar", "exemplars are not kept"),
    kernel.HISTOGRAM: ("native_histogram", "send classic buckets instead (send_native_histograms: false)"),
}
#: Prometheus' MetricType -> our kind.
_KINDS = {1: "counter", 2: "gauge", 3: "histogram", 4: "histogram", 5: "gauge", 6: "gauge", 7: "state"}
_HISTOGRAM, _SUMMARY = 3, 5
_MAX_HELP = 1000
#: Blocks that are learned in one pass: the same one may stand in a payload millions of times.
_AT_ONCE = 1 << 16
_MAX_METADATA = 100_000


class Reader:
    """Reads one payload after the other; what it remembers of labels is in `_blocks`."""

    def __init__(self, max_series: int, max_bytes: int):
        self._limits = max_series, max_bytes
        self._forget()
        self._rows_per_byte = 0.0  # of the last payload: how much room the next one will want

    def _forget(self) -> None:
        self._blocks, self._table, self._key_bytes = Blocks(), SeriesTable(), 0

    def read(self, payload: bytes) -> Decoded:
        """All rows of a WriteRequest."""
        if self._blocks.count > self._limits[0] or self._blocks.bytes + self._key_bytes > self._limits[1]:
            self._forget()
        try:
            try:
                return self._read(payload)
            except _Unusual:
                return self._read(wire.canonical(payload, _SHAPE))
        except (wire.Damaged, _Unusual) as error:
            raise DecodeError(f"no WriteRequest of remote write 1.0: {error}") from error

    def _read(self, payload: bytes) -> Decoded:
        buf = np.frombuffer(payload, np.uint8)
        out = columns(int(len(buf) * self._rows_per_byte * 1.1) + 1024)
        new, metadata = np.empty((1024, 2), np.int64), np.empty((64, 2), np.int64)
        result = np.zeros(kernel.RESULT, np.int64)
        known = self._blocks.count
        while True:
            refused = np.zeros((kernel.CODES, 4), np.int64)
            kernel.read(buf, self._blocks.seed, self._blocks.memo, out, new, metadata, refused, result)
            status, rows, unknown, told, at = result.tolist()
            if status == kernel.ROWS_FULL:
                out = columns(2 * len(out.id))
            elif status == kernel.LIST_FULL and unknown < _AT_ONCE:
                new, metadata = np.empty((2 * len(new), 2), np.int64), np.empty((2 * len(metadata), 2), np.int64)
            elif status == kernel.UNUSUAL:
                raise _Unusual(f"fields of a wrong type at byte {at}")
            elif status == kernel.DAMAGED:
                raise DecodeError(f"no WriteRequest of remote write 1.0: damaged at byte {at} of {len(payload)}")
            elif status == kernel.VERSION_2:
                raise DecodeError("found remote write 2.0, expected 1.0 (protobuf_message: prometheus.WriteRequest)")
            elif unknown:
                self._learn(payload, new[:unknown].tolist())
                check_new(self._blocks.count - known)
            else:
                break
        self._rows_per_byte = rows / max(len(payload), 1)
        batch = Batch(self._table, *(column[:rows] for column in out))
        return Decoded(batch, rejected=_rejections(payload, refused), metadata=_metadata(payload, metadata[:told]))

    def _learn(self, payload: bytes, new: list[list[int]]) -> None:
        """Take in blocks of labels that were never seen."""
        entries = {}
        for start, stop in new:
            block = payload[start:stop]
            if block not in entries:
                try:
                    key = _key(block)
                    self._key_bytes += len(key)
                    entries[block] = (0, block, self._table.intern(key))
                except BadLabels as bad:
                    entries[block] = (0, block, -(kernel.BAD_LABELS + bad.code))
        self._blocks.add(list(entries.values()))


class _Unusual(Exception):
    """Fields of the message come in another order than everybody writes them."""


def _key(block: bytes) -> bytes:
    """The key of the series with these labels. Raises BadLabels."""
    name, labels = "", dict[str, str]()
    try:
        for _, _, label in wire.fields(block):
            key, value = _pair(label) if isinstance(label, bytes) else ("", "")
            if key == "__name__":
                name = value
                continue
            key = clean_label(key)
            if key in labels:
                raise BadLabels(labels_of.DUPLICATE, f"two labels are called {key}")
            labels[key] = value
    except wire.Damaged:
        raise BadLabels(labels_of.DAMAGED, "a label is damaged") from None
    return key_of(name, labels)


def _pair(label: bytes) -> tuple[str, str]:
    """Name and value of a Label. Raises BadLabels, Damaged."""
    name = value = b""
    for n, _, text in wire.fields(label):
        if isinstance(text, bytes):
            if n == 1:
                name = text
            elif n == 2:
                value = text
    return utf8(name, "a label"), utf8(value, "a label")


def _metadata(payload: bytes, spans: np.ndarray) -> dict[bytes, Metadata]:
    """Metadata by key; a key without labels stands for all series of that name."""
    found: dict[bytes, Metadata] = {}
    for start, stop in spans[:_MAX_METADATA].tolist():
        told = {n: value for n, _, value in wire.fields(payload[start:stop])}
        name, help, unit = (v if isinstance(v, bytes) else b"" for v in (told.get(n) for n in (2, 4, 5)))
        type = told.get(1, 0)
        family = metric_name(name.decode(errors="replace"))
        about = Metadata(
            unit.decode(errors="replace")[:80],
            _KINDS.get(type, "") if isinstance(type, int) else "",
            help.decode(errors="replace")[:_MAX_HELP],
        )
        found[encode_key(family)] = about
        if about.kind == "counter" and not family.endswith("_total"):  # OpenMetrics leaves it to the series
            found[encode_key(family + "_total")] = about
        if type in (_HISTOGRAM, _SUMMARY):
            part = about if type == _HISTOGRAM else Metadata(about.unit, "counter", about.help)
            for suffix in ("_bucket", "_count", "_sum") if type == _HISTOGRAM else ("_count", "_sum"):
                found[encode_key(family + suffix)] = part
    return found


def _rejections(payload: bytes, refused: np.ndarray) -> list[Rejected]:
    """How many rows were left out for each reason, and the first series it happened to."""
    found = []
    for code in np.flatnonzero(refused[:, 0]).tolist():
        rows, number, start, stop = refused[code].tolist()
        try:
            series = _show(payload[start:stop])
            detail = f"{series}: {_REASON[code][1]}" if code in _REASON else series
        except BadLabels as bad:
            detail = str(bad)
        reason = _REASON[code][0] if code in _REASON else labels_of.REASONS[code - kernel.BAD_LABELS]
        found.append(Rejected(f"series {number}", reason, rows, detail[:200]))
    return found


def _show(block: bytes) -> str:
    return _key(block).partition(b"\xff")[0].decode()
