"""Sparkplug B: births and aliases, data types, deaths, and what is refused."""

from __future__ import annotations

import math
import random
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.codecs.messages import classes

from almenara.codecs import sparkplug
from almenara.codecs.sparkplug import Births, Sparkplug
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.plugin.contracts import Context
from almenara.testing.codecs import try_decode

NOW = 1_700_000_000_000_000_000
MS = 1_000_000
#: https://github.com/eclipse/tahu/blob/master/sparkplug_b/sparkplug_b.proto, without the parts that are not read
MESSAGES = classes(
    "org.eclipse.tahu.protobuf",
    {
        "PropertyValue": "1 type uint32, 2 is_null bool, 3 int_value uint32, 8 string_value string",
        "PropertySet": "1* keys string, 2* values PropertyValue",
        "Metric": "1 name string, 2 alias uint64, 3 timestamp uint64, 4 datatype uint32, 5 is_historical bool, "
        "6 is_transient bool, 7 is_null bool, 9 properties PropertySet, 10 int_value uint32, 11 long_value uint64, "
        "12 float_value float, 13 double_value double, 14 boolean_value bool, 15 string_value string, "
        "16 bytes_value bytes, 17 dataset_value bytes, 18 template_value bytes",
        "Payload": "1 timestamp uint64, 2* metrics Metric, 3 seq uint64, 4 uuid string, 5 body bytes",
    },
    syntax="proto2",
)


@pytest.fixture(autouse=True)
def _births(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparkplug, "_SHARED", Births())


def payload(*metrics: dict[str, Any], timestamp: int = NOW // MS) -> bytes:
    return MESSAGES["Payload"](timestamp=timestamp, seq=1, metrics=metrics).SerializeToString()


def read(topic: str, body: bytes, codec: Sparkplug | None = None) -> Decoded:
    return (codec or Sparkplug()).decode(body, Context(topic=topic, received_ns=NOW + 5))


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), t, v) for i, t, v in zip(b.id, b.time, b.value, strict=True)]


def reasons(decoded: Decoded) -> list[tuple[str, str]]:
    return [(r.where, r.reason) for r in decoded.rejected]


def test_a_metric_becomes_a_series_with_its_source() -> None:
    body = payload({"name": "Inputs/Temp °C", "datatype": 10, "double_value": 21.5, "timestamp": 1_600_000_000_123})
    assert rows(read("spBv1.0/plant/DDATA/gateway/press", body)) == [
        ('Inputs_Temp__C{device="press",group="plant",node="gateway"}', 1_600_000_000_123 * MS, 21.5)
    ]
    assert rows(read("spBv1.0/plant/NDATA/gateway", body))[0][0] == 'Inputs_Temp__C{group="plant",node="gateway"}'


@pytest.mark.parametrize(
    ("datatype", "value", "expected"),
    [
        (1, {"int_value": 0xFFFFFFF9}, -7.0),
        (1, {"int_value": 0xF9}, -7.0),
        (2, {"int_value": 0xFFFFFED4}, -300.0),
        (2, {"int_value": 0xFED4}, -300.0),
        (3, {"int_value": 2**32 - 70000}, -70000.0),
        (4, {"long_value": 2**64 - 5}, -5.0),
        (5, {"int_value": 250}, 250.0),
        (7, {"int_value": 2**32 - 1}, 2.0**32 - 1),
        (7, {"long_value": 2**32 - 1}, 2.0**32 - 1),
        (8, {"long_value": 2**64 - 1}, 2.0**64),
        (9, {"float_value": 0.5}, 0.5),
        (10, {"double_value": -1e300}, -1e300),
        (11, {"boolean_value": True}, 1.0),
        (13, {"long_value": 1_600_000_000_000}, 1.6e12),
        (0, {"int_value": 3}, 3.0),
    ],
)
def test_values_are_read_by_their_data_type(datatype: int, value: dict[str, Any], expected: float) -> None:
    assert rows(read("", payload({"name": "x", "datatype": datatype, **value}))) == [("x", NOW, expected)]


def test_null_is_known_to_be_missing() -> None:
    ((_, _, value),) = rows(read("", payload({"name": "x", "datatype": 10, "is_null": True})))
    assert math.isnan(value)


def test_aliases_of_a_birth_name_the_data_of_all_decoders() -> None:
    birth = payload(
        {"name": "a", "alias": 1, "datatype": 2, "int_value": 5},
        {"name": "b", "alias": 0, "datatype": 11, "is_null": True},
    )
    data = payload({"alias": 1, "int_value": 0xFFFFFFFF}, {"alias": 0, "boolean_value": True})
    read("spBv1.0/g/DBIRTH/n/d", birth)
    of = '{device="d",group="g",node="n"}'
    assert rows(read("spBv1.0/g/DDATA/n/d", data)) == [(f"a{of}", NOW, -1.0), (f"b{of}", NOW, 1.0)]


def test_an_alias_belongs_to_its_device_and_its_last_birth() -> None:
    data = payload({"alias": 1, "int_value": 1})
    read("spBv1.0/g/DBIRTH/n/d", payload({"name": "a", "alias": 1, "datatype": 7, "int_value": 5}))
    assert reasons(read("spBv1.0/g/DDATA/n/other", data)) == [("metric 1", "unknown_alias")]
    read("spBv1.0/g/DBIRTH/n/d", payload({"name": "z", "alias": 1, "datatype": 7, "int_value": 5}))
    assert rows(read("spBv1.0/g/DDATA/n/d", data))[0][0].startswith("z{")
    read("spBv1.0/g/NBIRTH/n", payload({"name": "bdSeq", "datatype": 4, "long_value": 1}))
    rejected = read("spBv1.0/g/DDATA/n/d", data).rejected
    assert [r.reason for r in rejected] == ["unknown_alias"]
    assert "ask the node" in rejected[0].detail


