"""Rules of the MQTT transport, over the embedded broker as it comes with the hub."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from almenara.model.errors import BusError, ConfigError
from almenara.plugin.contracts import Outcome, Transport
from almenara.plugin.options import Secret, options_of
from almenara.transports.mqtt import Address, Mqtt
from brokers import broker_pid, embedded, reading, until


def test_what_is_sent_arrives_and_will_says_who_is_there(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path)
        async with reading(bus) as heard:
            agent = Mqtt(url=f"mqtt://{bus.address}", will_topic="almenara/agent/a/status")
            watcher = Mqtt(url=f"mqtt://{bus.address}", client_id="watcher", topics=["almenara/agent/#", "data/#"])
            assert isinstance(agent, Transport)
            arrived: list[bytes] = []

            async def watch() -> None:
                async for packets in watcher.receive():
                    for packet in packets:
                        arrived.append(packet.payload)
                        packet.done(Outcome())

            watching = asyncio.create_task(watch())
            await watcher.check()
            await asyncio.gather(*(agent.send("data/x", b"%d" % i) for i in range(500)))
            await agent.send("data/x", b"best effort", qos=0)
            await agent.close()
            await until(lambda: len(arrived) == 503 and len(heard) == 501)
            # Each subscription is in order; between the two there is none.
            assert [p for p in arrived if p in (b"online", b"offline")] == [b"online", b"offline"]
            assert [p for p in arrived if p.isdigit()] == [b"%d" % i for i in range(500)]
            assert {p.topic for p in heard} == {"data/x"}
            await watcher.close()
            await watching

    asyncio.run(run())


def test_sending_waits_for_a_broker_that_is_away_and_loses_nothing(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async def run(port: int) -> None:
        agent = Mqtt(url=f"mqtt://127.0.0.1:{port}", client_id="agent")
        agent._thread.first_wait_s, agent._thread.longest_wait_s = 0.1, 0.2
        early = [asyncio.create_task(agent.send("data/x", b"early %d" % i, qos=i % 2)) for i in range(10)]
        await until(lambda: "nobody answers" in agent.problem)
        bus = embedded(tmp_path, port=port)
        async with reading(bus) as heard:
            await asyncio.wait_for(asyncio.gather(*early), 60)
            os.kill(await broker_pid(bus, tmp_path), signal.SIGKILL)
            late = [asyncio.create_task(agent.send("data/x", b"late %d" % i)) for i in range(10)]
            await asyncio.wait_for(asyncio.gather(*late), 60)
            await until(lambda: {p.payload for p in heard if p.qos} >= {b"late %d" % i for i in range(10)})
            assert {p.payload for p in heard} >= {b"early %d" % i for i in range(1, 10, 2)}
        await agent.close()

    asyncio.run(run(free_port()))


def test_a_topic_that_brokers_refuse_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ConfigError, match="space"):
        asyncio.run(Mqtt().send("a b", b"x"))
    with pytest.raises(ConfigError, match="wildcard"):
        Mqtt(will_topic="a/#")


def test_check_says_what_is_wrong(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path, username="plant", password="right")
        async with reading(bus):
            agent = Mqtt(url=f"mqtt://{bus.address}", username="plant", password=Secret("wrong"))
            await agent.start()
            await until(lambda: "refused us" in agent.problem)
            assert "wrong" not in agent.problem
            waiting = asyncio.create_task(agent.send("a", b"x"))
            await asyncio.sleep(0)
            await agent.close()
            with pytest.raises(BusError, match="closed"):
                await waiting

    asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://x", "mqtt://"), ("mqtt://", "mqtt://"), ("mqtt://u:p@x", "username"),
        ("mqtt://x:99999", "cannot be read"), ("mqtt://x/path", "more than"),
    ],
)  # fmt: skip
def test_a_url_that_is_no_broker_is_a_config_mistake(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mqtt(url=url)


def test_addresses_are_read() -> None:
    assert Address.parse("mqtt://10.0.0.1") == Address("10.0.0.1", 1883, tls=False)
    assert Address.parse("mqtts://[::1]") == Address("::1", 8883, tls=True)
    assert str(Address.parse("mqtts://[::1]")) == "[::1]:8883"


def test_a_missing_certificate_is_a_config_mistake() -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        Mqtt(url="mqtts://x", ca_file="/nowhere.pem")


def test_options_can_be_read_from_the_signature() -> None:
    names = {option.name for option in options_of(Mqtt)}
    assert {"url", "topics", "qos", "will_topic"} <= names
    assert all(option.help for option in options_of(Mqtt))


def test_it_needs_no_numpy() -> None:
    code = "import sys, almenara.transports.mqtt; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
