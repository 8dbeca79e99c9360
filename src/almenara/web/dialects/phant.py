"""Streams as data.sparkfun.com had them: rows of named fields into /input/PUBLIC, and back out of /output/PUBLIC.

Interface: the phant server, https://github.com/sparkfun/phant. The streams stand in the configuration. Numbers are rows
of series named by their field, with the label `stream`. JSONP is left out on purpose: it lets any page read along.
"""

from __future__ import annotations

import csv
import hmac
import io
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from almenara.config.dialects import TIMESTAMP, Stream, codec_of_stream
from almenara.model.errors import AlmenaraError
from almenara.model.time import NS
from almenara.pipeline.documents import Document, Documents, Room
from almenara.plugin.contracts import Packet
from almenara.web.body import header
from almenara.web.dialects._bodies import document_of, fields_of, milliseconds, query_of, without_secrets
from almenara.web.dialects._filters import PAGE, Chooser, Wanted
from almenara.web.dialects.contract import House, Kept, Settings
from almenara.web.errors import HttpError, as_http, json_response
from almenara.web.openapi import Endpoint

Handler = Callable[[Request], Awaitable[Response]]

#: The largest row, in bytes.
MAX_ROW = 50 * 1024
#: Pushes are counted in windows of this length.
WINDOW_S = 900
#: So many rows are read from the disk at a time.
_BLOCK = 500
_SECRET_HEADERS = {"private_key": b"phant-private-key", "delete_key": b"phant-delete-key"}
_OURS = re.compile(r"/(input|output)/([^/.]+)(?:[/.].*)?")
_FILTERS = ("page", "limit", "offset", "sample", "grep[]", "eq[]", "ne[]", "gt[]", "gte[]", "lt[]", "lte[]")


