"""Prometheus' HTTP API over the hub, so that Grafana, vmalert and promtool's clients plug in.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/. Every call takes GET and a POSTed form.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from almenara._version import __version__
from almenara.model.time import NS
from almenara.query import Matrix, to_prometheus
from almenara.web.body import Limits
from almenara.web.errors import HttpError, json_response
from almenara.web.params import Params, read_params
from almenara.web.select import ids_of, label_set, parse_all

if TYPE_CHECKING:
    from almenara.model.series import Metadata
    from almenara.pipeline import Pipeline

#: Points a series in one answer, as in Prometheus.
MAX_POINTS = 11_000
#: Series, labels or values in one answer, whatever `limit` says.
MAX_LISTED = 100_000
_TIMEOUT = "30s"
_LONGEST_NS = 120 * NS
#: Grafana asks this before it uses newer parts of the API; what it then uses is here from 2.24 on.
_API_VERSION = "2.24.0"
_TRUNCATED = "results truncated due to limit"


class PrometheusApi:
    """The handlers over one pipeline."""

    def __init__(self, pipeline: Pipeline, limits: Limits):
        self._pipeline = pipeline
        self._limits = limits

    async def query(self, request: Request) -> Response:
        """GET, POST /api/v1/query: an expression at one time."""
        params = await read_params(request, self._limits)
        time = params.time("time", self._pipeline.clock())
        matrix = await self._ask(params, time, time, 0)
        return await _answer(matrix, True, _limit(params))

    async def query_range(self, request: Request) -> Response:
        """GET, POST /api/v1/query_range: an expression at every step from start to end."""
        params = await read_params(request, self._limits)
        start, end, step = params.time("start"), params.time("end"), params.duration_ns("step")
        if end < start:
            raise HttpError(400, 'invalid parameter "end": end timestamp must not be before start time')
        if step <= 0:
            raise HttpError(
                400, "zero or negative query resolution step widths are not accepted. Try a positive integer"
            )
        if (end - start) // step >= MAX_POINTS:
            raise HttpError(
                400,
                f"exceeded maximum resolution of {MAX_POINTS:,} points per timeseries. "
                "Try decreasing the query resolution (?step=XX)",
            )
        matrix = await self._ask(params, start, end, step)
        return await _answer(matrix, False, _limit(params))

    async def _ask(self, params: Params, start: int, end: int, step: int) -> Matrix:
        timeout_ns = min(params.duration_ns("timeout", _TIMEOUT), _LONGEST_NS)
        try:
            async with asyncio.timeout(timeout_ns / NS):
                return await self._pipeline.query(params.text("query"), start, end, step)
        except TimeoutError:
            raise HttpError(503, "query timed out in query execution", error_type="timeout") from None

    async def series(self, request: Request) -> Response:
        """GET, POST /api/v1/series: label sets of the series that any match[] selects."""
        params = await read_params(request, self._limits)
        index, limit = self._pipeline.index, _limit(params)
        ids = ids_of(self._pipeline, parse_all(params.many("match")))
        chosen = ids[:limit].tolist()
        return await _success(lambda: [label_set(index[id]) for id in chosen], len(ids) > limit)

    async def labels(self, request: Request) -> Response:
        """GET, POST /api/v1/labels: label names in use, of all series or of those that any match[] selects."""
        params = await read_params(request, self._limits)
        limit, index = _limit(params), self._pipeline.index
        selectors = parse_all(params.many("match"), needed=False)
        if not selectors:
            names = await asyncio.to_thread(index.label_names)
        else:
            ids = ids_of(self._pipeline, selectors)
            names = await asyncio.to_thread(lambda: sorted({n for id in ids.tolist() for n in label_set(index[id])}))
        return await _success(lambda: names[:limit], len(names) > limit)

    async def label_values(self, request: Request) -> Response:
        """GET /api/v1/label/{name}/values: values of one label; `__name__` for the names of series."""
        params = await read_params(request, self._limits)
        limit, index, name = _limit(params), self._pipeline.index, request.path_params["name"]
        selectors = parse_all(params.many("match"), needed=False)
        if not selectors:
            values = await asyncio.to_thread(index.label_values, name)
        else:
            ids = ids_of(self._pipeline, selectors)
            values = await asyncio.to_thread(_values_of, index, ids, name)
        return await _success(lambda: values[:limit], len(values) > limit)

    async def metadata(self, request: Request) -> Response:
        """GET /api/v1/metadata: type, help and unit by metric name, of those that are known."""
        params = await read_params(request, self._limits)
        limit, each = _limit(params), params.whole("limit_per_metric", 0, 0, 10**12) or MAX_LISTED
        known = await asyncio.to_thread(self._pipeline.metadata.by_name)
        if metric := params.text("metric", ""):
            known = {name: texts for name, texts in known.items() if name == metric}
        names = list(known)[:limit]
        return await _success(lambda: {name: [_told(text) for text in known[name][:each]] for name in names})

    async def buildinfo(self, request: Request) -> Response:
        """GET /api/v1/status/buildinfo: the version of the API, and ours."""
        return await _success(
            lambda: {"version": _API_VERSION, "application": "almenara", "applicationVersion": __version__}
        )


def _told(text: Metadata) -> dict[str, str]:
    return {"type": text.kind or "unknown", "help": text.help, "unit": text.unit}


def _values_of(index: Any, ids: np.ndarray, label: str) -> list[str]:
    return sorted({value for id in ids.tolist() if (value := label_set(index[id]).get(label))})


def _limit(params: Params) -> int:
    """`limit`, where 0 or none is as many as one answer holds."""
    return params.whole("limit", 0, 0, 10**12) or MAX_LISTED if params.many("limit") else MAX_LISTED


async def _answer(matrix: Matrix, instant: bool, limit: int) -> Response:
    if matrix.scalar or len(matrix) <= limit:
        return await _success(lambda: to_prometheus(matrix, instant))
    few = Matrix(matrix.labels[:limit], matrix.times, matrix.values[:limit], matrix.present[:limit])
    return await _success(lambda: to_prometheus(few, instant), truncated=True)


async def _success(data: Callable[[], object], truncated: bool = False) -> Response:
    """Prometheus' envelope; large data are made in a thread, so that the loop goes on."""
    body: dict[str, object] = {"status": "success"}

    def build() -> Response:
        body["data"] = data()
        if truncated:
            body["warnings"] = [_TRUNCATED]
        return json_response(body)

    return await asyncio.to_thread(build)
