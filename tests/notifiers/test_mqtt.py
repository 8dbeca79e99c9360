"""Rules of telling of alarms on MQTT topics, against a real broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from almenara.model.alarm import Alarm, Evidence, Incident, Severity, State, Transition
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
