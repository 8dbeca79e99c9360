"""OpenTelemetry metrics, OTLP 1.x: what OpenTelemetry SDKs and collectors send, as protobuf or JSON.

Standard: https://opentelemetry.io/docs/specs/otlp/. Names and labels follow the compatibility specification for
Prometheus, https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from almenara.codecs import _wire as wire
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import MissingExtra
from almenara.model.series import Series
from almenara.plugin.contracts import Context

if TYPE_CHECKING:
    from almenara.codecs._otlp_reader import Reader

#: What a decoder remembers before it starts afresh: at about 500 bytes a series 100 MB at most.
_MAX_SERIES = 200_000
_MAX_BYTES = 64 << 20


class Otlp:
    """OTLP metrics. `http.server.duration` in `s` becomes `http_server_duration_seconds`; a counter gets `_total`.

    The resource's service.name becomes the label `job` (with service.namespace before it), service.instance.id
    `instance`, attributes labels. A histogram gives `_bucket{le}`, `_count` and `_sum`, a summary `{quantile}`,
    `_count` and `_sum`, an exponential histogram only `_count` and `_sum`. A point without a value is NaN. Points
    without a time get the time of receipt. Exemplars are left out.

    Rejected by name: `delta_temporality` (as Prometheus does; ask the sender for cumulative values), `not_finite`,
    `time_out_of_range`, `no_value`, `bad_buckets`, `not_utf8`, `no_name`, `too_many_labels`, `key_too_long`,
    `bad_labels`; `exponential_histogram` and `exemplar` count buckets and exemplars that are left out.

    Options:
        resource_labels: Attributes of the resource that become labels too, such as "host.name".
        scope_labels: Keep name and version of the instrumentation scope as `otel_scope_name`, `otel_scope_version`.
    """

    def __init__(self, *, resource_labels: Sequence[str] = (), scope_labels: bool = False):
        self._options = tuple(resource_labels), scope_labels
        self._reader: Reader | None = None

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all data points; DecodeError where the message is damaged.

        JSON is told by its media type, or by a first `{`."""
        if self._reader is None:
            try:
                from almenara.codecs._otlp_reader import Reader
            except ImportError as error:
                raise MissingExtra("reading OTLP", "hub") from error
            self._reader = Reader(*self._options, _MAX_SERIES, _MAX_BYTES)
        payload = bytes(payload)
        if payload[:1] == b"{" or context.content_type.startswith("application/json"):
            from almenara.codecs._otlp_json import from_json

            payload = from_json(payload)
        return self._reader.read(payload, context.received_ns)

    def encode(self, batch: Batch) -> bytes:
        """One gauge a series, its labels as attributes, in one resource without attributes; as protobuf.

        Left out: infinite values, which no reader here would take back.
        """
        points: dict[int, list[bytes]] = {}
        for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
            if not math.isinf(value):
                points.setdefault(int(id), []).append(_point(int(time), float(value)))
        metrics = b"".join(wire.text(2, _metric(batch.series[id], some)) for id, some in points.items())
        return wire.text(1, wire.text(2, metrics)) if points else b""


def _point(time: int, value: float) -> bytes:
    """A NumberDataPoint up to its attributes; NaN says that there is no value."""
    return wire.fixed64(3, time) + (wire.double(4, value) if value == value else b"")


def _metric(series: Series, points: list[bytes]) -> bytes:
    pairs = [(k.encode(), v.encode()) for k, v in series.labels]
    attributes = b"".join(wire.text(7, wire.text(1, k) + wire.text(2, wire.text(1, v))) for k, v in pairs)
    missing = wire.number(8, 1)
    data = [wire.text(1, one + attributes + (missing if len(one) == _WITHOUT_VALUE else b"")) for one in points]
    return wire.text(1, series.name.encode()) + wire.text(5, b"".join(data))


_WITHOUT_VALUE = len(_point(0, math.nan))
