"""The hub's HTTP interface as one ASGI app over a `Pipeline`: guard first, then the cheap write path, then all else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from almenara.model.errors import AlmenaraError
from almenara.web.alertmanager import AlertmanagerApi
from almenara.web.backtest import BacktestApi
from almenara.web.body import Limits, header
from almenara.web.dialects.contract import House, Settings
from almenara.web.dialects.switched import switched_on
from almenara.web.errors import HttpError, as_http, error_response
from almenara.web.export import Export
from almenara.web.guard import Guard
from almenara.web.incidents import IncidentApi
from almenara.web.ingest import Ingest, refuse
from almenara.web.live import Live
from almenara.web.openapi import Endpoint
from almenara.web.operate import Operate, Reload
from almenara.web.pages import SECURITY_HEADERS, Pages
from almenara.web.prometheus import PrometheusApi
from almenara.web.rehearse import RehearseApi
from almenara.web.routes import Floor, endpoints
from almenara.web.rules import Office, RulesApi
from almenara.web.silences import SilenceApi
from almenara.web.view import View

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

log = logging.getLogger(__name__)

_INGEST = "/ingest/"


def create_app(
    pipeline: Pipeline,
    *,
    token: str | None = None,
    reload: Reload | None = None,
    allowed_hosts: Collection[str] = (),
    limits: Limits | None = None,
    dialects: Settings | None = None,
    rules: Office | None = None,
) -> App:
    """The app. token: what every request must carry; without one only loopback Hosts (and allowed_hosts) are answered.

    reload: reads the config again and returns the mistakes in it, or none; it may be a coroutine function. dialects:
    interfaces of others that are switched on. rules: what changes rules; without it they are only shown.
    """
    guard = Guard(token, allowed_hosts)
    return App(pipeline, guard, reload, limits or Limits(), dialects or Settings(), rules)


class App:
    """An ASGI app; made by `create_app`, served by `almenara.web.server.serve`."""

    def __init__(
        self, pipeline: Pipeline, guard: Guard, reload: Reload | None, limits: Limits, dialects: Settings,
        rules: Office | None = None,
    ):  # fmt: skip
        self._pipeline = pipeline
        self._guard = guard
        self._closing = asyncio.Event()
        house = House(pipeline, limits, guard.is_token, self._closing)
        self._dialects = switched_on(house, dialects)
        operate = Operate(pipeline, limits, reload)
        floor = Floor(
            pipeline=pipeline,
            ingest=Ingest(pipeline, limits),
            prometheus=PrometheusApi(pipeline, limits),
            export=Export(pipeline, limits),
            view=View(pipeline, limits),
            backtest=BacktestApi(pipeline, limits),
            rehearse=RehearseApi(pipeline, limits),
            live=Live(pipeline, limits, operate, self._closing),
            operate=operate,
            rules=RulesApi(pipeline, limits, rules),
            pages=Pages(guard, limits),
            silences=SilenceApi(pipeline, limits),
            incidents=IncidentApi(pipeline, limits),
            alertmanager=AlertmanagerApi(pipeline, limits),
            limits=limits,
            more=[one for dialect in self._dialects for one in dialect.endpoints],
        )
        self.endpoints = endpoints(floor)
        self._plain = {one.path: one for one in self.endpoints if one.plain and "{" not in one.path}
        self._any_codec = next(one for one in self.endpoints if one.path.startswith(_INGEST))
        self._routed = _routed(self.endpoints, guard)
        house.reserved.update(one.path.split("/")[1] for one in self.endpoints)

    @property
    def needs_token(self) -> bool:
        """Whether requests must carry a token."""
        return self._guard.needs_token

    def close(self) -> None:
        """End live streams; the app goes on answering what is under way."""
        self._closing.set()

    async def finish(self) -> None:
        """Let go of what dialects have open, after the last answer."""
        for dialect in self._dialects:
            await dialect.close()

    def _admitted(self, scope: Scope) -> bool:
        return any(dialect.admits(scope) for dialect in self._dialects)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise HttpError(400, f"this server speaks HTTP only; got {scope['type']}")
        try:
            self._guard.check(scope, self._admitted)
        except HttpError as error:
            await self._turn_away(error, scope, receive, send)
            return
        path = scope["path"]
        plain = self._plain.get(path) or (self._any_codec if path.startswith(_INGEST) else None)
        try:
            if plain is None:
                scope["app"] = self
                await self._routed(scope, receive, _with_security_headers(send))
            elif scope["method"] in plain.methods:
                await plain.handler(scope, receive, send)
            else:
                allow = {"allow": ", ".join(plain.methods)}
                await refuse(HttpError(405, f"{path} takes {allow['allow']}", headers=allow), scope, receive, send)
        except Exception:  # the boundary: a bug answers 500 and is logged, without parameters, which may hold secrets
            log.exception("%s %s failed", scope["method"], path)
            await error_response(HttpError(500, "internal error; the hub's log says more"), path)(scope, receive, send)

    async def _turn_away(self, error: HttpError, scope: Scope, receive: Receive, send: Send) -> None:
        self._pipeline.counters.add("almenara_http_refused_total", status=str(error.status))
        wants_page = scope["method"] == "GET" and b"text/html" in header(scope["headers"], b"accept")
        if error.status == 401 and wants_page:
            await RedirectResponse("/login", 303)(scope, receive, _with_security_headers(send))
        else:
            error.close = error.close or scope["method"] not in ("GET", "HEAD")  # its body is not read
            await refuse(error, scope, receive, send)


def _with_security_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *SECURITY_HEADERS]
        await send(message)

    return sending


def _routed(table: Collection[Endpoint], guard: Guard) -> ASGIApp:
    """Everything but the write path, with errors as JSON."""
    routes = [
        Route(one.path, _guarded(one.handler, guard) if one.changes else one.handler, methods=list(one.methods))
        for one in table
        if not one.plain
    ]
    handlers: dict[Any, Any] = {AlmenaraError: _on_error, TimeoutError: _on_error, HTTPException: _on_http_exception}
    return ExceptionMiddleware(Router(routes, redirect_slashes=False), handlers)


def _guarded(handler: Callable[[Request], Awaitable[Response]], guard: Guard) -> Callable[..., Awaitable[Response]]:
    """The same, for no page of another site."""

    async def checked(request: Request) -> Response:
        guard.check_change(request.scope)
        return await handler(request)

    return checked


async def _on_error(request: Request, error: Exception) -> Response:
    answer = as_http(error)
    if answer.status == 500:
        log.error("%s %s: %s", request.method, request.url.path, error)
    return error_response(answer, request.url.path)


async def _on_http_exception(request: Request, error: HTTPException) -> Response:
    path, method = request.url.path, request.method
    told = {404: f"no such path: {path[:200]}", 405: f"{path[:200]} does not take {method}"}
    message = told.get(error.status_code, error.detail)
    return error_response(HttpError(error.status_code, message, headers=error.headers), path)
