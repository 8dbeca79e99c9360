"""Rules of cutting messages out of the bytes of an MQTT connection."""

from __future__ import annotations

import random
import socket

import pytest

from almenara.transports._mqtt_link import Link, MalformedPublish, Published, cut

PUBACK, PINGRESP = b"\x40\x02\x00\x07", b"\xd0\x00"


def length(size: int) -> bytes:
    """A variable byte integer."""
    out = bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size])


def frame(
    topic: bytes, payload: bytes, qos: int = 1, number: int = 1, retain: bool = False, five: bool = False
) -> bytes:
    """A PUBLISH as a broker sends it."""
    body = len(topic).to_bytes(2, "big") + topic + (number.to_bytes(2, "big") if qos else b"")
    body += (b"\x05\x26\x00\x01a\x00" if five else b"") + payload
    return bytes([0x30 | qos << 1 | retain]) + length(len(body)) + body


@pytest.mark.parametrize("five", [False, True])
def test_messages_are_the_same_however_the_bytes_are_cut(five: bool) -> None:
    chance = random.Random(1)
    wanted, stream = [], b""
    for n in range(300):
        topic, payload, qos = b"a/%d" % (n % 9), chance.randbytes(chance.choice([0, 5, 120, 2_000])), n % 2
        wanted.append(Published(topic, payload, (n + 1).to_bytes(2, "big") if qos else b"", n % 7 == 0))
        stream += frame(topic, payload, qos, n + 1, n % 7 == 0, five) + (PUBACK if n % 5 == 0 else b"")
    for most in (1, 3, 1000, 300_000):
        rest, found, others = b"", [], b""
        at = 0
        while at < len(stream):
            step = chance.randint(1, most) if most > 1 or at < 3000 else 50_000
            rest += stream[at : at + step]
            at += step
            some, control, used, need = cut(rest, five)
            found += some
            others += control
            rest = rest[used:]
            assert need == 0 or need > len(rest)
        assert (found, others, rest) == (wanted, PUBACK * 60, b"")


def test_qos_2_and_all_other_packets_are_left_to_paho() -> None:
    two = frame(b"t", b"x", qos=2)
    assert cut(two + PINGRESP + PUBACK, False) == ([], two + PINGRESP + PUBACK, len(two) + 6, 0)


@pytest.mark.parametrize(
    "bad", [b"\x30\x01\x00", b"\x32\x04\x00\x09ab", b"\x30\xff\xff\xff\xff\x01", b"\x32\x03\x00\x00\x01"]
)
def test_lengths_that_do_not_fit_end_the_connection(bad: bytes) -> None:
    with pytest.raises(MalformedPublish):
        cut(bad + b"rest of it", False)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(bad + b"rest of it")
        link = Link(ours, five=False, wake=lambda: None)
        assert not link.read()
        assert link.ended
        assert link.recv(1) == b""


def test_acknowledgements_go_out_together_and_between_packets() -> None:
    ours, theirs = socket.socketpair()
    woken: list[int] = []
    with ours, theirs:
        ours.setblocking(False)
        link = Link(ours, five=False, wake=lambda: woken.append(1))
        link.send(PINGRESP)
        link.acknowledge(b"\x00\x07")
        link.acknowledge(b"\x01\x02")
        assert link.wants_write
        link.flush()
        assert theirs.recv(100) == PINGRESP + PUBACK + b"\x40\x02\x01\x02"
        assert not link.wants_write
        assert len(woken) == 2


def test_what_was_received_before_the_end_is_still_given() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(frame(b"t", b"x") + PUBACK)
        link = Link(ours, five=False, wake=lambda: None)
        assert [m.payload for m in link.read()] == [b"x"]
        assert not link.read()
        assert (link.recv(1), link.recv(9), link.recv(1)) == (PUBACK[:1], PUBACK[1:], b"")
