"""OTLP in JSON as OTLP in protobuf: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding.

Senders that care for speed send protobuf; this path goes over every point in Python.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable
from typing import Any

from almenara.codecs import _wire as wire
from almenara.model.errors import DecodeError

_DEEPEST = 32


class _Bad(ValueError):
    """Something that cannot be read; `where` grows on the way up."""

    def __init__(self, found: str, expected: str):
        self.where, self.found, self.expected = "", found, expected
        super().__init__(found)


def from_json(payload: bytes) -> bytes:
    """The ExportMetricsServiceRequest of a JSON text as protobuf. Raises DecodeError."""
    try:
        request = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"no OTLP metrics in JSON: {str(error)[:200]}") from error
    try:
        return _message(request, REQUEST, 0)
    except _Bad as bad:
        raise DecodeError(f"OTLP in JSON, {bad.where[:200]}: found {bad.found}, expected {bad.expected}") from bad


def _show(value: Any) -> str:
    return repr(value)[:40]


def _whole(n: int, value: Any) -> int:
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        return int(value)
    except (ValueError, TypeError, OverflowError):
        raise _Bad(_show(value), "a whole number") from None


def _fixed64(n: int, value: Any) -> bytes:
    return wire.fixed64(n, _whole(n, value))


def _varint(n: int, value: Any) -> bytes:
    return wire.number(n, _whole(n, value))


def _flag(n: int, value: Any) -> bytes:
    if not isinstance(value, bool):
        raise _Bad(_show(value), "true or false")
    return wire.number(n, int(value))


def _float(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    try:
        return float(value) if isinstance(value, str) and len(value) < 64 else _no_number(value)
    except ValueError:
        return _no_number(value)


def _no_number(value: Any) -> float:
    raise _Bad(_show(value), "a number")


def _double(n: int, value: Any) -> bytes:
    return wire.double(n, _float(value))


def _string(n: int, value: Any) -> bytes:
    if not isinstance(value, str):
        raise _Bad(_show(value), "a text")
    try:
        return wire.text(n, value.encode())
    except UnicodeEncodeError:
        raise _Bad(ascii(value)[:40], "a text of whole characters") from None


def _bytes(n: int, value: Any) -> bytes:
    try:
        return wire.text(n, base64.b64decode(value))
    except (binascii.Error, TypeError, ValueError):
        raise _Bad(_show(value), "bytes in base64") from None


def _packed(one: Callable[[Any], bytes]) -> Callable[[int, Any], bytes]:
    def write(n: int, value: Any) -> bytes:
        if not isinstance(value, list):
            raise _Bad(_show(value), "a list")
        return wire.text(n, b"".join(one(item) for item in value))

    return write


def _message(value: Any, shape: dict[str, tuple[Any, ...]], depth: int) -> bytes:
    """A message; fields of other names are left out, as the standard asks."""
    if not isinstance(value, dict) or depth > _DEEPEST:
        raise _Bad(_show(value), "an object" if depth <= _DEEPEST else "less nesting")
    parts = []
    for name in sorted(value.keys() & shape.keys(), key=lambda name: int(shape[name][0])):
        if (inside := value[name]) is None:
            continue
        n, how, many = shape[name]
        try:
            if many and not isinstance(inside, list):
                raise _Bad(_show(inside), "a list")
            for one in inside if many else (inside,):
                parts.append(wire.text(n, _message(one, how, depth + 1)) if isinstance(how, dict) else how(n, one))
        except _Bad as bad:
            bad.where = f"{name}.{bad.where}" if bad.where else name
            raise
    return b"".join(parts)


# Name -> (number, how it is written or what message it is, whether it is a list).
_ANY: dict[str, tuple[Any, ...]] = {
    "stringValue": (1, _string, False), "boolValue": (2, _flag, False), "intValue": (3, _varint, False),
    "doubleValue": (4, _double, False), "bytesValue": (7, _bytes, False),
}  # fmt: skip
_PAIR = {"key": (1, _string, False), "value": (2, _ANY, False)}
_ANY["arrayValue"] = (5, {"values": (1, _ANY, True)}, False)
_ANY["kvlistValue"] = (6, {"values": (1, _PAIR, True)}, False)

_BASE = {"startTimeUnixNano": (2, _fixed64, False), "timeUnixNano": (3, _fixed64, False)}
_TOTALS = _BASE | {"count": (4, _fixed64, False), "sum": (5, _double, False)}
_NUMBER = _BASE | {
    "asDouble": (4, _double, False), "asInt": (6, _fixed64, False), "exemplars": (5, {}, True),
    "attributes": (7, _PAIR, True), "flags": (8, _varint, False),
}  # fmt: skip
_HISTOGRAM = _TOTALS | {
    "bucketCounts": (6, _packed(lambda v: _whole(6, v).to_bytes(8, "little", signed=False)), False),
    "explicitBounds": (7, _packed(lambda v: wire.double(7, _float(v))[1:]), False), "exemplars": (8, {}, True),
    "attributes": (9, _PAIR, True), "flags": (10, _varint, False),
}  # fmt: skip
_EXPONENTIAL = _TOTALS | {"attributes": (1, _PAIR, True), "flags": (10, _varint, False), "exemplars": (11, {}, True)}
_SUMMARY = _TOTALS | {
    "quantileValues": (6, {"quantile": (1, _double, False), "value": (2, _double, False)}, True),
    "attributes": (7, _PAIR, True), "flags": (8, _varint, False),
}  # fmt: skip


def _data(point: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
    flavour = {"aggregationTemporality": (2, _varint, False), "isMonotonic": (3, _flag, False)}
    return {"dataPoints": (1, point, True)} | flavour


_METRIC = {
    "name": (1, _string, False), "description": (2, _string, False), "unit": (3, _string, False),
    "gauge": (5, _data(_NUMBER), False), "sum": (7, _data(_NUMBER), False),
    "histogram": (9, _data(_HISTOGRAM), False), "exponentialHistogram": (10, _data(_EXPONENTIAL), False),
    "summary": (11, _data(_SUMMARY), False),
}  # fmt: skip
_SCOPE = {"name": (1, _string, False), "version": (2, _string, False), "attributes": (3, _PAIR, True)}
_SCOPE_METRICS = {"scope": (1, _SCOPE, False), "metrics": (2, _METRIC, True)}
_RESOURCE_METRICS = {
    "resource": (1, {"attributes": (1, _PAIR, True)}, False), "scopeMetrics": (2, _SCOPE_METRICS, True),
}  # fmt: skip
REQUEST = {"resourceMetrics": (1, _RESOURCE_METRICS, True)}
