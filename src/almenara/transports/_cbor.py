"""CBOR (RFC 8949) as the JSON that says the same, so that what reads JSON reads it."""

from __future__ import annotations

import json
from typing import Any

import cbor2

from almenara.model.errors import DecodeError

#: Values and depth of one payload. CBOR can share a value with itself, so that few bytes stand for billions of values.
_MOST_VALUES, _MOST_DEPTH = 100_000, 50


def json_of_cbor(payload: bytes) -> bytes:
    """The same objects, lists, texts and numbers. Raises DecodeError for what JSON has no words for."""
    try:
        found = cbor2.loads(payload)
        return json.dumps(_plain(found, [_MOST_VALUES], 0), ensure_ascii=False).encode()
    except (cbor2.CBORDecodeError, ValueError, OverflowError, MemoryError, RecursionError, TypeError) as error:
        raise DecodeError(f"is no CBOR that JSON can say: {str(error)[:100] or type(error).__name__}") from error


def _plain(value: Any, left: list[int], depth: int) -> Any:
    left[0] -= 1
    if left[0] < 0 or depth > _MOST_DEPTH:
        raise ValueError(f"more than {_MOST_VALUES} values, or deeper than {_MOST_DEPTH}")
    if isinstance(value, dict):
        return {str(key): _plain(one, left, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one, left, depth + 1) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"found a {type(value).__name__}, expected objects, lists, texts and numbers")
