"""kill -9 of the hub and of its broker in mid-stream: nothing acknowledged is missing or doubled, no alarm is forgotten
or told twice, and the detector goes on where it was."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.system.clients import Hook, HttpLedger, MqttLedger, hear, webhook

from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(300)

KILLS = 5


def numbers(hub: HubProcess, selector: str) -> list[int]:
    """The numbers of a ledger that are stored."""
    return [int(value) for _, value in hub.rows(selector)]


def test_killing_the_hub_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    rng = random.Random(5)
    long_ago = int(time.time()) - 100_000
    hub = HubProcess(tmp_path / "data").start()
    http, mqtt = HttpLedger(hub, "ledger", long_ago), MqttLedger(hub.mqtt, "m", long_ago)
    http.start()
    try:
        for _ in range(KILLS):
            before = len(http.acknowledged), len(mqtt.acknowledged)
            mqtt.publish(100)
            wait_until(
                lambda before=before: (
                    len(http.acknowledged) > before[0] + 40 and len(mqtt.acknowledged) > before[1] + 20
                ),
                "some acknowledged samples",
            )
            time.sleep(rng.uniform(0, 0.5))  # anywhere between two commits, flushes, or snapshots
            hub.kill()
            hub.start()
        http.finish()
        wait_until(lambda: len(mqtt.acknowledged) == mqtt.sent, "all messages to be acknowledged")
        wait_until(lambda: len(numbers(hub, "m")) >= mqtt.sent, "all messages to be stored")
        stored = numbers(hub, "ledger_n")
        assert len(stored) == len(set(stored)), "something is there twice"
        assert http.acknowledged <= set(stored), "something acknowledged is missing"
        assert set(stored) <= set(range(http.sent + 20)), "something is there that nobody sent"
        assert sorted(numbers(hub, "m")) == list(range(mqtt.sent))
        assert hub.query("sum(count_over_time(ledger_n[2d]))") == {"": len(stored)}, "a query counts the same rows"
        assert hub.stop() == 0
    finally:
        http.finish()
        mqtt.finish()
        end(hub)


def broker_pid(hub: HubProcess) -> int:
    """The number of its broker's process; 0 while there is none."""
    path = hub.folder / "broker" / "pid"
    text = path.read_text() if path.exists() else ""
    return int(text) if text and Path(f"/proc/{text.strip()}").exists() else 0


def test_killing_the_broker_loses_and_doubles_no_message(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path / "data").start()
    ledger = MqttLedger(hub.mqtt, "n", int(time.time()) - 100_000)
    killed = 0
    try:
        for _ in range(3):
            before = len(ledger.acknowledged)
            ledger.publish(400)
            wait_until(lambda before=before: len(ledger.acknowledged) > before + 100, "some acknowledged messages")
            killed = wait_until(lambda killed=killed: (pid := broker_pid(hub)) != killed and pid, "a running broker")
            os.kill(killed, signal.SIGKILL)
        wait_until(lambda: len(ledger.acknowledged) == ledger.sent, "all to be acknowledged")
        wait_until(lambda: len(numbers(hub, "n")) >= ledger.sent, "all to be stored")
        assert sorted(numbers(hub, "n")) == list(range(ledger.sent))
        wait_until(lambda: hub.get("/-/ready")[0] == 200, "the broker to run again")
        assert hub.stop() == 0
    finally:
        ledger.finish()
        end(hub)


ALARMS = """
[rules.hot]
expr = "temp > 30"
for = "1s"
[rules.unusual]
expr = "anomaly_score > 1"
for = "1h"
[notifiers.hook]
plugin = "webhook"
url = "{url}"
"""


def opened(hub: HubProcess) -> dict[str, dict[str, Any]]:
    return {one["series"]: one for one in hub.json("/api/v1/alarms")["open"]}


def keep_sending(hub: HubProcess, value: float) -> None:
    assert hub.post("/write", f"temp,room=a value={value}".encode())[0] == 204


