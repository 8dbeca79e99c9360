"""Rules of the bus over real brokers: nats-server as our child, and Mosquitto; killed, restarted, refused, overfull."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from almenara.bus.embedded import EmbeddedBus
from almenara.bus.external import ExternalBus
from almenara.model.errors import BusError, PortTaken, Refused
from almenara.model.topic import status_topic
from almenara.plugin.contracts import Outcome, Packet
from almenara.transports.mqtt import Mqtt
from brokers import broker_pid, embedded, mosquitto, mosquitto_pub, mosquitto_sub, reading, send_all, until

CLIENTS = pytest.mark.real("mosquitto-clients")
BOTH = pytest.mark.real("mosquitto", "mosquitto-clients")


def is_running(pid: int) -> bool:
    try:
        return b"nats-server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


# --- embedded ---------------------------------------------------------------------------------------------------------


@CLIENTS
def test_each_message_arrives_once_at_every_qos(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path)
        async with reading(bus) as heard:
            for qos in "012":
                assert await mosquitto_pub(bus.address, "-t", "sensors/mumbai", "-m", qos, "-q", qos) == 0
            await mosquitto_pub(bus.address, "-t", "last", "-m", "x", "-q", "1")
            await until(lambda: heard and heard[-1].topic == "last")
        assert [(p.payload, p.qos, p.offset > 0) for p in heard[:3]] == [
            (b"0", 0, False),
            (b"1", 1, True),
            (b"2", 1, True),
        ]
        assert all(p.source == "mqtt:" + p.topic and p.received_ns > 0 for p in heard)
        assert len(heard) == 4

    asyncio.run(run())


def test_no_message_is_lost_or_doubled_over_kills_of_broker_and_reader(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    total = 2000
    ledger: Counter[bytes] = Counter()
    offsets: list[int] = []
    broker_died = asyncio.Event()

    async def send(port: int) -> None:
        device = Mqtt(url=f"mqtt://127.0.0.1:{port}", client_id="device")
        device._thread.first_wait_s, device._thread.longest_wait_s = 0.1, 0.2
        for start in range(0, total, 20):
            if start == 1500:
                await broker_died.wait()
            await asyncio.gather(*(device.send("sensors/ledger", b"%d" % i) for i in range(start, start + 20)))
            await asyncio.sleep(0.005)
        await device.close()

    async def read(bus: EmbeddedBus, wanted: int) -> None:
        """Commit packets until so many messages are in the ledger; what came later is forgotten, as in a crash."""
        async for packets in bus.receive():
            for packet in packets:
                ledger[packet.payload] += 1
                offsets.append(packet.offset)
                if len(ledger) >= wanted:
                    return

    async def run(port: int) -> None:
        bus = embedded(tmp_path, port=port)
        await bus.start()
        sending = asyncio.create_task(send(port))
        await read(bus, 300)
        os.kill(await broker_pid(bus, tmp_path), signal.SIGKILL)
        await bus.stop()
        bus = embedded(tmp_path, port=port)
        await bus.start(resume=offsets[-1])
        await read(bus, 900)
        await bus.stop()
        bus = embedded(tmp_path, port=port)
        await bus.start(resume=offsets[-1])
        reader = asyncio.create_task(read(bus, total))
        await until(lambda: len(ledger) > 1200)
        os.kill(await broker_pid(bus, tmp_path), signal.SIGKILL)
        await until(lambda: bus.counters["restarts"] == 1)
        broker_died.set()
        await asyncio.wait_for(sending, 60)
        await asyncio.wait_for(reader, 60)
        assert bus.counters["lost"] == 0
        await bus.stop()

    asyncio.run(run(free_port()))
    assert set(ledger) == {b"%d" % i for i in range(total)}
    assert offsets == sorted(set(offsets))
    # A client whose PUBACK died with the broker sends again: that message has two offsets, and is the same row twice.
    assert sum(ledger.values()) - total <= 80  # 20 in flight, four ends of the broker


def test_a_slow_reader_holds_the_stream_and_loses_the_oldest_best_effort(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path, max_best_effort=100)
        await bus.start()
        packets = bus.receive()
        first = asyncio.create_task(anext(packets))
        await send_all(bus.address, (("a/b", b"%d" % i, qos) for i in range(5000) for qos in (0, 1)))
        durable: list[int] = []
        passing = 0
        batch = await first
        while True:
            durable += [int(p.payload) for p in batch if p.qos]
            passing += sum(1 for p in batch if not p.qos)
            if len(durable) == 5000:
                break
            assert len(batch) <= 2000
            batch = await asyncio.wait_for(anext(packets), 60)
        assert durable == list(range(5000))
        taken: list[Packet] = []

        def all_seen() -> bool:
            taken.extend(bus._tap.take())
            return passing + len(taken) + bus.counters["best_effort_lost"] == 5000

        await until(all_seen)
        assert bus.counters["best_effort_lost"] > 0
        await bus.stop()

    asyncio.run(run())


def test_what_the_broker_dropped_before_we_read_it_is_counted_and_named(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path, max_bytes=200_000)
        async with reading(bus) as heard:
            await send_all(bus.address, [("a", b"first", 1)])
            await until(lambda: heard)
        committed = heard[-1].offset
        bus = embedded(tmp_path, max_bytes=200_000)
        await bus.start(resume=committed)
        packets = bus.receive()
        await send_all(bus.address, [("a", bytes(10_000), 1)] * 100)
        await bus.stop()
        await packets.aclose()  # type: ignore[attr-defined]
        bus = embedded(tmp_path, max_bytes=200_000)
        async with reading(bus, resume=committed) as heard:
            await until(lambda: heard)
            assert bus.counters["lost"] >= 80
            assert "dropped by the broker" in bus.problems[-1]

    asyncio.run(run())


def test_large_payloads_arrive_and_larger_ones_are_named(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path, max_payload=4 << 20)
        async with reading(bus) as heard:
            payload = os.urandom(3 << 20)
            await send_all(bus.address, [("big", payload, 1)] * 25)
            await until(lambda: len(heard) == 25)
            assert all(p.payload == payload for p in heard)
            device = Mqtt(url=f"mqtt://{bus.address}", client_id="giant")
            sending = asyncio.create_task(device.send("big", bytes(5 << 20)))
            await until(lambda: any("over the limit" in c.problem for c in bus.clients()))
            sending.cancel()
            await device.close()

    asyncio.run(run())


@CLIENTS
def test_clients_that_are_turned_away_are_listed_with_the_remedy(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path, username="plant", password='quo"te\\ é')
        async with reading(bus) as heard:
            ok = ("-u", "plant", "-P", 'quo"te\\ é', "-q", "1", "-m", "x")
            assert await mosquitto_pub(bus.address, "-t", "a/b", *ok) == 0
            assert await mosquitto_pub(bus.address, "-t", "a/b", *ok, "-V", "mqttv5") != 0
            assert await mosquitto_pub(bus.address, "-t", "a b", *ok, "-i", "spacer") != 0
            assert await mosquitto_pub(bus.address, "-t", "a/b", "-m", "x", "-i", "stranger") != 0
            assert (
                await mosquitto_pub(bus.address, "-t", "a/b", "-m", "x", "-u", "plant", "-P", "no", "-i", "guess") != 0
            )
            await mosquitto_pub(bus.address, "-t", "$JS/API/STREAM/DELETE/$MQTT_msgs", *ok, "-i", "vandal")
            await mosquitto_pub(bus.address, "-t", "a/b", *ok)
            await until(lambda: len([c for c in bus.clients() if c.problem]) == 5)
            found = {c.name: c for c in bus.clients()}
            assert "MQTT 5" in found["127.0.0.1"].problem
            assert "mqttv311" in found["127.0.0.1"].remedy
            assert "space" in found["spacer"].problem
            assert "not right" in found["stranger"].problem
            assert "not right" in found["guess"].problem
            assert "reserved" in found["vandal"].problem
            await until(lambda: len(heard) == 2)

    asyncio.run(run())


@CLIENTS
def test_connected_clients_are_listed(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path)
        async with reading(bus):
            listening = asyncio.create_task(mosquitto_sub(bus.address, "-t", "x/#", "-i", "listener", "-C", "1"))
            await until(lambda: [c.name for c in bus.clients()] == ["listener"])
            await bus.publish("x/y", b"go")
            assert await listening == ["x/y go"]

    asyncio.run(run())


@CLIENTS
@pytest.mark.parametrize("qos", ["0", "1", "2"])
def test_other_programs_hear_what_the_hub_says_and_retained_messages_can_be_cleared(tmp_path: Path, qos: str) -> None:
    async def run() -> None:
        bus = embedded(tmp_path)
        async with reading(bus) as heard:
            await bus.publish("almenara/alarm/r/s", b"open", retain=True)
            # What is retained comes in the order of these topics: that the first is cleared is seen by the second.
            arguments = ("-t", "almenara/alarm/#", "-t", "almenara/hub/#", "-q", qos, "-W", "60", "-C")
            online = status_topic("hub", "test") + " online"
            assert await mosquitto_sub(bus.address, *arguments, "2") == ["almenara/alarm/r/s open", online]
            await bus.publish("almenara/alarm/r/s", b"", retain=True)
            assert await mosquitto_sub(bus.address, *arguments, "1") == [online]
            assert heard == []

    asyncio.run(run())


def test_a_taken_port_is_one_clear_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async def run() -> None:
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
            port = server.getsockname()[1]
            bus = embedded(tmp_path / "two", port=port)
            with pytest.raises(PortTaken, match=f"127.0.0.1:{port}: another program") as caught:
                await bus.start()
            assert caught.value.port == port
            await bus.stop()
        assert not is_running(
            int((tmp_path / "two/broker/pid").read_text() or 0) if (tmp_path / "two/broker/pid").exists() else 0
        )

    asyncio.run(run())


def test_the_configuration_file_is_private_and_says_no_password_elsewhere(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path, username="plant", password="wonderland")
        async with reading(bus):
            config = tmp_path / "broker/nats.conf"
            assert config.stat().st_mode & 0o777 == 0o600
            assert "wonderland" not in repr(bus._broker.settings) + (tmp_path / "broker/log").read_text()

    asyncio.run(run())


CHILD = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from brokers import embedded

async def run():
    bus = embedded(Path({folder!r}), port={port})
    await bus.start()
    print("up", flush=True)
    await asyncio.sleep(60)

asyncio.run(run())
"""


