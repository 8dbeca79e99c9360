"""Elasticsearch's interface as far as Beats such as Metricbeat use it: the banner, `_bulk`, what they ask at start.

API: https://www.elastic.co/docs/api/doc/elasticsearch/. Nothing is stored of index templates, policies and pipelines;
they are said to be there already, so that a Beat goes on to its data. A document that cannot be kept gets an item with
status 400 and the reason; 503 or 507 with Retry-After: nothing was kept, and the Beat sends it again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from almenara._version import __version__
from almenara.codecs import bulk
from almenara.model.batch import Rejected
from almenara.model.errors import AlmenaraError, DecodeError
from almenara.plugin.contracts import Context, Outcome
from almenara.web.body import Limits, header, inflate, read_body, unsnap
from almenara.web.errors import HttpError, as_http, json_response
from almenara.web.ingest import Ingest
from almenara.web.openapi import Endpoint

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

Page = Callable[[Request], Awaitable[Response]]

#: Beats compare it with their own version; clients of version 8 and later also look for the product's name.
VERSION = "8.19.0"
_HEADERS = {"x-elastic-product": "Elasticsearch"}
_BANNER = {
    "name": "almenara",
    "cluster_name": "almenara",
    "cluster_uuid": "almenara",
    "version": {
        "number": VERSION,
        "build_flavor": "default",
        "build_type": "almenara",
        "lucene_version": "9.12.0",
        "minimum_wire_compatibility_version": "7.17.0",
        "minimum_index_compatibility_version": "7.0.0",
    },
    "tagline": "You Know, for Search",
    "almenara": __version__,
}
_LICENSE = {"uid": "almenara", "type": "basic", "mode": "basic", "status": "active"}
_TYPES = {400: "document_parsing_exception", 413: "content_too_long_exception", 503: "es_rejected_execution_exception"}
#: Things of which a Beat asks whether they are there, and would bring them otherwise.
_THINGS = ("_ilm/policy", "_index_template", "_component_template", "_template", "_data_stream", "_ingest/pipeline")


def or_banner(page: Page) -> Page:
    """A page, or the banner for clients that want JSON and no page."""

    async def root(request: Request) -> Response:
        accept = header(request.scope["headers"], b"accept")
        if b"json" in accept and b"text/html" not in accept:
            return _answer(_BANNER)
        return await page(request)

    root.__doc__ = page.__doc__
    return root


def endpoints(pipeline: Pipeline, ingest: Ingest, limits: Limits) -> list[Endpoint]:
    """All paths but `/`, which is our own page: see `or_banner`."""

    async def write(request: Request) -> Response:
        """POST /_bulk, /{index}/_bulk: documents of Beats, two lines each."""
        return await _Write(request, ingest, limits).answer()

    async def license(request: Request) -> Response:
        """GET /_license: a basic one, as Beats want it."""
        return _answer({"license": _LICENSE})

    async def xpack(request: Request) -> Response:
        """GET /_xpack: the same, for older Beats."""
        return _answer({"license": _LICENSE, "features": {}, "tagline": _BANNER["tagline"]})

    async def thing(request: Request) -> Response:
        """GET, PUT /_ilm/policy/{name} and the like: it is there already; what is sent is not kept."""
        if request.method in ("PUT", "POST"):
            await read_body(request.scope["headers"], request.receive, limits.body_bytes, limits.body_timeout_s)
            return _answer({"acknowledged": True})
        name = request.path_params["name"]
        if request.url.path.startswith("/_data_stream/"):
            return _answer({"data_streams": [{"name": name}]})
        if request.url.path.startswith("/_cat/"):
            return Response(f"{name}\n", headers=_HEADERS, media_type="text/plain")
        return _answer({name: {}})

    both, get = ("POST", "PUT"), ("GET",)
    return [
        *(Endpoint(path, both, write) for path in ("/_bulk", "/{index}/_bulk")),
        Endpoint("/_license", get, license),
        Endpoint("/_xpack", get, xpack),
        *(Endpoint(f"/{kind}/{{name}}", ("GET", "PUT"), thing) for kind in _THINGS),
        *(Endpoint(f"/{kind}/{{name}}", get, thing) for kind in ("_alias", "_cat/templates")),
    ]


class _Write:
    """One request to `_bulk`. What comes in is kept at hand, to say what became of each document."""

    def __init__(self, request: Request, ingest: Ingest, limits: Limits):
        self._request, self._ingest, self._limits = request, ingest, limits
        self._parts: list[bytes] = []

    async def _receive(self) -> Message:
        message = await self._request.receive()
        self._parts.append(message.get("body", b""))
        return message

    def _payload(self) -> bytes:
        """What was committed, decompressed once more: no sum of documents is told by a commit."""
        body, encoding = b"".join(self._parts), header(self._request.scope["headers"], b"content-encoding")
        undo: dict[bytes, Callable[[bytes, int], bytes]] = {
            b"gzip": inflate,
            b"deflate": partial(inflate, wbits=15),
            b"snappy": unsnap,
        }
        kind = encoding.strip().lower()
        return undo[kind](body, self._limits.inflated_bytes) if kind in undo else body

    async def answer(self) -> Response:
        """Commit the documents, and answer an item for each."""
        began = time.monotonic()
        index = self._request.path_params.get("index", "")
        try:
            outcome = await self._ingest.take(self._request.scope, self._receive, "bulk", index)
        except AlmenaraError as error:
            return _refusal(error)
        wrong, items = await asyncio.to_thread(self._items, index, outcome)
        took = round(1000 * (time.monotonic() - began))
        return _answer({"took": took, "errors": wrong, "items": items})

    def _items(self, index: str, outcome: Outcome) -> tuple[bool, list[dict[str, Any]]]:
        """Whether a document was refused, and an item for each; in a thread, as there may be very many."""
        found = list(bulk.actions(self._payload()))
        wrong = refused_documents(found, outcome)
        return bool(wrong), [_item(action, index, at, wrong.get(at)) for at, (action, _) in enumerate(found)]


def refused_documents(found: Sequence[tuple[str, bytes]], outcome: Outcome) -> dict[int, Rejected]:
    """Which documents were not kept at all, by their position, and why.

    Where admission turned every row away (a clock far ahead, the limit of series), that is all of them; where it turned
    some away, it does not say whose they were: those documents count as kept, and the ledger has the rows."""
    wrong: dict[int, Rejected] = {}
    more = False
    for one in outcome.rejected:
        more |= one.where == "more documents"
        if one.where.startswith("document ") and "," not in one.where:
            wrong[int(one.where.removeprefix("document "))] = one
    if more:
        wrong |= _all_wrong(found)
    turned = [one for one in outcome.rejected if one.where == "admission"]
    if turned and outcome.rows == 0:
        wrong = {at: wrong.get(at, turned[0]) for at in range(len(found))}
    return wrong


def _all_wrong(found: Sequence[tuple[str, bytes]]) -> dict[int, Rejected]:
    """Read so few documents again at a time that each which is wrong is named."""
    codec, wrong = bulk.Bulk(), {}
    documents = iter(found)
    first = 0
    while some := list(islice(documents, bulk.MAX_NAMED - 1)):
        lines = [b'{"%s":{}}\n' % action.encode() + line for action, line in some]
        for one in codec.decode(b"\n".join([b'{"delete":{}}', *lines]), Context()).rejected:
            if one.where.startswith("document ") and "," not in one.where:
                at = int(one.where.removeprefix("document ")) - 1
                if at >= 0:
                    wrong[first + at] = one
        first += len(some)
    return wrong


def _item(action: str, index: str, at: int, wrong: Rejected | None) -> dict[str, Any]:
    about = {"_index": index, "_id": str(at)}
    if wrong is None:
        return {action: {**about, "status": 201, "result": "created"}}
    reason = f"{wrong.reason.replace('_', ' ')}: {wrong.detail}" if wrong.detail else wrong.reason.replace("_", " ")
    return {action: {**about, "status": 400, "error": {"type": _TYPES[400], "reason": reason}}}


def _refusal(error: AlmenaraError) -> Response:
    """An error of the whole request in Elasticsearch's shape."""
    found = HttpError(400, str(error)) if isinstance(error, DecodeError) else as_http(error)
    body = {"error": {"type": _TYPES.get(found.status, "exception"), "reason": str(found)}, "status": found.status}
    return json_response(body, found.status, {**_HEADERS, **found.headers})


def _answer(body: object) -> Response:
    return json_response(body, headers=_HEADERS)
