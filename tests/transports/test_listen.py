"""Links that listen: limits, what is dropped under which name, and that a busy hub holds senders up."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter

import pytest
from tests.transports.links import at_work, say, shoot

from almenara.model.errors import BusError, ConfigError, PluginError, PortTaken
from almenara.plugin.contracts import Packet
from almenara.transports import _listen
from almenara.transports._inbox import Inbox, Lines
from almenara.transports._listen import kernel_drops
from almenara.transports.graphite import Graphite
from almenara.transports.tcp import Tcp
from almenara.transports.udp import Udp, datagrams

ANY = "127.0.0.1:0"


def packet(size: int) -> Packet:
    return Packet("t", b"x" * size, 0)


def test_lines_of_one_connection_become_one_packet_a_read() -> None:
    async def run() -> None:
        async with at_work(Graphite(listen=ANY)) as work:
            await say(work.link.port, b"a 1 1\nb 2 2\n" * 1000)
            await work.until(lambda: len(work.payload) == 12_000)
            assert len(work.packets) < 10
            first = work.packets[0]
            assert (first.source, first.codec, first.qos) == ("graphite:127.0.0.1", "graphite", 1)

    asyncio.run(run())


def test_half_a_line_waits_for_its_end_and_is_dropped_without_one() -> None:
    async def run() -> None:
        async with at_work(Graphite(listen=ANY)) as work:
            _, writer = await asyncio.open_connection("127.0.0.1", work.link.port)
            for piece in (b"a 1", b" 1\nb 123", b".4 5\nc 12"):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.02)
            writer.close()
            await work.until(lambda: work.link.dropped["unfinished_line"])
            assert work.payload == b"a 1 1\nb 123.4 5\n"

    asyncio.run(run())


def test_a_line_without_end_is_dropped_and_the_next_one_is_read() -> None:
    dropped: Counter[str] = Counter()
    lines = Lines(dropped, 100)
    assert lines.cut(b"a 1\n" + b"x" * 101) == b"a 1\n"
    assert lines.cut(b"x" * 500) == b""
    assert lines.cut(b"x\nb 2\nc") == b"b 2\n"
    assert lines.cut(b" 3\n") == b"c 3\n"
    assert (dropped, lines.end()) == ({"line_too_long": 1}, b"")


@pytest.mark.parametrize("cut", range(1, 12))
def test_lines_do_not_depend_on_how_they_were_cut(cut: int) -> None:
    text = b"alpha 1 1\nb 2\n\nlonger.line 3 3\n"
    lines = Lines(Counter(), 100)
    assert b"".join(lines.cut(text[at : at + cut]) for at in range(0, len(text), cut)) == text


def test_datagrams_of_one_sender_are_joined() -> None:
    async def run() -> None:
        async with at_work(Graphite(listen=ANY)) as work:
            await shoot(work.link.port, *(b"a %d 1" % n for n in range(200)))
            await work.until(lambda: b"a 199 1" in work.payload)
            assert {one.qos for one in work.packets} == {0}

    asyncio.run(run())


def test_a_sender_is_held_up_while_the_hub_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inbox.__init__, "__defaults__", (100_000, 10))

    async def run() -> None:
        async with at_work(Graphite(listen=ANY)) as work:
            work.may_take.clear()
            _, writer = await asyncio.open_connection("127.0.0.1", work.link.port)
            total, chunk = 0, b"a.b 1 1\n" * 8192
            with contextlib.suppress(TimeoutError):  # the connection fills up: nobody reads
                async with asyncio.timeout(1.0):
                    while total < 200 << 20:
                        writer.write(chunk)
                        total += len(chunk)
                        await writer.drain()
            assert total < 200 << 20
            assert len(work.payload) < 1_000_000
            work.may_take.set()
            await writer.drain()
            writer.close()
            await work.until(lambda: len(work.payload) == total)

    asyncio.run(run())


def test_datagrams_stay_in_the_kernel_which_counts_what_it_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inbox.__init__, "__defaults__", (1000, 10))
    monkeypatch.setattr(_listen, "_KERNEL_BYTES", 4096)
    monkeypatch.setattr(_listen, "_WATCH_S", 0.05)

    async def run() -> None:
        async with at_work(Udp(listen=ANY)) as work:
            work.may_take.clear()
            for _ in range(3):
                await shoot(work.link.port, b"x" * 600, b"x" * 600)
                await asyncio.sleep(0.02)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(100):
                    sender.sendto(b"y" * 1000, ("127.0.0.1", work.link.port))
            await work.until(lambda: work.link.dropped["kernel_queue_full"] > 50)
            work.may_take.set()
            await work.until(
                lambda: work.payload.count(b"y") + 1000 * work.link.dropped["kernel_queue_full"] >= 100_000
            )
            assert work.payload.count(b"y") + 1000 * work.link.dropped["kernel_queue_full"] == 100_000

    asyncio.run(run())


def test_kernel_drops_of_a_new_socket_are_none() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert kernel_drops(sock) == 0


def test_connections_over_the_limit_are_hung_up_and_counted() -> None:
    async def run() -> None:
        async with at_work(Graphite(listen=ANY, max_connections=2)) as work:
            kept = [await asyncio.open_connection("127.0.0.1", work.link.port) for _ in range(2)]
            await asyncio.sleep(0.05)
            assert await say(work.link.port, b"a 1 1\n", then_read=True) == b""
            assert work.link.dropped == {"too_many_connections": 1}
            for _, writer in kept:
                writer.close()

    asyncio.run(run())


def test_a_silent_connection_is_hung_up() -> None:
    async def run() -> None:
        async with at_work(Graphite(listen=ANY, idle_s=1)) as work:
            assert await say(work.link.port, b"a 1 1\n", then_read=True) == b""
            assert work.payload == b"a 1 1\n"

    asyncio.run(run())


def test_only_allowed_machines_may_send() -> None:
    async def run() -> None:
        async with at_work(Graphite(listen=ANY, allow=["10.0.0.0/8"])) as work:
            await say(work.link.port, b"a 1 1\n", then_read=True)
            await shoot(work.link.port, b"a 1 1")
            await work.until(lambda: work.link.dropped["not_allowed"] == 2)
            assert not work.packets
        assert Graphite(allow=["10.0.0.0/8"]).allowed("::ffff:10.1.2.3")
        with pytest.raises(ConfigError, match="network"):
            Graphite(allow=["home"])

    asyncio.run(run())


def test_a_taken_port_is_named() -> None:
    async def run() -> None:
        async with at_work(Graphite(listen=ANY)) as work:
            with pytest.raises(PortTaken):
                await anext(Graphite(listen=f"127.0.0.1:{work.link.port}").receive())
            with pytest.raises(PortTaken):
                await anext(Udp(listen=f"127.0.0.1:{work.link.port}").receive())
            with pytest.raises(BusError):
                await anext(Udp(listen="192.0.2.1:9999").receive())

    asyncio.run(run())


def test_a_closed_link_listens_again_on_its_port() -> None:
    async def run() -> None:
        link = Graphite(listen=ANY)
        async with at_work(link) as work:
            await say(link.port, b"a 1 1\n")
            await work.until(lambda: work.packets)
        async with at_work(Graphite(listen=f"127.0.0.1:{link.port}")) as work:
            await say(link.port, b"b 1 1\n")
            await work.until(lambda: work.packets)

    asyncio.run(run())


def test_what_is_sent_arrives_and_a_lost_connection_is_made_again() -> None:
    async def run() -> None:
        async with at_work(Tcp(listen=ANY)) as there:
            here = Tcp(to=f"127.0.0.1:{there.link.port}")
            await here.send("t", b"a 1 1")
            await there.until(lambda: there.payload == b"a 1 1\n")
            await here.close()
            await here.send("t", b"b 1 1\n")
            await there.until(lambda: there.payload == b"a 1 1\nb 1 1\n")
            await here.close()
        with pytest.raises(BusError):
            await here.send("t", b"c 1 1\n")
        with pytest.raises(PluginError, match="to: is missing"):
            await Tcp().send("t", b"x")

    asyncio.run(run())


def test_datagrams_are_cut_between_lines() -> None:
    text = b"".join(b"series.%d 1 1\n" % n for n in range(1000))
    cut = datagrams(text)
    assert b"".join(cut) == text
    assert max(map(len, cut)) <= 1432
    with pytest.raises(ValueError, match="fits no datagram"):
        datagrams(b"x" * 70_000)

    async def run() -> None:
        async with at_work(Udp(listen=ANY)) as there:
            await Udp(to=f"127.0.0.1:{there.link.port}").send("t", text)
            await there.until(lambda: there.payload.count(b"series") == 1000)

    asyncio.run(run())


def test_links_that_only_receive_say_so() -> None:
    async def run() -> None:
        with pytest.raises(PluginError, match="only receives"):
            await Graphite().send("t", b"")

    asyncio.run(run())


def test_the_inbox_is_bounded_in_bytes_and_packets() -> None:
    async def run() -> None:
        inbox = Inbox(most_bytes=100, most_packets=3)
        for _ in range(3):
            await inbox.put(packet(1))
        waiting = asyncio.create_task(inbox.put(packet(2)))
        await asyncio.sleep(0)
        assert inbox.full
        assert len(await inbox.take()) == 3
        await waiting
        await inbox.put(packet(1000))
        assert inbox.full
        inbox.close()
        assert len(await inbox.take()) == 2
        assert await inbox.take() == []

    asyncio.run(run())