def test_a_death_ends_the_series_of_a_node_and_its_devices() -> None:
    read("spBv1.0/g/NBIRTH/n", payload({"name": "up", "datatype": 11, "boolean_value": True}))
    read("spBv1.0/g/DBIRTH/n/d", payload({"name": "a", "alias": 1, "datatype": 7, "int_value": 5}))
    read("spBv1.0/g/DBIRTH/n/e", payload({"name": "b", "datatype": 7, "int_value": 5}))
    ended = rows(read("spBv1.0/g/DDEATH/n/d", payload()))
    assert [(s, t) for s, t, _ in ended] == [('a{device="d",group="g",node="n"}', NOW + 5)]
    ended = rows(read("spBv1.0/g/NDEATH/n", payload({"name": "bdSeq", "datatype": 4, "long_value": 1})))
    assert sorted(s.partition("{")[0] for s, _, _ in ended) == ["a", "b", "up"]
    assert all(math.isnan(v) for _, _, v in ended)


def test_what_is_no_number_is_refused_by_name() -> None:
    body = payload(
        {"name": "text", "datatype": 12, "string_value": "auto"},
        {"name": "set", "datatype": 16, "dataset_value": b"x"},
        {"name": "template", "datatype": 19, "template_value": b"x"},
        {"name": "raw", "datatype": 17, "bytes_value": b"x"},
        {"name": "many", "datatype": 31, "bytes_value": b"x"}, {"name": "none", "datatype": 10},
        {"name": "inf", "datatype": 10, "double_value": math.inf}, {"datatype": 10, "double_value": 1.0},
        {"name": "late", "datatype": 10, "double_value": 1.0, "timestamp": 2**63},
        {"name": "nulltext", "datatype": 12, "is_null": True},
    )  # fmt: skip
    assert reasons(read("", body)) == [
        ("metric text", "string_field"), ("metric set", "dataset"), ("metric template", "template"),
        ("metric raw", "bytes"), ("metric many", "array"), ("metric none", "no_value"), ("metric inf", "not_finite"),
        ("metric 8", "no_name"), ("metric late", "time_out_of_range"), ("metric nulltext", "string_field"),
    ]  # fmt: skip


def test_texts_become_events_where_the_options_say_so() -> None:
    body = payload({"name": "Mode", "datatype": 12, "string_value": "auto"})
    (event,) = read("spBv1.0/g/DDATA/n/d", body, Sparkplug(strings="event")).events
    assert (event.time, event.text) == (NOW, "auto")
    assert event.labels == (("device", "d"), ("group", "g"), ("metric", "Mode"), ("node", "n"))


def test_messages_to_nodes_are_no_measurements() -> None:
    for topic in ("spBv1.0/g/NCMD/n", "spBv1.0/STATE/scada", "spBv1.0/g"):
        decoded = read(topic, b'{"online":true}')
        assert (len(decoded.batch), decoded.rejected[0].reason) == (0, "command")


def test_damaged_payloads_are_named() -> None:
    with pytest.raises(DecodeError, match="no Sparkplug B payload: damaged at byte"):
        read("spBv1.0/g/NDATA/n", b"\x12\xff")


def test_births_are_bounded() -> None:
    births = Births(limit=10)
    for n in range(100):
        births.born(("g", f"n{n}", ""), {b"%d" % k: (k, 0) for k in range(3)})
    assert [births.of(("g", f"n{n}", ""))[1] != {} for n in (0, 96, 97, 99)] == [False, False, True, True]
    births.born(("g", "big", ""), {b"%d" % k: (k, 0) for k in range(11)})
    assert births.of(("g", "big", "")) == ({}, {})


def test_births_may_be_told_by_many_threads() -> None:
    births = Births(limit=50)

    def work(n: int) -> None:
        for k in range(300):
            births.born(("g", f"n{k % 7}", f"d{n}"), {b"a": (1, 0)})
            births.of(("g", f"n{k % 5}", f"d{n}"))
            births.ends(("g", f"n{k % 7}", ""))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert births._count == sum(len(one) for one, _ in births._known.values()) == 28


def test_what_is_written_can_be_read_by_others() -> None:
    batch = Batch.of([(b"load\xffhost\xfea", NOW, 0.5), (b"load\xffhost\xfea", NOW + MS, math.nan)])
    sent = MESSAGES["Payload"].FromString(Sparkplug().encode(batch))
    assert [(m.name, m.timestamp, m.datatype, m.double_value, m.is_null) for m in sent.metrics] == [
        ("load", NOW // MS, 10, 0.5, False), ("load", NOW // MS + 1, 10, 0.0, True),
    ]  # fmt: skip
    assert (sent.metrics[0].properties.keys[0], sent.metrics[0].properties.values[0].string_value) == (
        "label:host",
        "a",
    )


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 12))
def test_noise_gives_rows_or_a_decode_error(chance: random.Random, changes: int) -> None:
    body = bytearray(
        payload({"name": "a", "alias": 1, "datatype": 2, "int_value": 5, "properties": {"keys": ["label:x"]}})
    )
    for _ in range(changes):
        body[chance.randrange(len(body))] = chance.randrange(256)
    for kind in ("DBIRTH", "DDATA", "DDEATH"):
        try_decode(Sparkplug(), bytes(body), Context(topic=f"spBv1.0/g/{kind}/n/d", received_ns=NOW))