@CLIENTS
@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_when_the_hub_is_killed_its_last_will_is_told_and_the_broker_goes(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()
    code = CHILD.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path), port=port)

    async def run(hub: subprocess.Popen[str]) -> None:
        assert hub.stdout is not None
        assert hub.stdout.readline() == "up\n"
        pid = int((tmp_path / "broker/pid").read_text())
        topic = status_topic("hub", "test")
        listener = await asyncio.create_subprocess_exec(
            "mosquitto_sub", "-p", str(port), "-t", topic, "-C", "2", stdout=subprocess.PIPE
        )
        assert listener.stdout is not None
        try:
            assert await asyncio.wait_for(listener.stdout.readline(), 60) == b"online\n"
            hub.kill()
            assert await asyncio.wait_for(listener.stdout.readline(), 60) == b"offline\n"
        finally:
            with contextlib.suppress(ProcessLookupError):
                listener.kill()
            await listener.wait()
        bus = embedded(tmp_path, port=port)
        async with reading(bus):
            assert not is_running(pid)
            assert (await broker_pid(bus, tmp_path)) != pid

    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as hub:
        try:
            asyncio.run(run(hub))
        finally:
            hub.kill()


def test_a_broker_folder_that_was_removed_does_not_swallow_new_messages(tmp_path: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path)
        async with reading(bus, resume=5000) as heard:  # committed before, and the folder is new
            await send_all(bus.address, [("a", b"new", 1)])
            await until(lambda: heard)
            assert heard[0].offset > 5000
        bus = embedded(tmp_path)
        async with reading(bus, resume=90_000) as heard:  # as after a power cut that took the stream's tail
            assert "ended at offset" in bus.problems[0]
            await send_all(bus.address, [("a", b"new", 1)])
            await until(lambda: heard)
            assert heard[0].offset > 90_000
            assert bus.counters["lost"] == 0

    asyncio.run(run())


