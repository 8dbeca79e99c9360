"""GET /api/v1/export: rows as they are stored, as CSV, JSON or columns, streamed: any amount can be taken out.

CSV has the columns `time,series,value`: ISO 8601 in UTC with nanoseconds, the series as in PromQL, the number or NaN.
json is a list of `{"metric": {labels}, "times": [ns], "values": [number or null]}`, jsonl the same objects, one a
line; a series of many rows comes in several of them. columns are messages of the codec `columns`, one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import pairwise, repeat
from typing import TYPE_CHECKING

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from almenara.codecs.columns import Columns
from almenara.model.batch import Batch, Column
from almenara.model.time import DAY_NS, HOUR_NS
from almenara.web.body import Limits
from almenara.web.errors import HttpError, dumps
from almenara.web.params import LATEST, read_params
from almenara.web.select import ids_of, label_set, parse_all, selection

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

CHUNK_ROWS = 200_000
CHUNK_SERIES = 1000
_PLAN_NS = 30 * DAY_NS
_MEDIA = {
    "csv": "text/csv",
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "columns": "application/vnd.almenara.columns",
}

Chunk = tuple[np.ndarray, int, int]  # ids, start, end


class Export:
    """The handler over one pipeline."""

    def __init__(self, pipeline: Pipeline, limits: Limits):
        self._pipeline = pipeline
        self._limits = limits

    async def export(self, request: Request) -> Response:
        """GET, POST /api/v1/export: match[] (every series without it), start, end, since, format (csv, json, jsonl,
        columns)."""
        params = await read_params(request, self._limits)
        form = params.choice("format", "csv", _MEDIA)
        selectors = parse_all(params.many("match"), needed=False)
        ids = ids_of(self._pipeline, selectors or [()])  # without any: every series
        end = params.time("end", self._pipeline.clock() + HOUR_NS)
        start = params.time("start", 0)
        if params.many("since"):
            start = max(0, self._pipeline.clock() - params.duration_ns("since"))
        if end < start:
            raise HttpError(400, "end must not be before start")
        name = {"content-disposition": f'attachment; filename="almenara.{form}"'}
        chunks = self._batches(ids, start, min(end, LATEST))
        return StreamingResponse(_written(chunks, form), headers=name, media_type=_MEDIA[form])

    async def _batches(self, ids: np.ndarray, start: int, end: int) -> AsyncIterator[Batch]:
        for at in range(0, len(ids), CHUNK_SERIES):
            some = ids[at : at + CHUNK_SERIES]
            counts = await self._pipeline.read(selection(self._pipeline, some), start, end, _PLAN_NS, "count")
            for chosen, low, high in plan(some, start, end, counts):
                yield await self._pipeline.read(selection(self._pipeline, chosen), low, high)


def plan(ids: np.ndarray, start: int, end: int, counts: Batch) -> Iterator[Chunk]:
    """Reads of about CHUNK_ROWS rows that together cover [start, end) of every id, in order of id and time.

    counts: rows a bucket, ordered by (id, time), as far as they are known; what is not counted (missing values) is
    covered too.
    """
    counted, begins, rows = np.asarray(counts.id), np.asarray(counts.time), np.asarray(counts.value)
    group: list[int] = []
    size = 0.0
    for id in ids.tolist():
        low, high = np.searchsorted(counted, [id, id + 1])
        total = float(rows[low:high].sum())
        if group and size + total > CHUNK_ROWS:
            yield np.array(group, np.int32), start, end
            group, size = [], 0.0
        if total <= CHUNK_ROWS:
            group.append(id)
            size += total
            continue
        step = np.cumsum(rows[low:high]) // CHUNK_ROWS
        cuts = begins[low:high][1:][step[1:] != step[:-1]]
        edges = [start, *(cut for cut in cuts.tolist() if start < cut < end), end]
        for left, right in pairwise(edges):
            yield np.array([id], np.int32), left, right
    if group:
        yield np.array(group, np.int32), start, end


async def _written(batches: AsyncIterator[Batch], form: str) -> AsyncIterator[bytes]:
    write: Callable[[Batch], bytes] = {"csv": csv_rows, "columns": Columns().encode}.get(form, json_lines)
    yield {"csv": b"time,series,value\n", "json": b"["}.get(form, b"")
    comma = b""
    async for batch in batches:
        if not len(batch):
            continue
        text = await asyncio.to_thread(write, batch)
        if form == "json":
            yield comma + text.rstrip(b"\n").replace(b"\n", b",\n")
            comma = b",\n"
        else:
            yield text
    yield b"]\n" if form == "json" else b""


def runs(batch: Batch) -> Iterator[tuple[int, slice]]:
    """(id, rows) of each series in a batch that is ordered by id."""
    ids = np.asarray(batch.id)
    edges = [0, *(np.flatnonzero(ids[1:] != ids[:-1]) + 1).tolist(), len(ids)]
    for low, high in pairwise(edges):
        if high > low:
            yield int(ids[low]), slice(low, high)


def csv_rows(batch: Batch) -> bytes:
    """Lines `time,series,value`; numbers as short as they read back the same."""
    times, values = csv_times(batch.time), csv_numbers(batch.value)
    lines: list[str] = []
    for id, rows in runs(batch):
        series = f'Z,"{str(batch.series[id]).replace(chr(34), chr(34) * 2)}",'
        lines += map("".join, zip(times[rows], repeat(series), values[rows], repeat("\n")))
    return "".join(lines).encode()


def csv_times(times: Column) -> list[str]:
    """ISO 8601 with nanoseconds, without the Z."""
    found: list[str] = np.datetime_as_string(np.array(times, np.int64).view("datetime64[ns]")).tolist()
    return found


def csv_numbers(column: Column) -> list[str]:
    """Numbers as short as they read back the same."""
    values = np.asarray(column, np.float64)
    texts = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY).decode()[1:-1].split(",")
    for i in np.flatnonzero(~np.isfinite(values)).tolist():
        texts[i] = str(values[i]).replace("nan", "NaN")
    return texts


def json_lines(batch: Batch) -> bytes:
    """One object a series, one a line."""
    time, value = np.asarray(batch.time, np.int64), np.asarray(batch.value, np.float64)
    return b"".join(
        dumps(
            {
                "metric": label_set(batch.series[id]),
                "times": np.ascontiguousarray(time[rows]),
                "values": np.ascontiguousarray(value[rows]),
            }
        )
        + b"\n"
        for id, rows in runs(batch)
    )
