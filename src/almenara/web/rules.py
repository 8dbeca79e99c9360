"""Rules over HTTP: as Prometheus lists them, so that Grafana shows them; made, tried and deleted while a hub runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from almenara.model.alarm import Alarm, State, labels_of
from almenara.model.errors import ConfigError, QueryError
from almenara.model.series import Series
from almenara.model.time import format_time
from almenara.query import NAME
from almenara.query.matrix import format_value
from almenara.web.body import Limits, read_body
from almenara.web.errors import HttpError, json_response
from almenara.web.params import read_params

if TYPE_CHECKING:
    from almenara.alarm.rules import Rule
    from almenara.pipeline import Pipeline
    from almenara.pipeline.evaluations import Evaluation

MAX_BODY = 200_000
#: Series that a trial names.
_NAMED = 100
_ZERO = "0001-01-01T00:00:00Z"


class Office(Protocol):
    """What rules can be changed with; a hub without a configuration has none."""

    @property
    def file(self) -> str: ...
    def origin(self, name: str) -> str: ...
    def check_rule(self, name: str, table: Mapping[str, Any]) -> Rule: ...
    async def put_rule(self, name: str, table: Mapping[str, Any]) -> bool: ...
    async def delete_rule(self, name: str) -> bool: ...


class RulesApi:
    """The handlers over one pipeline."""

    def __init__(self, pipeline: Pipeline, limits: Limits, office: Office | None):
        self._pipeline, self._limits, self._given = pipeline, limits, office

    @property
    def _office(self) -> Office:
        if self._given is None:
            raise HttpError(422, "this hub was started without a configuration, so its rules cannot be changed")
        return self._given

    async def rules(self, request: Request) -> Response:
        """GET /api/v1/rules: rules in groups, "file" and "api", with their alarms, as Prometheus lists them."""
        params = await read_params(request, self._limits)
        names, groups = set(params.many("rule_name")), set(params.many("rule_group"))
        with_alerts = params.choice("exclude_alerts", "false", ("true", "false")) == "false"
        records_only = params.choice("type", "alert", ("alert", "record")) == "record"
        alarms: dict[str, list[Alarm]] = {}
        for alarm in self._pipeline.alarms.open():
            alarms.setdefault(alarm.last.rule, []).append(alarm)
        status = self._pipeline.evaluations.status()
        found: dict[str, list[dict[str, Any]]] = {}
        for rule in self._pipeline.alarms.rules() if not records_only else ():
            group = self._given.origin(rule.name) if self._given is not None else "file"
            if (names and rule.name not in names) or (groups and group not in groups):
                continue
            row = rule_row(rule, alarms.get(rule.name, []), status.get(rule.name), with_alerts)
            found.setdefault(group, []).append(row)
        file = self._given.file if self._given is not None else ""
        return _success(
            {"groups": [_group(name, file if name == "file" else "", rows) for name, rows in found.items()]}
        )

    async def alerts(self, request: Request) -> Response:
        """GET /api/v1/alerts: alarms of our rules that are open, as Prometheus lists them."""
        known = {rule.name for rule in self._pipeline.alarms.rules()}
        opened = [one for one in self._pipeline.alarms.open() if one.last.rule in known]
        return _success({"alerts": [alert_row(one) for one in opened]})

    async def change(self, request: Request) -> Response:
        """PUT, DELETE /api/v1/rules/{name}: make or replace a rule, a JSON object with the keys of [rules.NAME]; or
        delete it. Those of the configuration file are changed there."""
        name = request.path_params["name"]
        if request.method == "DELETE":
            if not await self._in_words(self._office.delete_rule(name)):
                raise HttpError(404, f"no rule of the API is called {name[:80]!r}")
            return json_response({"name": name, "deleted": True})
        new = await self._in_words(self._office.put_rule(name, await self._table(request)))
        return json_response({"name": name, "created": new}, 201 if new else 200)

    async def test(self, request: Request) -> Response:
        """POST /api/v1/rules/test: what a rule would say now, and of which series; nothing is kept, nobody is told."""
        table = await self._table(request)
        name = table.pop("name", "test")
        if not isinstance(name, str):
            raise HttpError(400, "name: must be a text")
        office = self._office

        async def checked() -> Rule:
            return await asyncio.to_thread(office.check_rule, name, table)

        rule = await self._in_words(checked())
        return json_response({"name": name, "kind": rule.kind, **await self._trial(rule)})

    async def _in_words(self, doing: Any) -> Any:
        try:
            return await doing
        except ConfigError as error:
            raise HttpError(400, "; ".join(map(str, error.problems))) from error

    async def _table(self, request: Request) -> dict[str, Any]:
        body = await read_body(request.scope["headers"], request.receive, MAX_BODY, self._limits.body_timeout_s)
        try:
            table = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise HttpError(400, f'expected a JSON object such as {{"expr": "cpu_usage > 90"}}: {error}') from error
        if not isinstance(table, dict):
            raise HttpError(400, f'expected a JSON object such as {{"expr": "a > 90"}}; got {type(table).__name__}')
        return table

    async def _trial(self, rule: Rule) -> dict[str, Any]:
        now = self._pipeline.clock()
        if rule.kind in ("anomaly", "silence"):
            ids = self._pipeline.index.select(rule.matchers)
            told = "it is judged as rows arrive; a backtest says what it would have found"
            return {"series": len(ids), "alarming": [], "note": told}
        try:
            answer = await asyncio.wait_for(self._pipeline.ask_rule(rule, now), 60)
        except QueryError as error:
            raise HttpError(422, str(error)) from error
        alarming = []
        for at in [i for i, true in enumerate(answer.true.tolist()) if true][:_NAMED]:
            series = Series.from_key(answer.keys[at])
            value = float(answer.value[at])
            given = {NAME: series.name} | dict(series.labels)
            texts = {key: text.render(given, value) for key, text in rule.annotation_texts.items()}
            why = answer.why[at] if answer.why else rule.sentence(value, True)
            alarming.append({"series": str(series), "value": value, "why": why, "annotations": texts})
        return {"series": len(answer.keys), "alarming": alarming, "alarming_total": int(answer.true.sum())}


def _success(data: object) -> Response:
    return json_response({"status": "success", "data": data})


def _group(name: str, file: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    times = [row["lastEvaluation"] for row in rows]
    return {
        "name": name, "file": file, "rules": rows, "interval": 60, "limit": 0,
        "evaluationTime": sum(row["evaluationTime"] for row in rows), "lastEvaluation": max(times, default=_ZERO),
    }  # fmt: skip


def rule_row(rule: Rule, alarms: Sequence[Alarm], last: Evaluation | None, with_alerts: bool = True) -> dict[str, Any]:
    """A rule in Prometheus' form; besides its `kind`."""
    states = {_state(one) for one in alarms}
    error = last.error if last is not None else ""
    row = {
        "state": next((state for state in ("firing", "pending") if state in states), "inactive"),
        "name": rule.name, "query": rule.expr, "duration": rule.for_s, "keepFiringFor": rule.keep_firing_for_s,
        "labels": dict(rule.labels) | ({"severity": rule.severity} if rule.severity else {}),
        "annotations": dict(rule.annotations), "alerts": [alert_row(one) for one in alarms] if with_alerts else [],
        "health": "err" if error else "unknown" if last is not None and not last.time else "ok",
        "evaluationTime": last.seconds if last is not None else 0,
        "lastEvaluation": format_time(last.time) if last is not None and last.time else _ZERO,
        "type": "alerting", "kind": rule.kind,
    }  # fmt: skip
    return row | ({"lastError": error} if error else {})


def alert_row(alarm: Alarm) -> dict[str, Any]:
    """An open alarm in Prometheus' form."""
    last = alarm.last
    why = {"why": last.evidence.why} if last.evidence.why else {}
    return {
        "labels": labels_of(last), "annotations": why | dict(last.annotations),
        "state": _state(alarm), "activeAt": format_time(last.since), "value": format_value(last.evidence.value),
    }  # fmt: skip


def _state(alarm: Alarm) -> str:
    fired = alarm.last.state is State.FIRING or (alarm.last.state is State.NO_DATA and alarm.incident is not None)
    return "firing" if fired else "pending"
