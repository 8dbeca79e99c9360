"""The embedded broker as a supervised child: started, prepared before clients may come, started again when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from almenara.bus.server import Login, Server, Settings, end_leftover
from almenara.bus.wire import Wire
from almenara.model.disk import trial_write
from almenara.model.errors import AlmenaraError, BusError, Problem

log = logging.getLogger(__name__)

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.1, 10.0
_HEALTHY_S = 60.0

#: Given a connection with all rights while no MQTT client can connect; called before each start.
Prepare = Callable[[Wire], Awaitable[None]]


class Broker:
    """nats-server in `folder`/broker.

    Each start has two steps, about 30 ms each: without MQTT, to prepare the durable stream, then with it. So no client
    can make the server create that stream by itself, with a shape that would lose messages.
    """

    def __init__(
        self,
        folder: Path,
        prepare: Prepare,
        *,
        host: str,
        port: int,
        client: Login | None,
        max_disk_bytes: int,
        max_payload: int,
        max_connections: int,
    ) -> None:
        self.folder = folder / "broker"
        self.up = asyncio.Event()
        self.restarts = 0
        self.problem: Problem | None = None  # why it keeps nothing now
        self._prepare = prepare
        self._server: Server | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self.settings = Settings(
            folder=self.folder.absolute(),
            host=host,
            port=port,
            hub=_random_login("hub"),
            tap=_random_login("tap"),
            system=_random_login("system"),
            client=client or _random_login("client"),
            anonymous=client is None,
            max_disk_bytes=max_disk_bytes,
            max_payload=max_payload,
            max_connections=max_connections,
        )

    async def start(self) -> None:
        """Ready for clients. Raises PortTaken, BusError, MissingExtra."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        await end_leftover(self.settings.folder)
        if why := await self._disk_refuses():  # else the program would wait for its own log for ever
            raise BusError(f"{self.folder}: the embedded broker cannot write there: {why}; free some space")
        await self._launch()
        self._supervisor = asyncio.create_task(self._supervise(), name="broker supervisor")

    async def stop(self) -> None:
        """End it; may be called twice."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        self.up.clear()
        if self._server is not None:
            await self._server.stop()
            self._server = None

    async def connect(self, login: Login) -> Wire:
        """A NATS connection to the broker as it runs now; waits while it is down. Raises BusError."""
        await self.up.wait()
        assert self._server is not None
        return await Wire.connect("127.0.0.1", self._server.nats_port, login.user, login.password)

    async def look_after(self, wire: Wire) -> None:
        """Start the server again where its disk has failed it, once that can be written; `wire` is the system user's.

        A stream whose file could not be written takes nothing more for as long as its server lives, whatever becomes
        of the disk. The server is asked, since its log is on the same disk. Raises BusError.
        """
        server = self._server
        why = write_error(await wire.request("$SYS.REQ.SERVER.PING.HEALTHZ", {"details": True}))
        if not why or server is None:
            return
        if self.problem is None:
            log.error("the embedded broker cannot write its messages to disk: %s", why)
        self.problem = self._unwritable(why)
        if not await self._disk_refuses():
            await server.stop()  # what it has acknowledged is in its files; the supervisor goes on

    async def _disk_refuses(self) -> str:
        """Why nothing can be written in our folder; empty where it can."""
        try:
            await asyncio.to_thread(trial_write, self.settings.folder)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _unwritable(self, why: str) -> Problem:
        message = f"it cannot write its messages to disk ({why}), so clients get no acknowledgement and send again"
        hint = f"free some space under {self.folder}, or mend the disk; it is started again by itself once it can write"
        return Problem("the embedded broker", message, hint)

    async def _launch(self) -> None:
        first = await Server.start(self.settings, mqtt=False)
        try:
            hub = self.settings.hub
            wire = await Wire.connect("127.0.0.1", first.nats_port, hub.user, hub.password)
            try:
                await self._prepare(wire)
            finally:
                wire.close()
        finally:
            await first.stop()
        self._server = await Server.start(self.settings, mqtt=True)
        self.settings = replace(self.settings, port=self._server.mqtt_port)  # a restart must come back where it was
        self.problem = None
        self.up.set()

    async def _supervise(self) -> None:
        loop, wait_s = asyncio.get_running_loop(), _FIRST_WAIT_S
        while True:
            assert self._server is not None
            since = loop.time()
            code = await self._server.process.wait()
            self.up.clear()
            if self.problem is None:
                self.problem = _ended(f"it ended by itself (exit code {code}) and is being started again", self.folder)
            if loop.time() - since > _HEALTHY_S:
                wait_s = _FIRST_WAIT_S
            while not self.up.is_set():
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
                if why := await self._disk_refuses():  # a stream is not to be taken up where nothing can be written
                    self.problem = self._unwritable(why)
                    continue
                self.restarts += 1
                try:
                    await self._launch()
                    log.warning("the embedded broker runs again")
                except (AlmenaraError, OSError) as error:
                    self.problem = _ended(f"it cannot be started again: {error}", self.folder)


def write_error(health: dict[str, Any]) -> str:
    """What the server's answer about its health says of streams that it cannot write; empty where it can.

    Other complaints, such as of a stream that is being restored, pass by themselves.
    """
    errors = health.get("data", {}).get("errors", ())
    told = (str(one.get("error", "")) for one in errors)
    return next((text.partition(" write error: ")[2] for text in told if " write error: " in text), "")


def _ended(what: str, folder: Path) -> Problem:
    return Problem("the embedded broker", what, f"where that goes on, {folder / 'log'} and {folder / 'stderr'} say why")


def _random_login(role: str) -> Login:
    return Login(f"almenara-{role}-{secrets.token_hex(4)}", secrets.token_urlsafe(24))
