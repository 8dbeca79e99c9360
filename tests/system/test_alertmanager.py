"""Prometheus and vmalert, as they are, with the hub as their Alertmanager; and the hub killed in between."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.web.alarm_hub import AlarmHub

from almenara.testing.process import HubProcess, free_port, wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[AlarmHub]:
    one = AlarmHub(tmp_path / "hub" / "data", token="a-token-of-some-length")
    one.client.headers["authorization"] = "Bearer a-token-of-some-length"
    yield one
    one.stop()


@contextlib.contextmanager
def running(*command: str, log: Path) -> Iterator[None]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()[-3000:]}") from error
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def metrics_at(port: int) -> Iterator[None]:
    """A target that answers."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(b"there 1\n")

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = HTTPServer(("127.0.0.1", port), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def told(hub: AlarmHub, rule: str) -> list[str]:
    """The changes of the alarms of a rule, oldest first."""
    return [one.state.value for one in reversed(hub.hub.alarms.journal()) if one.rule == rule]


PROMETHEUS = """
global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}
rule_files: [{rules}]
scrape_configs:
- {{job_name: pump, static_configs: [{{targets: ["127.0.0.1:{target}"]}}]}}
alerting:
  alertmanagers:
  - basic_auth: {{username: prometheus, password: a-token-of-some-length}}
    static_configs: [{{targets: ["127.0.0.1:{hub}"]}}]
"""
RULES = """
groups:
- name: pumps
  rules:
  - alert: PumpDown
    expr: {expr}
    labels: {{severity: page}}
    annotations: {{summary: "the pump of {{{{ $labels.job }}}} does not answer"}}
"""


@pytest.mark.real("prometheus")
def test_what_fires_and_ends_in_prometheus_fires_and_ends_here(hub: AlarmHub, tmp_path: Path) -> None:
    target, port = free_port(), free_port()
    rules, config = tmp_path / "rules.yml", tmp_path / "prometheus.yml"
    rules.write_text(RULES.format(expr='up{job="pump"} == 0'))
    config.write_text(PROMETHEUS.format(rules=rules, target=target, hub=hub.port))
    command = (
        "prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--rules.alert.resend-delay=200ms",
    )  # fmt: skip
    with running(*command, log=tmp_path / "log"):
        wait_until(lambda: told(hub, "PumpDown") == ["firing"], "the alert to fire")
        (alarm,) = hub.hub.alarms.open()
        assert alarm.last.evidence.why == "the pump of pump does not answer"
        assert (alarm.last.severity.value, dict(alarm.last.series.labels)["instance"]) == (
            "critical", f"127.0.0.1:{target}"
        )  # fmt: skip
        received = hub.hub.counters.value("almenara_alerts_received_total")
        wait_until(
            lambda: hub.hub.counters.value("almenara_alerts_received_total") > received + 3, "it to be sent again"
        )
        assert told(hub, "PumpDown") == ["firing"]
        with metrics_at(target):
            wait_until(lambda: told(hub, "PumpDown") == ["firing", "resolved"], "the alert to end")
    (incident,) = hub.hub.alarms.incidents()
    assert (incident.state.value, len(incident.members)) == ("resolved", 1)


@pytest.mark.real("vmalert")
def test_vmalert_asks_the_hub_for_rows_and_sends_it_alerts(hub: AlarmHub, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(RULES.format(expr="temp_v > 5"))
    auth = "prometheus:a-token-of-some-length@"
    url = f"http://{auth}127.0.0.1:{hub.port}"
    command = (
        "vmalert", f"-rule={rules}", f"-datasource.url={url}", f"-notifier.url={url}", "-evaluationInterval=1s",
        f"-httpListenAddr=127.0.0.1:{free_port()}",
    )  # fmt: skip
    stop, value = threading.Event(), [9]

    def write() -> None:
        while not stop.wait(0.2):
            httpx.post(
                f"{hub.url}/write", content=f"temp,job=oven v={value[0]}", headers=dict(hub.client.headers)
            ).raise_for_status()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        with running(*command, log=tmp_path / "log"):
            wait_until(lambda: told(hub, "PumpDown") == ["firing"], "the alert to fire")
            value[0] = 1
            wait_until(lambda: told(hub, "PumpDown") == ["firing", "resolved"], "the alert to end")
    finally:
        stop.set()
        thread.join()


class Receiver(HTTPServer):
    """A webhook that keeps what it is told."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        super().__init__(("127.0.0.1", 0), _Taking)


class _Taking(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def confirmed(folder: Path) -> int:
    """How many messages a receiver took, as it is on disk: one that is killed before that is sent again."""
    (path,) = folder.glob("**/hub.db")
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT count(*) FROM outbox WHERE outcome = 'sent'").fetchone()[0]


def test_alerts_and_silences_outlive_kill_9_and_are_told_once(tmp_path: Path) -> None:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    config = (
        f'[mqtt]\nenabled = false\n[notifiers.hook]\nplugin = "webhook"\nurl = "http://127.0.0.1:{receiver.server_port}/"\n'
        '[maintenance.belt]\nmatch = \'{line="3"}\'\nwindows = ["00:00-24:00"]\n'
    )
    hub = HubProcess(tmp_path / "data", config=config, mqtt=False)
    json_type = {"content-type": "application/json"}
    alerts = [{"labels": {"alertname": "Jam", "line": str(k)}} for k in range(3)]

    def post(path: str, body: Any) -> None:
        """Again while the hub is too busy to take it, as senders do."""
        given = json.dumps(body).encode()
        status, answer = wait_until(
            lambda: None if (found := hub.post(path, given, headers=json_type))[0] == 503 else found, "it to be taken"
        )
        assert status == 200, answer

    try:
        hub.start()
        post("/api/v2/alerts", alerts)
        post("/api/v1/silences", {"match": '{line="1"}', "duration": "2h", "who": "ana"})
        wait_until(lambda: confirmed(hub.folder) == 1, "the receiver to be told")
        hub.kill()
        hub.start()
        found = hub.json("/api/v2/alerts")
        assert [one["labels"]["line"] for one in sorted(found, key=lambda one: one["labels"]["line"])] == [
            "0",
            "1",
            "2",
        ]
        assert {one["labels"]["line"] for one in found if one["status"]["silencedBy"]} == {"1"}
        assert sorted(one["maintenance"] or one["who"] for one in hub.json("/api/v1/silences")) == ["ana", "belt"]
        post("/api/v2/alerts", alerts)  # as Prometheus goes on to do
        over = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        post("/api/v2/alerts", [one | {"endsAt": over} for one in alerts])
        wait_until(lambda: len(receiver.bodies) >= 2, "the receiver to be told of the end")
        assert hub.json("/api/v2/alerts") == []
        assert [one["status"] for one in receiver.bodies] == ["firing", "resolved"]
        hub.config.write_text(hub.config.read_text().replace("maintenance.belt", "maintenance.line"))
        assert hub.post("/-/reload", b"")[0] == 200
        assert sorted(one["maintenance"] or one["who"] for one in hub.json("/api/v1/silences")) == ["ana", "line"]
        assert hub.stop() == 0
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()
        if hub.process is not None and hub.process.poll() is None:
            hub.kill()
