"""A hub on somebody else's broker: what Mosquitto has acknowledged is kept there until the hub has it on disk."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.system.clients import MqttLedger, hear

from almenara.testing.process import HubProcess, wait_until
from brokers import mosquitto

pytestmark = [pytest.mark.timeout(300), pytest.mark.real("mosquitto", "mosquitto-clients")]


def numbers(hub: HubProcess) -> list[int]:
    return [int(value) for _, value in hub.rows("n")]


def test_killing_the_hub_loses_and_doubles_nothing(tmp_path: Path, free_port: Callable[[], int]) -> None:
    rng = random.Random(6)
    with mosquitto(tmp_path / "mosquitto", free_port()) as broker:
        config = f'[mqtt]\nurl = "{broker.url}"\ntopics = ["ledger/#"]\n[rules.hot]\nexpr = "n > 1e6"\n'
        hub = HubProcess(tmp_path / "data", config=config, mqtt=False).start()
        assert hub.json("/api/v1/status")["addresses"]["mqtt"].endswith(f":{broker.port}")
        ledger = MqttLedger(broker.port, "n", int(time.time()) - 100_000)
        try:
            for _ in range(2):
                before = len(numbers(hub))
                ledger.publish(1500)
                wait_until(lambda before=before: len(numbers(hub)) > before + 50, "messages to arrive")
                time.sleep(rng.uniform(0, 0.1))
                hub.kill()
                ledger.publish(300)  # kept for us while we are away
                hub.start()
            ledger.publish(500)
            broker.stop()  # by kill -9 it would lose what it has not saved yet, which is Mosquitto's own affair
            broker.start()
            wait_until(lambda: len(ledger.acknowledged) == ledger.sent, "all to be acknowledged")
            wait_until(lambda: len(set(numbers(hub))) == ledger.sent, "all to be stored")
            assert sorted(numbers(hub)) == list(range(ledger.sent))
            hub.post("/write", b"n,host=a value=2e6")
            ((topic, _),) = hear(broker.port, "almenara/alarm/hot/#", "-C", "1", "-W", "60")
            assert topic.startswith("almenara/alarm/hot/n-host-a-")
            assert hub.stop() == 0
        finally:
            ledger.finish()
            if hub.process is not None and hub.process.poll() is None:
                hub.kill()
