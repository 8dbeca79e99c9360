"""The CoAP server and client of `almenara.transports.coap`, made with aiocoap; imported only where CoAP is used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import aiocoap  # type: ignore[import-untyped]
from aiocoap import Code, Message, error, resource
from aiocoap.blockwise import Block1Spool  # type: ignore[import-untyped]
from aiocoap.util import hostportsplit  # type: ignore[import-untyped]

from almenara.model.errors import BusError, PluginError, PortTaken, Refused
from almenara.plugin.contracts import Outcome

if TYPE_CHECKING:
    from almenara.transports.coap import Coap

Path = tuple[str, ...]

_MOST_TRANSFERS, _MOST_OBSERVERS = 100, 1000
_TRANSFER_S = 93.0  # MAX_TRANSMIT_WAIT of RFC 7252: then a sender has given up
_ANY = ("0.0.0.0", "::")  # noqa: S104
_LINK_FORMAT = 40
_LOGGER = "almenara.coap"
_SEND_S = 60.0


class Server:
    """One listening socket."""

    def __init__(self, context: aiocoap.Context, site: _Site) -> None:
        self._context, self._site = context, site

    @classmethod
    async def start(cls, link: Coap) -> Server:
        """Raises PortTaken, BusError."""
        link.port = _free(link.host, link.port)
        site = _Site(link)
        # The simple server cannot tell which of our addresses a request came to; the other one needs IPv6 sockets.
        kind = "udp6" if link.host in _ANY else "simplesocketserver"
        logging.getLogger(_LOGGER).setLevel(logging.ERROR)  # it tells of every block of every payload
        try:
            context = await aiocoap.Context.create_server_context(
                site, (link.host, link.port), loggername=_LOGGER, transports=[kind]
            )
        except (OSError, ValueError) as problem:
            raise BusError(f"{link.host}:{link.port}: cannot listen there: {problem}") from problem
        _READABLE.tell(link.dropped)
        return cls(context, site)

    def tell(self, path: Path) -> None:
        """Whoever observes a path is told its new payload."""
        for observer in list(self._site.observers.get(path, ())):
            observer.trigger()

    async def stop(self) -> None:
        """Listen no more."""
        _READABLE.forget(self._site.dropped)
        await self._context.shutdown()


class _Readable:
    """Makes aiocoap ignore every datagram that is no message, and counts them at the links that listen.

    Trap: of some its decoder raises errors that its own sockets do not expect, and the loop logs a traceback for each.
    """

    def __init__(self) -> None:
        self._counters: list[Counter[str]] = []
        self._decode = Message.decode
        Message.decode = self.decode

    def tell(self, dropped: Counter[str]) -> None:
        """Count at this link too."""
        self._counters.append(dropped)

    def forget(self, dropped: Counter[str]) -> None:
        """Count there no more."""
        self._counters = [one for one in self._counters if one is not dropped]

    def decode(self, rawdata: bytes, remote: Any = None) -> Message:
        """The message in a datagram. Raises UnparsableMessage."""
        try:
            return self._decode(rawdata, remote=remote)
        except (error.UnparsableMessage, ValueError, LookupError, struct.error) as problem:
            for dropped in self._counters:
                dropped["bad_message"] += 1
            raise error.UnparsableMessage from problem


_READABLE = _Readable()


def _free(host: str, port: int) -> int:
    """The port, a free one for 0; aiocoap itself would share it with another program that listens there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, port))
        except OSError as problem:
            raise PortTaken(host, port) from problem
        return int(probe.getsockname()[1])


class _Blocks(Block1Spool):
    """Puts payloads together from blocks, up to a size, so many at a time."""

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most_bytes = most_bytes
        self._open: dict[tuple[Any, ...], float] = {}  # when each transfer began

    def feed_and_take(self, req: Message) -> Message:
        """The whole request. Raises an error that is also an answer: continue, incomplete, too large, too busy."""
        block = req.opt.block1
        if (
            len(req.payload) + (block.start if block else 0) > self._most_bytes
            or (req.opt.size1 or 0) > self._most_bytes
        ):
            raise error.RequestEntityTooLarge
        if block is None:
            return req
        key = req.remote.blockwise_key, req.code, req.opt.uri_path
        now = time.monotonic()
        if block.block_number == 0:
            self._open = {one: began for one, began in self._open.items() if now - began < _TRANSFER_S}
            if len(self._open) >= _MOST_TRANSFERS and key not in self._open:
                raise error.ServiceUnavailable
            self._open[key] = now
        whole = super().feed_and_take(req)
        self._open.pop(key, None)
        return whole


