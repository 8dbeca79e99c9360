"""The hub's own calls for silences: list, make, change, end, and what one would hold back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from almenara.alarm.silence import Silence
from almenara.alarm.silences import Changed
from almenara.model.alarm import ALERT_NAME, State, labels_of
from almenara.model.errors import NoSuchSilence, SilenceError
from almenara.model.time import LATEST_NS, NS, WEEK_NS, parse_time
from almenara.query import Matcher, match_all, parse_selector
from almenara.web.body import Limits
from almenara.web.errors import HttpError, json_response
from almenara.web.openapi import Endpoint
from almenara.web.operate import alarm_row
from almenara.web.params import parse_api_duration, read_object, read_params
from almenara.web.who import who_asks

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

_MS = 1_000_000
#: Changes that a preview looks through, and alarms and series that it shows.
_CHANGES, _SHOWN = 10_000, 100
_KEYS = {"id", "match", "starts", "ends", "duration", "windows", "who", "comment"}

_EXAMPLE = '{"match": "{site=\\"madrid\\"}", "duration": "2h"}'

Handler = Callable[["SilenceApi", Request], Awaitable[Response]]


def _told(handler: Handler) -> Handler:
    @wraps(handler)
    async def answering(self: SilenceApi, request: Request) -> Response:
        try:
            return await handler(self, request)
        except NoSuchSilence as error:
            raise HttpError(404, str(error)) from error
        except SilenceError as error:
            raise HttpError(400, str(error)) from error

    return answering


class SilenceApi:
    """The handlers over one pipeline."""

    def __init__(self, pipeline: Pipeline, limits: Limits):
        self._pipeline, self._limits = pipeline, limits

    def endpoints(self) -> list[Endpoint]:
        """The paths."""
        return [
            Endpoint("/api/v1/silences", ("GET", "POST"), self.silences),
            Endpoint("/api/v1/silences/preview", ("GET",), self.preview, ("match[]",)),
            Endpoint("/api/v1/silence/{id}", ("GET", "DELETE"), self.silence, ("who",)),
        ]

    @_told
    async def silences(self, request: Request) -> Response:
        """GET and POST /api/v1/silences: all silences and maintenance windows; make or change one."""
        silences, clock = self._pipeline.alarms.silences, self._pipeline.clock
        if request.method == "GET":
            return json_response([silence_row(one, clock()) for one in silences.all()])
        wanted = _wanted(await read_object(request, self._limits, _KEYS, _EXAMPLE), clock())
        wanted = replace(wanted, who=wanted.who or who_asks(request) or "API")
        made = await asyncio.to_thread(silences.put, wanted, who_asks(request, wanted.who))
        return json_response(silence_row(made, clock()))

    @_told
    async def silence(self, request: Request) -> Response:
        """GET and DELETE /api/v1/silence/{id}: one silence with who did what to it; end it."""
        id, silences, clock = request.path_params["id"], self._pipeline.alarms.silences, self._pipeline.clock
        if request.method == "DELETE":
            who = (await read_params(request, self._limits)).text("who", "")
            one = await asyncio.to_thread(silences.expire, id, who_asks(request, who) or "API")
            return json_response(silence_row(one, clock()))
        one, history = silences.get(id), await asyncio.to_thread(silences.history, id)
        return json_response(silence_row(one, clock()) | {"history": [_change_row(change) for change in history]})

    async def preview(self, request: Request) -> Response:
        """GET /api/v1/silences/preview: open alarms that a silence of `match[]` would hold back, those of the last week
        that it would have, and of how many series it speaks."""
        params = await read_params(request, self._limits)
        matchers = parse_selector(params.text("match[]", params.text("match", "")))
        return json_response(await asyncio.to_thread(self._preview, tuple(matchers)))

    def _preview(self, matchers: tuple[Matcher, ...]) -> dict[str, Any]:
        alarms = self._pipeline.alarms
        found = [one for one in alarms.open() if match_all(matchers, labels_of(one.last))]
        after = self._pipeline.clock() - WEEK_NS
        lately: dict[tuple[str, str], int] = {}
        for change in alarms.journal(limit=_CHANGES):
            if change.time >= after and change.state is State.FIRING and match_all(matchers, labels_of(change)):
                key = change.rule, str(change.series)
                lately[key] = lately.get(key, 0) + 1
        of_series = [one for one in matchers if one.label not in (ALERT_NAME, "severity")]
        often = sorted(lately.items(), key=lambda item: -item[1])
        return {
            "open": [alarm_row(one) for one in found[:_SHOWN]],
            "open_count": len(found),
            "lately": [{"rule": rule, "series": name, "fired": n} for (rule, name), n in often[:_SHOWN]],
            "lately_count": len(lately),
            "series_count": len(self._pipeline.index.select(of_series)) if of_series else len(self._pipeline.index),
        }


def _wanted(given: Mapping[str, Any], now: int) -> Silence:
    """The silence that an object asks for. Raises HttpError, QuerySyntax, NotSupported."""
    texts = {key: given.get(key, "") for key in ("id", "match", "who", "comment", "duration")}
    for key, text in texts.items():
        if not isinstance(text, str):
            raise HttpError(400, f"{key!r}: expected a text; got {type(text).__name__}")
    windows = given.get("windows", [])
    if not isinstance(windows, list) or not all(isinstance(one, str) for one in windows):
        raise HttpError(400, "'windows': expected a list of texts such as \"Sun 02:00-04:00\"")
    starts = _time(given, "starts") or now
    ends = _time(given, "ends") or (starts + _duration(texts["duration"]) if texts["duration"] else 0)
    if not ends and not windows:
        raise HttpError(400, "expected 'ends' or 'duration'; only a silence with 'windows' may last for ever")
    if (ends or LATEST_NS) <= max(starts, now):
        raise HttpError(400, "'ends': must be after 'starts' and in the future")
    matchers = tuple(parse_selector(texts["match"])) if texts["match"] else ()
    return Silence(
        texts["id"], matchers, starts, ends or LATEST_NS, texts["who"], texts["comment"], tuple(windows)
    )  # fmt: skip


def _time(given: Mapping[str, Any], key: str) -> int:
    value = given.get(key)
    if value is None or value == "":
        return 0
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"expected a time; got {type(value).__name__}")
        return min(max(0, parse_time(value)), LATEST_NS)
    except (ValueError, OverflowError) as error:
        raise HttpError(400, f"{key!r}: {error}") from error


def _duration(text: str) -> int:
    try:
        return parse_api_duration(text)
    except (ValueError, ArithmeticError) as error:
        raise HttpError(400, f"'duration': {error}") from error


def silence_row(one: Silence, now: int) -> dict[str, Any]:
    """One silence, for JSON: times in ms; `until_ms`: when it stops to hold, if it holds now; `next_ms`: when it holds
    the next time, where it does not; `ends_ms` is null where it never ends."""
    span = one.span_from(now)
    holds = span is not None and span[0] <= now
    return {
        "id": one.id,
        "match": "{" + ",".join(str(matcher) for matcher in one.matchers) + "}",
        "starts_ms": one.starts // _MS,
        "ends_ms": one.ends // _MS if one.ends < LATEST_NS else None,
        "windows": list(one.windows),
        "who": one.who,
        "comment": one.comment,
        "maintenance": one.name or None,
        "stage": one.stage(now).value,
        "until_ms": span[1] // _MS if span is not None and holds and span[1] // NS < LATEST_NS // NS else None,
        "next_ms": span[0] // _MS if span is not None and not holds else None,
    }


def _change_row(one: Changed) -> dict[str, Any]:
    return {"time_ms": one.time // _MS, "kind": one.kind, "who": one.who}
