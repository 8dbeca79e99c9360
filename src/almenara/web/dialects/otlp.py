"""OpenTelemetry metrics over HTTP: POST /v1/metrics, as protobuf or JSON, answered in the same encoding.

Standard: https://opentelemetry.io/docs/specs/otlp/#otlphttp. 200: kept; `partial_success` says how many points were
not, and why. 400: nothing can be read, do not send it again. 503 with Retry-After: nothing was kept, send it again; so
too where the disk is full, since a sender would give up at 507.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from almenara.codecs import _wire as wire
from almenara.model.errors import AlmenaraError
from almenara.plugin.contracts import Outcome
from almenara.web.body import Limits, header, linger
from almenara.web.errors import HttpError, as_http
from almenara.web.ingest import Ingest, told_of
from almenara.web.openapi import Endpoint

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

_PROTOBUF, _JSON = "application/x-protobuf", "application/json"
#: Left out beside points that are kept: said, and not counted as rejected points.
_ASIDE = frozenset({"exemplar", "exponential_histogram"})
_SAID = 10
#: google.rpc.Code by HTTP status.
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 408: 4, 413: 8, 415: 3, 503: 14}
_INTERNAL = 13


def endpoints(pipeline: Pipeline, ingest: Ingest, limits: Limits) -> list[Endpoint]:
    """The one path of OTLP metrics."""

    async def metrics(scope: Scope, receive: Receive, send: Send) -> None:
        """POST /v1/metrics: OpenTelemetry metrics, OTLP/HTTP."""
        media = header(scope["headers"], b"content-type").decode("latin-1").partition(";")[0].strip().lower()
        encoding = _JSON if media == _JSON else _PROTOBUF
        error = None
        try:
            if media not in (_JSON, _PROTOBUF):
                raise HttpError(415, f"Content-Type {media[:80]!r}; expected {_PROTOBUF} or {_JSON}", close=True)
            body = _answer(await ingest.take(scope, receive, "otlp", "otlp"), encoding)
        except AlmenaraError as raised:
            error = as_http(raised)
            body = _status(error, encoding)
        await _send(error, body, encoding, receive, send)

    return [Endpoint("/v1/metrics", ("POST",), metrics, plain=True)]


def _answer(outcome: Outcome, encoding: str) -> bytes:
    """ExportMetricsServiceResponse."""
    said = [one for one in outcome.rejected if one.reason != "exemplar"]
    if not said:
        return b"{}" if encoding == _JSON else b""
    rejected = sum(one.rows for one in said if one.reason not in _ASIDE)
    text = "; ".join(told_of(one) for one in said[:_SAID])
    if encoding == _JSON:
        return json.dumps({"partialSuccess": {"rejectedDataPoints": str(rejected), "errorMessage": text}}).encode()
    return wire.text(1, (wire.number(1, rejected) if rejected else b"") + wire.text(2, text.encode()))


def _status(error: HttpError, encoding: str) -> bytes:
    """google.rpc.Status."""
    code = _CODES.get(_http_status(error), _INTERNAL)
    if encoding == _JSON:
        return json.dumps({"code": code, "message": str(error)}).encode()
    return wire.number(1, code) + wire.text(2, str(error).encode())


def _http_status(error: HttpError) -> int:
    return 503 if error.status == 507 else error.status


async def _send(error: HttpError | None, body: bytes, encoding: str, receive: Receive, send: Send) -> None:
    headers = [(b"content-type", encoding.encode()), (b"content-length", b"%d" % len(body))]
    more = error is not None and error.close
    if error is not None:
        headers += [(k.encode(), v.encode()) for k, v in error.headers.items()]
        headers += [(b"connection", b"close")] if more else []
    status = 200 if error is None else _http_status(error)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more})
    if more:
        await linger(receive, send)