def is_told(hub: HubProcess) -> bool:
    """Whether the hub has written down that every message so far has arrived."""
    with sqlite3.connect(f"file:{hub.folder}/hub.db?mode=ro", uri=True) as database:
        outcomes = [row[0] for row in database.execute("SELECT outcome FROM outbox")]
    database.close()
    return bool(outcomes) and set(outcomes) == {"sent"}


def fire(hub: HubProcess) -> dict[str, Any]:
    """Send what is too hot until the alarm fires."""

    def fires() -> dict[str, Any] | None:
        keep_sending(hub, 35)
        one = opened(hub).get('temp{room="a"}')
        return one if one is not None and one["state"] == "firing" else None

    return wait_until(fires, "a firing alarm")


LEVEL_SCORE = 'anomaly_score{of="level_v"}'


def learn(hub: HubProcess) -> dict[str, float]:
    """Two days of a quiet series, and the score of its last row."""
    rng = random.Random(3)
    now = int(time.time())
    past = "".join(f"level v={50 + rng.gauss(0, 1)} {(now - 60 * n) * 10**9}\n" for n in range(3000, -1, -1))
    assert hub.post("/write", past.encode())[0] == 204
    learned = hub.query(LEVEL_SCORE)
    assert not math.isnan(*learned.values())
    return learned


def goes_on_judging(hub: HubProcess) -> None:
    """The first row after a crash is judged by what was learned before it."""
    assert hub.post("/write", b"level v=90")[0] == 204
    alarm = wait_until(lambda: opened(hub).get("level_v"), "an alarm of what is unusual")
    assert alarm["state"] == "pending"
    assert alarm["lower"] < 50 < alarm["upper"] < 90


@pytest.mark.real("mosquitto-clients")
def test_no_alarm_is_forgotten_or_told_twice_and_the_detector_goes_on(tmp_path: Path) -> None:
    with webhook() as hook:
        hub = HubProcess(tmp_path / "data", config=ALARMS.format(url=hook.url)).start()
        try:
            tell_the_story(hub, hook)
        finally:
            end(hub)


def tell_the_story(hub: HubProcess, hook: Hook) -> None:
    hook.status = 503  # nobody can be told before the first crash
    learned = learn(hub)
    before = fire(hub)
    wait_until(lambda: hook.asked, "the first try to tell")
    hub.kill()
    hook.status = 200
    hub.start()
    assert hub.query(LEVEL_SCORE) == learned
    goes_on_judging(hub)
    wait_until(lambda: hook.told == [("firing", ["hot"])], "what was untold to be told")
    wait_until(lambda: is_told(hub), "the hub to know that")
    hub.kill()
    hub.start()
    after = opened(hub)['temp{room="a"}']
    same = ("rule", "series", "state", "since_ms", "incident")
    assert [after[k] for k in same] == [before[k] for k in same]
    ((topic, retained),) = hear(hub.mqtt, "almenara/alarm/hot/#", "-C", "1", "-W", "60")
    assert json.loads(retained)["state"] == "firing"

    def is_over() -> bool:
        keep_sending(hub, 20)
        return 'temp{room="a"}' not in opened(hub)

    wait_until(is_over, "the alarm to be resolved")
    wait_until(lambda: len(hook.told) > 1, "the end to be told")
    wait_until(lambda: is_told(hub), "the hub to know that")
    hub.kill()
    hub.start()
    assert hook.told == [("firing", ["hot"]), ("resolved", ["hot"])]
    changes = Counter(
        (c["rule"], c["series"], c["since_ms"], c["state"]) for c in hub.json("/api/v1/journal", limit="1000")
    )
    assert set(changes.values()) == {1}, "a change stands in the journal twice"
    assert {state for *_, state in changes} >= {"pending", "firing", "resolved"}
    # The hub may have been killed before it said so; then it says so after the start, beside its work.
    wait_until(
        lambda: not hear(hub.mqtt, topic, "--retained-only", "-C", "1", "-W", "2"), "the alarm on MQTT to be gone"
    )
    assert hook.told == [("firing", ["hot"]), ("resolved", ["hot"])]
    assert hub.stop() == 0


def end(hub: HubProcess) -> None:
    if hub.process is not None and hub.process.poll() is None:
        hub.kill()