class Phant:
    """All streams of one hub."""

    def __init__(self, house: House, settings: Settings):
        self._house = house
        self._streams = {stream.public_of(name): stream for name, stream in settings.streams.items()}
        # Each stream has its own room.
        self._kept = Kept("streams", lambda: Documents(house.pipeline.folder.database, "phant", 1 << 62))
        self._pushes: dict[str, tuple[int, int]] = {}  # stream -> (window, pushes in it)
        keys = ("private_key",)
        out = ("private_key", *_FILTERS)
        self.endpoints = [
            Endpoint("/input/{public}", ("GET", "POST", "DELETE"), self._told(self.input), keys, changes=True),
            Endpoint("/input/{public}/clear", ("GET", "POST", "DELETE"), self._told(self.clear), keys, changes=True),
            Endpoint("/output/{public}", ("GET",), self._told(self.output), out),
            Endpoint("/output/{public}/{part}", ("GET",), self._told(self.part), out),
        ]

    def admits(self, scope: Scope) -> bool:
        """Whether the request has a key of the stream, or reads one that is open."""
        found = _OURS.fullmatch(scope["path"])
        stream = self._streams.get(found[2]) if found else None
        if found is None or stream is None:
            return False
        if found[1] == "output" and stream.open_output and scope["method"] in ("GET", "HEAD"):
            return True
        return any(_opens(stream, key) for key in _keys_of(scope))

    async def close(self) -> None:
        """Let go of the rows."""
        await self._kept.close()

    async def input(self, request: Request) -> Response:
        """GET, POST, DELETE /input/{public}: keep a row, from the query, a form or JSON; DELETE clears the stream."""
        if request.method == "DELETE":
            return await self.clear(request)
        public, stream = self._stream(request)
        self._check_key(request, stream)
        fields = await self._fields(request)
        headers = self._count(public, stream)
        _check_fields(stream, fields)
        now_ns = await self._rows(public, fields)
        body = orjson.dumps({**fields, TIMESTAMP: milliseconds(now_ns)})
        room = Room(1 << 62, int(stream.max_mb * (1 << 20)))
        await self._kept(lambda documents: documents.keep(public, now_ns, body, room))
        return _answer(request, 200, "success", headers)

    async def clear(self, request: Request) -> Response:
        """GET, POST, DELETE /input/{public}/clear: forget all rows as they were sent; their numbers stay stored."""
        public, stream = self._stream(request)
        self._check_key(request, stream)
        await self._kept(lambda documents: documents.clear(public))
        return _answer(request, 200, "success")

    async def output(self, request: Request) -> Response:
        """GET /output/{public}: the rows, newest first, as CSV, or JSON with .json; may be filtered and paged."""
        public, stream = self._stream(request)
        return self._rows_of(request, public, stream, Wanted.of(query_of(request), [*stream.fields, TIMESTAMP]))

    async def part(self, request: Request) -> Response:
        """GET /output/{public}/{part}: `stats`, `latest` (the last row), or the texts of one field."""
        public, stream = self._stream(request)
        part = request.path_params["part"].partition(".")[0]
        if part == "stats":
            return await self._stats(request, public, stream)
        wanted = Wanted.of(query_of(request), [*stream.fields, TIMESTAMP])
        if part == "latest":
            return self._rows_of(request, public, stream, wanted.only_latest())
        if part not in (*stream.fields, TIMESTAMP):
            raise HttpError(404, f"{part[:80]} is not a valid field for this stream")
        texts = ((str(row.get(part, "")) + "\n").encode() async for row in self._read(public, wanted))
        return StreamingResponse(texts, media_type="text/plain")

    # --- who

    def _stream(self, request: Request) -> tuple[str, Stream]:
        public = request.path_params["public"].partition(".")[0]
        stream = self._streams.get(public)
        if stream is None:
            raise HttpError(404, "stream not found")
        return public, stream

    def _check_key(self, request: Request, stream: Stream) -> None:
        """Raise HttpError unless the request has a key that may change the stream now."""
        keys = _keys_of(request.scope)
        clears = request.method == "DELETE" or request.url.path.endswith("/clear")
        if not keys:
            raise HttpError(403, "forbidden: missing private key")
        if not any(_opens(stream, key, with_delete=clears) for key in keys):
            raise HttpError(401, "forbidden: invalid key")

    # --- in

    async def _fields(self, request: Request) -> dict[str, str]:
        """The fields of a row, as texts. Raises HttpError."""
        fields = without_secrets(query_of(request), _SECRET_HEADERS, self._house.is_token)
        if request.method == "POST":
            document = (await document_of(request, self._house.limits, MAX_ROW)).document
            if document is not None and not isinstance(document, dict):
                raise HttpError(400, "expected a form, or a JSON object")
            fields = without_secrets(document or {}, _SECRET_HEADERS, self._house.is_token) | fields
        if not fields:
            raise HttpError(400, "no data received")
        if sum(len(name) + len(str(value)) for name, value in fields.items()) > MAX_ROW:
            raise HttpError(413, f"request size limit exceeded. current limit: {MAX_ROW} bytes")
        fields.pop(TIMESTAMP, None)
        return {name: _text_of(name, value) for name, value in fields.items()}

    def _count(self, public: str, stream: Stream) -> dict[str, str]:
        """Count a push; what is left of the window, as headers. Raises HttpError 429."""
        now_s = self._house.pipeline.clock() // NS
        window = now_s // WINDOW_S
        before, used = self._pushes.get(public, (window, 0))
        used = used if before == window else 0
        reset = (window + 1) * WINDOW_S
        told = {"x-rate-limit-limit": str(stream.pushes), "x-rate-limit-reset": str(reset)}
        if used >= stream.pushes:
            wait = {"x-rate-limit-remaining": "0", "retry-after": str(reset - now_s)}
            what = f"rate limit exceeded. try again in {reset - now_s} seconds."
            raise HttpError(429, what, headers=told | wait)
        self._pushes[public] = (window, used + 1)
        return told | {"x-rate-limit-remaining": str(stream.pushes - used - 1)}

    async def _rows(self, public: str, fields: Mapping[str, str]) -> int:
        """Commit the numbers of a row; the time it was received at, in ns. Raises Refused."""
        pipeline = self._house.pipeline
        now_ns = pipeline.clock()
        packet = Packet(public, orjson.dumps(fields), now_ns, source=f"phant:{public}", content_type="application/json")
        await pipeline.write(packet, codec_of_stream(public))
        return now_ns

    # --- out

    async def _read(self, public: str, wanted: Wanted) -> AsyncIterator[dict[str, str]]:
        """The rows that are wanted, newest first, read block by block."""
        choose = Chooser(wanted)
        before = 1 << 62
        while not choose.done:
            read = partial(Documents.latest, owner=public, limit=_BLOCK, before_id=before)
            found: list[Document] = await self._kept(read)
            for row in choose(orjson.loads(one.body) for one in found):
                yield row
            if len(found) < _BLOCK:
                return
            before = found[-1].id

    def _rows_of(self, request: Request, public: str, stream: Stream, wanted: Wanted) -> Response:
        rows = self._read(public, wanted)
        if _extension(request) == "json" or (not _extension(request) and _accepts_json(request)):
            return StreamingResponse(_as_json(rows), media_type="application/json")
        return StreamingResponse(_as_csv(rows, [*stream.fields, TIMESTAMP]), media_type="text/csv")

    async def _stats(self, request: Request, public: str, stream: Stream) -> Response:
        count, used = await self._kept(lambda documents: documents.used(public))
        cap = int(stream.max_mb * (1 << 20))
        stats = {"pageCount": math.ceil(count / PAGE), "remaining": max(0, cap - used), "used": used, "cap": cap}
        if _extension(request) == "json" or (not _extension(request) and _accepts_json(request)):
            return json_response(stats)
        names = sorted(stats)
        return Response(f"{','.join(names)}\n{','.join(str(stats[n]) for n in names)}\n", media_type="text/plain")

    def _told(self, handler: Handler) -> Handler:
        """The same, with errors in phant's words."""

        async def telling(request: Request) -> Response:
            try:
                return await handler(request)
            except AlmenaraError as error:
                answer = as_http(error)
                headers = {**answer.headers, **({"connection": "close"} if answer.close else {})}
                return _answer(request, answer.status, str(answer), headers)

        telling.__doc__ = handler.__doc__
        return telling


