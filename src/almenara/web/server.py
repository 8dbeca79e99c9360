"""Serving an app over HTTP/1.1 inside the running asyncio loop, with limits on connections, headers and idle time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Generator
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from almenara.model.errors import AlmenaraError
from almenara.web.guard import is_loopback

#: Bytes of request line and headers of one request.
HEAD_BYTES = 64 * 1024
#: A request's headers must be complete this long after its first byte, or after the connection was made.
HEAD_TIMEOUT_S = 30.0
#: Bodies whose length is announced and within these are collected before the app sees them, or for so long at most.
COLLECTED_BYTES = 64 * 1024, 16 * 1024 * 1024
HAND_OVER_S = 2.0
#: While a body comes the loop is woken once so much of it is there, or all: a link gives some 64 kB a time. A sender at
#: the least rate that is taken (`body.py`) gives as much within the first timeout.
_WAKE_BYTES = 256 * 1024
_OF_BODY = (b"content-length", b"transfer-encoding", b"upgrade")
_SWEEP_S = 5.0
#: Of so many ports after a taken one the first free one is proposed.
_NEXT_PORTS = 20


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with a limit on headers, in bytes and (through `_sweep`) in time, and a short way for bodies.

    A body of known length passes the parser by: it is collected as it arrives and handed over in one piece, which saves
    four copies of every byte and a turn of the app for every read; and it is read in large pieces (SO_RCVLOWAT, which
    the system leaves alone where its buffer is full or the sender has ended).
    """

    head_bytes = 0  # received of headers that are not complete; -1 once they are
    head_since = 0.0
    _announced = 0  # length of a body that will be collected, while its headers are parsed
    _missing = 0  # bytes of a body that are still to come
    _wakes_at = 1  # how many bytes must be there for the loop to be woken
    _handed_over = 0.0  # when a part of it was last given to the app

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.head_since = self.loop.time()
        self._parts: list[bytes] = []

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.head_bytes, self.head_since = 0, self.loop.time()

    def on_headers_complete(self) -> None:
        self.head_bytes = -1
        super().on_headers_complete()
        fields = {name: value for name, value in self.headers if name in _OF_BODY}
        length = fields.get(b"content-length", b"")
        if len(fields) == 1 and length.isdigit() and COLLECTED_BYTES[0] <= int(length) <= COLLECTED_BYTES[1]:
            self._announced, self._handed_over = int(length), self.loop.time()

    def on_body(self, body: bytes) -> None:
        if self._announced:
            self._parts.append(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._announced:  # it came whole with its headers
            self._hand_over()
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        if self._missing and not (data := self._collect(data)):
            return
        super().data_received(data)
        if self._announced:
            self._missing = self._announced - sum(map(len, self._parts))
            self._announced = 0
            self._wake_at(self._missing)
        if self.head_bytes >= 0 and not self.transport.is_closing():
            self.head_bytes += len(data)
            if self.head_bytes > HEAD_BYTES:
                self.transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\r\n")
                self.transport.close()

    def _collect(self, data: bytes) -> bytes:
        """Take what belongs to the body; returns what does not."""
        part = data[: self._missing]
        self._missing -= len(part)
        if not self.cycle.response_complete:  # else nobody wants it
            self._parts.append(part)
        self._wake_at(self._missing)
        if not self._missing:
            self._hand_over()
            self.parser = httptools.HttpRequestParser(self)  # the old one still waits for the body
            super().on_message_complete()
        elif self.loop.time() - self._handed_over > HAND_OVER_S:
            self._hand_over()
        return data[len(part) :]

    def _wake_at(self, missing: int) -> None:
        """Be called with data when so much is there, at most; 0: with any."""
        wanted = min(max(missing, 1), _WAKE_BYTES)
        if wanted != self._wakes_at and (link := self.transport.get_extra_info("socket")) is not None:
            self._wakes_at = wanted
            with contextlib.suppress(OSError):  # it was closed; or cannot, as elsewhere than on Linux
                link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, wanted)

    def _hand_over(self) -> None:
        """Give the app what came; a slow body in parts, so that it sees that something comes."""
        body = b"".join(self._parts)
        self._parts.clear()
        self._announced, self._handed_over = 0, self.loop.time()
        self.cycle.body = self.cycle.body + body if self.cycle.body else body
        self.cycle.message_event.set()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals belong to the program that runs us."""
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises AlmenaraError, saying what to do, when the address is taken or not ours."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise AlmenaraError(
            f"HTTP on {host}:{port}: {host!r} is no address of this machine ({error.strerror})"
        ) from error
    sock = socket.socket(family, kind, proto)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(2048)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise AlmenaraError(f"HTTP on {host}:{port}: {_why(error, host, port)}") from error
    return sock


def _why(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        other = next((p for p in range(port + 1, min(port + _NEXT_PORTS, 65_536)) if _is_free(host, p)), 0)
        where = f"[{host}]" if ":" in host else host
        free = f"{where}:{other or 'PORT'}"
        return (
            "another program listens there, perhaps another hub; stop it, or choose another port: "
            f'almenara up --http {free}, or in the config file [http] listen = "{free}"'
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; use 127.0.0.1, or 0.0.0.0 for all of its addresses"
    if error.errno == errno.EACCES:
        return "ports below 1024 need rights that this user does not have; choose a higher one"
    return str(error.strerror or error)


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


async def serve(
    app: Any,
    host: str = "127.0.0.1",
    port: int = 8642,
    *,
    stop: asyncio.Event,
    sock: socket.socket | None = None,
    grace_s: float = 3.0,
    max_connections: int = 800,
) -> None:
    """Serve until `stop` is set, then finish what runs within `grace_s` and return; cancelling does the same.

    app: what `create_app` made. sock: what `bind` gave, where the port was taken early. Raises AlmenaraError where the
    address is taken, and where it is not loopback and the app asks for no token.
    """
    sock = sock or bind(host, port)
    try:
        if not app.needs_token and not is_loopback(sock.getsockname()[0]):
            raise AlmenaraError(
                f"HTTP on {host}:{port} can be reached by other machines, and no token is set; "
                "set [http] token, or let --listen-all make one"
            )
        await _run(app, sock, stop, grace_s, max_connections)
    finally:
        sock.close()


async def _run(app: Any, sock: socket.socket, stop: asyncio.Event, grace_s: float, max_connections: int) -> None:
    config = uvicorn.Config(
        app,
        http=Protocol,
        loop="none",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",  # the app logs what goes wrong in it; the rest is noise made by clients
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=65,
        timeout_graceful_shutdown=max(1, round(grace_s)),
        limit_concurrency=max_connections,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    helpers = [asyncio.create_task(stop.wait()), asyncio.create_task(_sweep(server))]
    try:
        await asyncio.wait([serving, *helpers], return_when=asyncio.FIRST_COMPLETED)
    finally:
        app.close()  # live streams end by themselves, so that nothing waits for them
        server.should_exit = True
        for helper in helpers:
            helper.cancel()
        try:
            await serving
        finally:
            await app.finish()
    for helper in helpers:
        if helper.done() and not helper.cancelled():
            helper.result()  # a bug in one of them is told, not swallowed


async def _sweep(server: uvicorn.Server) -> None:
    """Close connections whose next request stays in its headers; end those whose close does not get through."""
    closing: set[Protocol] = set()
    while True:
        await asyncio.sleep(_SWEEP_S)
        limit = asyncio.get_running_loop().time() - HEAD_TIMEOUT_S
        connections = {one for one in server.server_state.connections if isinstance(one, Protocol)}
        for connection in connections & closing:
            connection.transport.abort()  # the reader takes nothing, so what is left to send would wait for ever
        for connection in connections:
            if connection.head_bytes >= 0 and connection.head_since < limit:
                connection.transport.close()
        closing = {one for one in connections if one.transport.is_closing()}
