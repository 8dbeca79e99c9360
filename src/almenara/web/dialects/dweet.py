"""Things that send as to dweet.io: GET or POST /dweet/for/THING; the last documents can be read back and listened to.

Interface: https://dweet.io/play, and the clients made for it. Numbers of a document are rows of series named by their
key, with the label `thing`, read by the `json` codec (or by that of the configured topic filter that holds
`dweet/THING`). 200 is sent when rows and document are on disk. A locked thing wants its key, as `key=`.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from almenara.bus.feed import Feed
from almenara.config.dialects import THINGS
from almenara.model.errors import AlmenaraError
from almenara.model.time import NS
from almenara.pipeline.documents import Document, Documents, Room
from almenara.plugin.contracts import Packet
from almenara.web.dialects._bodies import (
    document_of,
    fields_of,
    fragments,
    milliseconds,
    query_of,
    typed,
    without_secrets,
)
from almenara.web.dialects.contract import House, Kept, Settings
from almenara.web.errors import HttpError, as_http, json_response
from almenara.web.openapi import Endpoint

Handler = Callable[[Request], Awaitable[Response]]

#: The largest document, in bytes.
MAX_DOCUMENT = 64 * 1024
MAX_LISTENERS = 100
#: A space keeps a quiet stream alive, and does no harm to what follows it.
_HEARTBEAT_S = 15.0

_NAME = re.compile(r"[^\x00-\x20\x7f/]{1,128}")
_OURS = re.compile(r"/(?:dweet(?:/quietly)?/for|get/(?:latest/dweet|dweets)/for|listen/for/dweets/from)/([^/]+)")
_TOPICLESS = ("json", "topic #")
_GET, _BOTH = ("GET",), ("GET", "POST")


class Dweets:
    """All things of one hub."""

    def __init__(self, house: House, settings: Settings):
        self._house, self._options = house, settings.dweet
        self._keys = {thing: str(key).encode() for thing, key in settings.dweet.keys.items()}
        total = int(settings.dweet.max_mb * (1 << 20))
        self._kept = Kept("things", lambda: Documents(house.pipeline.folder.database, "dweet", total))
        self._feed: Feed[tuple[str, bytes]] = Feed()
        self._listeners = 0
        self.endpoints = [
            Endpoint("/dweet", _BOTH, _told(self.dweet), ("key",), changes=True),
            Endpoint("/dweet/for/{thing}", _BOTH, _told(self.dweet_for), ("key",), changes=True),
            Endpoint("/dweet/quietly/for/{thing}", _BOTH, _told(self.quietly), ("key",), changes=True),
            Endpoint("/get/latest/dweet/for/{thing}", _GET, _told(self.latest), ("key",)),
            Endpoint("/get/dweets/for/{thing}", _GET, _told(self.all), ("key",)),
            Endpoint("/listen/for/dweets/from/{thing}", _GET, _told(self.listen), ("key",), answers="text/plain"),
        ]

    def admits(self, scope: Scope) -> bool:
        """Whether `key` is that of the thing, or the hub's token, which these clients can send in no other way."""
        path, query = scope["path"], scope["query_string"]
        found = _OURS.fullmatch(path)
        if (found is None and path != "/dweet") or b"key=" not in query:
            return False
        key = _key_of(query)
        return self._house.is_token(key) or (found is not None and self._opens(found[1], key))

    async def close(self) -> None:
        """Let go of the documents."""
        await self._kept.close()

    async def dweet(self, request: Request) -> Response:
        """GET, POST /dweet: as for a thing, whose name is made up from who sends, and answered."""
        return await self._dweeting(request, _made_up(request))

    async def dweet_for(self, request: Request) -> Response:
        """GET, POST /dweet/for/{thing}: keep a document, from the query or as JSON, and its numbers as rows."""
        return await self._dweeting(request, self._thing(request))

    async def quietly(self, request: Request) -> Response:
        """GET, POST /dweet/quietly/for/{thing}: the same, answered with 204 and nothing else."""
        await self._dweeting(request, self._thing(request))
        return Response(status_code=204)

    async def latest(self, request: Request) -> Response:
        """GET /get/latest/dweet/for/{thing}: the last document of a thing."""
        return _got(await self._read(request, 1))

    async def all(self, request: Request) -> Response:
        """GET /get/dweets/for/{thing}: the last documents of a thing, newest first."""
        return _got(await self._read(request, self._options.kept))

    async def listen(self, request: Request) -> Response:
        """GET /listen/for/dweets/from/{thing}: documents as they come, each a JSON text that holds its JSON."""
        thing = self._thing(request)
        if request.method == "HEAD":
            return Response(media_type="text/plain")
        if self._listeners >= MAX_LISTENERS:
            raise HttpError(503, f"{MAX_LISTENERS} listen already", headers={"retry-after": "5"})
        return StreamingResponse(self._stream(thing), media_type="text/plain", headers={"cache-control": "no-store"})

    # --- how

    def _thing(self, request: Request) -> str:
        """The thing that a request names, whose key it has if it is locked. Raises HttpError."""
        thing: str = request.path_params["thing"]
        if not _NAME.fullmatch(thing):
            raise HttpError(400, "a thing has a name of up to 128 characters, without spaces")
        if thing in self._keys:
            key = _key_of(request.scope["query_string"])
            if not self._opens(thing, key) and not self._house.is_token(key):
                raise HttpError(403, "this thing is locked: its key is needed, as key=")
        return thing

    def _opens(self, thing: str, key: bytes) -> bool:
        return thing in self._keys and hmac.compare_digest(self._keys[thing], key)

    async def _dweeting(self, request: Request, thing: str) -> Response:
        content = await self._content(request)
        now_ns = await self._rows(thing, content)
        dweet = {"thing": thing, "created": milliseconds(now_ns), "content": orjson.Fragment(content)}
        body = orjson.dumps(dweet)
        options = self._options
        since_ns = now_ns - int(options.kept_for * NS)
        room = Room(options.kept, options.kept * MAX_DOCUMENT, since_ns)
        await self._kept(lambda documents: documents.keep(thing, now_ns, body, room))
        self._feed.publish((thing, body))
        told = {**dweet, "transaction": str(uuid.uuid4())}
        return json_response({"this": "succeeded", "by": "dweeting", "the": "dweet", "with": told})

    async def _content(self, request: Request) -> bytes:
        """The document as JSON. Raises HttpError."""
        document, content = None, b""
        if request.method == "POST":
            sent = await document_of(request, self._house.limits, MAX_DOCUMENT)
            document, content = sent.document, sent.json
            if sent.is_form:
                document = typed(self._data(document))
                content = orjson.dumps(document)
        if document is None:
            document = typed(self._data(query_of(request)))
            content = orjson.dumps(document)
        if not isinstance(document, dict):
            raise HttpError(400, "expected a JSON object")
        if not document:
            raise HttpError(400, "found nothing to keep: send a JSON object, or names and values in the query")
        return content

    def _data(self, fields: dict[str, Any]) -> dict[str, Any]:
        return without_secrets(fields, ("key",), self._house.is_token)

    async def _rows(self, thing: str, content: bytes) -> int:
        """Commit the numbers of a document; the time it was received at, in ns. Raises Refused."""
        pipeline = self._house.pipeline
        now_ns, topic = pipeline.clock(), f"dweet/{thing}"
        codec = pipeline.decoders.for_topic(topic)
        if codec in _TOPICLESS:
            codec, topic = THINGS, thing
        packet = Packet(topic, content, now_ns, source=f"dweet:{thing}", content_type="application/json")
        await pipeline.write(packet, codec)
        return now_ns

    async def _read(self, request: Request, limit: int) -> list[Document]:
        thing = self._thing(request)
        since_ns = self._house.pipeline.clock() - int(self._options.kept_for * NS)
        found = await self._kept(lambda documents: documents.latest(thing, limit, since_ns))
        if not found:
            raise HttpError(404, "we couldn't find this")
        return found

    async def _stream(self, thing: str) -> AsyncIterator[bytes]:
        subscription = self._feed.subscribe()
        self._listeners += 1
        closing = asyncio.create_task(self._house.closing.wait())
        coming = asyncio.ensure_future(anext(subscription))
        try:
            yield b" "  # headers go out with the first bytes
            while not self._house.closing.is_set():
                await asyncio.wait((coming, closing), timeout=_HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    yield b" "
                    continue
                whose, body = coming.result()
                coming = asyncio.ensure_future(anext(subscription))
                if whose == thing:  # clients look for a text in the second line, and take only ASCII
                    yield b"\r\n" + json.dumps(body.decode()).encode()
        finally:
            self._listeners -= 1
            subscription.close()
            closing.cancel()
            coming.cancel()


def _made_up(request: Request) -> str:
    """A name for who sends without one: the same each time, or every document would begin new series."""
    address = request.client.host if request.client else ""
    sender = f"{address}\n{request.headers.get('user-agent', '')}".encode()
    return f"thing-{hashlib.blake2s(sender, digest_size=6).hexdigest()}"


def _key_of(query: bytes) -> bytes:
    """What a request gives as key; nothing where it gives none, or several."""
    key = fields_of(query).get("key", "")
    return key.encode() if isinstance(key, str) else b""


def _got(documents: list[Document]) -> Response:
    bodies = fragments(one.body for one in documents)
    return json_response({"this": "succeeded", "by": "getting", "the": "dweets", "with": bodies})


def _told(handler: Handler) -> Handler:
    """The same, with errors in dweet.io's words."""

    async def telling(request: Request) -> Response:
        try:
            return await handler(request)
        except AlmenaraError as error:
            answer = as_http(error)
            headers = {**answer.headers, **({"connection": "close"} if answer.close else {})}
            body = {"this": "failed", "with": answer.status, "because": str(answer)}
            return json_response(body, answer.status, headers)

    telling.__doc__ = handler.__doc__
    return telling
