"""Influx line protocol, which Telegraf, InfluxDB's clients and many devices send: `cpu,host=a usage=3.5 1700000000`.

Standard: https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError, MissingExtra
from almenara.model.series import Series
from almenara.plugin.contracts import Context

if TYPE_CHECKING:
    from almenara.codecs._influx_reader import Reader

_UNIT_NS = {"n": 1, "ns": 1, "u": 10**3, "us": 10**3, "µ": 10**3, "µs": 10**3, "ms": 10**6}
_UNIT_NS |= {"s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}

#: What a decoder remembers before it starts afresh: more than the series that a hub takes by default, at some 500 bytes
#: each. A bound below what senders send would have every key learned again and again.
_MAX_SERIES = 1_200_000
_MAX_BYTES = 512 << 20


class Influx:
    """Influx line protocol. A field becomes the series `measurement_field`, tags its labels.

    The field `value` becomes just `measurement`. Characters that a metric or label name may not have become `_`. Tags
    with an empty value are left out. Integers and booleans (0, 1) become floats.

    Rejected by name: `bad_line`, `not_utf8`, `key_too_long`, `duplicate_tag` (two tags
    become one label), `too_many_labels`, `time_out_of_range` for a line; `string_field`, `not_finite` for one field.

    Options:
        precision: Unit of time stamps where the sender's parameter `precision` does not tell it.
    """

    def __init__(self, *, precision: Literal["ns", "us", "ms", "s", "m", "h"] = "ns"):
        if precision not in _UNIT_NS:
            raise ValueError(f"precision: found {precision!r}, expected ns, us, ms, s, m or h")
        self._precision = precision
        self._reader: Reader | None = None

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all lines that can be read; DecodeError if there are lines and none of them can."""
        precision = context.parameters.get("precision") or self._precision
        if precision not in _UNIT_NS:
            raise DecodeError(f"precision: found {precision[:20]!r}, expected ns, us, ms, s, m or h")
        if self._reader is None:
            try:
                from almenara.codecs._influx_reader import Reader
            except ImportError as error:
                raise MissingExtra("reading Influx line protocol", "hub") from error
            self._reader = Reader(_MAX_SERIES, _MAX_BYTES)
        return self._reader.read(bytes(payload), _UNIT_NS[precision], context.received_ns)

    def encode(self, batch: Batch) -> bytes:
        r"""One line a row, its field `value`. Left out: rows that are not finite, for which the protocol has no text.

        What a tag cannot hold is changed: a newline becomes `\n` (two characters), a backslash at the end goes.
        """
        heads = {int(id): _head(batch.series[id]) for id in set(batch.id)}
        rows = zip(batch.id, batch.value, batch.time, strict=True)
        lines = [f"{heads[i]}{float(v)!r} {int(t)}\n" for i, v, t in rows if math.isfinite(v)]
        return "".join(lines).encode()


def _head(series: Series) -> str:
    """The line of a series up to its value."""
    tags = "".join(f",{label}={_tag_value(value)}" for label, value in series.labels)
    return f"{series.name}{tags} value="


def _tag_value(text: str) -> str:
    text = text.replace("\r", "\\r").replace("\n", "\\n").rstrip("\\")
    return text.replace(",", "\\,").replace(" ", "\\ ").replace("=", "\\=")
