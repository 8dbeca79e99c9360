"""The clients that people have, at a hub of defaults: mosquitto_pub, curl, the command line, pandas, a notebook."""

from __future__ import annotations

import io
import json
import math
import os
import subprocess
import sys
import time
from datetime import datetime

import pandas as pd
import pytest
from tests.system.clients import publish

import almenara as al
from almenara.testing.process import HubProcess, wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.real("mosquitto-clients", "curl")]


def sh(command: str, hub: HubProcess) -> subprocess.CompletedProcess[str]:
    """A line of shell as the documentation has it, with this hub's ports."""
    line = command.replace("mosquitto_pub ", f"mosquitto_pub -p {hub.mqtt} ").replace(":8642", f":{hub.http}")
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=100, check=False)


def query(hub: HubProcess, *arguments: str, url: str = "") -> subprocess.CompletedProcess[str]:
    """`almenara query` as a program of its own."""
    command = [sys.executable, "-m", "almenara.cli", "query", *arguments, "--url", url or hub.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, env=os.environ)


@pytest.mark.parametrize(("quality", "best_effort"), [("", 1), (" -q 1", 0)])
def test_a_device_gets_in_with_its_own_time(hub: HubProcess, quality: str, best_effort: int) -> None:
    town = f"mumbai{quality[-1:]}"
    sent = sh(
        f"mosquitto_pub -t sensors/{town}{quality} "
        """-m '{"id":"CITIMUM","temperature":20.04,"humidity":32.06,"timestamp":'$(($(date +%s) - 100))'"""
        ""","city":"Mumbai"}'""",
        hub,
    )
    assert sent.returncode == 0, sent.stderr
    labels = f'{{city="Mumbai",id="CITIMUM",topic="sensors/{town}"}}'
    wait_until(lambda: hub.query(f'temperature{{topic="sensors/{town}"}}'), "the sample")
    assert hub.query(f'temperature{{topic="sensors/{town}"}}') == {f"temperature{labels}": 20.04}
    assert hub.query(f'humidity{{topic="sensors/{town}"}}') == {f"humidity{labels}": 32.06}
    ((at, _),) = hub.rows(f'temperature{{topic="sensors/{town}"}}')
    age_s = time.time() - datetime.fromisoformat(at).timestamp()
    assert 99 < age_s < 130, "the device's own time"
    source = hub.source(f"mqtt:sensors/{town}")
    assert (source["rows"], source["best_effort_rows"]) == (2, 2 * best_effort)


def test_a_bare_number_and_a_boolean_are_taken(hub: HubProcess) -> None:
    assert sh("mosquitto_pub -t plant/hall/temp -m 32", hub).returncode == 0
    assert sh("""mosquitto_pub -t plant/door -q 1 -m '{"open": true, "motor": {"rpm": 900}}'""", hub).returncode == 0
    wait_until(lambda: hub.source("mqtt:plant/hall/temp") and hub.source("mqtt:plant/door"), "both sources")
    assert hub.query('{topic="plant/hall/temp"}') == {'temp{topic="plant/hall/temp"}': 32}
    found = hub.query('{topic="plant/door"}')
    assert found == {'open{topic="plant/door"}': 1, 'motor_rpm{topic="plant/door"}': 900}


def test_curl_gets_204_and_the_next_question_finds_it(hub: HubProcess) -> None:
    said = sh("curl -s -o /dev/null -w '%{http_code}' --data-binary 'cpu,host=a usage=3.5' 127.0.0.1:8642/write", hub)
    assert said.stdout == "204"
    asked = sh("curl -s '127.0.0.1:8642/api/v1/query' --data-urlencode 'query=cpu_usage{host=\"a\"}'", hub)
    (found,) = json.loads(asked.stdout)["data"]["result"]
    assert found["metric"] == {"__name__": "cpu_usage", "host": "a"}
    assert found["value"][1] == "3.5"


