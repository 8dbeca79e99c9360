"""collectd: binary packets, signatures, JSON and PUTVAL, and how plugin and type become a series."""

from __future__ import annotations

import hmac
import json
import struct
from pathlib import Path

import pytest

from almenara.codecs.collectd import Collectd
from almenara.model.batch import Decoded
from almenara.model.errors import ConfigError, DecodeError
from almenara.model.series import Series
from almenara.plugin.contracts import Context

NOW = 1_700_000_000_000_000_000
SIGNED = Path(__file__).parents[1] / "cases" / "codecs" / "collectd" / "network-signed" / "input"


def part(kind: int, body: bytes) -> bytes:
    return struct.pack(">HH", kind, 4 + len(body)) + body


def text(kind: int, what: str) -> bytes:
    return part(kind, what.encode() + b"\0")


def values(*pairs: tuple[int, float]) -> bytes:
    packed = [struct.pack("<d" if k == 1 else ">q" if k == 2 else ">Q", v) for k, v in pairs]
    return part(6, struct.pack(">H", len(pairs)) + bytes(k for k, _ in pairs) + b"".join(packed))


HEAD = text(0, "box") + part(8, struct.pack(">Q", 1_700_000_000 << 30)) + text(2, "interface") + text(3, "eth0")


def read(payload: bytes, codec: Collectd | None = None) -> Decoded:
    return (codec or Collectd()).decode(payload, Context(received_ns=NOW))


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), t, v) for i, t, v in zip(b.id, b.time, b.value, strict=True)]


def test_values_are_named_by_plugin_type_and_data_source() -> None:
    packet = HEAD + text(4, "if_octets") + values((2, 5), (2, 7))
    decoded = read(packet)
    labels = '{host="box",instance="eth0"}'
    assert rows(decoded) == [
        (f"collectd_interface_if_octets_rx_total{labels}", NOW, 5.0),
        (f"collectd_interface_if_octets_tx_total{labels}", NOW, 7.0),
    ]
    assert {m.kind for m in decoded.metadata.values()} == {"counter"}


def test_a_plugin_with_the_name_of_its_type_is_named_once() -> None:
    packet = text(0, "box") + text(2, "load") + text(4, "load") + values((1, 0.5), (1, 0.25), (1, 0.125))
    assert [s for s, _, _ in rows(read(packet))] == [
        f'collectd_load_{n}term{{host="box"}}' for n in ("short", "mid", "long")
    ]
    assert [t for _, t, _ in rows(read(packet))] == [NOW] * 3


def test_parts_hold_until_they_are_said_again() -> None:
    packet = HEAD + text(4, "gauge") + text(5, "a") + values((1, 1)) + text(5, "b") + values((3, 2))
    assert [(dict(Series.from_key(k).labels)["type_instance"], m.kind) for k, m in read(packet).metadata.items()] == [
        ("a", "gauge"), ("b", "gauge"),
    ]  # fmt: skip


def test_types_that_nobody_named_are_numbered_or_read_from_a_file(tmp_path: Path) -> None:
    packet = HEAD + text(4, "mine") + values((1, 1), (1, 2))
    assert [s.partition("{")[0] for s, _, _ in rows(read(packet))] == [
        f"collectd_interface_mine_value_{n}" for n in (0, 1)
    ]
    (tmp_path / "types.db").write_text("# mine\nmine  good:GAUGE:0:U, bad:GAUGE:0:U\n\nalone value:GAUGE:U:U\n")
    named = read(packet, Collectd(types_db=[tmp_path / "types.db"]))
    assert [s.partition("{")[0] for s, _, _ in rows(named)] == [
        "collectd_interface_mine_good",
        "collectd_interface_mine_bad",
    ]
    with pytest.raises(ConfigError):
        Collectd(types_db=[tmp_path / "none"])


def test_notifications_are_events() -> None:
    decoded = read(HEAD + part(0x101, struct.pack(">Q", 1)) + text(0x100, "eth0 is gone"))
    (event,) = decoded.events
    assert (event.time, event.text) == (NOW, "eth0 is gone")
    assert dict(event.labels)["severity"] == "failure"


def test_what_follows_a_damaged_part_is_left_out_and_named() -> None:
    decoded = read(HEAD + text(4, "gauge") + values((1, 1)) + struct.pack(">HH", 6, 900) + b"x")
    assert len(decoded.batch) == 1
    assert [r.reason for r in decoded.rejected] == ["bad_part"]
    with pytest.raises(DecodeError, match="bytes for"):
        read(HEAD + part(6, b"\0\2\1"))


# --- signatures


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "auth"
    path.write_text("# who may send\nuser1: secret1\n")
    return path


def test_a_signed_packet_of_collectd_is_verified(users: Path) -> None:
    assert len(read(SIGNED.read_bytes(), Collectd(auth_file=users)).batch) > 40


@pytest.mark.parametrize("at", [40, 200, -1])
def test_a_changed_packet_is_refused(users: Path, at: int) -> None:
    packet = bytearray(SIGNED.read_bytes())
    packet[at] ^= 1
    with pytest.raises(DecodeError, match=r"signature|user"):
        read(bytes(packet), Collectd(auth_file=users))


def test_with_passwords_nothing_unsigned_is_taken(users: Path) -> None:
    codec = Collectd(auth_file=users)
    plain = HEAD + text(4, "gauge") + values((1, 1))
    mac = hmac.digest(b"secret1", b"user1" + plain, "sha256")
    assert len(read(part(0x200, mac + b"user1") + plain, codec).batch) == 1
    for payload in (plain, b'[{"values":[1]}]', b"PUTVAL a/b/c N:1"):
        with pytest.raises(DecodeError, match="only signed"):
            read(payload, codec)


def test_an_encrypted_packet_is_refused_with_the_remedy() -> None:
    with pytest.raises(DecodeError, match="SecurityLevel to Sign"):
        read(part(0x210, b"\0\5user1" + b"x" * 64))


def test_a_file_of_passwords_must_hold_some(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nobody\n")
    with pytest.raises(ConfigError, match="user: password"):
        Collectd(auth_file=tmp_path / "empty")


# --- text


def test_json_of_write_http() -> None:
    one = {
        "values": [1, None], "dstypes": ["derive", "gauge"], "dsnames": ["rx", "tx"], "time": 1700000000.5,
        "host": "box", "plugin": "p", "plugin_instance": "", "type": "t", "type_instance": "x",
    }  # fmt: skip
    decoded = read(json.dumps([one, {"values": [1]}, 5]).encode())
    assert [s for s, _, _ in rows(decoded)] == [
        f'collectd_p_t_{n}{{host="box",type_instance="x"}}' for n in ("rx_total", "tx")
    ]
    assert rows(decoded)[0][1:] == (1_700_000_000_500_000_000, 1.0)
    assert rows(decoded)[1][2] != rows(decoded)[1][2]
    assert [r.reason for r in decoded.rejected] == ["bad_part", "bad_part"]


def test_putval_lines() -> None:
    decoded = read(b'PUTVAL "box/if-eth0/if_octets" interval=10.000 1700000000.5:1:U\r\nPUTVAL box/a/b N:2\nPUTVAL x\n')
    assert rows(decoded)[0] == ('collectd_if_if_octets_rx{host="box",instance="eth0"}', 1_700_000_000_500_000_000, 1.0)
    assert rows(decoded)[2] == ('collectd_a_b{host="box"}', NOW, 2.0)
    assert len(decoded.rejected) == 1
