"""A hub as a real process, for tests that start, kill and restart it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

_kept: list[socket.socket] = []


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody has now, and that on Linux nobody else is given while this process lives.

    There a socket that is bound and does not listen keeps it: the system gives the port to nobody who asks for any, and
    lets a server that names it have it (with SO_REUSEADDR, as servers do), again and again.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    port = int(probe.getsockname()[1])
    if sys.platform == "linux":
        _kept.append(probe)
    else:
        probe.close()
    return port


def wait_until(is_so: Callable[[], Any], what: str, timeout_s: float = 60.0) -> Any:
    """Wait for something to become true, and give it back; AssertionError with `what` where it does not.

    The time only ends what would last for ever: machines that test are busy."""
    deadline = time.monotonic() + timeout_s
    while not (found := is_so()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s for {what}")
        time.sleep(0.02)
    return found


class HubProcess:
    """`almenara up` on ports of its own, over a folder that outlives it.

    As a context it is stopped at the end, and must then end with 0. `config`: the text of a `hub.toml`; `mqtt`: False
    leaves the broker's port to the program.
    """

    def __init__(self, folder: Path, *arguments: str, config: str = "", mqtt: bool = True):
        self.folder, self.arguments = folder, arguments
        self.http, self.mqtt = free_port(), free_port() if mqtt else 0
        self.output = folder.with_name(folder.name + ".out")
        self.config = folder.with_name(folder.name + ".toml")
        if config:
            self.config.write_text("version = 1\n" + config)
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
            *("--http", f"127.0.0.1:{self.http}"),
            *(("--mqtt", f"127.0.0.1:{self.mqtt}") if self.mqtt else ()),
            *(("--config", str(self.config)) if self.config.exists() else ()),
            *self.arguments,
        ]

    @property
    def token(self) -> str:
        """The token that it made for itself; empty where it made none."""
        path = self.folder / "token"
        return path.read_text().strip() if path.exists() else ""

    def start(self, timeout_s: float = 200.0) -> HubProcess:
        """Start it and wait until it is ready; the very first start of an installation compiles for a minute."""
        with self.output.open("ab") as out:
            self.process = subprocess.Popen(
                self.command, stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"NO_COLOR": "1"}
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

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 60.0) -> int:
        """Ask it to stop; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def get(self, path: str, **parameters: str) -> tuple[int, bytes]:
        """(status, body) of a GET."""
        return self._ask("GET", _with(path, parameters), None, {}, 60.0)

    def json(self, path: str, **parameters: str) -> Any:
        """The JSON that a GET gives."""
        status, body = self.get(path, **parameters)
        if status != 200:
            raise AssertionError(f"{path} {parameters}: {status} {body[:500]!r}")
        return json.loads(body)

    def post(
        self, path: str, body: bytes, timeout_s: float = 60.0, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """(status, body) of a POST."""
        return self._ask("POST", path, body, headers or {}, timeout_s)

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, bytes]:
        if token := self.token:
            headers = {"Authorization": f"Bearer {token}", **headers}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=dict(headers))  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310  http on loopback
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def query(self, expression: str) -> dict[str, float]:
        """The value of each series of an instant query, under its name as PromQL writes it."""
        found = self.json("/api/v1/query", query=expression)["data"]["result"]
        return {_name(one["metric"]): float(one["value"][1]) for one in found}

    def rows(self, selector: str) -> list[tuple[str, float]]:
        """(time, value) of every stored row of the series that a selector selects, by series and time."""
        status, body = self.get("/api/v1/export", **{"match[]": selector, "start": "1", "format": "csv"})
        if status != 200:
            raise AssertionError(f"export {selector}: {status} {body[:500]!r}")
        return [(row["time"], float(row["value"])) for row in csv.DictReader(io.StringIO(body.decode()))]

    def metric(self, name: str, **labels: str) -> float:
        """One of its own figures, as /metrics tells it now; 0 where it is not there."""
        text = name + ("{" + ",".join(f'{k}="{v}"' for k, v in sorted(labels.items())) + "}" if labels else "")
        found = re.search(rf"^{re.escape(text)} (\S+)$", self.get("/metrics")[1].decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def source(self, name: str) -> dict[str, Any]:
        """What it says of one source; empty where it knows none of that name."""
        return next((one for one in self.json("/api/v1/sources") if one["name"] == name), {})

    def __enter__(self) -> HubProcess:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        try:
            code = self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        if error is None and code != 0:
            raise AssertionError(f"the hub ended with {code}; it said:\n{self.said()}")


def _with(path: str, parameters: Mapping[str, str]) -> str:
    return f"{path}?{urllib.parse.urlencode(parameters)}" if parameters else path


def _name(metric: Mapping[str, str]) -> str:
    labels = ",".join(f'{k}="{v}"' for k, v in sorted(metric.items()) if k != "__name__")
    return metric.get("__name__", "") + (f"{{{labels}}}" if labels else "")
