"""Attributes of OpenTelemetry, whose values may be of any kind, as text for labels."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable
from typing import Any

from almenara.codecs import _wire as wire
from almenara.codecs._labels import utf8

_DEEPEST = 16
_STRING, _BOOL, _INT, _DOUBLE, _ARRAY, _MAP, _BYTES = 1, 2, 3, 4, 5, 6, 7


def attributes(pairs: Iterable[bytes]) -> dict[str, str]:
    """KeyValue messages as text by key; the last of equal keys wins. Raises BadLabels, Damaged."""
    found = {}
    for pair in pairs:
        key, value = _key_value(pair)
        found[utf8(key, "an attribute")] = _text(_any(value, 0))
    return found


def _key_value(pair: bytes) -> tuple[bytes, bytes]:
    told = {n: value for n, _, value in wire.fields(pair) if isinstance(value, bytes)}
    return told.get(1, b""), told.get(2, b"")


def _any(message: bytes, depth: int) -> Any:
    """The Python object of an AnyValue; what is nested too deep is null."""
    found: Any = ""
    for n, _, value in wire.fields(message):
        if isinstance(value, int):
            found = _scalar(n, value, found)
        elif n == _STRING:
            found = utf8(value, "an attribute's value")
        elif n == _BYTES:
            found = base64.b64encode(value).decode()
        elif n in (_ARRAY, _MAP):
            inside = [v for m, _, v in wire.fields(value) if m == 1 and isinstance(v, bytes)]
            found = _nested(n, inside, depth + 1) if depth < _DEEPEST else None
    return found


def _scalar(n: int, value: int, otherwise: Any) -> Any:
    if n == _BOOL:
        return value != 0
    if n == _INT:
        return wire.signed(value)
    return wire.double_of(value) if n == _DOUBLE else otherwise


def _nested(n: int, inside: list[bytes], depth: int) -> Any:
    if n == _ARRAY:
        return [_any(one, depth) for one in inside]
    pairs = [_key_value(one) for one in inside]
    return {utf8(key, "an attribute"): _any(value, depth) for key, value in pairs}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return number_text(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def number_text(value: float) -> str:
    """A number as Prometheus writes it in labels: 0.5, 10, +Inf."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
