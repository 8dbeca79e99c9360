"""Rules of the MQTT transport over a real Mosquitto: many descriptors, cut and silent links, TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.transports.proxy import Proxy

from almenara.model.alarm import Incident, Severity, State
from almenara.notifiers.mqtt import MqttNotifier
from almenara.plugin.contracts import Outcome
from almenara.testing.alarms import notice
from almenara.transports.mqtt import Mqtt
from brokers import Mosquitto, mosquitto, mosquitto_pub, until
from certificates import Authority

BROKER = pytest.mark.real("mosquitto", "mosquitto-clients")
TLS = pytest.mark.real("mosquitto", "mosquitto-clients", "openssl")


@contextlib.contextmanager
def many_descriptors(number: int = 1100) -> Iterator[None]:
    """So many descriptors are open that every new one is past what select() takes."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], number + 400), before[1]))
    held = [os.open(os.devnull, os.O_RDONLY)]
    try:
        held += [os.dup(held[0]) for _ in range(number)]
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextlib.asynccontextmanager
async def hearing(**options: object) -> AsyncIterator[tuple[Mqtt, list[bytes]]]:
    """A client and what it has heard; everything is acknowledged."""
    client, heard = Mqtt(**options), list[bytes]()  # type: ignore[arg-type]
    client._thread.first_wait_s, client._thread.longest_wait_s = 0.05, 0.2

    async def hear() -> None:
        async for packets in client.receive():
            for packet in packets:
                heard.append(packet.payload)
                packet.done(Outcome())

    task = asyncio.create_task(hear())
    try:
        yield client, heard
    finally:
        await client.close()
        await asyncio.wait_for(task, 60)


