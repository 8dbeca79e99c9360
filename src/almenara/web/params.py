"""Parameters of the query API, from the URL and from a form, read as Prometheus reads them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request

from almenara.model.time import NS, ns_from_number, parse_duration, parse_time
from almenara.web.body import Limits, read_body
from almenara.web.errors import HttpError

#: Times are held within these (1970 to 2116), so that sums of a time and a duration stay int64 and no store wraps.
EARLIEST, LATEST = 0, 2**62

_MAX_PAIRS = 10_000
_EXPONENT = re.compile(r"[+-]?\d{1,20}(\.\d*)?[eE][+-]?\d{1,3}", re.ASCII)
_SECONDS = re.compile(r"[+-]?\d{1,10}(\.\d+)?", re.ASCII)


class Params:
    """Names and values, repeated names allowed. Every reader raises HttpError 400 that names the parameter."""

    def __init__(self, pairs: Iterable[tuple[str, str]]):
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(name, []).append(value)

    def many(self, name: str) -> list[str]:
        """Every value; with and without `[]`, as Prometheus clients and people write it."""
        return self._values.get(name, []) + self._values.get(name + "[]", [])

    def text(self, name: str, default: str | None = None) -> str:
        """The first value. Without a default it must be there."""
        values = self._values.get(name)
        if values and values[0] != "":
            return values[0]
        if default is None:
            raise HttpError(400, f"parameter {name!r} is missing")
        return default

    def time(self, name: str, default: int | None = None) -> int:
        """A time in ns: unix seconds, exact to the last decimal, or ISO 8601 (RFC 3339)."""
        text = self.text(name, None if default is None else "")
        return _named(name, text, parse_api_time) if text else default or 0

    def duration_ns(self, name: str, default: str | None = None) -> int:
        """A duration in ns: `1h30m`, or seconds."""
        return _named(name, self.text(name, default), parse_api_duration)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number in [low, high]."""
        text = self.text(name, str(default))
        if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII) or not low <= int(text) <= high:
            raise HttpError(400, f"parameter {name!r}: expected a whole number from {low} to {high}; got {text[:40]!r}")
        return int(text)

    def choice(self, name: str, default: str, choices: Iterable[str]) -> str:
        """One of a few words."""
        text = self.text(name, default)
        if text not in choices:
            raise HttpError(400, f"parameter {name!r}: expected one of {', '.join(choices)}; got {text[:40]!r}")
        return text


async def read_params(request: Request, limits: Limits) -> Params:
    """The parameters of a request: those of a form first, then those of the URL."""
    pairs: list[tuple[str, str]] = []
    if request.method == "POST":
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await read_body(request.scope["headers"], request.receive, limits.form_bytes, limits.body_timeout_s)
        if media == "application/x-www-form-urlencoded":
            pairs += _pairs(body)
        elif body:
            raise HttpError(415, f"Content-Type {media!r}; expected application/x-www-form-urlencoded")
    return Params(pairs + _pairs(request.scope["query_string"]))


async def read_object(request: Request, limits: Limits, keys: Collection[str], example: str) -> dict[str, Any]:
    """The JSON object that a request carries, an empty one where it has no body. Raises HttpError 400."""
    body = await read_body(request.scope["headers"], request.receive, limits.form_bytes, limits.body_timeout_s)
    try:
        given = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise HttpError(400, f"the body is no JSON: {error}") from error
    if not isinstance(given, dict):
        raise HttpError(400, f"expected an object such as {example}")
    if unknown := set(given) - set(keys):
        raise HttpError(400, f"unknown key {min(unknown)!r}; expected some of {', '.join(sorted(keys))}")
    return given


def _pairs(encoded: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(encoded.decode("utf-8"), keep_blank_values=True, max_num_fields=_MAX_PAIRS, errors="strict")
    except UnicodeDecodeError as error:
        raise HttpError(400, "parameters are not UTF-8") from error
    except ValueError as error:
        raise HttpError(400, f"more than {_MAX_PAIRS} parameters") from error


def parse_api_time(text: str) -> int:
    """ns of unix seconds or an ISO 8601 time, held within [EARLIEST, LATEST]. Raises ValueError."""
    if _SECONDS.fullmatch(text):
        ns = int(Decimal(text) * NS)  # a float would lose nanoseconds
    else:
        ns = ns_from_number(float(text)) if _EXPONENT.fullmatch(text) else parse_time(text)
    return min(max(ns, EARLIEST), LATEST)


def parse_api_duration(text: str) -> int:
    """ns of `1h30m` or of seconds. Raises ValueError."""
    seconds = Decimal(text) if _SECONDS.fullmatch(text) else Decimal(str(parse_duration(text)))
    return min(int(seconds * NS), LATEST)


def _named(name: str, text: str, parse: object) -> int:
    try:
        return parse(text)  # type: ignore[operator]
    except (ValueError, OverflowError) as error:
        raise HttpError(400, f"parameter {name!r}: {error}") from error
