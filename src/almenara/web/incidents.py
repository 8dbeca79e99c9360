"""Incidents over HTTP: one with all that became of it, and what people order about it; and who was told of what."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from almenara.alarm.lines import Line
from almenara.alarm.told import OUTCOMES, Told, common_labels, silenced
from almenara.model.alarm import Incident, State
from almenara.model.errors import IncidentError, QuerySyntax
from almenara.model.series import Series
from almenara.model.text import one_line
from almenara.query import Matcher, parse_selector
from almenara.web.body import Limits
from almenara.web.errors import HttpError, json_response
from almenara.web.openapi import Endpoint
from almenara.web.operate import incident_row, transition_row
from almenara.web.params import parse_api_duration, parse_api_time, read_object, read_params
from almenara.web.who import MAX_WHO, who_asks

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

_MS = 1_000_000
#: Changes and messages of an incident that are shown, the latest ones; letters of a note.
_CHANGES, _MESSAGES, _NOTE = 500, 200, 500


class IncidentApi:
    """The handlers over one pipeline."""

    def __init__(self, pipeline: Pipeline, limits: Limits):
        self._pipeline, self._limits = pipeline, limits

    def endpoints(self) -> list[Endpoint]:
        """The paths."""
        one, post = "/api/v1/incidents/{id}", ("POST",)
        return [
            Endpoint(one, ("GET",), self.incident, ("members",)),
            Endpoint(f"{one}/acknowledge", post, self.acknowledge),
            Endpoint(f"{one}/unacknowledge", post, self.unacknowledge),
            Endpoint(f"{one}/split", post, self.split),
            Endpoint(f"{one}/join", post, self.join),
            Endpoint("/api/v1/outbox", ("GET",), self.outbox, ("limit", "incident", "outcome")),
        ]

    async def incident(self, request: Request) -> Response:
        """GET /api/v1/incidents/{id}: one with its `members` and why each is one, the `lines` of what became of it,
        `changes` of its alarms, `messages` to notifiers, and `match`, a selector of what its alarms have in common."""
        params = await read_params(request, self._limits)
        members = params.whole("members", 10_000, 1, 10_000)
        return json_response(await asyncio.to_thread(self._told, await self._of(request), members))

    async def acknowledge(self, request: Request) -> Response:
        """POST /api/v1/incidents/{id}/acknowledge: somebody takes it on, until it is resolved, or for a `duration`."""
        one = await self._of(request)
        given = await self._given(request, {"who", "note", "duration", "until"})
        until = self._until(given)
        note, who = one_line(_text(given, "note"), _NOTE), self._who(request, given)
        done = await asyncio.to_thread(self._pipeline.alarms.acknowledge, one.id, who, note, until)
        return await self._ordered(one.id, done)

    async def unacknowledge(self, request: Request) -> Response:
        """POST /api/v1/incidents/{id}/unacknowledge: nobody has it on; repeats and escalation go on."""
        one = await self._of(request)
        who = self._who(request, await self._given(request, {"who"}))
        done = True
        if one.acknowledgement is not None or one.state is State.RESOLVED:
            done = await asyncio.to_thread(self._pipeline.alarms.unacknowledge, one.id, who)
        return await self._ordered(one.id, done)

    async def split(self, request: Request) -> Response:
        """POST /api/v1/incidents/{id}/split: `alarms`, each with `rule` and `series`, become an incident of their own,
        which is answered."""
        one = await self._of(request)
        given = await self._given(request, {"who", "alarms"})
        keys, who = _keys(given.get("alarms")), self._who(request, given)
        await self._regroup(lambda alarms: alarms.split(one.id, keys, who))
        open_now = await asyncio.to_thread(self._pipeline.alarms.open)
        new = [alarm.incident for alarm in open_now if (alarm.last.rule, alarm.last.series.key) in keys]
        return await self._ordered(next((id for id in new if id), one.id), True)

    async def join(self, request: Request) -> Response:
        """POST /api/v1/incidents/{id}/join: the alarms of another one, `incident`, become part of this one."""
        one = await self._of(request)
        given = await self._given(request, {"who", "incident"})
        other, who = given.get("incident"), self._who(request, given)
        if not isinstance(other, int) or isinstance(other, bool):
            raise HttpError(400, "'incident': expected the number of the incident whose alarms become part of this one")
        await self._regroup(lambda alarms: alarms.join(one.id, other, who))
        return await self._ordered(one.id, True)

    async def outbox(self, request: Request) -> Response:
        """GET /api/v1/outbox: messages to notifiers, newest first; of one `incident`; waiting, sent or given up."""
        params = await read_params(request, self._limits)
        limit, incident = params.whole("limit", 100, 1, 10_000), params.whole("incident", 0, 0, 2**53)
        outcome = params.choice("outcome", "all", ("all", *OUTCOMES))
        alarms = self._pipeline.alarms
        found = await asyncio.to_thread(alarms.told, limit, incident, "" if outcome == "all" else outcome)
        return json_response([told_row(one) for one in found])

    # --- inside

    async def _of(self, request: Request) -> Incident:
        number = request.path_params["id"].removeprefix("#")
        known = number.isascii() and number.isdigit() and len(number) < 16
        found = await asyncio.to_thread(self._pipeline.alarms.incident, int(number)) if known else None
        if found is None:
            raise HttpError(404, f"there is no incident {one_line(number, 40)}")
        return found

    async def _given(self, request: Request, keys: set[str]) -> dict[str, Any]:
        return await read_object(request, self._limits, keys, '{"who": "ana"}')

    def _who(self, request: Request, given: Mapping[str, Any]) -> str:
        return who_asks(request, one_line(_text(given, "who"), MAX_WHO)) or "API"

    def _until(self, given: Mapping[str, Any]) -> int:
        """ns; 0: until it is resolved."""
        now, length, until = self._pipeline.clock(), _text(given, "duration"), given.get("until")
        try:
            if length:
                end = now + parse_api_duration(length)
            elif until in (None, ""):
                return 0
            else:
                end = parse_api_time(str(until))
        except (ValueError, ArithmeticError) as error:
            raise HttpError(400, f"{'duration' if length else 'until'!r}: {error}") from error
        if end <= now:
            raise HttpError(400, "'until': must be in the future")
        return end

    async def _regroup(self, do: Any) -> None:
        try:
            await self._pipeline.with_alarms(do)
        except IncidentError as error:
            raise HttpError(409, str(error), error_type="conflict") from error

    async def _ordered(self, id: int, done: bool) -> Response:
        one = await asyncio.to_thread(self._pipeline.alarms.incident, id)
        if one is None or not done:
            raise HttpError(409, f"incident {id} is not open any more", error_type="conflict")
        return json_response(incident_row(one))

    def _told(self, one: Incident, members: int) -> dict[str, Any]:
        alarms, now = self._pipeline.alarms, self._pipeline.clock()
        shared = common_labels(one)
        row = incident_row(one, members)
        row["silenced"], row["is_silenced"] = silenced(one, alarms.silences, now)
        row["match"] = _selector(shared) if shared else None
        row["lines"] = [line_row(line) for line in alarms.lines(one.id)]
        row["changes"] = [transition_row(change, one.id) for change in alarms.changes_of(one.id, _CHANGES)]
        row["messages"] = [told_row(message) for message in alarms.told(_MESSAGES, one.id)]
        return row


def _selector(labels: Mapping[str, str]) -> str:
    return "{" + ", ".join(str(Matcher(label, "=", value)) for label, value in sorted(labels.items())) + "}"


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key) or ""
    if not isinstance(value, str):
        raise HttpError(400, f"{key!r}: expected a text; got {type(value).__name__}")
    return value


def _keys(given: Any) -> list[tuple[str, bytes]]:
    """The alarms that a list of {"rule", "series"} names. Raises HttpError."""
    if not isinstance(given, list) or not given:
        raise HttpError(400, '\'alarms\': expected a list such as [{"rule": "high", "series": "cpu{host=\\"a\\"}"}]')
    found = []
    for one in given:
        if not isinstance(one, dict) or not isinstance(one.get("rule"), str) or not isinstance(one.get("series"), str):
            raise HttpError(400, "'alarms': expected each with 'rule' and 'series', as texts")
        found.append((one["rule"], _series(one["series"]).key))
    return found


def _series(text: str) -> Series:
    """A series as answers name it. Raises HttpError."""
    try:
        matchers = parse_selector(text)
    except QuerySyntax as error:
        raise HttpError(400, f"'series': {error}") from error
    labels = {one.label: one.value for one in matchers if one.op == "="}
    if len(labels) != len(matchers):
        raise HttpError(400, f"'series': expected one as it is listed; got {one_line(text, 100)}")
    return Series(labels.pop("__name__", ""), tuple(sorted(labels.items())))


def line_row(one: Line) -> dict[str, Any]:
    """One line about an incident, for JSON."""
    return {"time_ms": one.time // _MS, "kind": one.kind, "who": one.who, "text": one.text}


def told_row(one: Told) -> dict[str, Any]:
    """One message to a notifier, for JSON: times in ms, null where it is not so yet."""
    return {
        "id": one.id,
        "incident": one.incident,
        "notifier": one.notifier,
        "kind": one.kind.value,
        "reason": one.reason,
        "policy": one.policy,
        "queued_ms": one.queued // _MS,
        "due_ms": one.due // _MS if one.due and one.outcome == "waiting" else None,
        "tries": one.tries,
        "outcome": one.outcome,
        "done_ms": one.done // _MS if one.done else None,
        "error": one.error,
    }
