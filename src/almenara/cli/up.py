"""`almenara up`: put a hub together from its configuration, run it until somebody stops it, and say where it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
import zoneinfo
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from almenara._version import __version__
from almenara.cli._systemd import keep_alive, notify
from almenara.cli.demo import DEMO_RULES, Demo, fresh_demo_folder
from almenara.config.build import Built, build
from almenara.config.load import DEFAULTS, Config, load
from almenara.config.running import Running
from almenara.config.schema import split_address
from almenara.model.errors import AlmenaraError, ConfigError, PortTaken, Problem
from almenara.model.logs import write_log
from almenara.pipeline import warm
from almenara.pipeline.folder import TOKEN_FILE
from almenara.pipeline.inputs import BUS
from almenara.pipeline.memory import keep_freed_memory, settle_objects
from almenara.web.app import create_app
from almenara.web.body import Limits
from almenara.web.dialects.contract import Settings
from almenara.web.server import bind, serve

log = logging.getLogger("almenara")

#: With its default port taken, the broker looks this many ports further for a free one.
NEXT_PORTS = 20
#: A first start compiles for some minutes on a small machine; systemd is asked to wait.
COMPILING_S = 900
#: Who MQTT clients are with the token that --listen-all made.
MQTT_USER = "almenara"


def run(
    config: Path | None, data: Path | None, http: str | None, mqtt: str | None, listen_all: bool, demo: bool,
    speed: float,
) -> int:  # fmt: skip
    """Run a hub; 0 when it was stopped, 1 when it failed."""
    write_log()
    if speed != 1 and not demo:
        raise ConfigError([Problem("command line: --speed", "goes with --demo only")])
    overrides, token = _overrides(config, data, http, mqtt, listen_all)
    if demo and data is None:
        overrides["data.folder"] = str(fresh_demo_folder())
    if demo and load(config, overrides).rules == DEFAULTS["rules"]:
        overrides |= DEMO_RULES
    checked = load(config, overrides)
    keep_freed_memory()
    if speed > 1:  # this machine does not run faster: its own metrics would be a caricature
        checked = replace(checked, collectors={})
    with asyncio.Runner(loop_factory=_new_loop()) as runner:
        return runner.run(_Hub(checked, overrides, token, Demo(speed) if demo else None).run())


def _new_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop: uvloop where there is one, which takes half the processor time of Python's own."""
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    return uvloop.new_event_loop


def _overrides(
    config: Path | None, data: Path | None, http: str | None, mqtt: str | None, listen_all: bool
) -> tuple[dict[str, Any], str]:
    """What the command line says over the file, and the token that was made for --listen-all."""
    found: dict[str, Any] = {"data.folder": str(data) if data else None, "http.listen": http, "mqtt.listen": mqtt}
    found = {k: v for k, v in found.items() if v is not None}
    if not listen_all:
        return found, ""
    before = load(config, {k: v for k, v in found.items() if k == "data.folder"})
    token, is_new = kept_token(before.data.folder)
    found.setdefault("http.listen", f"0.0.0.0:{split_address(before.http.listen)[1]}")
    if not before.mqtt.url:
        found.setdefault("mqtt.listen", f"0.0.0.0:{split_address(before.mqtt.listen)[1]}")
    if not before.http.token:
        found["http.token"] = token
    if not before.mqtt.password:
        found |= {"mqtt.username": MQTT_USER, "mqtt.password": token}
    return found, token if is_new else ""


def kept_token(folder: Path) -> tuple[str, bool]:
    """The token that --listen-all made for this data folder, and whether it was made just now."""
    path = folder / TOKEN_FILE
    if path.exists():
        return path.read_text().strip(), False
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    token = secrets.token_urlsafe(24)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(token + "\n")
    return token, True


