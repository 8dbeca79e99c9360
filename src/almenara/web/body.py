"""Reading a request's body within limits of size, time and decompressed size."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import cramjam
from starlette.types import Receive, Send

from almenara.model.errors import Overloaded
from almenara.web.errors import HttpError

#: A body that arrives slower than this, after the first `body_timeout_s`, is cut off.
SLOWEST_BYTES_PER_S = 16 * 1024
#: Bodies above this are decompressed in a thread, so that the loop goes on: what is small may become a thousand times
#: as large.
_INLINE_BYTES = 4 * 1024
#: Members of one gzip body (RFC 1952 allows any number, senders use one), and bytes of it that are read at a time.
_MOST_MEMBERS, _STEP_BYTES = 1000, 64 * 1024
#: So many bodies of more than that are decompressed at a time, since each may become as large as the limit.
_INFLATING = 2
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
    held_bytes: int = 256 * 1024 * 1024  # of bodies of all writes that are read, decoded and committed at the moment


class Room:
    """How many bytes of bodies are held at the moment; for one loop."""

    def __init__(self, limit: int):
        self.limit, self.used = limit, 0
        self.inflating = asyncio.Semaphore(_INFLATING)

    @contextlib.contextmanager
    def hold(self) -> Iterator[Held]:
        """A share of the room, which is given back at the end."""
        held = Held(self)
        try:
            yield held
        finally:
            self.used -= held.bytes


class Held:
    """The share of one write."""

    def __init__(self, room: Room):
        self.room, self.bytes = room, 0

    def more(self, n: int) -> None:
        """Hold n bytes more. Raises Overloaded when there is no room for them; an only write always has room."""
        if self.room.used > self.bytes and self.room.used + n > self.room.limit:
            raise Overloaded(f"{self.room.used} bytes of other writes are being taken; send again later")
        self.room.used += n
        self.bytes += n


def header(headers: Headers, name: bytes) -> bytes:
    """The first header called `name` (lower case), or nothing."""
    for key, value in headers:
        if key == name:
            return value
    return b""


async def read_body(
    headers: Headers, receive: Receive, limit: int, timeout_s: float, held: Held | None = None
) -> bytes:
    """The whole body. Raises HttpError 413 above `limit` bytes, 408 where it is too slow, 400 where it breaks off, and
    Overloaded where there is no room for it."""
    declared = header(headers, b"content-length")
    if declared and int(declared) > limit:
        raise _too_large(limit, f"Content-Length is {int(declared)}")
    start = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout_at(start + timeout_s) as deadline:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                if held is not None:
                    held.more(len(message["body"]))
                return _within(message["body"], limit)
            parts, size = [], 0
            while message["type"] == "http.request":
                parts.append(message["body"])
                size += len(message["body"])
                if size > limit:
                    raise _too_large(limit, "the body goes on")
                if held is not None:
                    held.more(len(message["body"]))
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


async def decoded(headers: Headers, body: bytes, limit: int, held: Held) -> bytes:
    """The body without its Content-Encoding. Raises HttpError 413 above `limit` bytes, 400 damaged, 415 unknown;
    Overloaded where there is no room for it."""
    encoding = header(headers, b"content-encoding").strip().lower()
    if encoding in (b"", b"identity"):
        return body
    if encoding not in (b"gzip", b"x-gzip", b"deflate", b"snappy"):
        raise HttpError(415, f"Content-Encoding {encoding.decode('latin-1')!r}; expected gzip, deflate, snappy or none")
    undo = unsnap if encoding == b"snappy" else partial(inflate, wbits=15 if encoding == b"deflate" else 31)
    if len(body) <= _INLINE_BYTES:
        payload = undo(body, limit)
    else:
        async with held.room.inflating:
            payload = await asyncio.to_thread(undo, body, limit)
    held.more(len(payload))
    return payload


def inflate(body: bytes, limit: int, wbits: int = 31) -> bytes:
    """The content of one or several gzip members (RFC 1952), never more than `limit` bytes in memory."""
    parts, room, members, at, view = [], limit, 0, 0, memoryview(body)
    while at < len(view):
        if (members := members + 1) > _MOST_MEMBERS:
            raise HttpError(400, f"the compressed body has more than {_MOST_MEMBERS} members")
        stream = zlib.decompressobj(wbits)
        while not stream.eof:
            if not (step := view[at : at + _STEP_BYTES]):
                raise HttpError(400, "the compressed body is truncated")
            try:
                part = stream.decompress(step, room + 1)
            except zlib.error as error:
                raise HttpError(400, f"the compressed body is damaged: {error}") from error
            room -= len(part)
            if room < 0:
                raise HttpError(413, f"the body may have {limit} bytes after decompression; send smaller batches")
            parts.append(part)
            at += len(step) - len(stream.unused_data)
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
