"""Alertmanager's API v2: Prometheus and vmalert use the hub as their Alertmanager, amtool shows alerts and silences."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from almenara._version import __version__
from almenara.alarm.external import GENERATOR, MAX_ALERTS, RESOLVE_NS, Alert, is_external
from almenara.alarm.tables import Key
from almenara.model.alarm import ALERT_NAME, Alarm, State, labels_of
from almenara.model.errors import NoSuchSilence, NotSupported, QuerySyntax, Refused, SilenceError
from almenara.query.regex import compile_full_match
from almenara.web import alertmanager_shapes as shapes
from almenara.web.alertmanager_shapes import Mistake
from almenara.web.body import Limits, read_body
from almenara.web.errors import json_response
from almenara.web.openapi import Endpoint
from almenara.web.params import Params, read_params
from almenara.web.who import who_asks

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

#: The Alertmanager whose answers these are compared with.
LIKE = "0.25.0"
#: Where the API stands; the second for clients that are told a path, as behind a common proxy.
PREFIXES = ("", "/alertmanager")
#: So many alerts are taken before storing and judging get their turn again; what was taken stays so.
AT_ONCE = 5000
#: How long a sender waits for its alerts to be on disk. Prometheus gives up after 10 s, and sends them again.
WAIT_S = 8.0

_GET, _POST, _BOTH = ("GET",), ("POST",), ("GET", "POST")
_SOME = ("filter", "receiver", "active", "silenced", "inhibited")

Handler = Callable[["AlertmanagerApi", Request], Awaitable[Response]]


def _told(handler: Handler) -> Handler:
    """Mistakes are answered as Alertmanager does."""

    @wraps(handler)
    async def answering(self: AlertmanagerApi, request: Request) -> Response:
        try:
            return await handler(self, request)
        except Mistake as mistake:
            return json_response(mistake.body, mistake.status)
        except NoSuchSilence as error:
            return json_response(str(error), 404)
        except SilenceError as error:
            return json_response(str(error), 400)

    return answering


class AlertmanagerApi:
    """The handlers over one pipeline."""

    def __init__(self, pipeline: Pipeline, limits: Limits):
        self._pipeline, self._limits = pipeline, limits
        self._started = pipeline.clock()

    def endpoints(self) -> Iterable[Endpoint]:
        """The paths, under each prefix."""
        for prefix in PREFIXES:
            api = f"{prefix}/api/v2"
            yield Endpoint(f"{api}/alerts", _BOTH, self.alerts, (*_SOME, "unprocessed"))
            yield Endpoint(f"{api}/alerts/groups", _GET, self.groups, _SOME)
            yield Endpoint(f"{api}/silences", _BOTH, self.silences, ("filter",))
            yield Endpoint(f"{api}/silence/{{id}}", ("GET", "DELETE"), self.silence)
            yield Endpoint(f"{api}/status", _GET, self.status)
            yield Endpoint(f"{api}/receivers", _GET, self.receivers)

    @_told
    async def alerts(self, request: Request) -> Response:
        """GET and POST /api/v2/alerts: alerts that are firing; take alerts of another system."""
        if request.method == "POST":
            return await self._take(request)
        params = await read_params(request, self._limits)
        return json_response(await asyncio.to_thread(self._wanted, params))

    async def _take(self, request: Request) -> Response:
        body = await self._body(request)
        now = self._pipeline.clock()
        found, wrong = await asyncio.to_thread(shapes.alerts_of, body, now)
        self._pipeline.counters.add("almenara_alerts_received_total", len(found) + len(wrong))
        if wrong:
            self._pipeline.counters.add("almenara_alerts_invalid_total", len(wrong))
        alarms = self._pipeline.alarms
        before = alarms.alerts_left_out
        try:
            async with asyncio.timeout(WAIT_S):
                for first in range(0, len(found), AT_ONCE):
                    await self._pipeline.take_alerts(found[first : first + AT_ONCE])
        except TimeoutError as error:
            raise Refused("alerts are not taken now, since nothing can be stored; send them again") from error
        if alarms.alerts_left_out > before:
            wrong.append(f"new alerts were left out, since {MAX_ALERTS} are firing")
        if wrong:
            raise Mistake(400, "; ".join(wrong))
        return Response()

    @_told
    async def groups(self, request: Request) -> Response:
        """GET /api/v2/alerts/groups: alerts that are firing, by receiver and name."""
        params = await read_params(request, self._limits)
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for one in await asyncio.to_thread(self._wanted, params):
            for receiver in one["receivers"]:
                groups.setdefault((one["labels"].get(ALERT_NAME, ""), receiver["name"]), []).append(one)
        told = [
            {"alerts": alerts, "labels": {ALERT_NAME: name} if name else {}, "receiver": {"name": receiver}}
            for (name, receiver), alerts in sorted(groups.items())
        ]
        return json_response(told)

    @_told
    async def silences(self, request: Request) -> Response:
        """GET and POST /api/v2/silences: silences and maintenance windows; make or change one."""
        silences, now = self._pipeline.alarms.silences, self._pipeline.clock()
        if request.method == "POST":
            wanted = shapes.silence_of(await self._body(request), now)
            if wanted.id and silences.get(wanted.id).windows:
                raise Mistake(400, f"silence {wanted.id} has windows; POST /api/v1/silences changes it")
            made = await asyncio.to_thread(silences.put, wanted, who_asks(request, wanted.who))
            return json_response({"silenceID": made.id})
        filters = shapes.filters_of((await read_params(request, self._limits)).many("filter"))
        found = [one for one in silences.all() if all(matcher in one.matchers for matcher in filters)]
        return json_response([shapes.silence_json(one, now) for one in shapes.in_order(found, now)])

    @_told
    async def silence(self, request: Request) -> Response:
        """GET and DELETE /api/v2/silence/{id}: one silence; end it."""
        id, silences = request.path_params["id"], self._pipeline.alarms.silences
        if not shapes.is_uuid(id):
            raise shapes.coded(422, f'silenceID in path must be of type uuid: "{id}"', 601)
        now = self._pipeline.clock()
        if request.method == "DELETE":
            one = silences.get(id)
            if one.ends > now:
                await asyncio.to_thread(silences.expire, id, who_asks(request, "API v2"))
            return Response()
        return json_response(shapes.silence_json(silences.get(id), now))

    async def status(self, request: Request) -> Response:
        """GET /api/v2/status: version, start and receivers, in the form of Alertmanager's configuration."""
        names = self._pipeline.alarms.receivers() or [_NOBODY]
        receivers = "".join(f"- name: {_quoted(name)}\n" for name in names)
        version = {"branch": "almenara", "buildDate": "", "buildUser": "", "goVersion": "", "revision": __version__}
        return json_response(
            {
                "cluster": {"peers": [], "status": "disabled"},
                "config": {"original": f"route:\n  receiver: {_quoted(names[0])}\nreceivers:\n{receivers}"},
                "uptime": shapes.moment(self._started),
                "versionInfo": version | {"version": LIKE},
            }
        )

    async def receivers(self, request: Request) -> Response:
        """GET /api/v2/receivers: the names of the notifiers."""
        return json_response([{"name": name} for name in self._pipeline.alarms.receivers() or [_NOBODY]])

    def _wanted(self, params: Params) -> list[dict[str, Any]]:
        """What the parameters select, by fingerprint."""
        filters = shapes.filters_of(params.many("filter"))
        show = {name: shapes.switch(params.many(name)) for name in ("active", "silenced", "inhibited")}
        receiver, alarms, now = _receiver_test(params), self._pipeline.alarms, self._pipeline.clock()
        every = {alert.key: alert for alert in alarms.alerts()}
        every |= {_key_of(one): _as_alert(one, now) for one in alarms.open() if _is_ours(one)}
        asked = {key: alert for key, alert in every.items() if shapes.fits(filters, alert.labels)}
        sources = alarms.inhibited((key, alert.labels) for key, alert in asked.items())
        found = []
        for alert, by in zip(asked.values(), sources, strict=True):
            silenced = [one.id for one in alarms.silences.holding(alert.labels, now)]
            inhibited = [shapes.fingerprint(by)] if by is not None else []
            hidden = (silenced and not show["silenced"]) or (inhibited and not show["inhibited"])
            hidden = hidden or not (silenced or inhibited or show["active"])
            told = alarms.receivers(alert.labels) or [_NOBODY]
            if not hidden and any(receiver(name) for name in told):
                found.append(shapes.alert_json(alert, silenced, inhibited, told))
        return sorted(found, key=lambda one: one["fingerprint"])

    async def _body(self, request: Request) -> bytes:
        """A JSON body. Raises Mistake where it is said to be something else."""
        limits = self._limits
        body = await read_body(request.scope["headers"], request.receive, limits.body_bytes, limits.body_timeout_s)
        media = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if body and media != "application/json":
            raise shapes.coded(415, f'unsupported media type "{media}", only [application/json] are allowed')
        return body


