"""A disk that is full (a small file system in memory) or fails: writes are refused, nothing acknowledged is lost, and
all goes on by itself when there is room again."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.clients import HttpLedger, MqttLedger

from almenara.testing.process import HubProcess, wait_until
from small_disk import fill, free, small_disk

pytestmark = pytest.mark.timeout(300)

SIZE_MB = 96
FLOOR_MB = 40
LONG_AGO_S = 100_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", SIZE_MB) as folder:
        yield folder


def numbers(hub: HubProcess, selector: str) -> list[int]:
    return [int(value) for _, value in hub.rows(selector)]


def not_ready(hub: HubProcess) -> bytes:
    """The reasons; empty while it is ready."""
    status, why = hub.get("/-/ready")
    return why if status == 503 else b""


def write(hub: HubProcess) -> tuple[int, str | None, str]:
    """(status, Retry-After, body) of a small write."""
    connection = http.client.HTTPConnection("127.0.0.1", hub.http, timeout=60)
    try:
        connection.request("POST", "/write", b"cpu v=1")
        answer = connection.getresponse()
        return answer.status, answer.getheader("Retry-After"), answer.read().decode()
    finally:
        connection.close()


class Story:
    """A hub on the small disk, with samples acknowledged over both ways in before the disk is full; as a context it
    leaves nothing behind."""

    def __init__(self, disk: Path, floor_mb: float):
        self.disk = disk
        self.hub = HubProcess(disk / "data", config=f"[data]\nmin_free_mb = {floor_mb}\n")
        self.hub.output = disk.with_name("hub.out")  # what it says is not to take room
        long_ago = int(time.time()) - LONG_AGO_S
        self.http, self.mqtt = HttpLedger(self.hub, "ledger", long_ago), MqttLedger(self.hub.mqtt, "m", long_ago)

    def begin(self) -> None:
        """Start the hub and send to it."""
        self.hub.start()
        self.http.start()
        self.mqtt.publish(200)
        wait_until(lambda: len(self.http.acknowledged) > 100 and self.all_published(), "acknowledged samples")

    def __enter__(self) -> Story:
        return self

    def all_published(self) -> bool:
        """Whether the broker has acknowledged everything so far."""
        return len(self.mqtt.acknowledged) == self.mqtt.sent

    def is_refused(self) -> None:
        """Writes are refused for want of disk, and for nothing else; the hub lives."""
        wait_until(lambda: 507 in self.http.refused, "a write to be refused for want of disk")
        assert set(self.http.refused) <= {507}
        assert self.hub.get("/-/healthy")[0] == 200
        wait_until(lambda: self.hub.metric("almenara_writes_refused_total", reason="DiskFull") > 2, "refusals counted")

    def make_room(self) -> None:
        """Writing over HTTP goes on by itself."""
        free(self.disk)
        acknowledged = len(self.http.acknowledged)
        wait_until(lambda: len(self.http.acknowledged) > acknowledged + 100, "writing to go on by itself")
        wait_until(lambda: self.hub.get("/-/ready")[0] == 200, "the hub to be ready again")
        self.http.finish()

    def check(self) -> None:
        """Everything acknowledged is there, once."""
        wait_until(lambda: set(numbers(self.hub, "m")) >= self.mqtt.acknowledged, "all messages to be stored")
        stored = numbers(self.hub, "ledger_n")
        assert len(stored) == len(set(stored))
        assert self.http.acknowledged <= set(stored)
        messages = numbers(self.hub, "m")
        assert len(messages) == len(set(messages))

    def __exit__(self, *_: object) -> None:
        self.http.finish()
        self.mqtt.finish()
        if self.hub.process is not None and self.hub.process.poll() is None:
            self.hub.kill()


def test_below_the_floor_writes_are_refused_until_there_is_room_again(disk: Path) -> None:
    with Story(disk, FLOOR_MB) as story:
        story.begin()
        fill(disk, FLOOR_MB - 10)
        story.is_refused()
        status, why = story.hub.get("/-/ready")
        assert status == 503
        assert b"below the floor of" in why
        story.mqtt.publish(100)
        wait_until(story.all_published, "messages to be kept by the broker")
        assert len(numbers(story.hub, "m")) == 200, "reading of MQTT waits"
        story.make_room()
        wait_until(lambda: len(numbers(story.hub, "m")) == 300, "reading of MQTT to go on by itself")
        story.check()
        assert story.hub.stop() == 0


def test_on_a_disk_without_any_room_nothing_acknowledged_is_lost_and_all_goes_on_by_itself(disk: Path) -> None:
    with Story(disk, 0) as story:
        story.begin()
        fill(disk)
        story.is_refused()
        story.mqtt.publish(100)
        wait_until(lambda: b"MQTT messages are not kept" in not_ready(story.hub), "the broker's failure to be told")
        assert b"writes are refused" in not_ready(story.hub)
        broker = wait_until(lambda: (one := story.hub.source("mqtt")) and one["problem"] and one, "it under Sources")
        assert "cannot write its messages to disk" in broker["problem"]
        assert "no space left" in broker["problem"]
        assert "free some space" in broker["remedy"]
        story.make_room()
        wait_until(story.all_published, "messages to be acknowledged")
        wait_until(lambda: len(numbers(story.hub, "m")) == 300, "the rest of the messages")
        story.check()
        wait_until(lambda: not story.hub.source("mqtt")["problem"], "the problem to be over")
        assert story.hub.stop() == 0


def test_a_broker_that_dies_on_a_full_disk_keeps_what_it_has_and_comes_back_when_there_is_room(disk: Path) -> None:
    with Story(disk, FLOOR_MB) as story:
        story.begin()
        fill(disk, FLOOR_MB - 10)
        story.is_refused()
        story.mqtt.publish(100)  # kept by the broker; the hub reads none of them
        wait_until(story.all_published, "messages to be kept by the broker")
        fill(disk)
        os.kill(int((story.hub.folder / "broker/pid").read_text()), signal.SIGKILL)
        story.mqtt.publish(100)
        wait_until(lambda: b"cannot write its messages" in not_ready(story.hub), "the broker to wait for room")
        story.make_room()
        wait_until(lambda: len(numbers(story.hub, "m")) == 400, "all messages")
        story.check()
        assert story.hub.stop() == 0


def test_a_hub_without_room_is_not_ready_until_there_is_some_though_nobody_writes(disk: Path) -> None:
    with Story(disk, 0) as story:
        story.hub.start()
        fill(disk)
        status, retry_after, why = write(story.hub)
        assert (status, retry_after) == (507, "5")
        assert "no space left" in why
        assert b"writes are refused: " in not_ready(story.hub)
        assert b"no space left" in not_ready(story.hub)
        free(disk)
        wait_until(lambda: story.hub.get("/-/ready")[0] == 200, "the hub to be ready by itself")
        assert write(story.hub)[0] == 204
        assert story.hub.stop() == 0


def test_a_log_that_cannot_be_written_is_told_and_holds_messages_back_and_loses_none(tmp_path: Path) -> None:
    with HubProcess(tmp_path / "data") as hub:
        ledger = MqttLedger(hub.mqtt, "m", int(time.time()) - LONG_AGO_S)
        try:
            ledger.publish(50)
            wait_until(lambda: len(numbers(hub, "m")) == 50, "messages to be stored")
            (hub.folder / "log").rename(hub.folder / "log.away")
            wait_until(lambda: hub.post("/write", b"cpu v=1")[0] == 503, "the log to fail")
            status, retry_after, why = write(hub)
            assert (status, retry_after) == (503, "2")
            assert "the log cannot be written: No such file or directory" in why
            assert b"the log cannot be written: No such file or directory" in not_ready(hub)
            ledger.publish(50)
            wait_until(
                lambda: hub.metric("almenara_writes_refused_total", reason="LogUnwritable"), "messages held back"
            )
            (hub.folder / "log.away").rename(hub.folder / "log")
            wait_until(lambda: hub.get("/-/ready")[0] == 200, "the hub to be ready by itself")
            wait_until(lambda: len(numbers(hub, "m")) == 100, "the rest of the messages")
            assert sorted(numbers(hub, "m")) == list(range(100))
            assert write(hub)[0] == 204
        finally:
            ledger.finish()
