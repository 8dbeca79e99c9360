"""Rules of telling of alarms on MQTT topics, against a real broker."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from almenara.model.alarm import Alarm, Evidence, Incident, NoticeKind, Severity, State, Transition
from almenara.model.errors import ConfigError, NotifyError
from almenara.model.series import Series
from almenara.notifiers.mqtt import MqttNotifier
from almenara.plugin.options import Secret
from almenara.testing.alarms import notice
from brokers import embedded, mosquitto_sub, reading


def incident(state: State) -> Incident:
    members = tuple(
        Alarm(Transition("hot", Series.of("t", city=city), 1, state, 2, Severity.MINOR, Evidence(value=1.0)), 1)
        for city in ("a", "b")
    )
    return Incident(1, 1, state, Severity.MINOR, members)


@pytest.mark.real("mosquitto-clients")
def test_open_alarms_are_retained_and_resolved_ones_cleared(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path)
        async with reading(bus):
            notifier = MqttNotifier(url=f"mqtt://{bus.address}")
            await notifier.notify(notice(incident(State.FIRING)))
            lines = await mosquitto_sub(bus.address, "-t", "almenara/alarm/#", "-C", "2")
            assert {json.loads(line.partition(" ")[2])["labels"]["city"] for line in lines} == {"a", "b"}
            await notifier.notify(notice(incident(State.RESOLVED)))
            assert await mosquitto_sub(bus.address, "-t", "almenara/alarm/#", "-W", "1") == []

    asyncio.run(run())


def test_a_broker_that_is_away_or_refuses_us_is_worth_another_try(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def run() -> None:
        with pytest.raises(NotifyError, match="refused") as caught:
            await MqttNotifier(url=f"mqtt://127.0.0.1:{free_port()}").notify(notice(incident(State.FIRING)))
        assert caught.value.retry
        bus = embedded(tmp_path, username="plant", password="right")
        async with reading(bus):
            notifier = MqttNotifier(url=f"mqtt://{bus.address}", username="plant", password=Secret("wrong"))
            with pytest.raises(NotifyError, match=r"[Nn]ot authorized"):
                await notifier.notify(notice(incident(State.FIRING)))

    asyncio.run(run())


def test_url_and_root_are_checked() -> None:
    with pytest.raises(ConfigError, match="url"):
        MqttNotifier(url="http://x")
    with pytest.raises(ConfigError, match="root"):
        MqttNotifier(root="a/b")


@pytest.mark.real("mosquitto-clients")
def test_open_incidents_are_retained_and_resolved_ones_cleared(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path)
        async with reading(bus):
            notifier = MqttNotifier(url=f"mqtt://{bus.address}")
            await notifier.notify(notice(incident(State.FIRING)))
            (line,) = await mosquitto_sub(bus.address, "-t", "almenara/incident/#", "-C", "1")
            topic, _, payload = line.partition(" ")
            said = json.loads(payload)
            assert topic == "almenara/incident/1"
            assert (said["kind"], said["severity"], len(said["alarms"])) == ("firing", "minor", 2)
            assert said["link"] == "https://hub.example/alarms?incident=1"
            await notifier.notify(notice(incident(State.RESOLVED)))
            assert await mosquitto_sub(bus.address, "-t", "almenara/incident/#", "-W", "1") == []

    asyncio.run(run())


def test_the_message_topic_gets_each_notice_flat_and_not_retained() -> None:
    notifier = MqttNotifier(message_topic="alarms/all", incidents=False)
    *alarms, message = notifier.messages(notice(incident(State.FIRING)))
    said = json.loads(message.payload)
    assert (message.topic, message.retain, len(alarms)) == ("alarms/all", False, 2)
    assert {type(one) for one in said.values()} <= {str, int, float}
    assert (said["severity"], said["nagios_state"], said["incident"]) == ("minor", 1, 1)
    assert [m.topic for m in notifier.messages(notice(kind=NoticeKind.TEST))] == ["alarms/all"]


def test_a_digest_publishes_all_its_incidents() -> None:
    other = dataclasses.replace(incident(State.FIRING), id=2)
    one = dataclasses.replace(notice(incident(State.FIRING), NoticeKind.DIGEST), more=(other,))
    topics = [m.topic for m in MqttNotifier().messages(one) if "/incident/" in m.topic]
    assert topics == ["almenara/incident/1", "almenara/incident/2"]


def test_check_asks_the_broker(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def run() -> None:
        bus = embedded(tmp_path)
        async with reading(bus):
            await MqttNotifier(url=f"mqtt://{bus.address}").check()
        with pytest.raises(NotifyError):
            await MqttNotifier(url=f"mqtt://127.0.0.1:{free_port()}").check()

    asyncio.run(run())


def test_the_message_topic_must_be_one_that_may_be_published() -> None:
    with pytest.raises(ConfigError, match="topic"):
        MqttNotifier(message_topic="a/#")
