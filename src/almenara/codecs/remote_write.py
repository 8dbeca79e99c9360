"""Prometheus remote write 1.0, which Prometheus, vmagent, Grafana Alloy and many others send: protobuf WriteRequest.

Standard: https://prometheus.io/docs/specs/prw/remote_write_spec/. On the wire the body is compressed with snappy; that
is undone, or done, by whoever moves the bytes: this codec reads and writes the protobuf message itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from almenara.codecs import _wire as wire
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import MissingExtra
from almenara.model.series import EQUALS, FIELD
from almenara.plugin.contracts import Context

if TYPE_CHECKING:
    from almenara.codecs._remote_write_reader import Reader

#: The NaN with which Prometheus says that a series has ended here.
STALE_BITS = 0x7FF0000000000002

#: What a decoder remembers before it starts afresh: at about 500 bytes a series 100 MB at most.
_MAX_SERIES = 200_000
_MAX_BYTES = 64 << 20


class RemoteWrite:
    """Prometheus remote write 1.0, the message without its snappy compression. Times are milliseconds.

    A staleness marker is NaN, known to be missing, like any other NaN; queries end the series there, as in Prometheus.
    NaN is written as a staleness marker. Metadata messages become metadata of all series of their metric family.
    Exemplars are left out.

    Rejected by name: `native_histogram`, `not_finite` (infinite values), `time_out_of_range`, `not_utf8`, `no_name`,
    `duplicate_label`, `too_many_labels`, `key_too_long`; `exemplar` counts what is left out beside the samples.
    """

    def __init__(self) -> None:
        self._reader: Reader | None = None

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all samples; DecodeError where the message is damaged, or of version 2."""
        if self._reader is None:
            try:
                from almenara.codecs._remote_write_reader import Reader
            except ImportError as error:
                raise MissingExtra("reading Prometheus remote write", "hub") from error
            self._reader = Reader(_MAX_SERIES, _MAX_BYTES)
        return self._reader.read(bytes(payload))

    def encode(self, batch: Batch) -> bytes:
        """One TimeSeries a series, its samples in the order of the rows; times are cut to milliseconds.

        Left out: infinite values, which no reader here would take back.
        """
        samples: dict[int, list[bytes]] = {}
        for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
            if not math.isinf(value):
                samples.setdefault(int(id), []).append(wire.text(2, _sample(int(time) // 1_000_000, float(value))))
        return b"".join(wire.text(1, _labels(batch.series.keys[id]) + b"".join(some)) for id, some in samples.items())


def _sample(ms: int, value: float) -> bytes:
    stale = wire.fixed64(1, STALE_BITS) if value != value else wire.double(1, value)
    return stale + wire.number(2, ms)


def _labels(key: bytes) -> bytes:
    """The labels of a series, sorted by name as Prometheus wants them; `__name__` is one of them."""
    name, *fields = key.split(FIELD)
    pairs = [(b"__name__", name), *((k, v) for k, _, v in (f.partition(EQUALS) for f in fields))]
    return b"".join(wire.text(1, wire.text(1, k) + wire.text(2, v)) for k, v in sorted(pairs))
