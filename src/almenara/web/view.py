"""GET /api/v1/view: everything one chart of one series shows, in one answer as wide as the chart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from almenara.analysis.decimate import extremes
from almenara.model.alarm import Severity, State, Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.time import HOUR_NS
from almenara.pipeline.kinds import COUNTER
from almenara.pipeline.rates import as_judged
from almenara.plot.gaps import gaps, with_gaps
from almenara.web.body import Limits
from almenara.web.errors import HttpError, json_response
from almenara.web.params import read_params
from almenara.web.select import one_series, selection
from almenara.web.thresholds import thresholds

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

#: Rows up to which the detector is asked again what it says of each.
MAX_REPLAYED = 500_000
MAX_ANOMALIES = 1000
_MS = 1_000_000
_JOURNAL = 1000
#: At this distance there is no band.
_NO_BAND: Mapping[str, Any] = {"lower": [], "upper": [], "yhat": [], "anomalies": [], "decimated": True}


class View:
    """The handler over one pipeline."""

    def __init__(self, pipeline: Pipeline, limits: Limits):
        self._pipeline = pipeline
        self._limits = limits

    async def view(self, request: Request) -> Response:
        """GET /api/v1/view: series (a selector of one), start, end (by default the last six hours), width in pixels."""
        params = await read_params(request, self._limits)
        id = one_series(self._pipeline, params.text("series"))
        end = params.time("end", self._pipeline.clock() + 1)  # a row of just now is in
        start = params.time("start", max(0, end - 6 * HOUR_NS))
        width = params.whole("width", 800, 10, 10_000)
        if end <= start:
            raise HttpError(400, "end must be after start")
        about = self._pipeline.metadata.of(id)
        rate = bool(self._pipeline.kinds(np.array([id]))[0] == COUNTER)
        chart = await self._chart(id, start, end, width, rate)
        series = self._pipeline.index[id]
        alarms = self._pipeline.alarms
        changes = [*(a.last for a in alarms.open()), *alarms.journal(limit=_JOURNAL)]
        spans = alarm_spans((one for one in changes if one.series == series), start, end)
        limits = [] if rate else await thresholds(self._pipeline, series, start, end, width)
        told = {"series": str(series), "unit": about.unit, "kind": about.kind, "rate": rate}
        return json_response({**told, **chart, "alarms": spans, "thresholds": limits})

    async def _chart(self, id: int, start: int, end: int, width: int, rate: bool) -> dict[str, Any]:
        one = selection(self._pipeline, np.array([id], np.int32))
        counts = await self._pipeline.read(one, start, end, end - start, "count")
        if np.asarray(counts.value).sum() > MAX_REPLAYED:
            return await self._wide_rate(one, start, end, width) if rate else await self._wide(one, start, end, width)
        replayed = await self._pipeline.replay(one.id, start, end)
        return judged_chart(replayed.batch, replayed.verdict, start, end, width, replayed.causes)

    async def _wide(self, one: Any, start: int, end: int, width: int) -> dict[str, Any]:
        """Many rows: the store gives the lowest and the highest of every pixel; there is no band at this distance."""
        every = -(-(end - start) // width)
        lowest = await self._pipeline.read(one, start, end, every, "min")
        highest = await self._pipeline.read(one, start, end, every, "max")
        times = np.column_stack((np.asarray(lowest.time), np.asarray(highest.time) + every // 2)).ravel()
        values = np.column_stack((np.asarray(lowest.value), np.asarray(highest.value))).ravel()
        middles, next_ns = gaps(np.asarray(lowest.time), every)
        return {**_drawn(times, {"values": values}, middles, next_ns), **_NO_BAND}

    async def _wide_rate(self, one: Any, start: int, end: int, width: int) -> dict[str, Any]:
        """The same of a counter: its mean rate from pixel to pixel."""
        every = -(-(end - start) // width)
        last = await self._pipeline.read(one, start, end, every, "last")
        n = len(last)
        rates = as_judged(Batch(last.series, np.zeros(n, np.int32), last.time, last.value), np.array([COUNTER]))
        time = np.asarray(last.time)
        middles, next_ns = gaps(time, every)
        return {**_drawn(time, {"values": np.asarray(rates.value)}, middles, next_ns), **_NO_BAND}


def judged_chart(
    batch: Batch, verdict: Verdict, start: int, end: int, width: int, causes: Causes | None = None
) -> dict[str, Any]:
    """Columns of a chart from rows and what the detector says of them: extremes of every pixel, and every anomaly."""
    time, value, score = (np.asarray(column) for column in (batch.time, batch.value, verdict.score))
    at = extremes(time, value, start, end, width, keep=score >= 1)
    columns = {name: np.asarray(getattr(verdict, name))[at] for name in ("lower", "upper", "yhat")}
    middles, next_ns = gaps(time, (end - start) / width)
    return {
        **_drawn(time[at], {"values": value[at], **columns}, middles, next_ns),
        "anomalies": anomalies(time, value, verdict, causes or Causes()),
        "decimated": len(at) < len(time),
    }


def _drawn(time: np.ndarray, columns: Mapping[str, np.ndarray], middles: np.ndarray, next_ns: float) -> dict[str, Any]:
    """Columns with a missing row in every gap, times in ms; `gap_ms`: a live row that comes later begins a new line."""
    found = with_gaps(time, columns, middles)
    return {"times": found.pop("time") / _MS, **found, "gap_ms": next_ns / _MS if np.isfinite(next_ns) else None}


def anomalies(time: np.ndarray, value: np.ndarray, verdict: Verdict, causes: Causes) -> list[dict[str, Any]]:
    """The rows with a score of at least 1 in order of time, with what was expected; `alert`: an anomaly begins there.

    Of more than MAX_ANOMALIES the worst one of each of so many equal parts of the time, so that none is without.
    """
    score = np.asarray(verdict.score)
    at = np.flatnonzero(score >= 1)
    if len(at) > MAX_ANOMALIES:
        since = time[at] - time[at[0]]
        part = since // -(-(since[-1] + 1) // MAX_ANOMALIES)
        order = np.lexsort((score[at], part))
        at = np.sort(at[order[np.append(part[1:] != part[:-1], True)]])
    nth_of = np.zeros(len(score), np.int32) if verdict.nth is None else verdict.nth
    said = (verdict.yhat, verdict.lower, verdict.upper, verdict.cause, nth_of, np.arange(len(score)))
    columns = (time, value, score, *(np.asarray(column) for column in said))
    found = []
    for t, v, s, yhat, lower, upper, cause, nth, k in zip(*(column[at].tolist() for column in columns), strict=True):
        told = causes.sentence(v, s, yhat, lower, upper, cause, time=t, nth=nth, note=verdict.notes.get(k, ""))
        row = {"time": t / _MS, "value": v, "score": s, "severity": Severity.of_score(s).value, "yhat": yhat}
        found.append({**row, "lower": lower, "upper": upper, "alert": nth == 1, "why": told})
    return found


def alarm_spans(changes: Iterable[Transition], start: int, end: int) -> list[dict[str, Any]]:
    """Each alarm that was on within [start, end): from when, to when (null: still on), and its last state."""
    last: dict[tuple[str, int], Transition] = {}
    newest: dict[str, int] = {}
    ended: dict[tuple[str, int], int] = {}  # spans that another one goes on from, as after a time without data
    worst: dict[tuple[str, int], Severity] = {}
    order = list(Severity)
    for one in sorted(changes, key=lambda change: change.time):
        key = (one.rule, one.since)
        if newest.get(one.rule, one.since) < one.since:
            ended[one.rule, newest[one.rule]] = one.since
        newest[one.rule] = one.since
        last[key] = one
        worst[key] = max(worst.get(key, one.severity), one.severity, key=order.index)
    ended |= {key: one.time for key, one in last.items() if one.state in (State.RESOLVED, State.INACTIVE)}
    return [
        {
            "start": one.since / _MS,
            "end": ended[key] / _MS if key in ended else None,
            "rule": one.rule,
            "state": one.state.value,
            "severity": worst[key].value,
        }
        for key, one in sorted(last.items(), key=lambda item: item[0][1])
        if one.since < end and ended.get(key, start) >= start
    ]
