"""Rows that go on to real systems of others: VictoriaMetrics, InfluxDB, an MQTT broker, a file."""

from __future__ import annotations

import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from almenara.testing.process import HubProcess, free_port, wait_until

pytestmark = [pytest.mark.timeout(200)]


@contextmanager
def running(*command: str, ready: str) -> Iterator[None]:
    """A program of others, until it answers at `ready`, and to its end."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: answers(ready), command[0])
            yield
        finally:
            process.kill()


def answers(url: str) -> bool:
    """Whether it says 2xx."""
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return bool(200 <= answer.status < 300)
    except OSError:
        return False


def get(url: str, **parameters: str) -> object:
    """JSON from a URL."""
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(parameters)}", timeout=60) as answer:
        return json.loads(answer.read())


@pytest.mark.real("victoria-metrics")
@pytest.mark.parametrize(
    ("codec", "path", "extra"),
    [
        ("remote_write", "/api/v1/write", 'encoding = "snappy"\ncontent_type = "application/x-protobuf"'),
        ("prometheus", "/api/v1/import/prometheus", ""),
        ("influx", "/write", ""),
    ],
)
def test_victoria_metrics_holds_what_the_hub_holds(tmp_path: Path, codec: str, path: str, extra: str) -> None:
    port = free_port()
    peer = f"http://127.0.0.1:{port}"
    config = f"""
[transports.vm]
plugin = "http"
url = "{peer}{path}"
{extra}
[routes.vm]
to = "vm"
codec = "{codec}"
match = 'outside_temperature'
labels = {{ site = "north" }}
"""
    command = ("victoria-metrics", f"-storageDataPath={tmp_path / 'vm'}", f"-httpListenAddr=127.0.0.1:{port}")
    with HubProcess(tmp_path / "data", config=config, mqtt=False) as hub:
        hub.post("/write", b"outside,city=Mumbai temperature=31.25,humidity=60\noutside,city=Pune temperature=-4.5\n")
        # The other side is away: it is tried again, and nothing is left out.
        wait_until(lambda: hub.source("route:vm").get("problem"), "the problem to be told")
        with running(*command, ready=f"{peer}/health"):
            name = "outside_temperature" if codec != "influx" else '{__name__=~"outside_temperature.*"}'

            def held() -> dict[str, float]:
                found = get(f"{peer}/api/v1/query", query=name, nocache="1")
                return {r["metric"]["city"]: float(r["value"][1]) for r in found["data"]["result"]}  # type: ignore[index]

            wait_until(lambda: held() == {"Mumbai": 31.25, "Pune": -4.5}, "both rows")
            wait_until(lambda: not hub.source("route:vm").get("problem"), "the problem to be over")


@pytest.mark.real("mosquitto", "mosquitto-clients")
def test_rows_go_to_a_broker_by_topic_and_to_a_file(tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "rows.lp"
    (tmp_path / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    config = f"""
[transports.other]
plugin = "mqtt"
url = "mqtt://127.0.0.1:{port}"
[transports.disk]
plugin = "file"
path = "{file}"
[routes.copy]
to = "other"
codec = "json"
match = '{{city!=""}}'
topic = "copy/{{city}}/{{__name__}}"
rows = 1
[routes.disk]
to = "disk"
match = '{{city!=""}}'
[routes.own]
to = "mqtt"
codec = "json"
match = '{{city="Pune"}}'
"""
    broker = subprocess.Popen(["mosquitto", "-c", str(tmp_path / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        with HubProcess(tmp_path / "data", config=config) as hub:
            wait_until(lambda: not hub.source("transport:other").get("problem"), "the broker")
            listening = [
                subprocess.Popen(["mosquitto_sub", "-p", str(at), "-t", topic, "-F", "%t %p", "-C", str(n), "-W", "60"],
                                 stdout=subprocess.PIPE, text=True)
                for at, topic, n in ((port, "copy/#", 2), (hub.mqtt, "almenara/route/#", 1))
            ]  # fmt: skip
            wait_until(
                lambda: (
                    subprocess.run(["mosquitto_pub", "-p", str(port), "-t", "ready", "-m", "1"], check=False).returncode
                    == 0
                ),
                "mosquitto",
            )
            hub.post("/write", b"outside,city=Mumbai temperature=31.25\noutside,city=Pune temperature=-4.5\n")
            copied, own = (process.communicate(timeout=90)[0].split("\n\n")[:-1] for process in listening)
            assert sorted(line.partition(" ")[0] for line in copied) == [
                "copy/Mumbai/outside_temperature", "copy/Pune/outside_temperature",
            ]  # fmt: skip
            assert [line.partition(" ")[0] for line in own] == ["almenara/route/own/outside_temperature"]
            assert "-4.5" in own[0]
            wait_until(lambda: file.exists() and file.read_text().count("\n") >= 2, "the file")
            assert sorted(line.rpartition(" ")[0] for line in file.read_text().splitlines()) == [
                "outside_temperature,city=Mumbai value=31.25", "outside_temperature,city=Pune value=-4.5",
            ]  # fmt: skip
            assert hub.query('outside_temperature{city="Pune"}') == {'outside_temperature{city="Pune"}': -4.5}
            assert len(hub.query('{city="Pune"}')) == 1, "what a route says on the hub's own broker is no input"
    finally:
        broker.kill()
        broker.wait()