# --- external ---------------------------------------------------------------------------------------------------------

READER = """
import asyncio, os, sys
from almenara.bus.external import ExternalBus
from almenara.plugin.contracts import Outcome

async def run():
    bus = ExternalBus({url!r}, client_id="hub", name="test")
    await bus.start()
    async for packets in bus.receive():
        for packet in packets:
            if packet.payload == b"40":
                os._exit(9)
            packet.done(Outcome())
            print(packet.payload.decode(), flush=True)

asyncio.run(run())
"""


@BOTH
def test_what_was_not_done_when_the_hub_died_comes_again(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def run(url: str, port: int) -> None:
        bus = ExternalBus(url, client_id="hub", name="test")
        async with reading(bus):  # makes the session
            await until(lambda: not bus.problems)
        await send_all(bus.address, [("a/b", b"%d" % i, 1) for i in range(100)])
        died = subprocess.run(
            [sys.executable, "-c", READER.format(url=url)], capture_output=True, text=True, timeout=30, check=False
        )
        assert died.returncode == 9
        done = {int(line) for line in died.stdout.split()}
        bus = ExternalBus(url, client_id="hub", name="test")
        async with reading(bus) as heard:
            await until(lambda: {int(p.payload) for p in heard} | done == set(range(100)))
            assert 40 in {int(p.payload) for p in heard}
            assert {p.qos for p in heard} == {1}

    port = free_port()
    with mosquitto(tmp_path / "mosquitto", port) as broker:
        asyncio.run(run(broker.url, port))


@BOTH
@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_an_external_broker_may_be_killed(tmp_path: Path, free_port: Callable[[], int], version: str) -> None:
    async def run(broker: object, url: str, port: int) -> None:
        bus = ExternalBus(url, client_id="hub", name="test", version=version)  # type: ignore[arg-type]
        bus._mqtt._thread.first_wait_s, bus._mqtt._thread.longest_wait_s = 0.1, 0.2
        async with reading(bus) as heard:
            await until(lambda: not bus.problems)
            for qos in "01":
                await mosquitto_pub(bus.address, "-t", "a/b", "-m", qos, "-q", qos)
            await until(lambda: len(heard) == 2)
            broker.stop(kill=True)  # type: ignore[attr-defined]
            await until(lambda: bus.problems)
            waiting = asyncio.create_task(bus.publish("almenara/alarm/r/s", b"open", retain=True))
            broker.start()  # type: ignore[attr-defined]
            await asyncio.wait_for(waiting, 60)
            await until(lambda: not bus.problems)
            await mosquitto_pub(bus.address, "-t", "a/b", "-m", "2", "-q", "2")
            await until(lambda: len(heard) == 3)
            assert [(p.payload, p.qos) for p in heard] == [(b"0", 0), (b"1", 1), (b"2", 1)]
            assert bus.counters["restarts"] == 1
            said = await mosquitto_sub(bus.address, "-t", "almenara/#", "-C", "2", "-W", "60")
            assert sorted(said) == ["almenara/alarm/r/s open", status_topic("hub", "test") + " online"]
        assert await mosquitto_sub(f":{port}", "-t", "almenara/hub/#", "-C", "1") == [
            status_topic("hub", "test") + " offline"
        ]

    port = free_port()
    with mosquitto(tmp_path / "mosquitto", port) as broker:
        asyncio.run(run(broker, broker.url, port))


@BOTH
def test_a_packet_that_the_hub_refused_comes_again_without_the_broker(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async def run(url: str) -> None:
        bus = ExternalBus(url, client_id="hub", name="test")
        await bus.start()
        await until(lambda: not bus.problems)
        await mosquitto_pub(bus.address, "-t", "a/b", "-m", "x", "-q", "1")
        received = bus.receive()
        (packet,) = await anext(received)
        packet.done(Outcome(error=Refused("full", retry_after_s=0.01)))
        (again,) = await asyncio.wait_for(anext(received), 60)
        assert again.payload == packet.payload
        again.done(Outcome())
        await bus.stop()

    port = free_port()
    with mosquitto(tmp_path / "mosquitto", port) as broker:
        asyncio.run(run(broker.url))


@BOTH
def test_an_old_retained_value_is_no_new_sample(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def run(url: str) -> None:
        bus = ExternalBus(url, client_id="hub", name="test")
        await mosquitto_pub(bus.address, "-t", "a/b", "-m", "old", "-q", "1", "-r")
        heard: list[Packet]
        async with reading(bus) as heard:
            await until(lambda: not bus.problems)
            await mosquitto_pub(bus.address, "-t", "a/b", "-m", "new", "-q", "1", "-r")
            await until(lambda: heard)
            assert [p.payload for p in heard] == [b"new"]
            assert bus.counters["retained_skipped"] == 1

    port = free_port()
    with mosquitto(tmp_path / "mosquitto", port) as broker:
        asyncio.run(run(broker.url))


@BOTH
def test_a_wrong_password_is_a_problem_in_words_and_not_a_crash(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def run(url: str) -> None:
        bus = ExternalBus(url, username="hub", password="wrong", name="test")
        await bus.start()
        await until(lambda: any("refused us: Not authorized" in p for p in bus.problems))
        assert "wrong" not in " ".join(bus.problems)
        waiting = asyncio.create_task(bus.publish("a", b"x"))
        await asyncio.sleep(0)
        await bus.stop()
        with pytest.raises(BusError):
            await waiting

    port = free_port()
    with mosquitto(tmp_path / "mosquitto", port, "allow_anonymous false\n") as broker:
        asyncio.run(run(broker.url))
