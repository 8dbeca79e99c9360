"""Writes over HTTP: Influx line protocol and every other codec. Plain ASGI, since this is the path that must be cheap.

A write is answered after its rows are synced to the hub's log. Status codes are those of InfluxDB 1.x: 204 all rows
kept; 400 with `partial write: ... dropped=n` some rows kept; 400 `unable to parse: ...` nothing kept; 503 or 507 with
Retry-After: nothing kept, send it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from almenara.model.batch import Rejected
from almenara.model.errors import AlmenaraError, DecodeError
from almenara.pipeline.keys import MAX_LENGTH
from almenara.plugin.contracts import Outcome, Packet
from almenara.web.body import Headers, Limits, Room, decoded, header, linger, read_body
from almenara.web.errors import HttpError, as_http, dumps, error_response
from almenara.web.guard import SECRET_PARAMETERS

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

#: What Influx clients look for before they write.
INFLUX_VERSION = (b"x-influxdb-version", b"1.8.10")
#: Codec by media type, for /ingest/auto/...
CONTENT_TYPES = {
    "application/vnd.almenara.columns": "columns",
    "application/json": "json",
    "application/x-ndjson": "json",
    "text/csv": "csv",
    "application/senml+json": "senml",
    "application/senml+cbor": "senml",
    "application/sensml+json": "senml",
    "application/sensml+cbor": "senml",
    "application/openmetrics-text": "prometheus",
    "text/plain": "influx",
    "application/vnd.influx.line-protocol": "influx",
}
#: Where rows were rejected that could be parsed.
_ADMISSION = "admission"
_INFLUX_ERROR_BYTES = 1024
_TOLD = 10  # rejected rows named in one answer

_NO_CONTENT = {"type": "http.response.start", "status": 204, "headers": [INFLUX_VERSION]}
_EMPTY_BODY = {"type": "http.response.body", "body": b""}
_NO_PARAMETERS: Mapping[str, str] = MappingProxyType({})
_SHORT_QUERY = 256


class Ingest:
    """The handlers of all write paths over one pipeline."""

    def __init__(self, pipeline: Pipeline, limits: Limits):
        self._pipeline = pipeline
        self._limits = limits
        self._room = Room(limits.held_bytes)

    async def influx(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /write and /api/v2/write: line protocol; `precision` and `db` go on to the codec."""
        await self._write(scope, receive, send, "influx", "write")

    async def json(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /api/v1/write/json: JSON as over MQTT; `topic` stands for the MQTT topic."""
        await self._write(scope, receive, send, "json", parameters_of(scope).get("topic", ""))

    async def any_codec(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /ingest/{codec}/{topic}: a codec by name, or `auto` for the one that Content-Type names."""
        codec, _, topic = scope["path"].removeprefix("/ingest/").partition("/")
        await self._write(scope, receive, send, codec, topic)

    async def _write(self, scope: Scope, receive: Receive, send: Send, codec: str, topic: str) -> None:
        try:
            outcome = await self.take(scope, receive, codec, topic)
            refusal = rejection(outcome.rows, outcome.rejected) if outcome.rejected else None
        except AlmenaraError as error:
            refusal = as_http(error)
            if isinstance(error, DecodeError):
                refusal = HttpError(400, f"unable to parse: {error}")
        if refusal is None:
            await send(_NO_CONTENT)
            await send(_EMPTY_BODY)
        else:
            if codec == "influx":
                refusal.headers |= influx_headers(str(refusal))
            await refuse(refusal, scope, receive, send)

    async def take(self, scope: Scope, receive: Receive, codec: str, topic: str) -> Outcome:
        """Read the request's body within the limits, and commit its rows. `codec` may be `auto`.

        A body that comes again under the same `Idempotency-Key` gets the first answer, and is not kept again.
        Raises HttpError (the body), DecodeError (nothing in it can be read), Refused (not taken now), KeyReused."""
        limits, headers = self._limits, scope["headers"]
        with self._room.hold() as held:
            body = await read_body(headers, receive, limits.body_bytes, limits.body_timeout_s, held)
            payload = await decoded(headers, body, limits.inflated_bytes, held)
            return await self._commit(scope, payload, codec, topic) if payload else Outcome()

    async def _commit(self, scope: Scope, payload: bytes, codec: str, topic: str) -> Outcome:
        headers = scope["headers"]
        content_type = header(headers, b"content-type").decode("latin-1")
        packet = Packet(
            topic=topic,
            payload=payload,
            received_ns=self._pipeline.clock(),
            source=_source(scope, codec, topic),
            parameters=parameters_of(scope),
            content_type=content_type,
            key=_key(headers),
        )
        return await self._pipeline.write(packet, codec if codec != "auto" else codec_of(content_type))


def _source(scope: Scope, codec: str, topic: str) -> str:
    """Who sends it: its address, or for an import the files that it reads."""
    if codec == "columns" and topic:
        return f"import:{topic}"
    return f"http:{scope['client'][0]}" if scope["client"] else "http"


def _key(headers: Headers) -> str:
    """What the client names its body with; empty where it does not. Raises HttpError 400."""
    key = header(headers, b"idempotency-key").decode("latin-1").strip().strip('"')
    if len(key) > MAX_LENGTH:
        raise HttpError(400, f"Idempotency-Key has {len(key)} characters; at most {MAX_LENGTH} are taken")
    return key


def codec_of(content_type: str) -> str:
    """The codec that reads a media type. Raises HttpError 415."""
    media, _, rest = content_type.partition(";")
    if "version=0.0.4" in rest:
        return "prometheus"
    codec = CONTENT_TYPES.get(media.strip().lower())
    if codec is None:
        raise HttpError(
            415, f"Content-Type {content_type!r}; expected one of {', '.join(CONTENT_TYPES)}, or /ingest/CODEC/"
        )
    return codec


def parameters_of(scope: Scope) -> Mapping[str, str]:
    """The query parameters, the first of each name; those that carry a secret are left out."""
    query = scope["query_string"]
    return (_remembered if len(query) <= _SHORT_QUERY else _parsed)(query) if query else _NO_PARAMETERS


def _parsed(query: bytes) -> Mapping[str, str]:
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return MappingProxyType({name: value for name, value in reversed(pairs) if name not in SECRET_PARAMETERS})


#: A client sends the same parameters with every write.
_remembered = lru_cache(maxsize=256)(_parsed)


def rejection(rows: int, rejected: Sequence[Rejected]) -> HttpError:
    """What a writer is told of rows that were not kept, in Influx's words."""
    told = "; ".join(told_of(one) for one in rejected[:_TOLD])
    more = f"; and {len(rejected) - _TOLD} more" if len(rejected) > _TOLD else ""
    if rows == 0 and not any(r.where == _ADMISSION for r in rejected):
        return HttpError(400, f"unable to parse: {told}{more}")
    return HttpError(400, f"partial write: {told}{more} dropped={sum(r.rows for r in rejected)}")


def told_of(one: Rejected) -> str:
    """One rejection in words."""
    reason = one.reason.replace("_", " ")
    if one.where == _ADMISSION:
        return f"{reason}: {one.detail}" if one.detail else reason
    return f"{one.where}: {one.detail or reason}"


def influx_headers(error: str) -> dict[str, str]:
    """Where clients of InfluxDB 1.x read what went wrong: the first 1,024 bytes of it, on one line, and who says so."""
    told = bytes(byte if byte >= 32 and byte != 127 else 32 for byte in error.encode()[:_INFLUX_ERROR_BYTES])
    name, version = (one.decode() for one in INFLUX_VERSION)
    return {"x-influxdb-error": told.decode("latin-1"), name: version}


async def refuse(error: HttpError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with an error. A body that was not read to its end is no longer waited for."""
    if not error.close:
        await error_response(error, scope["path"])(scope, receive, send)
        return
    body = dumps({"error": str(error)})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"connection", b"close"),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in error.headers.items()),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await linger(receive, send)
