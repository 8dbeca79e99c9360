"""POST /api/v1/backtest/rules: what other rules and policies would have told people over stored history, beside what
was."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from almenara.alarm.tables import reading
from almenara.config.trial import Trial, trial_of
from almenara.model.alarm import Incident
from almenara.model.errors import AlmenaraError, ConfigError, StoreError
from almenara.model.time import HOUR_NS
from almenara.pipeline.budgets import Budgets
from almenara.pipeline.chain import Chain, Wanted, run_chain
from almenara.pipeline.judge import NOT_OURS
from almenara.web.body import Limits, read_body
from almenara.web.errors import HttpError, dumps
from almenara.web.params import parse_api_duration
from almenara.web.select import ids_of, parse_all

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

_MS = 1_000_000
_FIELDS = ("match", "since", "config")
_MOST_INCIDENTS, _MOST_MEMBERS = 2000, 20
_SENT = """SELECT notifier, count(*) FROM outbox WHERE outcome = 'sent' AND incident != 0 AND done >= ? AND done < ?
    GROUP BY notifier"""


class RehearseApi:
    """The handler over one pipeline; one at a time, as each takes a processor."""

    def __init__(self, pipeline: Pipeline, limits: Limits):
        self._pipeline, self._limits = pipeline, limits
        self._busy = False

    async def rehearse(self, request: Request) -> Response:
        """POST /api/v1/backtest/rules, a JSON object: config (tables `rules`, `policies`, `inhibit`, `site` as in the
        configuration, `notifiers` with their `match`), since (30d), match (selectors; every series without). Answers
        with a JSON object a line: `{"progress": ...}` again and again, in the end `{"result": ...}` or
        `{"error": ...}`. Nobody is told anything."""
        wanted = await self._read(request)
        if self._busy:
            raise HttpError(503, "another backtest of rules is running", headers={"retry-after": "10"})
        await self._pipeline.settle()
        return StreamingResponse(self._lines(wanted), media_type="application/x-ndjson")

    async def _read(self, request: Request) -> Wanted:
        limits, hub = self._limits, self._pipeline
        body = await read_body(request.scope["headers"], request.receive, limits.form_bytes, limits.body_timeout_s)
        try:
            given = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError as error:
            raise HttpError(400, f"expected a JSON object: {error}") from error
        if not isinstance(given, dict) or set(given) - set(_FIELDS) or not isinstance(given.get("config"), dict):
            raise HttpError(400, f"expected a JSON object with config, and perhaps {', '.join(_FIELDS[:2])}")
        try:
            trial: Trial = await asyncio.to_thread(trial_of, given["config"])
            since = parse_api_duration(str(given.get("since") or "30d"))
        except (ConfigError, ValueError, ArithmeticError) as error:
            raise HttpError(422, str(error)) from error
        selectors = given.get("match") or []
        if not isinstance(selectors, list) or not all(isinstance(one, str) for one in selectors):
            raise HttpError(422, f"match: expected a list of selectors; got {selectors!r}")
        ids = ids_of(hub, parse_all([s for s in selectors if s.strip()], needed=False) or [()])
        ids = np.intersect1d(ids, hub.index.select((NOT_OURS,)), assume_unique=True).astype(np.int32)
        if since < HOUR_NS or not len(ids):
            raise HttpError(404, "found no series, or less than an hour; expected some series and at least an hour")
        end = hub.clock()
        return Wanted(ids, end - since, end, trial.rules, trial.told)

    async def _lines(self, wanted: Wanted) -> AsyncIterator[bytes]:
        if self._busy:  # another one began since this was asked for
            yield dumps({"error": "another backtest of rules is running"}) + b"\n"
            return
        self._busy = True
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, "rehearse")  # a session of the store is used by one thread
        steps = self._steps(wanted)
        last: Chain | None = None
        try:
            while (found := await loop.run_in_executor(thread, next, steps, None)) is not None:
                last = found
                yield dumps({"progress": {"done": round(found.done, 4), "rows": found.rows}}) + b"\n"
            result = await loop.run_in_executor(thread, self._result, wanted, last or Chain(wanted.start, wanted.end))
            yield dumps({"result": result}) + b"\n"
        except (AlmenaraError, StoreError) as error:
            yield dumps({"error": str(error)}) + b"\n"
        finally:  # nothing is awaited here: of a reader who has gone every wait ends at once
            self._busy = False
            thread.submit(steps.close)
            thread.shutdown(wait=False)

    def _steps(self, wanted: Wanted) -> Any:
        hub = self._pipeline
        with closing(hub.store.reader()) as reader:
            yield from run_chain(
                reader, hub.index, hub.options.watches, wanted, known=hub.metadata,
                budgets=Budgets(hub.options.budgets.all), when=hub.options.when,
            )  # fmt: skip

    def _result(self, wanted: Wanted, found: Chain) -> dict[str, Any]:
        hub = self._pipeline
        was = [
            one for one in hub.alarms.incidents(_MOST_INCIDENTS)
            if one.since < wanted.end and (one.resolved or wanted.end) >= wanted.start
        ]  # fmt: skip
        with closing(hub.folder.database()) as connection, reading():
            sent = dict(connection.execute(_SENT, (wanted.start, wanted.end)).fetchall())
        told: dict[int, list[dict[str, Any]]] = {}
        why: dict[int, str] = {}
        for one in (*found.before, *found.sent):
            notice = one.notice
            said = {"notifier": one.notifier, "kind": notice.kind.value, "time_ms": one.time // _MS}
            told.setdefault(notice.incident.id, []).append(said | {"title": notice.title})
            why.setdefault(notice.incident.id, notice.title)
        return {
            "start_ms": wanted.start // _MS,
            "end_ms": wanted.end // _MS,
            "series": len(wanted.ids),
            "rows": found.rows,
            "left_out": found.left_out,
            "would_have": {
                "messages": dict(Counter(one.notifier for one in found.sent)),
                "incidents": list(_incidents(found.incidents, told, why)),
            },
            "was": {"messages": sent, "incidents": list(_incidents(was[::-1], {}, {}))},
        }


def _incidents(some: list[Incident], told: Mapping[int, Any], why: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    for one in some[:_MOST_INCIDENTS]:
        yield {
            "id": one.id,
            "since_ms": one.since // _MS,
            "resolved_ms": one.resolved // _MS if one.resolved else None,
            "severity": one.severity.value,
            "rules": sorted({member.last.rule for member in one.members}),
            "alarms": len(one.members),
            "series": [str(member.last.series) for member in one.members[:_MOST_MEMBERS]],
            "title": why.get(one.id, ""),
            "told": told.get(one.id, []),
        }
