"""Who watches the watcher, with real processes: pings, `almenara watch`, systemd, and the first message after an
outage."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from almenara.model.time import MINUTE_NS
from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(300)


class Receiver:
    """A web server that keeps what is posted, and counts what is asked with GET."""

    def __init__(self) -> None:
        self.posted: list[Any] = []
        self.pings = 0
        kept = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                kept.posted.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self._ok()

            def do_GET(self) -> None:
                kept.pings += 1
                self._ok()

            def _ok(self) -> None:
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def stories(self) -> list[str]:
        return [one["status"] for one in self.posted]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.server.shutdown()
    one.thread.join()
    one.server.server_close()


def outcomes(path: Path) -> list[str]:
    with sqlite3.connect(path) as db:
        return [outcome for (outcome,) in db.execute("SELECT outcome FROM outbox ORDER BY id")]


class WatchProcess:
    """`almenara watch` over a folder that outlives it."""

    def __init__(self, folder: Path, receiver: Receiver, *urls: str):
        self.config, self.out, self.receiver = folder / "watch.toml", folder / "watch.out", receiver
        self.config.write_text(f'version = 1\n[notifiers.phone]\nplugin = "webhook"\nurl = "{receiver.url}"\n')
        self.command = [
            *(sys.executable, "-m", "almenara.cli", "watch", *urls, "--config", str(self.config)),
            *("--data", str(folder / "watch"), "--every", "1s", "--after", "2"),
        ]

    def __enter__(self) -> WatchProcess:
        with self.out.open("ab") as out:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=subprocess.STDOUT)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(60) == 0, self.out.read_text()

    def hears(self, *stories: str) -> None:
        """Wait until exactly these were told."""
        try:
            wait_until(lambda: self.receiver.stories == list(stories), f"{stories} to be told")
        except AssertionError as error:
            raise AssertionError(f"{error}; told: {self.receiver.posted}; it said: {self.out.read_text()}") from None


def test_a_hub_that_dies_is_told_once_also_over_restarts_of_the_watcher(tmp_path: Path, receiver: Receiver) -> None:
    hub = HubProcess(tmp_path / "data")
    with hub, WatchProcess(tmp_path, receiver, hub.url) as watching:
        wait_until(lambda: (tmp_path / "watch" / "hub.db").exists(), "the watcher to begin")
        hub.process.send_signal(signal.SIGSTOP)  # type: ignore[union-attr]
        watching.hears("firing")
        said = receiver.posted[0]["alerts"][0]["annotations"]["summary"]
        assert said.startswith("The hub does not answer within 10 s"), said
        wait_until(lambda: outcomes(tmp_path / "watch" / "hub.db") == ["sent"], "it to be written down that it is told")
        watching.process.kill()
        watching.process.wait()
        with watching:
            hub.process.send_signal(signal.SIGCONT)  # type: ignore[union-attr]
            watching.hears("firing", "resolved")
            hub.kill()
            watching.hears("firing", "resolved", "firing")
    assert "the connection is refused" in receiver.posted[2]["alerts"][0]["annotations"]["summary"]


def test_a_hub_pings_says_that_it_is_ready_and_tells_how_long_nobody_was_watching(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "500000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    config = f'[watch]\nping_url = "{receiver.url}ping"\nevery = "1s"\n'
    with HubProcess(tmp_path / "data", config=config) as hub:
        wait_until(lambda: receiver.pings >= 2, "two pings")
        assert hub.json("/api/v1/status")["outage"] is None
        systemd.settimeout(60)
        said = systemd.recv(1000)
        while said != b"WATCHDOG=1":
            assert not said.startswith(b"STOPPING")
            said = systemd.recv(1000)
    systemd.close()
    with sqlite3.connect(tmp_path / "data" / "hub.db") as db:  # as if it had been away for longer
        db.execute("UPDATE vigil SET tick = tick - ?", (75 * MINUTE_NS,))
    os.environ.pop("NOTIFY_SOCKET")
    with HubProcess(tmp_path / "data", config=config) as hub:
        outage = wait_until(lambda: hub.json("/api/v1/status")["outage"], "the outage to be told")
        assert 75 <= (outage["until_ms"] - outage["since_ms"]) / 60_000 <= 80
        assert "nobody was watching from" in hub.said()
