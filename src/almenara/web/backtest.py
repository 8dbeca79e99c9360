"""POST /api/v1/backtest: what a detector would have flagged over stored history with other options, beside today's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from almenara.analysis.rates import weekly
from almenara.model.alarm import Severity
from almenara.model.errors import AlmenaraError, StoreError
from almenara.model.time import DAY_NS, WEEK_NS
from almenara.pipeline.backtest import Backtest, Contender
from almenara.pipeline.budgets import limit_of
from almenara.pipeline.judge import NOT_OURS, Watch
from almenara.web.body import Limits, read_body
from almenara.web.errors import HttpError, dumps, json_response
from almenara.web.params import parse_api_duration, parse_api_time
from almenara.web.select import ids_of, parse_all, selection

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

TODAY, ASKED = "today", "asked"
#: So many series are told one by one, those with the most anomalies first.
_MOST_SERIES = 100
_FIELDS = ("match", "since", "start", "end", "detector", "options", "budget_per_week")
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request wants. options: those that differ from today's; none: today's alone are tried."""

    ids: np.ndarray
    start: int
    end: int
    watch: Watch
    options: Mapping[str, Any]


class BacktestApi:
    """The handlers over one pipeline; one backtest at a time, as each takes a processor."""

    def __init__(self, pipeline: Pipeline, limits: Limits):
        self._pipeline, self._limits = pipeline, limits
        self._busy = False

    async def detectors(self, request: Request) -> Response:
        """GET /api/v1/detectors: the configured ones, with their options: type, meaning, default, and today's value."""
        return json_response([_told(watch) for watch in self._pipeline.options.watches])

    async def backtest(self, request: Request) -> Response:
        """POST /api/v1/backtest, a JSON object: match (selectors; every series without), since (30d) or start and end,
        detector, options (those that are to differ from today's), budget_per_week. Answers with a JSON object a line:
        `{"progress": ...}` again and again, in the end `{"result": ...}`, or `{"error": ...}`."""
        asked = await self._read(request)
        contenders = [Contender(TODAY, asked.watch.make)]
        if asked.options:
            asked.watch.make(asked.options)  # what is wrong with the options is said before work begins
            contenders.append(Contender(ASKED, partial(asked.watch.make, asked.options)))
        if self._busy:
            raise HttpError(503, "another backtest is running", headers={"retry-after": "10"})
        await self._pipeline.settle()
        return StreamingResponse(self._lines(asked, contenders), media_type="application/x-ndjson")

    async def _read(self, request: Request) -> _Asked:
        limits, hub = self._limits, self._pipeline
        body = await read_body(request.scope["headers"], request.receive, limits.form_bytes, limits.body_timeout_s)
        try:
            given = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError as error:
            raise HttpError(400, f"expected a JSON object: {error}") from error
        if not isinstance(given, dict) or (unknown := sorted(set(given) - set(_FIELDS))):
            found = f"unknown {', '.join(unknown)}" if isinstance(given, dict) else f"a {type(given).__name__}"
            raise HttpError(400, f"found {found}, expected a JSON object with some of {', '.join(_FIELDS)}")
        end = min(_time(given, "end", hub.clock()), hub.clock())
        start = _time(given, "start", max(0, end - _duration(given, "since", "30d")))
        if end - start < DAY_NS:
            raise HttpError(400, "found less than a day between start and end, expected at least one")
        selectors = given.get("match", [])
        selectors = [selectors] if isinstance(selectors, str) else selectors
        if not isinstance(selectors, list) or not all(isinstance(one, str) for one in selectors):
            raise HttpError(422, f"match: expected a list of selectors; got {selectors!r}")
        watch = self._watch(given.get("detector", ""))
        ids = ids_of(hub, parse_all([s for s in selectors if s.strip()], needed=False) or [()])
        ids = np.intersect1d(ids, hub.index.select((*watch.matchers, NOT_OURS)), assume_unique=True).astype(np.int32)
        if not len(ids):
            raise HttpError(404, "no series that this detector judges matches")
        return _Asked(ids, start, end, watch, await self._options(given, ids, start, end))

    async def _options(self, given: Mapping[str, Any], ids: np.ndarray, start: int, end: int) -> Mapping[str, Any]:
        options, budget = given.get("options") or {}, given.get("budget_per_week")
        if not isinstance(options, dict):
            raise HttpError(422, f"options: expected an object; got {options!r}")
        if budget is None:
            return options
        if not isinstance(budget, int | float) or not budget > 0:
            raise HttpError(422, f"budget_per_week: expected a number of anomalies above 0; got {budget!r}")
        counts = await self._pipeline.read(selection(self._pipeline, ids), start, end, WEEK_NS, "count")
        rows = float(np.asarray(counts.value).sum())
        if not rows:
            raise HttpError(404, "these series have no rows in this time")
        return options | {"p_limit": limit_of(budget, rows / ((end - start) / WEEK_NS))}

    def _watch(self, name: object) -> Watch:
        watches = self._pipeline.options.watches
        found = next((one for one in watches if not name or one.name == name), None)
        if found is None:
            raise HttpError(404, f"no detector is called {name!r}; there are {', '.join(one.name for one in watches)}")
        return found

    async def _lines(self, asked: _Asked, contenders: list[Contender]) -> AsyncIterator[bytes]:
        if self._busy:  # another one began since this was asked for
            yield dumps({"error": "another backtest is running"}) + b"\n"
            return
        self._busy = True
        loop = asyncio.get_running_loop()
        thread = ThreadPoolExecutor(1, "backtest")  # a session of the store is used by one thread
        steps = self._pipeline.backtest(asked.ids, asked.start, asked.end, contenders)
        try:
            while (found := await loop.run_in_executor(thread, next, steps, None)) is not None:
                last = found
                yield dumps({"progress": {"series": found.series, "of": found.of, "rows": found.rows}}) + b"\n"
            result = await loop.run_in_executor(thread, self._result, asked, contenders, last)
            yield dumps({"result": result}) + b"\n"
        except (AlmenaraError, StoreError) as error:
            yield dumps({"error": str(error)}) + b"\n"
        finally:  # nothing is awaited here: of a reader who has gone every wait ends at once
            self._busy = False
            thread.submit(steps.close)
            thread.shutdown(wait=False)

    def _result(self, asked: _Asked, contenders: list[Contender], found: Backtest) -> dict[str, Any]:
        values = [dict(asked.watch.values), {**asked.watch.values, **asked.options}]
        index, names = self._pipeline.index, [one.name for one in contenders]
        by_series = [tally.by_series for tally in found.tallies]
        flagged = sorted(set().union(*by_series), key=lambda id: -max(counts[id] for counts in by_series))
        return {
            "start_ms": found.start // _MS,
            "end_ms": found.end // _MS,
            "weeks": found.weeks,
            "series": found.series,
            "rows": found.rows,
            "detector": asked.watch.name,
            "detectors": [_tally(found, k, name, values[k]) for k, name in enumerate(names)],
            "by_series": [
                {"series": str(index[id])} | {name: counts[id] for name, counts in zip(names, by_series, strict=True)}
                for id in flagged[:_MOST_SERIES]
            ],
            "anomalies": list(_anomalies(found, names, index)),
        }


