"""Reading a request's body within limits of size, time and decompressed size."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import cramjam
from starlette.types import Receive, Send

from almenara.web.errors import HttpError

#: A body that arrives slower than this, after the first `body_timeout_s`, is cut off.
SLOWEST_BYTES_PER_S = 16 * 1024
#: Bodies above this are decompressed in a thread, so that the loop goes on.
_INLINE_BYTES = 64 * 1024
_LINGER_S = 1.0
_LINGER_BYTES = 64 * 1024 * 1024

Headers = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one request may send."""

    body_bytes: int = 16 * 1024 * 1024
    inflated_bytes: int = 64 * 1024 * 1024  # after Content-Encoding is undone
    form_bytes: int = 1024 * 1024  # of a query sent as a form
    body_timeout_s: float = 30.0


def header(headers: Headers, name: bytes) -> bytes:
    """The first header called `name` (lower case), or nothing."""
    for key, value in headers:
        if key == name:
            return value
    return b""


async def read_body(headers: Headers, receive: Receive, limit: int, timeout_s: float) -> bytes:
    """The whole body. Raises HttpError 413 above `limit` bytes, 408 where it is too slow, 400 where it breaks off."""
    declared = header(headers, b"content-length")
    if declared and int(declared) > limit:
        raise _too_large(limit, f"Content-Length is {int(declared)}")
    start = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(start + timeout_s) as deadline:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                return _within(message["body"], limit)
            parts, size = [], 0
            while message["type"] == "http.request":
                parts.append(message["body"])
                size += len(message["body"])
                if size > limit:
                    raise _too_large(limit, "the body goes on")
                if not message.get("more_body"):
                    return b"".join(parts)
                deadline.reschedule(start + timeout_s + size / SLOWEST_BYTES_PER_S)
                message = await receive()
    except TimeoutError:
        raise HttpError(408, f"the body did not arrive within {timeout_s:g} s", close=True) from None
    raise HttpError(400, "the connection ended before the body was complete", close=True)


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise _too_large(limit, f"it has {len(body)}")
    return body


def _too_large(limit: int, found: str) -> HttpError:
    return HttpError(413, f"the body may have {limit} bytes; {found}; send smaller batches", close=True)


async def decoded(headers: Headers, body: bytes, limit: int) -> bytes:
    """The body without its Content-Encoding. Raises HttpError 413 above `limit` bytes, 400 damaged, 415 unknown."""
    encoding = header(headers, b"content-encoding").strip().lower()
    if encoding in (b"", b"identity"):
        return body
    if encoding not in (b"gzip", b"x-gzip", b"deflate", b"snappy"):
        raise HttpError(415, f"Content-Encoding {encoding.decode('latin-1')!r}; expected gzip, deflate, snappy or none")
    undo = unsnap if encoding == b"snappy" else partial(inflate, wbits=15 if encoding == b"deflate" else 31)
    if len(body) <= _INLINE_BYTES:
        return undo(body, limit)
    return await asyncio.to_thread(undo, body, limit)


def inflate(body: bytes, limit: int, wbits: int = 31) -> bytes:
    """The content of one or several gzip members (RFC 1952), never more than `limit` bytes in memory."""
    parts, room = [], limit
    while body:
        stream = zlib.decompressobj(wbits)
        try:
            part = stream.decompress(body, room + 1)
        except zlib.error as error:
            raise HttpError(400, f"the compressed body is damaged: {error}") from error
        room -= len(part)
        if room < 0:
            raise HttpError(413, f"the body may have {limit} bytes after decompression; send smaller batches")
        if not stream.eof:
            raise HttpError(400, "the compressed body is truncated")
        parts.append(part)
        body = stream.unused_data
    return b"".join(parts)


def unsnap(body: bytes, limit: int) -> bytes:
    """The content of a snappy block (not of the framed format), whose size is read, and held to `limit`, before."""
    try:
        size = cramjam.snappy.decompress_raw_len(body)
        if size > limit:
            raise HttpError(413, f"the body may have {limit} bytes after decompression; it says {size}")
        return bytes(cramjam.snappy.decompress_raw(body, size))
    except cramjam.DecompressionError as error:
        raise HttpError(400, f"the compressed body is damaged: {error}") from error


async def linger(receive: Receive, send: Send) -> None:
    """Finish a refusal: read what the client is still sending, for a short while, so that it sees our answer.

    Closing a socket with unread data resets the connection, and the client would lose the answer that says why.
    """
    seen = 0
    try:
        async with asyncio.timeout(_LINGER_S):
            while seen < _LINGER_BYTES:
                message = await receive()
                seen += len(message.get("body", b""))
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    break
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
