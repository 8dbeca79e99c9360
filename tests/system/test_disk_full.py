"""A disk that is full (a small file system in memory) or fails: writes are refused, nothing acknowledged is lost, and
all goes on by itself when there is room again."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.clients import HttpLedger, MqttLedger

from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(300)

SIZE_MB = 96
FLOOR_MB = 40
LONG_AGO_S = 100_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of SIZE_MB. Mounting one is for root; elsewhere the test is left out."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = f"mounting a small file system was refused: {done.stderr.strip()}"
        (pytest.fail if os.environ.get("ALMENARA_TESTS_COMPLETE") == "1" else pytest.skip)(why)
    try:
        yield folder
    finally:
        unmount = ["umount", str(folder)]  # a killed hub's broker takes a moment to end
        wait_until(lambda: subprocess.run(unmount, capture_output=True, check=False).returncode == 0, "the disk back")


def fill(disk: Path, leave_mb: float) -> None:
    """A file of the user's own that leaves so much room."""
    with (disk / "ballast").open("ab", buffering=0) as ballast:
        while (free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize) > leave_mb * 1e6:
            size = min(int(free - leave_mb * 1e6), 1 << 20)
            try:
                ballast.write(b"x" * size)
            except OSError:
                return


def numbers(hub: HubProcess, selector: str) -> list[int]:
    return [int(value) for _, value in hub.rows(selector)]


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
        wait_until(lambda: len(self.http.acknowledged) > 100 and self.all_published(), "acknowledged samples", 60)

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

    def free(self) -> None:
        """Make room; writing over HTTP goes on by itself."""
        (self.disk / "ballast").unlink()
        acknowledged = len(self.http.acknowledged)
        wait_until(lambda: len(self.http.acknowledged) > acknowledged + 100, "writing to go on by itself", 40)
        wait_until(lambda: self.hub.get("/-/ready")[0] == 200, "the hub to be ready again", 40)
        self.http.finish()

    def check(self) -> None:
        """Everything acknowledged is there, once."""
        wait_until(lambda: set(numbers(self.hub, "m")) >= self.mqtt.acknowledged, "all messages to be stored", 40)
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
        story.free()
        wait_until(lambda: len(numbers(story.hub, "m")) == 300, "reading of MQTT to go on by itself", 40)
        story.check()
        assert story.hub.stop() == 0


def test_on_a_disk_without_any_room_nothing_acknowledged_is_lost(disk: Path) -> None:
    with Story(disk, 0) as story:
        story.begin()
        fill(disk, 0)
        story.is_refused()
        story.mqtt.publish(100)
        story.free()
        story.check()
        story.hub.kill()
        story.hub.start()
        wait_until(story.all_published, "messages to be acknowledged", 40)
        wait_until(lambda: len(numbers(story.hub, "m")) == 300, "the rest of the messages", 40)
        story.check()
        assert story.hub.stop() == 0


def test_a_log_that_cannot_be_written_holds_messages_back_and_loses_none(tmp_path: Path) -> None:
    with HubProcess(tmp_path / "data") as hub:
        ledger = MqttLedger(hub.mqtt, "m", int(time.time()) - LONG_AGO_S)
        try:
            ledger.publish(50)
            wait_until(lambda: len(numbers(hub, "m")) == 50, "messages to be stored")
            (hub.folder / "log").rename(hub.folder / "log.away")
            wait_until(lambda: hub.post("/write", b"cpu v=1")[0] == 500, "the log to fail")
            ledger.publish(50)
            wait_until(lambda: hub.metric("almenara_writes_refused_total", reason="StoreError"), "messages held back")
            (hub.folder / "log.away").rename(hub.folder / "log")
            wait_until(lambda: len(numbers(hub, "m")) == 100, "the rest of the messages")
            assert sorted(numbers(hub, "m")) == list(range(100))
        finally:
            ledger.finish()