def _told(watch: Watch) -> dict[str, Any]:
    """A configured detector, for a form that asks for other options."""
    options = [
        {
            "name": one.name,
            "type": one.type_text,
            "help": one.help,
            "default": one.default_text,
            "value": _plain(watch.values.get(one.parameter)),
        }
        for one in watch.options
    ]
    return {"name": watch.name, "options": options}


def _plain(value: Any) -> Any:
    """An option's value as JSON has it."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _tally(found: Backtest, which: int, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    tally = found.tallies[which]
    rate, low, high = weekly(tally.alerts, found.weeks)
    return {
        "name": name,
        "options": {option: _plain(value) for option, value in values.items()},
        "judged": tally.judged,
        "over": tally.over,
        "anomalies": tally.alerts,
        "also": tally.also,
        "per_week": rate,
        "per_week_interval": [low, high],
        "series": len(tally.by_series),
        "by_day": [[day // _MS, count] for day, count in sorted(tally.by_day.items())],
    }


def _anomalies(found: Backtest, names: list[str], index: Any) -> Iterator[dict[str, Any]]:
    """The worst of all; what both flagged is told once, as the last of them said it."""
    columns = [found.anomalies[name].tolist() for name in found.anomalies]
    for id, begins, ends, worst, rows, cause, also, by, score, value, yhat, lower, upper in zip(*columns, strict=True):
        if also and by + 1 < len(names):
            continue
        yield {
            "series": str(index[id]),
            "by": "both" if also else names[by],
            "begins_ms": begins // _MS,
            "ends_ms": ends // _MS,
            "worst_ms": worst // _MS,
            "rows": rows,
            "score": score,
            "severity": Severity.of_score(score).value,
            "value": value,
            "yhat": yhat,
            "lower": lower,
            "upper": upper,
            "why": found.causes[by].sentence(value, score, yhat, lower, upper, cause, time=worst),
        }


def _time(given: Mapping[str, Any], name: str, default: int) -> int:
    return _parsed(name, given[name], parse_api_time) if given.get(name) not in (None, "") else default


def _duration(given: Mapping[str, Any], name: str, default: str) -> int:
    return _parsed(name, given.get(name) or default, parse_api_duration)


def _parsed(name: str, value: object, parse: Any) -> int:
    try:
        return parse(str(value))
    except (ValueError, ArithmeticError) as error:
        raise HttpError(400, f"{name}: {error}") from error
