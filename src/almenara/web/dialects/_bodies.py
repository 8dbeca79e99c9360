"""What devices put into a request: JSON, or names and values in a form or in the query, where all values are texts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request

from almenara.web.body import Limits, Room, decoded, read_body
from almenara.web.errors import HttpError
from almenara.web.guard import SECRET_PARAMETERS

FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 1000
#: As JSON writes numbers: with a leading zero it is the name of something.
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d{0,17})?(\.\d{1,30})?([eE][+-]?\d{1,3})?", re.ASCII)
_WORDS = {"true": True, "false": False}


def value_of(text: str) -> str | int | float | bool:
    """A text as the value that it writes: a finite number, true or false; else the text itself."""
    found = _NUMBER.fullmatch(text)
    if found is None or not (found[1] or found[2]):
        return _WORDS.get(text, text)
    if found[2] is None and found[3] is None:
        return int(text)
    number = float(text)
    return number if math.isfinite(number) else text


def fields_of(encoded: bytes) -> dict[str, Any]:
    """Names and texts of a query or form; a name given more than once has a list. Raises HttpError 400."""
    try:
        pairs = parse_qsl(encoded.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except UnicodeDecodeError as error:
        raise HttpError(400, "parameters are not UTF-8") from error
    except ValueError as error:
        raise HttpError(400, f"more than {_MAX_FIELDS} parameters") from error
    found: dict[str, Any] = {}
    for name, text in pairs:
        if name in found:
            before = found[name]
            found[name] = [*before, text] if isinstance(before, list) else [before, text]
        else:
            found[name] = text
    return found


def query_of(request: Request) -> dict[str, Any]:
    """The parameters in the address."""
    return fields_of(request.scope["query_string"])


def without_secrets(fields: dict[str, Any], keys: Collection[str], is_token: Callable[[bytes], bool]) -> dict[str, Any]:
    """What is meant as data: without what is called as one of the keys, and without what carries the token."""

    def is_secret(name: str, value: Any) -> bool:
        return name in keys or (name in SECRET_PARAMETERS and isinstance(value, str) and is_token(value.encode()))

    return {name: value for name, value in fields.items() if not is_secret(name, value)}


async def body_of(request: Request, limits: Limits, most: int) -> bytes:
    """The body, at most `most` bytes of it. Raises HttpError."""
    headers = request.scope["headers"]
    body = await read_body(headers, request.receive, most, limits.body_timeout_s)
    with Room(most).hold() as held:
        return await decoded(headers, body, most, held)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a body held. json: as it was sent, empty where the body was; a form is an object of texts."""

    document: Any
    json: bytes
    is_form: bool = False


async def document_of(request: Request, limits: Limits, most: int) -> Sent:
    """The document in a body. Raises HttpError."""
    body = (await body_of(request, limits, most)).strip()
    if not body:
        return Sent(None, b"")
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # `curl -d` calls everything a form.
    if media == FORM and body[:1] not in (b"{", b"["):
        fields = fields_of(body)
        return Sent(fields, orjson.dumps(fields), True)
    if media.startswith("multipart/"):
        raise HttpError(415, f"Content-Type {media}; expected application/json or {FORM}")
    try:
        return Sent(orjson.loads(body), body)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, f"expected JSON or a form; found {body[:24]!r} ({str(error)[:80]})") from error


def typed(fields: dict[str, Any]) -> dict[str, Any]:
    """A form's texts as values; of several under one name the last."""
    return {name: value_of(texts[-1] if isinstance(texts, list) else texts) for name, texts in fields.items()}


def milliseconds(ns: int) -> str:
    """A time as JavaScript writes it: 2014-05-03T01:47:23.260Z."""
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns // 10**6 % 1000:03d}Z"


def fragments(bodies: Iterable[bytes]) -> list[orjson.Fragment]:
    """JSON as it was sent, to be put into an answer."""
    return [orjson.Fragment(body) for body in bodies]
