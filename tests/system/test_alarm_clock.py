"""Alarms of a hub whose clock jumps (libfaketime) or whose disk is full: told once, and nothing hangs for the jump."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.clients import Hook, webhook

from almenara.testing.process import HubProcess, wait_until
from small_disk import fill, free, small_disk

pytestmark = pytest.mark.timeout(300)

FAKETIME = next((str(p) for p in Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), "")
DAY_S, HOUR_S = 86_400, 3600
CONFIG = """
[rules.hot]
expr = "temp > 30"
[policies.all]
notify = ["hook", "file", "down"]
group_interval = "1s"
repeat_interval = "4h"
reminder = "8h"
[notifiers.hook]
plugin = "webhook"
url = "{hook}"
[notifiers.down]
plugin = "webhook"
url = "{down}"
[notifiers.file]
path = "{file}"
"""


class Story:
    """A hub with a clock that can be set, a receiver that works, one that is down, and a file."""

    def __init__(self, folder: Path, hook: Hook, down: Hook, data: Path | None = None):
        self.clock, self.file, self.hook, self.down = folder / "clock", folder / "told.log", hook, down
        text = CONFIG.format(hook=hook.url, down=down.url, file=self.file)
        self.hub = HubProcess(data or folder / "data", config=text, mqtt=False)
        self.hub.output = folder / "hub.out"

    def set_clock(self, ahead_s: int) -> None:
        """How far the hub's clock is ahead of ours; it takes that up within a second or two."""
        new = self.clock.with_suffix(".new")
        new.write_text(f"{ahead_s:+d}\n")
        new.rename(self.clock)

    def start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Start it under that clock."""
        self.set_clock(0)
        with monkeypatch.context() as patch:
            for name, value in {
                "LD_PRELOAD": FAKETIME, "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }.items():  # fmt: skip
                patch.setenv(name, value)
            self.hub.start()

    def write(self, room: str, value: float) -> None:
        assert self.hub.post("/write", f"temp,room={room} value={value}".encode())[0] == 204

    def told(self) -> Counter[tuple[str, str]]:
        """(kind, room) of all that the file was told, by how often."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        notices: list[dict[str, Any]] = [json.loads(line) for line in lines]
        return Counter(
            (one["kind"], alarm["labels"]["room"])
            for one in notices for incident in one["incidents"] for alarm in incident["alarms"]
        )  # fmt: skip

    def outbox(self, where: str = "1") -> list[tuple[Any, ...]]:
        query = f"SELECT notifier, kind, outcome FROM outbox o JOIN outbox_about a ON a.id = o.id WHERE {where}"
        with contextlib.closing(sqlite3.connect(f"file:{self.hub.folder}/hub.db?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def jump(self, ahead_s: int) -> None:
        """Set the clock, and wait until the hub has it."""
        self.set_clock(ahead_s)
        wait_until(lambda: abs(self._now_s() - time.time() - ahead_s) < HOUR_S / 4, "the hub to have the other clock")

    def _now_s(self) -> float:
        return float(self.hub.json("/api/v1/query", query="1")["data"]["result"][0])

    def calm(self, seconds: float = 4.0) -> Counter[tuple[str, str]]:
        """What was told, when for so long nothing more came."""
        last, since = self.told(), time.monotonic()
        while time.monotonic() - since < seconds:
            time.sleep(0.1)
            if (now := self.told()) != last:
                last, since = now, time.monotonic()
        return last

    def silence(self, room: str) -> None:
        body = {"match": f'{{room="{room}"}}', "duration": "2h", "who": "ana", "comment": "a new pump"}
        assert self.hub.post("/api/v1/silences", json.dumps(body).encode())[0] in (200, 201)


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    with webhook() as hook, webhook() as down:
        one = Story(tmp_path, hook, down)
        down.status = 503
        try:
            one.start(monkeypatch)
            for room in "abc":
                one.write(room, 20)
            one.silence("b")
            one.write("a", 35)
            wait_until(lambda: one.told() == {("firing", "a"): 1}, "the alarm of a")
            wait_until(lambda: down.asked, "a try at who is down")
            yield one
            assert one.hub.stop() == 0
        finally:
            if one.hub.process is not None and one.hub.process.poll() is None:
                one.hub.kill()


@pytest.mark.real("libfaketime")
def test_a_clock_that_jumps_a_day_ahead_and_an_hour_back_floods_nobody_and_holds_up_nothing(story: Story) -> None:
    story.write("b", 35)
    wait_until(lambda: story.hub.json("/api/v1/incidents")[0]["members"][1:], "the silenced alarm")
    assert story.calm(2) == {("firing", "a"): 1}
    story.jump(DAY_S)
    wait_until(lambda: story.told()["update", "b"], "what was silenced for two hours")
    assert story.calm() == {("firing", "a"): 1, ("update", "a"): 1, ("update", "b"): 1}, "and no repeat of each 4 h"
    assert not story.outbox("outcome = 'given up'"), "who is down was hardly tried"

    story.down.status = 200
    wait_until(lambda: len(story.down.told) == 2, "who was down to hear of both")
    story.silence("c")
    story.write("a", 36)
    story.jump(DAY_S - HOUR_S)
    before = story.calm()
    story.write("c", 35)
    story.write("a", 35)
    assert story.calm() == before, "the silence of c holds, and nothing is told again"
    for room in "abc":
        story.write(room, 20)
    wait_until(lambda: ("resolved", "a") in story.told(), "the end of it, before the hour is over")
    told = story.calm()
    assert {told[kind, room] for kind in ("firing", "resolved") for room in "ab"} <= {0, 1}
    assert told["firing", "c"] == told["resolved", "c"] == 0, "nobody was told of what was silenced and is over"
    statuses = [status for status, _ in story.down.told]
    assert statuses.index("resolved") == len(statuses) - 1, "once, and last"


HELD = """
[data]
min_free_mb = 0
[rules.hot]
expr = "temp > 30"
for = "4s"
[notifiers.file]
path = "{file}"
"""


#: So many alarms do not fit into the room that the database has already.
ROOMS = 2000


def write_all(hub: HubProcess, value: float) -> None:
    rows = "\n".join(f"temp,room=r{n} value={value}" for n in range(ROOMS)).encode()
    wait_until(lambda: hub.post("/write", rows)[0] == 204, "rows to be taken")


@pytest.mark.parametrize("killed", [False, True])
def test_an_alarm_that_fires_while_the_disk_is_full_is_decided_later_and_told_once(
    tmp_path: Path, killed: bool
) -> None:
    told = tmp_path / "told.log"
    with small_disk(tmp_path / "disk", 96) as disk:
        hub = HubProcess(disk / "data", config=HELD.format(file=told), mqtt=False)
        hub.output = tmp_path / "hub.out"
        with hub:
            write_all(hub, 20)
            write_all(hub, 35)
            wait_until(lambda: len(hub.json("/api/v1/alarms")["open"]) == ROOMS, "alarms that are pending")
            fill(disk)
            wait_until(lambda: "no space left" in hub.said() or hub.get("/-/ready")[0] == 503, "the disk to be missed")
            assert not told.exists()
            if killed:
                hub.kill()
            free(disk)
            if killed:
                hub.start()
            wait_until(told.exists, "the alarm to be told")
            write_all(hub, 20)
            wait_until(lambda: len(told.read_text().splitlines()) > 1, "the end of it")
        kinds = [json.loads(line)["kind"] for line in told.read_text().splitlines()]
        assert kinds == ["firing", "resolved"]
