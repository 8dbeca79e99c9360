"""Items of Zabbix senders: keys become names and labels, texts and damaged items are named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from almenara.codecs.zabbix import Zabbix, read_key
from almenara.model.batch import Decoded
from almenara.model.errors import DecodeError
from almenara.plugin.contracts import Context

NOW = 1_700_000_000_000_000_000


def read(*items: Any, request: str = "sender data") -> Decoded:
    payload = json.dumps({"request": request, "data": items}).encode()
    return Zabbix().decode(payload, Context(received_ns=NOW))


@pytest.mark.parametrize(
    ("key", "name", "labels"),
    [
        ("system.uptime", "system_uptime", {}),
        ("vfs.fs.size[/,free]", "vfs_fs_size", {"p1": "/", "p2": "free"}),
        ("net.if.in[eth0]", "net_if_in", {"p1": "eth0"}),
        ('perf["\\\\a, b",avg]', "perf", {"p1": "\\\\a, b", "p2": "avg"}),
        ('say["a \\"b\\""]', "say", {"p1": 'a "b"'}),
        ("a[,x]", "a", {"p1": "", "p2": "x"}),
        ("a[x,]", "a", {"p1": "x", "p2": ""}),
        ("a[]", "a", {"p1": ""}),
        ("temp[room=kitchen]", "temp", {"room": "kitchen"}),
        ("broken[x", "broken", {}),
    ],
)
def test_a_key_is_a_name_and_parameters(key: str, name: str, labels: dict[str, str]) -> None:
    assert read_key(key) == (name, labels)


def test_an_item_is_a_row() -> None:
    decoded = read({"host": "a", "key": "k", "value": "1.5e3", "clock": 1700000001, "ns": 5})
    b = decoded.batch
    assert [(str(b.series[b.id[0]]), b.time[0], b.value[0])] == [('k{host="a"}', 1_700_000_001_000_000_005, 1500.0)]
    assert list(read({"host": "a", "key": "k", "value": 2}).batch.time) == [NOW]


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"host": "a", "key": "k", "value": "up"}, "string_field"),
        ({"host": "a", "key": "k", "value": "0x10"}, "string_field"),
        ({"host": "a", "key": "k", "value": "1e999"}, "not_finite"),
        ({"host": "a", "key": "k", "value": None}, "bad_item"),
        ({"host": "a", "value": "1"}, "bad_item"),
        ("text", "bad_item"),
        ({"host": "a", "key": "k", "value": "1", "clock": "now"}, "bad_time"),
        ({"host": "a", "key": "k", "value": "1", "clock": 1, "ns": -1}, "bad_time"),
        ({"host": "a" * 5000, "key": "k", "value": "1"}, "key_too_long"),
        ({"host": "a", "key": "k", "value": "no such file", "state": 1}, "not_supported"),
        ({"host": "\ud800", "key": "k", "value": "1"}, "not_utf8"),
    ],
)
def test_a_bad_item_is_named_and_the_rest_goes_on(item: Any, reason: str) -> None:
    decoded = read(item, {"host": "a", "key": "ok", "value": "1"}, request="agent data")
    assert [r.reason for r in decoded.rejected] == [reason]
    assert len(decoded.batch) == 1


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b'{"request":"proxy data","data":[]}', b'{"request":"sender data"}']
)
def test_decode_error_for_other_requests(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        Zabbix().decode(payload, Context())
