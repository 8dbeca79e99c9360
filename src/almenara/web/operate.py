"""What operators and machines ask of the hub itself: alarms, sources, status, health, reload, the demo's faults."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from almenara._version import __version__
from almenara.alarm.noise import Noise, noise
from almenara.alarm.told import silenced
from almenara.alarm.vigil import Outage
from almenara.job.runs import Run
from almenara.model.alarm import Alarm, Incident, Transition
from almenara.model.errors import Problem
from almenara.model.time import DAY_NS
from almenara.web.body import Limits, read_body
from almenara.web.errors import HttpError, json_response
from almenara.web.params import read_params
from almenara.web.select import ids_of, parse_all

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline
    from almenara.pipeline.sources import SourceStatus

Reload = Callable[[], Sequence[Problem] | Awaitable[Sequence[Problem]]]

#: Header with the time up to which all is judged, in ms; who watches a hub sees by it whether judging goes on.
JUDGED_TO = "almenara-judged-to"
_MS = 1_000_000
_RECENT = 200  # transitions told with the open alarms
_RATE_OVER_S = 5.0


class Operate:
    """The handlers over one pipeline."""

    def __init__(self, pipeline: Pipeline, limits: Limits, reload: Reload | None):
        self._pipeline = pipeline
        self._limits = limits
        self._reload = reload
        self._started = time.monotonic()
        self._rate = Rate()

    async def alarms(self, request: Request) -> Response:
        """GET /api/v1/alarms: `open` alarms, and `recent` changes, newest first."""
        recent = self._pipeline.alarms.journal(limit=_RECENT)
        opened = [alarm_row(alarm) for alarm in self._pipeline.alarms.open()]
        return json_response({"open": opened, "recent": [transition_row(one) for one in recent]})

    async def journal(self, request: Request) -> Response:
        """GET /api/v1/journal: changes of alarms, newest first; `before` a time, for the next page."""
        params = await read_params(request, self._limits)
        before = params.time("before") if params.many("before") else None
        found = self._pipeline.alarms.journal(limit=params.whole("limit", 100, 1, 10_000), before_ns=before)
        return json_response([transition_row(one) for one in found])

    async def incidents(self, request: Request) -> Response:
        """GET /api/v1/incidents: newest first; `open=true` for those that are not resolved."""
        params = await read_params(request, self._limits)
        open_only = params.choice("open", "false", ("true", "false")) == "true"
        limit, members = params.whole("limit", 100, 1, 10_000), params.whole("members", 10_000, 1, 10_000)
        return json_response(await asyncio.to_thread(self._incidents, limit, open_only, members))

    def _incidents(self, limit: int, open_only: bool, members: int) -> list[dict[str, Any]]:
        alarms, now = self._pipeline.alarms, self._pipeline.clock()
        found = alarms.incidents(limit, open_only)
        return [incident_row(one, members) | {"is_silenced": silenced(one, alarms.silences, now)[1]} for one in found]

    async def sources(self, request: Request) -> Response:
        """GET /api/v1/sources: who sends, what became of it, and what to do about what is wrong."""
        return json_response([source_row(one) for one in await self._pipeline.account()])

    async def ledger(self, request: Request) -> Response:
        """GET /api/v1/ledger: `sources`, and the `total` of all: received = stored + duplicate + overwritten + ..."""
        rows = [source_row(one) for one in await self._pipeline.account()]
        total: dict[str, Any] = {name: sum(row[name] for row in rows) for name in LEDGER_SUMS}
        for outcome in ("rejected", "dropped"):
            reasons: Counter[str] = Counter()
            for row in rows:
                reasons.update(row[outcome])
            total[outcome] = dict(reasons)
        return json_response({"total": total, "sources": rows})

    async def events(self, request: Request) -> Response:
        """GET /api/v1/events: events in [start, end), newest first; by default the last day, 100 of them."""
        params = await read_params(request, self._limits)
        end = params.time("end", self._pipeline.clock() + 1)
        start = params.time("start", max(0, end - DAY_NS))
        selectors = parse_all(params.many("match"), needed=False)
        limit = params.whole("limit", 100, 1, 10_000)
        found = await self._pipeline.read_events(start, end, selectors, limit)
        return json_response([{"time_ms": e.time / _MS, "labels": dict(e.labels), "text": e.text} for e in found])

    async def jobs(self, request: Request) -> Response:
        """GET /api/v1/jobs: the hub's own `jobs`, when each is due `next_ms`, and `recent` runs, newest first."""
        params = await read_params(request, self._limits)
        jobs, limit = self._pipeline.jobs, params.whole("limit", 100, 1, 10_000)
        recent = await asyncio.to_thread(jobs.runs.recent, limit)
        told = [{"name": job.name, "every_s": job.every_s, "next_ms": at // _MS} for job, at in jobs.next_turns()]
        return json_response({"jobs": told, "recent": [run_row(one) for one in recent]})

    async def budgets(self, request: Request) -> Response:
        """GET /api/v1/budgets: alarm budgets, how many anomalies began lately, and their rate a week with its 95 %
        interval."""
        return json_response([asdict(one) for one in self._pipeline.budgets()])

    async def noise(self, request: Request) -> Response:
        """GET /api/v1/noise: of the last `since` (7d): which rules nobody ever acted on, which alarms flap, what was
        sent and held back, and how budgets were kept."""
        params = await read_params(request, self._limits)
        end = self._pipeline.clock()
        since = params.duration_ns("since", "7d")

        def read() -> Noise:
            with closing(self._pipeline.folder.database()) as connection:
                return noise(connection, max(0, end - since), end)

        found = await asyncio.to_thread(read)
        rules = [asdict(one) | {"is_noise": one.is_noise} for one in found.rules]
        budgets = [asdict(one) for one in self._pipeline.budgets()]
        told = {"flapping": [asdict(one) for one in found.flapping], "messages": found.messages, "held": found.held}
        times = {"start_ms": found.start // _MS, "end_ms": found.end // _MS}
        return json_response({**times, "rules": rules, **told, "budgets": budgets})

    async def again(self, request: Request) -> Response:
        """POST /api/v1/judge-again: have series learned anew from stored rows; GET: how many wait for it."""
        if request.method == "POST":
            params = await read_params(request, self._limits)
            ids = ids_of(self._pipeline, parse_all(params.many("match")))
            await self._pipeline.judge_again(ids)
        return json_response({"waiting": self._pipeline.to_judge_again})

    async def status(self, request: Request) -> Response:
        """GET /api/v1/status: version, uptime, series, rows a second, addresses, readiness, problems, the demo."""
        return json_response(self.status_now())

    def status_now(self) -> dict[str, Any]:
        """What `status` answers, and what live streams push."""
        hub = self._pipeline
        return {
            "version": __version__,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "clock_ms": hub.clock() // _MS,
            "series": len(hub.index),
            "rows_per_s": self._rate.of(hub.counters.value("almenara_rows_committed_total")),
            "addresses": dict(hub.addresses),
            "ready": hub.health(),
            "problems": [f"{name}: {why}" for name, why in sorted(hub.problems.items())],
            "outage": outage_row(outage) if (outage := hub.vigil.last) is not None else None,
            "demo": demo_row(demo) if (demo := self._demo()) is not None else None,
        }

    async def demo_break(self, request: Request) -> Response:
        """POST /api/v1/demo/break `{"fault": name}`: make the simulated plant misbehave."""
        demo = self._demo()
        if demo is None:
            raise HttpError(404, "this hub has no demo; start one with: almenara up --demo")
        fault = await self._field(request, "fault")
        if fault not in demo.faults:
            raise HttpError(404, f"no fault is called {fault[:80]!r}; expected one of {', '.join(demo.faults)}")
        demo.break_something(fault)
        return json_response(demo_row(demo))

    def _demo(self) -> Any:
        """The simulated plant; None where the hub was started without one."""
        return self._pipeline.demo

    async def _field(self, request: Request, name: str) -> str:
        limits = self._limits
        body = await read_body(request.scope["headers"], request.receive, limits.form_bytes, limits.body_timeout_s)
        try:
            value = orjson.loads(body).get(name)
        except (orjson.JSONDecodeError, AttributeError) as error:
            raise HttpError(400, f'expected a JSON object such as {{"{name}": "..."}}') from error
        if not isinstance(value, str):
            raise HttpError(422, f"{name!r}: expected a text; got {type(value).__name__}")
        return value

    async def healthy(self, request: Request) -> Response:
        """GET /-/healthy: 200 as long as the hub is alive."""
        return PlainTextResponse("Almenara is alive.\n")

    async def ready(self, request: Request) -> Response:
        """GET /-/ready: 200 when the hub takes writes and answers queries, else 503 with the reasons, a line each. The
        header Almenara-Judged-To has the time up to which all is judged, in ms by the hub's clock."""
        hub = self._pipeline
        reasons = hub.health()
        headers = {JUDGED_TO: str(hub.judged_to_ns // _MS)}
        if reasons:
            return PlainTextResponse("\n".join(reasons) + "\n", 503, headers)
        return PlainTextResponse("Almenara is ready.\n", headers=headers)

    async def reload(self, request: Request) -> Response:
        """POST /-/reload: read the config again; when it is bad, the old one stays and every mistake is told."""
        if self._reload is None:
            raise HttpError(422, "this hub runs without a config file, so there is nothing to reload")
        found = self._reload()
        problems = [] if found is None else await found if isinstance(found, Awaitable) else found
        if problems:
            told = [{"where": p.where, "message": p.message, "hint": p.hint} for p in problems]
            return json_response({"error": "\n".join(map(str, problems)), "problems": told}, 400)
        return json_response({"reloaded": True})


class Rate:
    """Rows a second over the last few seconds, from a counter that is looked at now and then."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, float]] = []

    def of(self, total: float) -> float:
        """The rate up to now; 0 until there is a second look."""
        now = time.monotonic()
        self._seen = [seen for seen in self._seen if seen[0] >= now - _RATE_OVER_S][-50:] or self._seen[-1:]
        self._seen.append((now, total))
        past, before = self._seen[0]
        return round((total - before) / (now - past), 1) if now - past > 0.05 else 0.0


#: What can be added up over sources.
LEDGER_SUMS = ("payloads", "received", "stored", "late", "duplicate", "overwritten", "events", "best_effort_rows")


def source_row(one: SourceStatus) -> dict[str, Any]:
    """One line of the ledger, for JSON: times in ms; what was rejected and dropped, by reason."""
    return {
        "name": one.name,
        "transport": one.transport,
        "first_ms": one.first_ns // _MS,
        "last_ms": one.last_ns // _MS,
        "rows": one.rows,
        **{name: getattr(one, name) for name in LEDGER_SUMS},
        "rejected": dict(one.rejected),
        "dropped": dict(one.dropped),
        "last_rejected": one.last_rejected,
        "problem": one.problem,
        "remedy": one.remedy,
    }


def outage_row(one: Outage) -> dict[str, Any]:
    """When nobody was watching."""
    return {"since_ms": one.since // _MS, "until_ms": one.until // _MS, "words": one.words()}


def run_row(one: Run) -> dict[str, Any]:
    """One run of a job; ended_ms is null while it runs, and where the hub ended first."""
    return {
        "job": one.job,
        "started_ms": one.started_ns // _MS,
        "ended_ms": None if one.ended_ns is None else one.ended_ns // _MS,
        "outcome": one.outcome.value,
        "message": one.message,
        "figures": dict(one.figures),
    }


def demo_row(demo: Any) -> dict[str, Any]:
    """The faults that can be had, a sentence each, and those that run."""
    return {"faults": dict(demo.faults), "injected": list(demo.injected())}


def transition_row(one: Transition, incident: int | None = None) -> dict[str, Any]:
    """One change of an alarm, for JSON: times in ms, NaN is null."""
    found = one.evidence
    return {
        "rule": one.rule,
        "series": str(one.series),
        "state": one.state.value,
        "since_ms": one.since // _MS,
        "time_ms": one.time // _MS,
        "severity": one.severity.value,
        "value": found.value,
        "score": found.score,
        "yhat": found.yhat,
        "lower": found.lower,
        "upper": found.upper,
        "detector": found.detector,
        "why": found.why,
        "labels": dict(one.labels),
        "annotations": dict(one.annotations),
        "incident": incident,
    }


def alarm_row(alarm: Alarm) -> dict[str, Any]:
    """One alarm as it stands: its last change, its incident, and why it belongs there."""
    return transition_row(alarm.last, alarm.incident) | {"reason": alarm.reason}


def _shown(one: Incident, most: int) -> list[Alarm]:
    """The members that are shown: all in their order, or the strongest, the first and some others."""
    if len(one.members) <= most:
        return list(one.members)
    foremost = [alarm for alarm in (one.strongest, one.first) if alarm is not None]
    return list({(alarm.last.rule, alarm.last.series.key): alarm for alarm in (*foremost, *one.members)}.values())[
        :most
    ]


def _position(shown: Sequence[Alarm], alarm: Alarm | None) -> int | None:
    """Which of them an alarm is."""
    return next((at for at, one in enumerate(shown) if one == alarm), None)


def incident_row(one: Incident, members: int = 10_000) -> dict[str, Any]:
    """One incident, at most so many of its members, of `size`, and who took it on. first, strongest: which of those
    that are shown."""
    taken, shown = one.acknowledgement, _shown(one, members)
    return {
        "id": one.id,
        "since_ms": one.since // _MS,
        "resolved_ms": one.resolved // _MS if one.resolved else None,
        "state": one.state.value,
        "severity": one.severity.value,
        "size": len(one.members),
        "members": [alarm_row(alarm) for alarm in shown],
        "first": _position(shown, one.first),
        "strongest": _position(shown, one.strongest),
        "acknowledgement": taken
        and {
            "who": taken.who,
            "time_ms": taken.time // _MS,
            "until_ms": taken.until // _MS if taken.until else None,
            "note": taken.note,
        },
    }