class _Site(resource.ObservableResource):
    """Every path there is."""

    def __init__(self, link: Coap) -> None:
        super().__init__()
        self._link, self.dropped = link, link.dropped
        self._block1 = _Blocks(link.most_bytes)
        self.observers: dict[Path, set[Any]] = {}

    async def needs_blockwise_assembly(self, request: Message) -> bool:
        """Always; the first to see a request, so it turns away who may not send."""
        if not self._link.allowed(_host(request)):
            self._link.dropped["not_allowed"] += 1
            raise error.Forbidden
        return True

    async def render_post(self, request: Message) -> Message:
        """Take a payload."""
        return await self._take(request)

    async def render_put(self, request: Message) -> Message:
        """Take a payload."""
        return await self._take(request)

    async def _take(self, request: Message) -> Message:
        content_format = request.opt.content_format
        try:
            outcome = await self._link.take(
                _host(request),
                request.opt.uri_path,
                request.payload,
                None if content_format is None else int(content_format),
            )
        except Refused as refused:
            answer = _said(Code.SERVICE_UNAVAILABLE, str(refused))
            answer.opt.max_age = max(1, int(refused.retry_after_s))
            return answer
        except PluginError as problem:
            return _said(Code.UNSUPPORTED_CONTENT_FORMAT, str(problem))
        return Message(code=Code.CHANGED) if not (why := _refusal(outcome)) else _said(Code.BAD_REQUEST, why)

    async def render_get(self, request: Message) -> Message:
        """The last payload of a path; its paths for /.well-known/core."""
        path = request.opt.uri_path
        if path == (".well-known", "core"):
            links = ",".join(f"</{'/'.join(one)}>;obs" for one in self._link.paths())
            return Message(code=Code.CONTENT, payload=links.encode(), content_format=_LINK_FORMAT)
        if (found := self._link.last(path)) is None:
            return _said(Code.NOT_FOUND, "nothing was sent to this path since the hub started")
        payload, content_format = found
        return Message(code=Code.CONTENT, payload=payload, content_format=content_format)

    async def add_observation(self, request: Message, serverobservation: Any) -> None:
        """Tell an observer of later payloads, unless there are too many."""
        path = request.opt.uri_path
        if sum(map(len, self.observers.values())) >= _MOST_OBSERVERS:
            self._link.dropped["too_many_observers"] += 1
            serverobservation.accept(lambda: None)
            serverobservation.deregister("too many observers")
            return
        self.observers.setdefault(path, set()).add(serverobservation)

        def forget() -> None:
            watching = self.observers.get(path, set())
            watching.discard(serverobservation)
            if not watching:
                self.observers.pop(path, None)

        serverobservation.accept(forget)


def _host(request: Message) -> str:
    host, _ = hostportsplit(request.remote.hostinfo)
    return str(host).removeprefix("::ffff:")


def _said(code: Code, text: str) -> Message:
    return Message(code=code, payload=text.encode()[:500])


def _refusal(outcome: Outcome) -> str:
    """Why a payload was not kept whole; empty where it was."""
    if outcome.error is not None:
        return str(outcome.error)
    told = "; ".join(f"{one.where}: {one.detail or one.reason}" for one in outcome.rejected[:5])
    rows = sum(one.rows for one in outcome.rejected)
    return f"{outcome.rows} rows kept, {rows} rejected: {told}" if rows else ""


async def client() -> aiocoap.Context:
    """What requests are sent with."""
    return await aiocoap.Context.create_client_context()


async def put(context: aiocoap.Context, url: str, payload: bytes) -> str:
    """PUT a payload; empty when it was taken, else why not."""
    try:
        async with asyncio.timeout(_SEND_S):
            answer = await context.request(Message(code=Code.PUT, uri=url, payload=payload)).response
    except (error.Error, OSError, TimeoutError) as problem:
        return f"{type(problem).__name__}: {problem}"
    if answer.code.is_successful():
        return ""
    with contextlib.suppress(UnicodeDecodeError):
        return f"{answer.code}: {answer.payload[:200].decode()}"
    return str(answer.code)
