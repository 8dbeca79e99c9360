"""Links that answer or have a handshake: Zabbix, NSCA and the framing of syslog."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import zlib
from typing import Any

import pytest
from tests.transports.links import at_work, say, shoot

from almenara.codecs.nsca import pack
from almenara.model.batch import Rejected
from almenara.model.errors import ConfigError, DecodeError, Overloaded
from almenara.plugin.contracts import Outcome
from almenara.plugin.options import Secret
from almenara.transports.nsca import Nsca, _xored
from almenara.transports.syslog import Syslog, whole_frames
from almenara.transports.zabbix import Zabbix

ANY = "127.0.0.1:0"
DATA = b'{"request":"sender data","data":[]}'


def framed(payload: bytes, flags: int = 1, size: int | None = None) -> bytes:
    width = "<QQ" if flags & 4 else "<II"
    body = zlib.compress(payload) if flags & 2 else payload
    return b"ZBXD" + bytes([flags]) + struct.pack(width, len(body), len(payload) if size is None else size) + body


def answered(request: bytes, outcome: Outcome = Outcome(2, [Rejected("item 3", "string_field")])) -> tuple[Any, Any]:
    async def run() -> tuple[Any, Any]:
        async with at_work(Zabbix(listen=ANY, max_request_mb=0.01), outcome) as work:
            answer = await say(work.link.port, request, then_read=True)
            return (json.loads(answer[13:]) if answer else None), work

    return asyncio.run(run())


@pytest.mark.parametrize("flags", [1, 3, 5, 7])
def test_a_sender_is_told_what_was_kept(flags: int) -> None:
    answer, work = answered(framed(DATA, flags))
    assert answer["response"] == "success"
    assert answer["info"].startswith("processed: 2; failed: 1; total: 3; seconds spent: 0.")
    assert work.payload == DATA


@pytest.mark.parametrize("error", [DecodeError("no such thing"), Overloaded("later")])
def test_a_sender_is_told_why_nothing_was_kept(error: Exception) -> None:
    answer, _ = answered(framed(DATA), Outcome(error=error))
    assert answer == {"response": "failed", "info": str(error)}


def test_an_active_agent_is_given_no_items() -> None:
    answer, work = answered(framed(b'{"request":"active checks","host":"a"}'))
    assert answer == {"response": "success", "data": []}
    assert not work.packets


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n" * 3, "bad_header"),
        (framed(b"x" * 20_000), "too_large"),
        (framed(b"0" * 20_000, 3), "too_large"),
        (framed(b"0" * 5000, 3, size=100), "bad_compression"),
        (framed(b"0" * 50, 3, size=5000), "bad_compression"),
        (b"ZBXD\x03" + struct.pack("<II", 5, 5) + b"xxxxx", "bad_compression"),
    ],
)
def test_a_bad_request_is_answered_and_counted(request_: bytes, reason: str) -> None:
    answer, work = answered(request_)
    assert answer["response"] == "failed"
    assert work.link.dropped == {reason: 1}


def test_any_bytes_are_survived() -> None:
    async def run() -> None:
        chance = random.Random(2)
        for link in (Zabbix(listen=ANY), Nsca(listen=ANY), Syslog(listen=ANY)):
            async with at_work(link) as work:
                for n in range(20):
                    head = (b"", framed(DATA)[: chance.randint(1, 30)], b"12 <13>")[n % 3]
                    await say(work.link.port, head + chance.randbytes(chance.randint(0, 6000)))
                assert sum(link.dropped.values()) + len(work.packets) > 0

    asyncio.run(run())


# --- NSCA


async def nsca_says(port: int, *packets: bytes, password: bytes = b"hush", xor: bool = True) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    iv = (await reader.readexactly(132))[:128]
    for packet in packets:
        writer.write(_xored(_xored(packet, iv), password) if xor else packet)
    await writer.drain()
    writer.close()


def now_packet(link: Nsca, service: str = "load") -> bytes:
    return pack("web1", service, 0, b"OK|a=1", link.now() // 10**9)


def old_packet(link: Nsca) -> bytes:
    """As of send_nsca before 2.9: 512 bytes of output."""
    new = now_packet(link)
    packet = new[:718] + b"\0\0"
    return packet[:4] + struct.pack("!I", zlib.crc32(packet[:4] + b"\0\0\0\0" + packet[8:])) + packet[8:]


@pytest.mark.parametrize("xor", [True, False])
def test_packets_of_both_sizes_are_deciphered(xor: bool) -> None:
    async def run() -> None:
        link = Nsca(listen=ANY, encryption="xor" if xor else "none", password=Secret("hush"))
        async with at_work(link) as work:
            first = now_packet(link), now_packet(link, "other")
            await nsca_says(link.port, *first, xor=xor)
            await work.until(lambda: len(work.packets) == 2)
            old = old_packet(link)
            await nsca_says(link.port, old, xor=xor)
            await work.until(lambda: len(work.packets) == 3)
            assert [one.payload for one in work.packets] == [*first, old]

    asyncio.run(run())


def test_a_wrong_password_is_said_with_its_sender() -> None:
    async def run() -> None:
        link = Nsca(listen=ANY, password=Secret("hush"))
        async with at_work(link) as work:
            await nsca_says(link.port, now_packet(link), password=b"other")
            await work.until(lambda: link.dropped["bad_crc"])
            assert "127.0.0.1 has another password" in link.problem
            await nsca_says(link.port, now_packet(link))
            await work.until(lambda: work.packets)
            assert link.problem == ""

    asyncio.run(run())


def test_an_old_packet_is_not_taken_again() -> None:
    async def run() -> None:
        link = Nsca(listen=ANY, encryption="none")
        async with at_work(link) as work:
            await nsca_says(link.port, pack("web1", "load", 0, b"OK", link.now() // 10**9 - 60), xor=False)
            await work.until(lambda: link.dropped["stale"])

    asyncio.run(run())


def test_a_cipher_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="3des needs a library"):
        Nsca(encryption="3des")


# --- syslog


@pytest.mark.parametrize(
    ("buffer", "whole"),
    [
        (b"4 <1>a", 6),
        (b"4 <1>a5 <1>", 6),
        (b"4 <1>a\n4 <1>b\n", 14),
        (b"4 <1>a12", 6),
        (b"", 0),
        (b"4 <1>a<1>b", -1),
        (b"999 <1>", -1),
        (b"12345678", -1),
    ],
)
def test_whole_messages_at_the_beginning_of_a_buffer(buffer: bytes, whole: int) -> None:
    assert whole_frames(buffer, 100) == whole


def test_syslog_over_tcp_framed_by_length_or_by_lines_and_over_udp() -> None:
    async def run() -> None:
        async with at_work(Syslog(listen=ANY)) as work:
            await say(work.link.port, b"6 <13>a\n7 <13>b\nc")
            await say(work.link.port, b"<13>line one\n<13>no end")
            await shoot(work.link.port, b"<13>two\nlines")
            await work.until(lambda: b"no end" in work.payload and b"two" in work.payload)
            assert b"6 <13>a\n7 <13>b\nc" in work.payload
            assert b"13 <13>two\nlines" in work.payload
            await say(work.link.port, b"6 <13>a\nnot a length")
            await say(work.link.port, b"60 <13>a")
            await work.until(lambda: len(work.link.dropped) == 2)
            assert work.link.dropped == {"bad_frame": 1, "unfinished_message": 1}

    asyncio.run(run())
