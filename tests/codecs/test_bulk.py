"""Elasticsearch's _bulk: numbers of a document by path, labels from well-known places, what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from almenara.codecs import bulk
from almenara.codecs.bulk import Bulk, actions
from almenara.model.batch import Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import Series
from almenara.plugin.contracts import Context

NOW = 1_700_000_000_000_000_000


def body(*documents: Any) -> bytes:
    return b"".join(b'{"create":{"_index":"m"}}\n' + json.dumps(one).encode() + b"\n" for one in documents)


def read(payload: bytes, codec: Bulk | None = None) -> Decoded:
    return (codec or Bulk()).decode(payload, Context(received_ns=NOW))


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), t, v) for i, t, v in zip(b.id, b.time, b.value, strict=True)]


def reasons(decoded: Decoded) -> list[tuple[str, str, int]]:
    return [(r.where, r.reason, r.rows) for r in decoded.rejected]


def test_numbers_are_named_by_their_path_and_labelled_by_their_place() -> None:
    document = {
        "@timestamp": "2023-11-14T22:13:27.123Z", "agent": {"name": "web-1", "version": "8.1.0"},
        "host": {"name": "web-1"}, "event": {"duration": 115, "dataset": "system.network"}, "metricset": {"period": 10},
        "system": {"network": {"name": "eth0", "in": {"bytes": 5, "errors": 0}}}, "service": {"type": "system"},
    }  # fmt: skip
    decoded = read(body(document))
    labels = '{host_name="web-1",system_network_name="eth0"}'
    at = NOW + 7_123_000_000
    assert rows(decoded) == [
        (f"system_network_in_bytes{labels}", at, 5.0),
        (f"system_network_in_errors{labels}", at, 0.0),
    ]
    assert not decoded.rejected
    about = decoded.metadata[Series.of("system_network_in_bytes", host_name="web-1", system_network_name="eth0").key]
    assert (about.unit, about.kind) == ("B", "counter")


def test_dotted_keys_are_paths_too() -> None:
    assert rows(read(body({"host.name": "a", "system.load": {"1": 0.5, "norm.1": 0.25}}))) == [
        ('system_load_1{host_name="a"}', NOW, 0.5),
        ('system_load_norm_1{host_name="a"}', NOW, 0.25),
    ]


def test_an_agent_with_another_name_than_its_host_is_kept_apart() -> None:
    assert rows(read(body({"host": {"name": "a"}, "agent": {"name": "b"}, "x": {"y": 1}}))) == [
        ('x_y{agent_name="b",host_name="a"}', NOW, 1.0)
    ]


def test_labels_fields_and_modules_name_themselves() -> None:
    document = {
        "labels": {"env": "prod"},
        "fields": {"site": "x"},
        "redis": {"id": "r1", "db": {"keys": 7, "on": True}},
    }
    assert rows(read(body(document))) == [
        ('redis_db_keys{env="prod",redis_id="r1",site="x"}', NOW, 7.0),
        ('redis_db_on{env="prod",redis_id="r1",site="x"}', NOW, 1.0),
    ]
    scraped = {"prometheus": {"labels": {"job": "node"}, "metrics": {"up": 1}}}
    assert rows(read(body(scraped))) == [('up{job="node"}', NOW, 1.0)]


def test_fields_may_be_labels_or_left_out_by_option() -> None:
    codec = Bulk(label_fields=["system.process.cmdline"], drop_fields=["system.process.cpu"])
    document = {"system": {"process": {"cmdline": "x -y", "cpu": {"pct": 1}, "fd": {"open": 3}}}}
    assert rows(read(body(document), codec)) == [('system_process_fd_open{system_process_cmdline="x -y"}', NOW, 3.0)]


def test_a_message_without_numbers_is_an_event() -> None:
    (event,) = read(body({"message": "started", "host": {"name": "a"}})).events
    assert (event.text, event.time, event.labels) == ("started", NOW, (("host_name", "a"),))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"create":{}}\n{"a":', ("document 1", "bad_json", 1)),
        (b'{"create":{}}\n[1]', ("document 1", "bad_json", 1)),
        (b'{"update":{}}\n{"doc":{"a":{"b":1}}}', ("document 1", "not_supported", 1)),
        (b'{"delete":{"_id":"1"}}', ("document 1", "not_supported", 1)),
        (b"rubbish", ("document 1", "not_supported", 1)),
        (b'{"create":{}}\n{"@timestamp":"yesterday","a":{"b":1}}', ("document 1", "bad_time", 1)),
        (b'{"create":{}}\n{"@timestamp":[1],"a":{"b":1}}', ("document 1", "bad_time", 1)),
        (b'{"create":{}}\n{"host":{"name":"x"}}', ("document 1", "no_value", 1)),
        (b'{"index":{}}\n' + b'{"a":' * 30 + b"1" + b"}" * 30, ("document 1", "too_large", 1)),
        (b'{"index":{}}\n{"host":{"name":"' + b"x" * 5000 + b'"},"a":{"b":1}}', ("document 1", "key_too_long", 1)),
        (b'{"index":{}}\n{"host":{"name":"\\ud800"},"a":{"b":1}}', ("document 1", "not_utf8", 1)),
        (b'{"index":{}}\n{"a":{"b":1,"c":"text"}}', ("document 1, field a.c", "string_field", 1)),
        (b'{"index":{}}\n{"a":{"b":1,"c":[1,2]}}', ("document 1, field a.c", "list", 1)),
        (b'{"index":{}}\n{"a":{"b":1,"c":1e999}}', ("document 1, field a.c", "not_finite", 1)),
    ],
)
def test_what_is_left_out_is_named(line: bytes, reason: tuple[str, str, int]) -> None:
    decoded = read(body({"x": {"y": 1}}) + line + b"\n" + body({"x": {"y": 2}}))
    assert [v for name, _, v in rows(decoded) if name == "x_y"] == [1.0, 2.0]
    assert reasons(decoded) == [reason]


def test_an_action_at_the_end_lacks_its_document() -> None:
    assert reasons(read(body({"x": {"y": 1}}) + b'{"create":{}}')) == [("document 1", "bad_json", 1)]


def test_a_body_without_any_action_is_no_bulk_body() -> None:
    with pytest.raises(DecodeError, match="expected an action"):
        read(b'{"x":{"y":1}}\n')
    assert len(read(b"\n").batch) == 0


def test_actions_and_documents_go_together() -> None:
    sent = (
        b'{"index":{}}\n{"a":1}\n\n{"delete":{}}\n{"create":{}}\r\n{"a":2}\n{"update":{}}\n{"doc":{}}\nx\n{"index":{}}'
    )
    assert [action for action, _ in actions(sent)] == ["index", "delete", "create", "update", "?", "index"]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_MAX_SERIES", 10)
    codec = Bulk()
    for n in range(50):
        assert len(read(body({"x": {f"y{n}": n}}), codec).batch.series) <= 12
