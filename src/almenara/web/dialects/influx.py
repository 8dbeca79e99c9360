"""InfluxDB's HTTP interface, 1.x and the writing half of 2.x, so that Telegraf, Grafana and `influx` plug in.

Source: https://docs.influxdata.com/influxdb/v1/tools/api/. There is one store: `db`, `rp`, `org` and `bucket` are taken
and remembered for SHOW DATABASES, and every one of them holds everything.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from almenara.model.batch import Batch
from almenara.model.errors import AlmenaraError, NotSupported, QueryError, QueryTooLarge, Refused, StoreError
from almenara.model.series import SeriesList
from almenara.model.time import NS, format_time
from almenara.pipeline.reading import MAX_ROWS
from almenara.plugin.contracts import Selection, StoreReader
from almenara.query import Matcher
from almenara.query.influxql import Names, Select, Statement, Table, answer, parse, plain
from almenara.web.body import Limits
from almenara.web.errors import HttpError, as_http, json_response
from almenara.web.ingest import INFLUX_VERSION, Ingest, parameters_of
from almenara.web.openapi import Endpoint
from almenara.web.params import Params, read_params

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline
    from almenara.pipeline.index import SeriesIndex
    from almenara.pipeline.origins import Origins

#: The database that is always there.
DATABASE = "almenara"
#: A request may take so long.
TIMEOUT_S = 30.0

_UNITS = {"n": 1, "ns": 1, "u": 10**3, "µ": 10**3, "ms": 10**6, "s": NS, "m": 60 * NS, "h": 3600 * NS}
_VERSION = {name.decode(): value.decode() for name, value in (INFLUX_VERSION, (b"x-influxdb-build", b"OSS"))}
_CSV = ("application/csv", "text/csv")
_WRITES = ("db", "rp", "precision", "bucket", "org", "u", "p")
_FLUX = "Flux is not supported yet; ask InfluxQL at /query, or PromQL at /api/v1/query"


def endpoints(pipeline: Pipeline, ingest: Ingest, limits: Limits) -> list[Endpoint]:
    """All paths of InfluxDB."""
    api = InfluxApi(pipeline, ingest, limits)
    return [
        Endpoint("/write", ("POST",), api.write, _WRITES, plain=True),
        Endpoint("/api/v2/write", ("POST",), api.write, _WRITES, plain=True),
        Endpoint("/ping", ("GET", "HEAD", "POST"), api.ping, ("verbose",)),
        Endpoint("/query", ("GET", "POST"), api.query, ("q", "db", "rp", "epoch", "pretty", "chunked", "params")),
        Endpoint("/api/v2/query", ("POST",), api.flux),
        Endpoint("/health", ("GET",), api.health),
    ]


class InfluxApi:
    """The handlers over one pipeline."""

    def __init__(self, pipeline: Pipeline, ingest: Ingest, limits: Limits):
        self._pipeline, self._ingest, self._limits = pipeline, ingest, limits
        self._names: tuple[int, Mapping[str, Any], Names] | None = None

    async def write(self, scope: Scope, receive: Receive, send: Send) -> None:
        """POST /write and /api/v2/write: line protocol; `precision` and `db` go on to the codec."""
        parameters = parameters_of(scope)
        database = parameters.get("db") or parameters.get("bucket", "")
        if database and self._pipeline.origins.is_new_database(database):
            with contextlib.suppress(StoreError, Refused):  # the rows matter more
                await asyncio.to_thread(self._pipeline.origins.keep_database, database)
        await self._ingest.influx(scope, receive, send)

    async def ping(self, request: Request) -> Response:
        """GET, HEAD and POST /ping: 204, and the version that Influx clients look for; `verbose`: also as JSON."""
        if request.query_params.get("verbose", "") not in ("", "0", "false"):
            return json_response({"version": _VERSION["x-influxdb-version"]}, headers=_VERSION)
        return Response(status_code=204, headers=_VERSION)

    async def health(self, request: Request) -> Response:
        """GET /health: whether the hub is ready, as InfluxDB 2 says it."""
        reasons = self._pipeline.health()
        message = "; ".join(reasons) or "ready for queries and writes"
        status, version = "fail" if reasons else "pass", _VERSION["x-influxdb-version"]
        body = {"name": "influxdb", "message": message, "status": status, "checks": (), "version": version}
        return json_response(body, 503 if reasons else 200, _VERSION)

    async def flux(self, request: Request) -> Response:
        """POST /api/v2/query: Flux, which is refused."""
        return json_response({"code": "not implemented", "message": _FLUX, "error": _FLUX}, 501, _VERSION)

    async def query(self, request: Request) -> Response:
        """GET, POST /query: InfluxQL; JSON, or CSV where Accept asks for it."""
        try:
            params = await read_params(request, self._limits)
            statements = parse(_asked(params), _bound(params))
            if not statements:
                raise HttpError(400, "error parsing query: found EOF, expected SELECT, SHOW, CREATE at line 1, char 1")
            async with asyncio.timeout(TIMEOUT_S):
                return await self._answer(statements, params, request)
        except (AlmenaraError, TimeoutError) as error:
            told = as_http(error)
            status = 400 if isinstance(error, NotSupported) else told.status
            return json_response({"error": str(told)}, status, {**told.headers, **_VERSION})

    async def _answer(self, statements: Sequence[Statement], params: Params, request: Request) -> Response:
        now_ns = self._pipeline.clock()

        def work(reader: StoreReader | None) -> Response:
            source = _Stored(self, self._pipeline.index, self._pipeline.origins, reader)
            results = _results(statements, source, now_ns)
            return _response(results, params, request.headers.get("accept", ""))

        if any(isinstance(one, Select) for one in statements):
            return await self._pipeline.read_with(work)
        return await asyncio.to_thread(work, None)  # names are known at once, before rows are stored

    def names(self) -> Names:
        """Measurements and fields; made again when there are more series or origins than last time."""
        index, origins = self._pipeline.index, self._pipeline.origins.by_name()
        known = len(index)
        if self._names is None or self._names[0] != known or self._names[1] is not origins:
            self._names = known, origins, Names(index.label_values("__name__"), origins)
        return self._names[2]


class _Stored:
    """The hub's series and rows, as InfluxQL reads them."""

    def __init__(self, api: InfluxApi, index: SeriesIndex, origins: Origins, reader: StoreReader | None):
        self._api, self._index, self._origins, self._reader = api, index, origins, reader

    @property
    def series(self) -> SeriesList:
        """Every series, by id."""
        return self._index

    def names(self) -> Names:
        """What there is."""
        return self._api.names()

    def select(self, matchers: Sequence[Matcher]) -> np.ndarray:
        """The series that fulfil all matchers."""
        return self._index.select(matchers)

    def read(self, ids: np.ndarray, start: int, end: int, every_ns: int | None = None, how: str = "avg") -> Batch:
        """Rows in [start, end). Raises QueryTooLarge."""
        if self._reader is None:
            raise QueryError("rows are read by SELECT only")
        batch = self._reader.read(Selection(self._index, ids), start, end, every_ns, how)
        if len(batch) > MAX_ROWS:
            raise QueryTooLarge(
                f"{len(batch):,} rows to read; at most {MAX_ROWS:,}: take a shorter range or fewer series"
            )
        return batch

    def databases(self) -> Sequence[str]:
        """What senders have named, and the one that is always there."""
        return sorted(self._origins.databases() | {DATABASE})

    def create_database(self, name: str) -> None:
        """Remember a name."""
        self._origins.keep_database(name)