def _leave(code: int) -> NoReturn:
    """End the process at once, without the interpreter's own clearing up; everything durable is on disk."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class _Hub:
    """One run of a hub."""

    def __init__(self, config: Config, overrides: Mapping[str, Any], token: str, demo: Demo | None):
        self._config, self._overrides, self._token, self._demo = config, overrides, token, demo
        self._began_s = time.monotonic()
        self._stop = asyncio.Event()
        self._notes: list[str] = []
        self._has_terminal = sys.stdin is not None and sys.stdin.isatty()

    async def run(self) -> int:
        """Start, serve, stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        http = bind(*split_address(self._config.http.listen))
        try:
            clock = self._demo.clock if self._demo else time.time_ns
            built = build(self._config, clock=clock, more=self._demo.collectors if self._demo else None)
            return await self._with_pipeline(built, http)
        finally:
            http.close()

    async def _with_pipeline(self, built: Built, http: socket.socket) -> int:
        pipeline = built.pipeline
        if not await self._warmed_up(built):
            pipeline.store.close()
            pipeline.folder.close()
            return 0
        await pipeline.start()
        running: Running | None = None
        try:
            built = await self._with_bus(built)
            if self._demo:
                await self._demo.load(pipeline)
                pipeline.demo = self._demo
            running = Running(built, self._overrides)
            await running.start()
            settle_objects()
            await self._serve(running, http)
        finally:
            if running is not None:
                await running.stop()
            await pipeline.stop()
        code = 1 if pipeline.failure else 0
        if pipeline.left_busy:  # its thread runs in the library of the store, which must not be taken down under it
            _leave(code)
        return code

    async def _warmed_up(self, built: Built) -> bool:
        """Compile while signals are heard; False where somebody stopped it, who does not wait for the compiler."""
        outcome: Future[None] = Future()

        def work() -> None:
            try:
                warm_up(built)
                outcome.set_result(None)
            except BaseException as error:  # raised again where it is waited for, as an executor would
                outcome.set_exception(error)

        notify(f"EXTEND_TIMEOUT_USEC={COMPILING_S * 1_000_000}", "STATUS=Compiling")
        # A daemon, for the compiler cannot be cut short and the interpreter waits for an executor's threads.
        threading.Thread(target=work, name="compile", daemon=True).start()
        compiling, stopping = asyncio.wrap_future(outcome), asyncio.create_task(self._stop.wait())
        await asyncio.wait((compiling, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if compiling.done():
            compiling.result()
        return not self._stop.is_set()

    async def _with_bus(self, built: Built) -> Built:
        """The same with its broker started: where the default port is taken, on the next free one."""
        if built.bus is None:
            return built
        resume = built.pipeline.offset(BUS)
        try:
            await built.bus.start(resume)
            return built
        except PortTaken as error:
            if "mqtt.listen" in self._config.given:
                raise AlmenaraError(
                    f"MQTT on {error}: almenara up --mqtt {error.host}:PORT, or in the config file "
                    f'[mqtt] listen = "{error.host}:PORT"'
                ) from error
        taken = self._config.mqtt.listen
        host, port = split_address(taken)
        for other in range(port + 1, port + NEXT_PORTS):
            with contextlib.suppress(PortTaken):
                moved, bus = built.with_mqtt_on(f"{host}:{other}")
                await bus.start(resume)
                self._notes.append(
                    f'{taken} has another broker. To read from that one instead: [mqtt] url = "mqtt://{taken}"'
                )
                return moved
        raise AlmenaraError(
            f"{host}: ports {port} to {port + NEXT_PORTS - 1} are all taken; choose one with --mqtt HOST:PORT"
        )

    async def _serve(self, running: Running, http: socket.socket) -> None:
        pipeline = running.built.pipeline
        pipeline.addresses["http"] = _address(http)
        if running.built.bus is not None:
            pipeline.addresses["mqtt"] = running.built.bus.address
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._hang_up, running)
        http_options = self._config.http
        limits = Limits(
            body_bytes=int(http_options.max_body_mb * (1 << 20)),
            held_bytes=int(http_options.max_waiting_mb * (1 << 20)),
        )
        token = str(self._config.http.token) or None
        dialects = Settings(self._config.http.dialects, self._config.dweet, self._config.queue, self._config.streams)
        app = create_app(pipeline, token=token, reload=running.reload, rules=running, limits=limits, dialects=dialects)
        serving = asyncio.create_task(serve(app, sock=http, stop=self._stop))
        failing = asyncio.create_task(pipeline.failed.wait())
        self._show_banner(running.built)
        notify("READY=1", f"STATUS=http://{pipeline.addresses['http']}/")
        living = asyncio.create_task(keep_alive(lambda: pipeline.failure is None))
        stop_compiling = warm.compile_beside(pipeline.options)
        await asyncio.wait((serving, failing), return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        notify("STOPPING=1")
        stop_compiling()
        living.cancel()
        failing.cancel()
        await serving

    def _hang_up(self, running: Running) -> None:
        """SIGHUP asks for a reload, unless it came because the terminal that the hub was started in was closed."""
        if self._has_terminal and not os.isatty(sys.stdin.fileno()):
            self._stop.set()
        else:
            self._reloading = asyncio.get_running_loop().create_task(running.reload())

    def _show_banner(self, built: Built) -> None:
        host, port = split_address(built.pipeline.addresses["http"])
        everywhere = host in ("0.0.0.0", "::")  # noqa: S104
        shown = "127.0.0.1" if everywhere else f"[{host}]" if ":" in host else host
        elsewhere = f"  (other machines: http://{socket.gethostname()}:{port}/)" if everywhere else ""
        rows = [
            ("Dashboard", f"http://{shown}:{port}/{elsewhere}"),
            ("MQTT", built.pipeline.addresses.get("mqtt", "off")),
            ("Data", str(self._config.data.folder.resolve())),
        ]
        if self._token:
            rows.append(
                ("Token", f"{self._token}  (shown once; MQTT: user {built.config.mqtt.username}, same password)")
            )
        console = Console(highlight=False, soft_wrap=True)
        console.print()
        console.print(Text.assemble(("  Almenara ", "bold"), f"{__version__}, ready in {self._took():.1f} s"))
        for name, value in rows:
            console.print(Text.assemble((f"  {name:<10}", "dim"), value))
        zone = zoneinfo.ZoneInfo(self._config.site.timezone)
        if (outage := built.pipeline.vigil.before) is not None:
            console.print(Text.assemble(("  Note      ", "yellow"), f"nobody was watching {outage.words(zone)}"))
        for note in self._notes:
            console.print(Text.assemble(("  Note      ", "yellow"), note))
        console.print(Text("  Ctrl-C stops it; what was acknowledged stays.\n", "dim"))

    def _took(self) -> float:
        """Seconds since the program was started, imports included, where the system tells."""
        try:
            import psutil

            return time.time() - float(psutil.Process().create_time())
        except ImportError:
            return time.monotonic() - self._began_s


def warm_up(built: Built) -> None:
    """Compile what has to be compiled; with a progress bar, which on a first start somebody looks at for a while."""
    steps = list(warm.steps(built.pipeline.options))
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Compiling (the first start takes longest)", total=len(steps))
        for name, do in steps:
            progress.update(task, description=f"Compiling: {name}")
            do()
            progress.advance(task)


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
