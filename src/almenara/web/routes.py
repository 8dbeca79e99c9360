"""Every path that the hub answers, in one table; requests are routed by it, and /openapi.json describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from almenara.web import dialects
from almenara.web.alertmanager import AlertmanagerApi
from almenara.web.backtest import BacktestApi
from almenara.web.body import Limits
from almenara.web.dialects import elastic
from almenara.web.errors import json_response
from almenara.web.export import Export
from almenara.web.figures import MEDIA_TYPE, exposition
from almenara.web.incidents import IncidentApi
from almenara.web.ingest import Ingest
from almenara.web.live import Live
from almenara.web.openapi import Endpoint, describe
from almenara.web.operate import Operate
from almenara.web.pages import Pages
from almenara.web.prometheus import PrometheusApi
from almenara.web.rehearse import RehearseApi
from almenara.web.rules import RulesApi
from almenara.web.silences import SilenceApi
from almenara.web.view import View

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

_GET, _POST, _BOTH = ("GET",), ("POST",), ("GET", "POST")


@dataclass(frozen=True, slots=True)
class Floor:
    """What answers: one object a group of handlers."""

    pipeline: Pipeline
    ingest: Ingest
    prometheus: PrometheusApi
    export: Export
    view: View
    backtest: BacktestApi
    rehearse: RehearseApi
    live: Live
    operate: Operate
    rules: RulesApi
    pages: Pages
    silences: SilenceApi
    incidents: IncidentApi
    alertmanager: AlertmanagerApi
    limits: Limits
    more: Sequence[Endpoint] = ()  # of dialects that are switched on


def endpoints(floor: Floor) -> list[Endpoint]:
    """The table. Order counts only where two paths match: the first wins."""
    table = [*_writes(floor.ingest), *_queries(floor), *_operations(floor), *_pages(floor.pages)]
    table += [*floor.incidents.endpoints(), *floor.silences.endpoints(), *floor.alertmanager.endpoints()]
    table += dialects.endpoints(floor.pipeline, floor.ingest, floor.limits)

    async def openapi(request: Request) -> Response:
        """GET /openapi.json: this description."""
        return json_response(description)

    table += [Endpoint("/openapi.json", _GET, openapi), *floor.more]
    description = describe(table)
    return table


def _writes(ingest: Ingest) -> list[Endpoint]:
    return [
        Endpoint("/api/v1/write/json", _POST, ingest.json, ("topic",), plain=True),
        Endpoint("/ingest/{codec}/{topic:path}", _POST, ingest.any_codec, plain=True),
    ]


def _queries(floor: Floor) -> list[Endpoint]:
    api, some = floor.prometheus, ("match[]", "limit")
    csv, events = "text/csv", "text/event-stream"
    return [
        Endpoint("/api/v1/query", _BOTH, api.query, ("query", "time", "timeout", "limit")),
        Endpoint("/api/v1/query_range", _BOTH, api.query_range, ("query", "start", "end", "step", "timeout", "limit")),
        Endpoint("/api/v1/series", _BOTH, api.series, some),
        Endpoint("/api/v1/labels", _BOTH, api.labels, some),
        Endpoint("/api/v1/label/{name}/values", _GET, api.label_values, some),
        Endpoint("/api/v1/metadata", _GET, api.metadata, ("metric", "limit", "limit_per_metric")),
        Endpoint("/api/v1/status/buildinfo", _GET, api.buildinfo),
        Endpoint(
            "/api/v1/export", _BOTH, floor.export.export, ("match[]", "start", "end", "since", "format"), answers=csv
        ),
        Endpoint("/api/v1/view", _GET, floor.view.view, ("series", "start", "end", "width")),
        Endpoint("/api/v1/detectors", _GET, floor.backtest.detectors),
        Endpoint("/api/v1/backtest/rules", _POST, floor.rehearse.rehearse, answers="application/x-ndjson"),
        Endpoint("/api/v1/backtest", _POST, floor.backtest.backtest, answers="application/x-ndjson"),
        Endpoint("/api/v1/live", _GET, floor.live.live, ("match[]", "kinds"), answers=events),
    ]


def _operations(floor: Floor) -> list[Endpoint]:
    operate, text = floor.operate, "text/plain"

    async def metrics(request: Request) -> Response:
        """GET /metrics: the hub's own figures, for Prometheus."""
        return Response(exposition(floor.pipeline.counters.snapshot()), media_type=MEDIA_TYPE)

    return [
        Endpoint("/api/v1/rules", _GET, floor.rules.rules, ("type", "rule_name[]", "rule_group[]", "exclude_alerts")),
        Endpoint("/api/v1/rules/test", _POST, floor.rules.test),
        Endpoint("/api/v1/rules/{name}", ("PUT", "DELETE"), floor.rules.change),
        Endpoint("/api/v1/alerts", _GET, floor.rules.alerts),
        Endpoint("/api/v1/alarms", _GET, operate.alarms),
        Endpoint("/api/v1/incidents", _GET, operate.incidents, ("limit", "open", "members")),
        Endpoint("/api/v1/journal", _GET, operate.journal, ("limit", "before")),
        Endpoint("/api/v1/sources", _GET, operate.sources),
        Endpoint("/api/v1/ledger", _GET, operate.ledger),
        Endpoint("/api/v1/events", _GET, operate.events, ("start", "end", "match[]", "limit")),
        Endpoint("/api/v1/jobs", _GET, operate.jobs, ("limit",)),
        Endpoint("/api/v1/budgets", _GET, operate.budgets),
        Endpoint("/api/v1/noise", _GET, operate.noise, ("since",)),
        Endpoint("/api/v1/judge-again", _BOTH, operate.again, ("match[]",)),
        Endpoint("/api/v1/status", _GET, operate.status),
        Endpoint("/api/v1/demo/break", _POST, operate.demo_break),
        Endpoint("/metrics", _GET, metrics, answers=text),
        Endpoint("/-/healthy", _GET, operate.healthy, answers=text),
        Endpoint("/-/ready", _GET, operate.ready, answers=text),
        Endpoint("/-/reload", _POST, operate.reload),
    ]


def _pages(pages: Pages) -> list[Endpoint]:
    html = "text/html"
    return [
        Endpoint("/", _GET, elastic.or_banner(pages.page), answers=html),
        *(Endpoint(path, _GET, pages.page, answers=html) for path in ("/series", "/alarms", "/sources", "/backtest")),
        Endpoint("/login", _BOTH, pages.login, ("token",), answers=html),
        Endpoint("/static/bokeh/{name}", _GET, pages.bokeh, answers="text/javascript"),
        Endpoint("/static/{path:path}", _GET, pages.static, answers="*/*"),
    ]