def _keys_of(scope: Scope) -> list[bytes]:
    """Every key that a request shows, in its headers and its query."""
    query = fields_of(scope["query_string"]) if b"_key=" in scope["query_string"] else {}
    shown = [header(scope["headers"], name) for name in _SECRET_HEADERS.values()]
    shown += [query[name].encode() for name in _SECRET_HEADERS if isinstance(query.get(name), str)]
    return [key for key in shown if key]


def _opens(stream: Stream, key: bytes, with_delete: bool = True) -> bool:
    private = hmac.compare_digest(key, str(stream.private).encode())
    deletes = bool(stream.delete) and hmac.compare_digest(key, str(stream.delete).encode())
    return private or (with_delete and deletes)


def _text_of(name: str, value: Any) -> str:
    if isinstance(value, list):
        raise HttpError(400, f"two values were sent for the same field: {name[:80]}")
    if isinstance(value, dict):
        raise HttpError(400, f"expected a text or a number for the field: {name[:80]}")
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _check_fields(stream: Stream, fields: Iterable[str]) -> None:
    """Raise HttpError 400 unless these are exactly the fields of the stream."""
    expecting = f" \n\nexpecting: {', '.join(stream.fields)}"
    sent = set(fields)
    for name in sent.difference(stream.fields):
        raise HttpError(400, f"{name[:80]} is not a valid field for this stream.{expecting}")
    for name in stream.fields:
        if name not in sent:
            raise HttpError(400, f"{name} missing from sent data.{expecting}")


def _extension(request: Request) -> str:
    return request.url.path.rpartition("/")[2].partition(".")[2]


def _accepts_json(request: Request) -> bool:
    return request.headers.get("accept", "").partition(",")[0].strip().startswith("application/json")


def _answer(request: Request, status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """A message in JSON where the address ends in .json, else as `1 success` or `0 what went wrong`."""
    good = status == 200
    if _extension(request) == "json" or _accepts_json(request):
        return json_response({"success": good, "message": message}, status, headers)
    return Response(f"{int(good)} {message}\n", status, headers, media_type="text/plain")


async def _as_json(rows: AsyncIterator[dict[str, str]]) -> AsyncIterator[bytes]:
    before = b"["
    async for row in rows:
        yield before + orjson.dumps(row)
        before = b","
    yield b"[]" if before == b"[" else b"]"


async def _as_csv(rows: AsyncIterator[dict[str, str]], names: Sequence[str]) -> AsyncIterator[bytes]:
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(names)
    async for row in rows:
        write.writerow([row.get(name, "") for name in names])
        if out.tell() > 16_384:
            yield out.getvalue().encode()
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode()
