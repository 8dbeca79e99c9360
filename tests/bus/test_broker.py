"""The embedded broker after its disk failed it: said, started again once there is room, and read on exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from almenara.bus.broker import Broker, write_error
from almenara.bus.server import Login
from almenara.bus.wire import Wire
from almenara.model.errors import BusError
from almenara.plugin.contracts import Packet
from almenara.transports.mqtt import Mqtt
from brokers import embedded, send_all, until
from small_disk import fill, free, small_disk

#: nats-server 2.15.1's own words.
STREAM = {
    "type": "STREAM",
    "account": "HUB",
    "stream": "$MQTT_msgs",
    "error": "JetStream stream 'HUB > $MQTT_msgs' write error: write /d/msgs/1.blk: no space left on device",
}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"data": {"status": "ok", "status_code": 200}}, ""),
        ({"data": {"status": "error", "errors": [STREAM]}}, "write /d/msgs/1.blk: no space left on device"),
        ({"data": {"status": "error", "errors": [{"type": "STREAM", "error": "stream is not current"}]}}, ""),
        ({"data": {"status": "unavailable", "error": "JetStream is not current with the meta leader"}}, ""),
        ({}, ""),
    ],
)
def test_only_a_write_that_failed_is_a_reason_to_start_it_again(answer: dict[str, object], why: str) -> None:
    assert write_error(answer) == why


async def send(device: Mqtt, numbers: Sequence[int]) -> None:
    """Returns when all are acknowledged; the client sends again what is not."""
    await asyncio.gather(*(device.send("ledger", b"%d" % n + b" " * 500) for n in numbers))


def test_after_a_full_disk_it_is_started_again_and_each_message_is_read_once(tmp_path: Path) -> None:
    heard: list[Packet] = []

    async def scenario(disk: Path) -> None:
        bus = embedded(disk / "data")
        await bus.start()

        async def read() -> None:
            async for packets in bus.receive():
                heard.extend(packets)

        reader = asyncio.create_task(read())
        device = Mqtt(url=f"mqtt://{bus.address}", client_id="device")
        await send(device, range(100))
        assert bus.outage is None
        fill(disk)
        sending = asyncio.create_task(send(device, range(100, 200)))
        await until(lambda: bus.outage)
        assert bus.outage is not None
        assert "no space left on device" in bus.outage.message
        assert "free some space" in bus.outage.hint
        assert "cannot write its messages to disk" in bus.problems[0]
        assert bus.counters["restarts"] == 0
        free(disk)
        await asyncio.wait_for(sending, 60)
        await until(lambda: len(heard) >= 200)
        assert bus.outage is None
        await until(lambda: not bus.problems)  # the hub's own connection is back a second later
        assert bus.counters["restarts"] == 1
        assert bus.counters["lost"] == 0
        await device.close()
        await bus.stop()
        await reader

    with small_disk(tmp_path / "disk", 16) as disk:
        asyncio.run(scenario(disk))
    offsets = [packet.offset for packet in heard]
    assert offsets == sorted(set(offsets))
    assert {int(packet.payload) for packet in heard} == set(range(200))


def test_what_is_sent_right_after_the_start_is_heard_at_qos_0_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = Broker.connect

    async def slowly(broker: Broker, login: Login) -> Wire:
        """A busy machine."""
        await asyncio.sleep(0.3)
        return await connect(broker, login)

    async def scenario() -> None:
        bus = embedded(tmp_path)
        await bus.start()
        await send_all(bus.address, [("a", b"0", 0), ("a", b"1", 0)])
        await until(lambda: [packet.payload for packet in bus._tap._packets] == [b"0", b"1"])
        await bus.stop()

    monkeypatch.setattr(Broker, "connect", slowly)
    asyncio.run(scenario())


def test_it_is_not_started_where_nothing_can_be_written(tmp_path: Path) -> None:
    async def scenario(disk: Path) -> None:
        fill(disk)
        bus = embedded(disk / "data")
        with pytest.raises(BusError, match="cannot write there: No space left"):
            await bus.start()
        free(disk)
        await bus.start()
        await bus.stop()

    with small_disk(tmp_path / "disk", 16) as disk:
        asyncio.run(scenario(disk))
