"""The protobuf payload of Sparkplug B: its metrics, and what their values mean by data type.

Standard: Eclipse Sparkplug 3.0, chapter 6.4 (sparkplug_b.proto).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from almenara.codecs import _wire as wire

#: Data types whose integers are two's complement, and of how many bits. Some senders write all 32 bits of an Int8.
_SIGNED = {1: 8, 2: 16, 3: 32, 4: 64}
_INT, _LONG, _FLOAT, _DOUBLE, _BOOLEAN, _STRING = 10, 11, 12, 13, 14, 15
DOUBLE, BOOLEAN = 10, 11  # data types
TEXTS = frozenset({12, 14, 15})  # String, Text, UUID
#: Why a value is no number, by its field.
_NO_NUMBER = {15: "string_field", 16: "bytes", 17: "dataset", 18: "template", 19: "extension"}
_ARRAYS = range(22, 35)


@dataclass(slots=True)
class Metric:
    """A metric as sent. alias, ms: -1 without one. which: number of the field that holds the value; 0 none."""

    name: bytes = b""
    alias: int = -1
    ms: int = -1
    type: int = 0
    null: bool = False
    which: int = 0
    value: int | bytes = 0
    properties: bytes = b""

    def number(self, type: int) -> float:
        """The value as a number, by the data type that it or its birth told."""
        value = self.value
        if not isinstance(value, int):
            return float("nan")
        if self.which in (_INT, _LONG):
            return float(wire.signed(value, _SIGNED[type]) if type in _SIGNED else value)
        if self.which == _FLOAT:
            return wire.float_of(value)
        return wire.double_of(value) if self.which == _DOUBLE else float(value != 0)

    def reason(self, type: int) -> str:
        """Why this cannot be a row; empty where it can."""
        if self.which in _NO_NUMBER:
            return "array" if type in _ARRAYS else _NO_NUMBER[self.which]
        if self.null:
            return "string_field" if type in TEXTS else ""
        return "" if self.which else "no_value"

    def labels(self) -> dict[str, str]:
        """Texts among its properties whose keys begin with `label:`, as `Sparkplug.encode` writes labels."""
        keys: list[str] = []
        texts: list[str] = []
        for n, _, value in wire.fields(self.properties) if self.properties else ():
            if n == 1 and isinstance(value, bytes):
                keys.append(value.decode(errors="replace"))
            elif n == 2 and isinstance(value, bytes):
                told = [v for m, _, v in wire.fields(value) if m == 8 and isinstance(v, bytes)]
                texts.append(told[-1].decode(errors="replace") if told else "")
        pairs = zip(keys, texts, strict=False)
        return {key.removeprefix(PREFIX): text for key, text in pairs if key.startswith(PREFIX)}


PREFIX = "label:"


def metrics_of(payload: bytes) -> tuple[int, list[Metric]]:
    """(milliseconds of the payload or -1, its metrics). Raises Damaged."""
    ms, metrics = -1, []
    for n, _, value in wire.fields(payload):
        if n == 2 and isinstance(value, bytes):
            metrics.append(_metric(value))
        elif n == 1 and isinstance(value, int):
            ms = value
    return ms, metrics


def _metric(message: bytes) -> Metric:
    metric = Metric()
    for n, kind, value in wire.fields(message):
        if n >= _INT:
            if n <= 19 and _KIND.get(n, wire.BYTES) == kind:
                metric.which, metric.value = n, value
        elif isinstance(value, bytes):
            if n == 1:
                metric.name = value
            elif n == 9:
                metric.properties = value
        elif n == 2:
            metric.alias = value
        elif n == 3:
            metric.ms = value
        elif n == 4:
            metric.type = value
        elif n == 7:
            metric.null = value != 0
    return metric


_KIND = {
    _INT: wire.VARINT, _LONG: wire.VARINT, _FLOAT: wire.FIXED32, _DOUBLE: wire.FIXED64, _BOOLEAN: wire.VARINT,
}  # fmt: skip


def written(name: str, ms: int, value: float, labels: Iterable[tuple[str, str]]) -> bytes:
    """A metric of type Double; NaN is null."""
    pairs = list(labels)
    keys = b"".join(wire.text(1, f"{PREFIX}{key}".encode()) for key, _ in pairs)
    texts = b"".join(wire.text(2, wire.number(1, 12) + wire.text(8, text.encode())) for _, text in pairs)
    head = wire.text(1, name.encode()) + wire.number(3, ms) + wire.number(4, DOUBLE)
    null = wire.number(7, 1) if value != value else b""
    properties = wire.text(9, keys + texts) if pairs else b""
    return wire.text(2, head + null + properties + (b"" if null else wire.double(13, value)))
