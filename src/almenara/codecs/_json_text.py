"""JSON text to Python values: with `orjson` where it is installed, else the standard library, to the same effect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

try:
    import orjson

    _fast: Callable[[bytes], Any] | None = orjson.loads
except ImportError:
    _fast = None


def load(payload: bytes, exact: bool = False) -> Any:
    """The value of a JSON text. Python's NaN and Infinity are read too: whoever uses the value refuses them by name.

    exact: whole numbers past 64 bits stay whole; otherwise they may become floats.
    Raises ValueError for what is no JSON, also when it is nested too deep. A value that only the standard library reads
    (NaN, a number past the largest float, a byte order mark, half a surrogate pair) is read by it.
    """
    if _fast is not None and not exact:
        try:
            return _fast(payload)
        except ValueError:
            pass
    try:
        return json.loads(payload.decode("utf-8-sig"))
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def load_any(payload: bytes, exact: bool = False) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
    """(where, value) of each document in a payload, and (where, what is wrong) of each line that is none.

    A payload is one JSON text (where is ""), or one object or list a line (NDJSON), or nothing at all, which over MQTT
    deletes a retained message. Raises ValueError if it is none of these.
    """
    if not payload.strip():
        return [], []
    try:
        return [("", load(payload, exact))], []
    except ValueError as error:
        lines = payload.split(b"\n")
        first = error
    good: list[tuple[str, Any]] = []
    bad: list[tuple[str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = load(line, exact)
        except ValueError as error:
            bad.append((f"line {number}", str(error)))
            continue
        if isinstance(value, dict | list):
            good.append((f"line {number}", value))
        else:
            bad.append((f"line {number}", f"found {line[:20]!r}, expected an object"))
    if not good:
        raise ValueError(str(first))
    return good, bad
