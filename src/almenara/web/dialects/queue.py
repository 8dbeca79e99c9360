"""Named queues over HTTP: POST /queue/NAME appends a document, GET /queue/NAME takes the oldest.

A form or JSON is answered with the JSON that was stored; a form is an object of texts. 204: the queue is empty. With
`?lease=30s` a document is only lent: `DELETE /queue/NAME/ID` (in `Location`) says that the work is done; without it the
document comes back when the lease ends. 429 with Retry-After: the queue is full. Every answer follows the disk.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from almenara.model.errors import DecodeError, Overloaded
from almenara.model.time import NS, parse_duration
from almenara.pipeline.queue import Bounds, Message, Queues
from almenara.plugin.contracts import Packet
from almenara.web.dialects._bodies import Sent, document_of, milliseconds, query_of, typed
from almenara.web.dialects.contract import House, Kept, Settings
from almenara.web.errors import HttpError, json_response
from almenara.web.openapi import Endpoint

R = TypeVar("R")

#: The longest lease.
MAX_LEASE_S = 12 * 3600
_NAME = re.compile(r"[A-Za-z0-9_.~-]{1,64}")
_ID = re.compile(r"[1-9]\d{0,17}", re.ASCII)
_BOTH = ("GET", "POST")


class NamedQueues:
    """All queues of one hub."""

    def __init__(self, house: House, settings: Settings):
        self._house, self._options = house, settings.queue
        options = settings.queue
        bounds = Bounds(options.max_messages, int(options.max_mb * (1 << 20)), options.max_queues)
        self._kept = Kept("queues", lambda: Queues(house.pipeline.folder.database, bounds))
        self.endpoints = [
            Endpoint("/queue", ("GET",), self.names),
            Endpoint("/queue/{name}", _BOTH, self.at_name, ("lease",), changes=True),
            Endpoint("/queue/{name}/stats", ("GET",), self.stats),
            Endpoint("/queue/{name}/{id}", ("DELETE",), self.acknowledge, changes=True),
        ]
        house.pipeline.counters.sample_by(self._sampled)
        if options.at_root:
            self.endpoints.append(Endpoint("/{name}", _BOTH, self.at_root, ("lease",), changes=True))

    def admits(self, scope: Scope) -> bool:
        """Queues have no keys of their own."""
        return False

    async def close(self) -> None:
        """Let go of the messages."""
        await self._kept.close()

    def _sampled(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for name, messages in self._kept.opened.sizes().items() if self._kept.opened else ():
            yield "almenara_queued_documents", {"queue": name}, messages

    async def names(self, request: Request) -> Response:
        """GET /queue: the queues that hold documents."""
        return json_response(await self._kept(Queues.names))

    async def at_name(self, request: Request) -> Response:
        """GET, POST /queue/{name}: take the oldest document; append one."""
        name = _name_of(request)
        return await (self._put(request, name) if request.method == "POST" else self._take(request, name))

    async def at_root(self, request: Request) -> Response:
        """GET, POST /{name}: the same, where the hub has no path of its own that begins so."""
        if request.path_params["name"] in self._house.reserved:
            raise HttpError(404, f"{request.url.path} is a path of the hub; this queue is at /queue{request.url.path}")
        return await self.at_name(request)

    async def acknowledge(self, request: Request) -> Response:
        """DELETE /queue/{name}/{id}: the document was worked on, and goes."""
        name, id = _name_of(request), request.path_params["id"]
        if not _ID.fullmatch(id) or not await self._kept(lambda queues: queues.acknowledge(name, int(id))):
            raise HttpError(404, f"queue {name!r} has no document {id[:20]!r}")
        return Response(status_code=204)

    async def stats(self, request: Request) -> Response:
        """GET /queue/{name}/stats: how many documents and bytes a queue holds, and since when."""
        name, now_ns = _name_of(request), self._house.pipeline.clock()
        depth = await self._kept(lambda queues: queues.depth(name, now_ns))
        told: dict[str, Any] = {"messages": depth.messages, "leased": depth.leased, "bytes": depth.bytes}
        told["oldest"] = milliseconds(depth.oldest_ns) if depth.messages else None
        return json_response(told | {"max_messages": self._options.max_messages})

    async def _put(self, request: Request, name: str) -> Response:
        sent = await document_of(request, self._house.limits, int(self._options.max_message_kb * 1024))
        if not sent.json:
            raise HttpError(400, "found an empty body; expected JSON or a form")
        self._house.check_disk()
        now_ns = self._house.pipeline.clock()
        if self._options.ingest:
            await self._with_room(lambda queues: queues.room(name, len(sent.json)))
            await self._rows(name, sent, now_ns)
        id = await self._with_room(lambda queues: queues.put(name, sent.json, now_ns))
        return Response(sent.json, headers=_about(name, id), media_type="application/json")

    async def _with_room(self, work: Callable[[Queues], R]) -> R:
        """Do what needs room in a queue. Raises HttpError 429 where there is none."""
        try:
            return await self._kept(work)
        except Overloaded as error:
            raise HttpError(429, str(error), headers={"retry-after": str(round(error.retry_after_s))}) from error

    async def _rows(self, name: str, sent: Sent, now_ns: int) -> None:
        """Commit the numbers of a document. Raises Refused; what holds none is no mistake here, and counted."""
        body = orjson.dumps(typed(sent.document)) if sent.is_form else sent.json
        pipeline, topic = self._house.pipeline, f"queue/{name}"
        packet = Packet(topic, body, now_ns, source=f"queue:{name}", content_type="application/json")
        try:
            await pipeline.write(packet, pipeline.decoders.for_topic(topic))
        except DecodeError:
            return

    async def _take(self, request: Request, name: str) -> Response:
        lease_ns, now_ns = _lease_of(request), self._house.pipeline.clock()
        message: Message | None = await self._kept(lambda queues: queues.take(name, now_ns, lease_ns))
        if message is None:
            return Response(status_code=204)
        headers = _about(name, message.id)
        if message.leased_until_ns:
            headers["x-lease-until"] = milliseconds(message.leased_until_ns)
        return Response(message.body, headers=headers, media_type="application/json")


def _name_of(request: Request) -> str:
    name: str = request.path_params["name"]
    if not _NAME.fullmatch(name):
        raise HttpError(400, "a queue has a name of up to 64 letters, digits and _ . ~ -")
    return name


def _lease_of(request: Request) -> int:
    """The lease asked for, in ns; 0 for none. Raises HttpError 400."""
    text = query_of(request).get("lease")
    if text is None:
        return 0
    try:
        lease_s = float(text) if re.fullmatch(r"\d{1,9}(\.\d+)?", str(text), re.ASCII) else parse_duration(str(text))
    except ValueError as error:
        raise HttpError(400, f"lease: {error}") from error
    if not 0 < lease_s <= MAX_LEASE_S:
        raise HttpError(400, f"lease: expected at most {MAX_LEASE_S} s, and more than 0; got {lease_s:g}")
    return int(lease_s * NS)


def _about(name: str, id: int) -> dict[str, str]:
    return {"location": f"/queue/{name}/{id}", "x-message-id": str(id), "cache-control": "no-store"}
