"""Rules of the bus without a broker."""

import asyncio

import pytest

from almenara.bus.contract import Bus
from almenara.bus.memory import MemoryBus
from almenara.model.errors import BusError, ConfigError


def test_packets_come_in_order_behind_the_committed_offset() -> None:
    async def run() -> None:
        bus = MemoryBus()
        assert isinstance(bus, Bus)
        for i in range(4):
            bus.give("sensors/x", b"%d" % i)
        bus.give("sensors/x", b"passing", qos=0)
        await bus.start(resume=1)
        packets = await anext(bus.receive())
        assert [(p.payload, p.offset, p.qos) for p in packets] == [(b"2", 2, 1), (b"3", 3, 1), (b"passing", -1, 0)]
        await bus.stop()

    asyncio.run(run())


def test_what_was_said_is_kept_and_an_empty_message_clears_what_was_retained() -> None:
    async def run() -> None:
        bus = MemoryBus()
        await bus.start()
        await bus.publish("a/b", b"1", retain=True)
        assert bus.retained == {"a/b": b"1"}
        await bus.publish("a/b", b"", retain=True)
        assert bus.retained == {}
        assert len(bus.published) == 2
        with pytest.raises(ConfigError):
            await bus.publish("a b", b"1")
        await bus.stop()
        with pytest.raises(BusError):
            await bus.publish("a/b", b"1")

    asyncio.run(run())
