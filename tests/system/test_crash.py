"""kill -9 of the hub and of its broker in mid-stream: nothing acknowledged is missing, nothing is there twice."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest

from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(180)


def stored(hub: HubProcess, selector: str) -> list[tuple[str, str]]:
    """(time, value) of every stored row."""
    status, body = hub.get(f"/api/v1/export?match[]={selector}&start=1&format=csv")
    assert status == 200, body[:300]
    return [(row["time"], row["value"]) for row in csv.DictReader(io.StringIO(body.decode()))]


class HttpWriter(threading.Thread):
    """Posts numbered samples, a second of data time apart, and keeps the numbers that were acknowledged."""

    def __init__(self, hub: HubProcess, start_s: int):
        super().__init__(daemon=True)
        self.hub, self.start_s = hub, start_s
        self.acknowledged: set[int] = set()
        self.sent = 0
        self.stopping = threading.Event()

    def run(self) -> None:
        while not self.stopping.is_set():
            numbers = range(self.sent, self.sent + 20)
            body = "".join(f"ledger n={n} {(self.start_s + n) * 10**9}\n" for n in numbers).encode()
            try:
                if self.hub.post("/write", body, timeout_s=5)[0] == 204:
                    self.acknowledged.update(numbers)
                self.sent = numbers.stop
            except OSError:  # the hub is dead: the same numbers go out again, as a real sender does
                time.sleep(0.02)


def test_killing_the_hub_loses_and_doubles_nothing(tmp_path: Path) -> None:
    rng = random.Random(5)
    hub = HubProcess(tmp_path / "data").start()
    writer = HttpWriter(hub, int(time.time()) - 100_000)
    writer.start()
    try:
        for _ in range(3):
            before = len(writer.acknowledged)
            wait_until(lambda before=before: len(writer.acknowledged) > before + 100, "some acknowledged samples")
            time.sleep(rng.uniform(0, 0.5))  # anywhere between two commits, flushes, or snapshots
            hub.kill()
            hub.start()
        writer.stopping.set()
        writer.join()
        values = [int(float(value)) for _, value in stored(hub, "ledger_n")]
        assert len(values) == len(set(values)), "something is there twice"
        assert writer.acknowledged <= set(values), "something acknowledged is missing"
        assert set(values) <= set(range(writer.sent))
        assert hub.stop() == 0
    finally:
        writer.stopping.set()
        if hub.process is not None and hub.process.poll() is None:
            hub.kill()


class MqttWriter:
    """Publishes numbered samples at QoS 1 and keeps the numbers that the broker took (PUBACK)."""

    def __init__(self, port: int, start_s: int):
        self.acknowledged: set[int] = set()
        self._numbers: dict[int, int] = {}
        self._start_s, self.sent = start_s, 0
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="ledger", clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        self.client.max_inflight_messages_set(50)
        self.client.on_publish = lambda _c, _d, mid, _r, _p: self.acknowledged.add(self._numbers[mid])
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def publish(self, count: int) -> None:
        """Hand so many more to the client, which sends and resends them."""
        for n in range(self.sent, self.sent + count):
            payload = f'{{"n": {n}, "time": {self._start_s + n}}}'
            self._numbers[self.client.publish("ledger/mqtt", payload, qos=1).mid] = n
        self.sent += count


def test_killing_hub_and_broker_loses_no_mqtt_message(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path / "data").start()
    writer = MqttWriter(hub.mqtt, int(time.time()) - 100_000)
    try:
        writer.publish(500)
        wait_until(lambda: len(writer.acknowledged) > 100, "some acknowledged messages")
        hub.kill()
        hub.start()
        writer.publish(500)
        wait_until(lambda: len(writer.acknowledged) > 600, "more acknowledged messages")
        os.kill(int((tmp_path / "data" / "broker" / "pid").read_text()), signal.SIGKILL)
        writer.publish(500)
        wait_until(lambda: len(writer.acknowledged) == 1500, "all to be acknowledged", 60)

        def values() -> list[int]:
            return [int(float(value)) for _, value in stored(hub, "n")]

        wait_until(lambda: len(set(values())) == 1500, "all to be stored", 30)
        assert sorted(values()) == list(range(1500))
        assert hub.stop() == 0
    finally:
        writer.client.loop_stop()
        if hub.process is not None and hub.process.poll() is None:
            hub.kill()