def test_almenara_query_shows_lines_raw_and_json(hub: HubProcess) -> None:
    now = time.time_ns()
    assert hub.post("/write", f"asked,host=a v=3.5 {now - 10**9}\nasked,host=a v=4.5 {now}".encode())[0] == 204
    table = query(hub, 'asked_v{host="a"}', "--since", "1h")
    raw = query(hub, 'asked_v{host="a"}', "--raw")
    machine = query(hub, 'asked_v{host="a"}', "--raw", "--json")
    assert (table.returncode, raw.returncode, machine.returncode) == (0, 0, 0), table.stderr + raw.stderr
    assert [line.split()[-1] for line in raw.stdout.splitlines()] == ["3.5", "4.5"]
    assert 'asked_v{host="a"}' in raw.stdout
    (found,) = json.loads(machine.stdout)
    assert found["times"] == [now - 10**9, now]
    answer = json.loads(query(hub, "asked_v * 2", "--json", "--since", "10s").stdout)
    assert answer["status"] == "success"


def test_a_wrong_question_is_one_clear_line(hub: HubProcess) -> None:
    wrong = query(hub, "cpu_usage{")
    assert wrong.returncode == 1
    assert "Traceback" not in wrong.stderr
    later = query(hub, "histogram_quantile(0.9, cpu_usage)")
    assert later.returncode == 1
    assert "not supported yet" in later.stderr
    assert hub.get("/api/v1/query", query="histogram_quantile(0.9, cpu_usage)")[0] == 422
    nobody = query(hub, "cpu_usage", url="http://127.0.0.1:9")
    assert nobody.returncode == 1
    assert "almenara up" in nobody.stderr


def test_the_export_reads_in_pandas(hub: HubProcess) -> None:
    now = int(time.time())
    lines = "".join(f"export,n={n} v={n}.25 {(now - n) * 10**9}\n" for n in range(50))
    assert hub.post("/write", lines.encode())[0] == 204
    _, body = hub.get("/api/v1/export", **{"match[]": "export_v", "since": "1h", "format": "csv"})
    frame = pd.read_csv(io.BytesIO(body), parse_dates=["time"])
    assert list(frame.columns) == ["time", "series", "value"]
    assert len(frame) == 50
    assert frame["value"].sum() == sum(n + 0.25 for n in range(50))
    assert frame["time"].max() == pd.Timestamp(now, unit="s", tz="UTC")


def test_a_notebook_gets_a_frame(hub: HubProcess) -> None:
    now = int(time.time())
    with al.connect(hub.url) as client:
        rows = "".join(f"book,host=a v={n} {(now - 60 * n) * 10**9}\n" for n in range(30))
        assert client.write(rows) == 30
        frame = client.query('book_v{host="a"}', since="1h")
        assert list(frame.columns) == ['book_v{host="a"}']
        assert frame.index.tz is not None
        assert frame.iloc[-1, 0] in (0, 1)
        raw = client.query_raw("book_v", since="1h")
        assert raw["value"].tolist() == [float(n) for n in range(29, -1, -1)]
        assert 'book_v{host="a"}' in client.series()


def test_prometheus_json_is_what_grafana_asks(hub: HubProcess) -> None:
    assert hub.post("/write", b"graf,host=a v=1")[0] == 204
    now = time.time()
    found = hub.json("/api/v1/query_range", query="graf_v", start=str(now - 60), end=str(now + 1), step="15")
    assert found["data"]["resultType"] == "matrix"
    assert hub.json("/api/v1/series", **{"match[]": "graf_v"})["data"] == [{"__name__": "graf_v", "host": "a"}]
    assert "host" in hub.json("/api/v1/labels")["data"]
    assert "graf_v" in hub.json("/api/v1/label/__name__/values")["data"]


def test_the_hubs_own_figures_and_this_machine_are_series(hub: HubProcess) -> None:
    wait_until(lambda: hub.query("almenara_series"), "the hub's own figures")
    assert "system_load1" in hub.json("/api/v1/label/__name__/values")["data"]
    assert not math.isnan(*hub.query("almenara_series").values())


def test_what_the_hub_says_of_itself_on_mqtt_is_no_input(hub: HubProcess) -> None:
    assert publish(hub.mqtt, "plant/heard", "1", "-q", "1").returncode == 0
    wait_until(lambda: hub.source("mqtt:plant/heard"), "the source")
    assert not [one["name"] for one in hub.json("/api/v1/sources") if one["name"].startswith("mqtt:almenara/")]
