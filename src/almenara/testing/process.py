"""A hub as a real process, for tests that start, kill and restart it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(is_so: Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Wait for something to become true, and give it back; AssertionError with `what` where it does not."""
    deadline = time.monotonic() + timeout_s
    while not (found := is_so()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.02)
    return found


class HubProcess:
    """`almenara up` on ports of its own, over a folder that outlives it. As a context it is stopped at the end."""

    def __init__(self, folder: Path, *arguments: str, env: dict[str, str] | None = None):
        self.folder, self.arguments, self.env = folder, arguments, env or {}
        self.http, self.mqtt = free_port(), free_port()
        self.output = folder.with_name(folder.name + ".out")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.http}"

    @property
    def command(self) -> Sequence[str]:
        """What is run."""
        return [
            *(sys.executable, "-m", "almenara.cli", "up", "--data", str(self.folder)),
            *("--http", f"127.0.0.1:{self.http}", "--mqtt", f"127.0.0.1:{self.mqtt}", *self.arguments),
        ]

    def start(self, timeout_s: float = 60.0) -> HubProcess:
        """Start it and wait until it is ready."""
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"NO_COLOR": "1"} | self.env
            )
        try:
            wait_until(self._is_ready, "the hub to be ready", timeout_s)
        except AssertionError as error:
            self.kill()
            raise AssertionError(f"{error}; it said:\n{self.said()}") from None
        return self

    def _is_ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the hub ended with {self.process.returncode}")
        try:
            return self.get("/-/ready")[0] == 200
        except OSError:
            return False

    def said(self) -> str:
        """Everything it wrote."""
        return self.output.read_text(errors="replace")

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 15.0) -> int:
        """Ask it to stop; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def get(self, path: str) -> tuple[int, bytes]:
        """(status, body) of a GET."""
        return self._ask("GET", path, None, 30.0)

    def json(self, path: str) -> Any:
        """The JSON that a GET gives."""
        status, body = self.get(path)
        if status != 200:
            raise AssertionError(f"{path}: {status} {body[:500]!r}")
        return json.loads(body)

    def post(self, path: str, body: bytes, timeout_s: float = 30.0) -> tuple[int, bytes]:
        """(status, body) of a POST."""
        return self._ask("POST", path, body, timeout_s)

    def _ask(self, method: str, path: str, body: bytes | None, timeout_s: float) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, data=body, method=method)  # noqa: S310  http on loopback
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def __enter__(self) -> HubProcess:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
                raise
