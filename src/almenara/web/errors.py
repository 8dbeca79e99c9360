"""What a client is told when a request fails: one HTTP status and one JSON body for each error of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping

import orjson
from starlette.responses import Response

from almenara.model.errors import (
    AlmenaraError,
    ConfigError,
    DecodeError,
    DiskFull,
    KeyReused,
    NotSupported,
    PluginError,
    QueryError,
    QuerySyntax,
    Refused,
)

#: Prometheus' word for what went wrong, by status; what is not listed is `internal`.
_ERROR_TYPES = {
    400: "bad_data",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
    415: "bad_data",
    421: "forbidden",
    422: "execution",
    503: "unavailable",
    507: "unavailable",
}


class HttpError(AlmenaraError):
    """A request that is answered with `status`. `close`: its body is not read to the end, so the connection ends."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error_type: str = "",
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ):
        self.status = status
        self.error_type = error_type or _ERROR_TYPES.get(status, "internal")
        self.headers = dict(headers or {})
        self.close = close
        super().__init__(message)


def as_http(error: Exception) -> HttpError:
    """The answer to an error of ours: its status by its class, its message as it is."""
    if isinstance(error, HttpError):
        return error
    message = str(error)
    if isinstance(error, TimeoutError):
        return HttpError(503, message or "the query took longer than its timeout", error_type="timeout")
    if isinstance(error, Refused):
        wait = {"retry-after": str(max(1, math.ceil(error.retry_after_s)))}
        return HttpError(507 if isinstance(error, DiskFull) else 503, message, headers=wait)
    if isinstance(error, QuerySyntax | DecodeError | ConfigError):
        return HttpError(400, message)
    if isinstance(error, NotSupported) and "not supported" not in message:
        return HttpError(422, f"not supported yet: {message}")
    if isinstance(error, QueryError):
        return HttpError(422, message)
    if isinstance(error, KeyReused):
        return HttpError(422, message, error_type="bad_data")
    if isinstance(error, PluginError):
        return HttpError(404, message)
    return HttpError(500, message)


def dumps(body: object) -> bytes:
    """JSON bytes; numpy arrays are lists, and NaN and infinities are null."""
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(dumps(body), status, headers, media_type="application/json")


def error_response(error: HttpError, path: str) -> Response:
    """Prometheus' error shape under /api/v1/, and `{"error": ...}` everywhere else, as Influx clients expect."""
    body: dict[str, object] = {"error": str(error)}
    if path.startswith("/api/v1/"):
        body = {"status": "error", "errorType": error.error_type, "error": str(error)}
    close = {"connection": "close"} if error.close else {}
    return json_response(body, error.status, {**error.headers, **close})