def _asked(params: Params) -> str:
    if not (text := params.text("q", "")):
        raise HttpError(400, 'missing required parameter "q"')
    return text


def _bound(params: Params) -> dict[str, object]:
    """Values of `$name`, from the parameter `params`. Raises HttpError 400."""
    text = params.text("params", "")
    if not text:
        return {}
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise HttpError(400, f"error parsing query parameters: {error}") from error
    if not isinstance(found, dict):
        raise HttpError(400, "error parsing query parameters: expected an object")
    return found


def _results(statements: Sequence[Statement], source: _Stored, now_ns: int) -> list[list[Table] | str]:
    """Of each statement its tables, or what went wrong; after that nothing more is done."""
    found: list[list[Table] | str] = []
    for statement in statements:
        if found and isinstance(found[-1], str):
            found.append("not executed")
            continue
        try:
            found.append(answer(statement, source, now_ns))
        except QueryError as error:
            found.append(str(as_http(error)))
    return found


def _response(results: Sequence[list[Table] | str], params: Params, accept: str) -> Response:
    unit_ns = _UNITS.get(params.text("epoch", ""), 0 if not params.text("epoch", "") else 1)
    if accept.partition(",")[0].partition(";")[0].strip().lower() in _CSV:
        return Response(_as_csv(results, unit_ns or 1), headers=_VERSION, media_type="text/csv")
    told = [_told(number, result, unit_ns) for number, result in enumerate(results)]
    pretty = orjson.OPT_INDENT_2 if params.text("pretty", "") == "true" else 0
    body = orjson.dumps({"results": told}, option=pretty | orjson.OPT_APPEND_NEWLINE)
    return Response(body, headers=_VERSION, media_type="application/json")


def _told(number: int, result: list[Table] | str, unit_ns: int) -> dict[str, object]:
    if isinstance(result, str):
        return {"statement_id": number, "error": result}
    if not result:
        return {"statement_id": number}
    return {"statement_id": number, "series": [_series(table, unit_ns) for table in result]}


def _series(table: Table, unit_ns: int) -> dict[str, object]:
    found: dict[str, object] = {"name": table.name} if table.name else {}
    if table.tags is not None:
        found["tags"] = table.tags
    return {**found, "columns": table.columns, "values": list(zip(*_columns(table, unit_ns), strict=True))}


def _columns(table: Table, unit_ns: int) -> list[list[object]]:
    """The columns as Python's values, times in units since 1970, or as texts where unit_ns is 0."""
    columns = [plain(column) for column in table.data]
    if table.timed:
        columns[0] = _times(np.asarray(table.data[0], np.int64), unit_ns)
    return columns


def _times(time: np.ndarray, unit_ns: int) -> list[object]:
    if unit_ns:
        return (time // unit_ns).tolist()
    if not (time % NS).any():
        return [f"{text}Z" for text in np.datetime_as_string((time // NS).astype("datetime64[s]")).tolist()]
    return [format_time(one) for one in time.tolist()]


def _as_csv(results: Sequence[list[Table] | str], unit_ns: int) -> str:
    """InfluxDB's CSV: a head for each shape of table, with an empty line before all but the first."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n")
    head: list[str] = []
    for result in results:
        if isinstance(result, str):
            write.writerow(["error"])
            write.writerow([result])
            continue
        for table in result:
            mine = ["name", "tags", *table.columns]
            if mine != head:
                if head:
                    out.write("\n")
                head = mine
                write.writerow(head)
            tags = ",".join(f"{name}={value}" for name, value in sorted((table.tags or {}).items()) if value)
            columns = _columns(table, unit_ns)
            write.writerows([table.name, tags, *row] for row in zip(*columns, strict=True))
    return out.getvalue()