#: Alertmanager has no alert without a receiver.
_NOBODY = "nobody"


def _receiver_test(params: Params) -> Callable[[str], bool]:
    text = (params.many("receiver") or [""])[0]
    if not text:
        return lambda name: True
    try:
        return compile_full_match(text)
    except (QuerySyntax, NotSupported) as error:
        raise Mistake(400, f"failed to parse receiver param: {error}") from error


def _is_ours(alarm: Alarm) -> bool:
    """Whether an alarm fired by a rule of ours."""
    fired = alarm.last.state is State.FIRING or alarm.incident is not None
    return fired and not is_external(alarm.last)


def _key_of(alarm: Alarm) -> Key:
    """The rule and the series of an alarm."""
    return alarm.last.rule, alarm.last.series.key


def _as_alert(alarm: Alarm, now: int) -> Alert:
    last = alarm.last
    annotations = {key: text for key, text in last.annotations.items() if key != GENERATOR}
    annotations.setdefault("summary", last.evidence.why)
    return Alert(labels_of(last), annotations, last.since, now + RESOLVE_NS, last.time)


def _quoted(text: str) -> str:
    """A YAML scalar."""
    return text if re.fullmatch(r"[A-Za-z][\w-]*", text, re.ASCII) else '"' + re.sub(r'([\\"])', r"\\\1", text) + '"'
