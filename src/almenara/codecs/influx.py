"""Influx line protocol, which Telegraf, InfluxDB's clients and many devices send: `cpu,host=a usage=3.5 1700000000`.

Standard: https://docs.influxdata.com/influxdb/v1/write_protocols/line_protocol_reference/
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError, MissingExtra
from almenara.model.series import Series
from almenara.plugin.contracts import Context

if TYPE_CHECKING:
    from almenara.codecs._influx_reader import Reader
    from almenara.codecs._influx_strings import Strings

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

    Strings are left out as `string_field`, unless a rule says what becomes of a field's; in a rule `*` stands for any
    characters.

    Options:
        precision: Unit of time stamps where the sender's parameter `precision` does not tell it.
        label_fields: Fields whose text becomes a label of the series of the same line.
        state_fields: Fields whose text is a state: of `pump mode="on"` comes `pump_mode{mode="on"}` with the value 1.
        event_fields: Fields whose text is something that happened: it becomes an event.
    """

    def __init__(
        self,
        *,
        precision: Literal["ns", "us", "ms", "s", "m", "h"] = "ns",
        label_fields: Sequence[str] = (),
        state_fields: Sequence[str] = (),
        event_fields: Sequence[str] = (),
    ):
        if precision not in _UNIT_NS:
            raise ValueError(f"precision: found {precision!r}, expected ns, us, ms, s, m or h")
        self._precision = precision
        self._rules = tuple(label_fields), tuple(state_fields), tuple(event_fields)
        self._reader: Reader | None = None
        self._strings: Strings | None = None

    def decode(self, payload: bytes, context: Context) -> Decoded:
        """Rows of all lines that can be read; DecodeError if there are lines and none of them can."""
        precision = context.parameters.get("precision") or self._precision
        if precision not in _UNIT_NS:
            raise DecodeError(f"precision: found {precision[:20]!r}, expected ns, us, ms, s, m or h")
        if self._reader is None:
            try:
                from almenara.codecs._influx_reader import Reader
                from almenara.codecs._influx_strings import Strings
            except ImportError as error:
                raise MissingExtra("reading Influx line protocol", "hub") from error
            self._reader = Reader(_MAX_SERIES, _MAX_BYTES)
            self._strings = Strings(*self._rules) if any(self._rules) else None
        payload, scale = bytes(payload), _UNIT_NS[precision]
        if self._strings is None or b'="' not in payload:
            return self._reader.read(payload, scale, context.received_ns)
        taken = self._strings.taken(payload, scale, context.received_ns)
        try:
            read = self._reader.read(taken.payload, scale, context.received_ns)
        except DecodeError as error:
            if not taken.events:
                raise
            read = Decoded(Batch.of(()), rejected=[Rejected("all other lines", "bad_line", 1, str(error))])
        return Decoded(read.batch, taken.events, read.rejected, taken.metadata)

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