@BROKER
def test_it_works_where_select_sees_no_descriptor(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def run(url: str) -> None:
        async with hearing(url=url, topics=["data/#"]) as (client, heard):
            await client.check()
            assert client._client.socket().fileno() > 1023
            await asyncio.gather(*(client.send("data/x", b"%d" % n, qos=1) for n in range(100)))
            await until(lambda: sorted(map(int, heard)) == list(range(100)))
        await MqttNotifier(url=url).notify(notice(Incident(1, 1, State.FIRING, Severity.MINOR, ())))

    with mosquitto(tmp_path / "m", free_port()) as broker, many_descriptors():
        asyncio.run(run(broker.url))


async def cut_again_and_again(broker: Mosquitto, version: str, *, kill: bool) -> set[bytes]:
    """Send 3000 messages over a link that is cut four times and then loses its broker, which comes back.

    Gives those that a killed broker had answered for and that its subscriber had not taken yet: what it alone held.
    Returns when each message has been answered for and, but for those, been heard.
    """
    proxy = await Proxy(broker.port, version).start()
    options = {"url": f"mqtt://127.0.0.1:{proxy.port}", "version": version}
    every, held = {b"%d" % n for n in range(3000)}, set[bytes]()
    async with (
        hearing(**options, client_id="ear", topics=["data/#"]) as (ear, heard),
        hearing(**options, client_id="mouth") as (mouth, _),
    ):
        await ear.check()
        sending = [asyncio.create_task(mouth.send("data/x", payload)) for payload in sorted(every)]
        for cut in range(1, 5):
            await until(lambda: len(set(heard)) > cut * 500 and ear.connections >= cut)  # noqa: B023
            proxy.cut()
        broker.stop(kill=kill)
        await until(lambda: ear.problem and mouth.problem and proxy.is_idle)
        if kill:
            held = proxy.answered - proxy.taken
        broker.start()
        await asyncio.wait_for(asyncio.gather(*sending), 60)
        await until(lambda: every - held <= set(heard))
        await until(lambda: not ear.problem and ear.connections >= 5)
        assert proxy.taken <= set(heard), "nothing is acknowledged that was not handed on"
    await proxy.stop()
    return held


@BROKER
@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_a_link_that_is_cut_again_and_again_loses_nothing(
    tmp_path: Path, free_port: Callable[[], int], version: str
) -> None:
    with mosquitto(tmp_path / "m", free_port()) as broker:
        assert asyncio.run(cut_again_and_again(broker, version, kill=False)) == set()


@BROKER
@pytest.mark.parametrize("version", ["3.1.1", "5"])
def test_with_a_broker_that_is_killed_goes_only_what_it_alone_held(
    tmp_path: Path, free_port: Callable[[], int], version: str
) -> None:
    """Mosquitto answers first and saves later (`autosave_interval` counts changes; it looks after each turn of its
    loop), so kill -9 takes with it what it had answered for and not yet handed on.

    Measured with Mosquitto 2.0.11, by what passed over the wire: in 7 of 40 runs of this client, and in 12 of 22 runs
    of two paho clients without a line of ours, 1 to 254 messages went. Each had been answered for by the killed broker
    and acknowledged by no subscriber, and its sender, which had its answer, did not send it again. With
    `autosave_interval 1` none went in 12 runs of paho; nor does any when the broker is asked to end.
    """
    with mosquitto(tmp_path / "m", free_port()) as broker:
        asyncio.run(cut_again_and_again(broker, version, kill=True))


@BROKER
def test_a_link_that_falls_silent_counts_as_lost_after_the_keepalive(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async def run(broker: Mosquitto) -> None:
        proxy = await Proxy(broker.port).start()
        url = f"mqtt://127.0.0.1:{proxy.port}"
        async with hearing(url=url, client_id="ear", topics=["a"], keepalive_s=1) as (ear, heard):
            await ear.check()
            await until(lambda: proxy.carried_back > 1)  # CONNACK and SUBACK
            proxy.fall_silent()
            await mosquitto_pub(f":{broker.port}", "-t", "a", "-m", "kept", "-q", "1")
            assert heard == []
            await until(lambda: heard == [b"kept"] and proxy.accepted == 2)
        await proxy.stop()

    with mosquitto(tmp_path / "m", free_port()) as broker:
        asyncio.run(run(broker))


@BROKER
def test_a_reader_that_is_too_slow_makes_the_broker_wait_and_loses_only_qos_0(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    async def run(url: str) -> None:
        ear, mouth = Mqtt(url=url, client_id="ear", topics=["#"]), Mqtt(url=url)
        await ear.check()
        half = b"x" * (5 << 20)
        for n in range(30):  # 150 MB, where at most 64 MB may wait
            await asyncio.wait_for(mouth.send(f"big/{n}", half, qos=1), 60)
        await until(lambda: ear.is_full())
        found: set[str] = set()
        async for packets in ear.receive():
            assert sum(len(p.payload) for p in packets) < (64 + 16) << 20
            found |= {p.topic for p in packets}
            for packet in packets:
                packet.done(Outcome())
            if len(found) == 30:
                break
        await ear.close()
        await mouth.close()

    with mosquitto(tmp_path / "m", free_port()) as broker:
        asyncio.run(run(broker.url))


# --- TLS --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def secure(folder: Path, port: int, host: str = "127.0.0.1") -> Iterator[tuple[Mosquitto, Authority]]:
    """A Mosquitto with a certificate of an authority of our own, which also asks clients for one."""
    authority = Authority(folder / "certificates")
    folder.chmod(0o755)
    cert, key = authority.sign("broker", host)
    text = f"allow_anonymous true\ncafile {authority.file}\ncertfile {cert}\nkeyfile {key}\nrequire_certificate true\n"
    with mosquitto(folder / "m", port, text) as broker:
        broker.url = broker.url.replace("mqtt://", "mqtts://")
        yield broker, authority


@TLS
def test_an_authority_and_a_certificate_of_ones_own(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def run(broker: Mosquitto, authority: Authority) -> None:
        cert, key = map(str, authority.sign("agent"))
        files = {"ca_file": str(authority.file), "cert_file": cert, "key_file": key}
        async with hearing(url=broker.url, topics=["data/#"], **files) as (client, heard):
            await client.check()
            large = b"x" * 3_000_000  # many TLS records a read
            await asyncio.gather(*(client.send("data/x", large[n:], qos=1) for n in range(5)))
            await until(lambda: sorted(map(len, heard)) == [3_000_000 - n for n in range(4, -1, -1)])
            broker.stop(kill=True)
            await until(lambda: client.problem)
            broker.start()
            await client.send("data/x", b"again", qos=1)
            await until(lambda: heard[-1] == b"again")
        await MqttNotifier(url=broker.url, **files).notify(notice(Incident(1, 1, State.FIRING, Severity.MINOR, ())))

    with secure(tmp_path, free_port()) as (broker, authority):
        asyncio.run(run(broker, authority))


@TLS
def test_a_broker_that_cannot_be_verified_is_not_talked_to(tmp_path: Path, free_port: Callable[[], int]) -> None:
    async def problem_of(broker: Mosquitto, *, wanted: str, **files: str) -> None:
        client = Mqtt(url=broker.url, **files)
        await client.start()
        await until(lambda: wanted in client.problem)
        assert client.connections == 0
        await client.close()

    with secure(tmp_path, free_port(), host="broker.example") as (broker, authority):
        cert, key = map(str, authority.sign("agent"))
        mine = {"cert_file": cert, "key_file": key}
        asyncio.run(problem_of(broker, wanted="self-signed certificate in certificate chain", **mine))
        stranger = str(Authority(tmp_path / "stranger").file)
        asyncio.run(problem_of(broker, wanted="TLS failed: ", ca_file=stranger, **mine))
        asyncio.run(problem_of(broker, wanted="IP address mismatch", ca_file=str(authority.file), **mine))


@TLS
def test_a_hub_and_an_agent_are_told_of_the_files_by_their_configuration(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "certificates")
    config = tmp_path / "hub.toml"
    config.write_text(
        f'version = 1\n[mqtt]\nurl = "mqtts://127.0.0.1"\nca_file = "{authority.file}"\ncert_file = "/nowhere.pem"\n'
    )
    checked = subprocess.run(
        [sys.executable, "-m", "almenara.cli", "check", str(config)], capture_output=True, text=True, check=False
    )
    said = checked.stdout + checked.stderr
    assert checked.returncode != 0
    assert f"{config}:5: mqtt.cert_file: /nowhere.pem: cannot be read: No such file or directory" in said
