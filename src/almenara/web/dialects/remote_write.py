"""Prometheus remote write 1.0 at the paths that Prometheus, vmagent, Cortex' and Mimir's clients are set to.

Standard: https://prometheus.io/docs/specs/prw/remote_write_spec/. 204: everything is kept. 400: some or all samples are
not, and need not come again (those that could be kept are). 503, 507 with Retry-After: nothing was kept, and the sender
tries again. 415 for version 2.0, and for vmagent's own compression: the sender then falls back to 1.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from almenara.model.errors import AlmenaraError
from almenara.web.body import Limits, header
from almenara.web.errors import HttpError, as_http
from almenara.web.ingest import Ingest, refuse, rejection
from almenara.web.openapi import Endpoint

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

PATHS = ("/api/v1/write", "/api/v1/push", "/api/prom/push")

#: Left out beside the samples: no reason to call a write partial.
_NO_SAMPLE = frozenset({"exemplar"})
_NO_CONTENT = {"type": "http.response.start", "status": 204, "headers": []}
_EMPTY_BODY = {"type": "http.response.body", "body": b""}


def endpoints(pipeline: Pipeline, ingest: Ingest, limits: Limits) -> list[Endpoint]:
    """All paths of remote write."""

    async def remote_write(scope: Scope, receive: Receive, send: Send) -> None:
        """POST /api/v1/write, /api/v1/push, /api/prom/push: Prometheus remote write 1.0."""
        try:
            _check_version(scope)
            outcome = await ingest.take(scope, receive, "remote_write", "remote_write")
            rejected = [one for one in outcome.rejected if one.reason not in _NO_SAMPLE]
            refusal = rejection(outcome.rows, rejected) if rejected else None
        except AlmenaraError as error:
            refusal = as_http(error)
        if refusal is not None:
            await refuse(refusal, scope, receive, send)
            return
        await send(_NO_CONTENT)
        await send(_EMPTY_BODY)

    return [Endpoint(path, ("POST",), remote_write, plain=True) for path in PATHS]


def _check_version(scope: Scope) -> None:
    """Raise HttpError 415 for a message of version 2.0."""
    if b"io.prometheus.write.v2" in header(scope["headers"], b"content-type"):
        raise HttpError(
            415, "remote write 2.0 is not read here; send 1.0 (protobuf_message: prometheus.WriteRequest)", close=True
        )
