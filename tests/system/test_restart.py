"""Stopping and starting again: everything is as it was, and nothing acknowledged under load is missing."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
from tests.system.clients import HttpLedger, MqttLedger

from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(300)

RULES = """
[rules.hot]
expr = "temp > 30"
for = "1s"
[rules.unusual]
expr = "anomaly_score > 1"
for = "1h"
"""
ASKED = ("last_over_time(level_v[2d])", "count_over_time(level_v[3d])", 'anomaly_score{of="level_v"}', "temp")


def write_history(hub: HubProcess) -> None:
    rng = random.Random(3)
    now = int(time.time())
    past = "".join(f"level v={50 + rng.gauss(0, 1)} {(now - 60 * n) * 10**9}\n" for n in range(3000, -1, -1))
    assert hub.post("/write", past.encode())[0] == 204


def fire(hub: HubProcess) -> None:
    def fires() -> bool:
        assert hub.post("/write", b"temp,room=a value=35")[0] == 204
        return [one["state"] for one in opened(hub).values()] == ["firing"]

    wait_until(fires, "a firing alarm")


def opened(hub: HubProcess) -> dict[str, Any]:
    return {one["series"]: one for one in hub.json("/api/v1/alarms")["open"]}


def everything(hub: HubProcess) -> dict[str, Any]:
    """What a user knows of the series of this test, its alarms and incidents."""
    return {
        "rows": hub.rows('{__name__=~"level_v|temp"}'),
        "answers": [hub.query(asked) for asked in ASKED],
        "series": hub.json("/api/v1/series", **{"match[]": '{__name__=~"level_v|temp"}'}),
        "open": opened(hub),
        "journal": hub.json("/api/v1/journal"),
        "incidents": hub.json("/api/v1/incidents"),
        "token": hub.token,
    }


def test_a_restart_finds_everything_as_it_was_and_goes_on(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path / "data", "--listen-all", config=RULES).start()
    token = hub.token
    assert token in hub.said(), "it is shown once"
    refuses_a_wrong_token(hub)
    write_history(hub)
    fire(hub)
    before = everything(hub)
    assert hub.stop() == 0
    hub.output.unlink()
    hub.start()
    assert hub.metric("almenara_cpu_seconds_total") < 15, "nothing is compiled or learned again: 4 s are enough"
    assert everything(hub) == before
    assert token not in hub.said(), "and not again"
    assert hub.post("/write", b"level v=90")[0] == 204
    alarm = wait_until(lambda: opened(hub).get("level_v"), "the first unusual row after the start to be judged so")
    assert alarm["lower"] < 50 < alarm["upper"] < 90
    stops_under_load_without_loss(hub, token)


def refuses_a_wrong_token(hub: HubProcess) -> None:
    for headers in ({"Authorization": "Bearer wrong"}, {"Authorization": "Bearer "}):
        status, body = hub.post("/write", b"temp v=1", headers=headers)
        assert status == 401
        assert "error" in json.loads(body)
        assert hub.token.encode() not in body


def stops_under_load_without_loss(hub: HubProcess, token: str) -> None:
    long_ago = int(time.time()) - 100_000
    http = [HttpLedger(hub, f"load{n}", long_ago, batch=500) for n in range(2)]
    mqtt = MqttLedger(hub.mqtt, "m", long_ago, "almenara", token)
    try:
        for one in http:
            one.start()
        mqtt.publish(3000)
        wait_until(lambda: min(len(one.acknowledged) for one in http) > 3000, "load over HTTP")
        wait_until(lambda: len(mqtt.acknowledged) > 200, "load over MQTT")
        began = time.monotonic()
        assert hub.stop() == 0
        assert time.monotonic() - began < 10
        for one in http:
            one.finish()
        hub.start()
        for n, one in enumerate(http):
            stored = [int(value) for _, value in hub.rows(f"load{n}_n")]
            assert len(stored) == len(set(stored))
            assert one.acknowledged <= set(stored)
        wait_until(lambda: len(mqtt.acknowledged) == 3000, "the rest of the messages")
        wait_until(lambda: len(hub.rows("m")) == 3000, "all of them")
        assert sorted(int(value) for _, value in hub.rows("m")) == list(range(3000))
        assert hub.stop() == 0
    finally:
        for one in http:
            one.finish()
        mqtt.finish()
        if hub.process is not None and hub.process.poll() is None:
            hub.kill()
