"""SenML: base fields, times relative to now, units, sums and texts, as JSON and CBOR, by the examples of RFC 8428."""

from __future__ import annotations

import json
import random
from typing import Any

import cbor2
import pytest

from almenara.codecs.senml import Senml
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import Series
from almenara.plugin.contracts import Context
from almenara.testing.codecs import try_decode

NOW = 1_700_000_000_000_000_000
S = 10**9
OW = "urn:dev:ow:10e2073a01080063"


def read(pack: Any, codec: Senml | None = None, content_type: str = "", topic: str = "") -> Decoded:
    payload = pack if isinstance(pack, bytes) else json.dumps(pack).encode()
    return (codec or Senml()).decode(payload, Context(received_ns=NOW, content_type=content_type, topic=topic))


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), t, v) for i, t, v in zip(b.id, b.time, b.value, strict=True)]


def reasons(decoded: Decoded) -> list[tuple[str, str, int]]:
    return [(r.where, r.reason, r.rows) for r in decoded.rejected]


def test_base_fields_hold_until_they_change() -> None:
    pack = [
        {"bn": f"{OW}:", "bt": 1.276020076001e9, "bu": "A", "bver": 5, "n": "voltage", "u": "V", "v": 120.1},
        {"n": "current", "t": -5, "v": 1.2},
        {"n": "current", "v": 1.7},
    ]
    at = 1_276_020_076_001_000_000
    decoded = read(pack)
    assert rows(decoded) == [
        (f'voltage{{device="{OW}"}}', at, 120.1),
        (f'current{{device="{OW}"}}', at - 5 * S, 1.2),
        (f'current{{device="{OW}"}}', at, 1.7),
    ]
    units = {str(Series.from_key(key)): about.unit for key, about in decoded.metadata.items()}
    assert units == {f'voltage{{device="{OW}"}}': "V", f'current{{device="{OW}"}}': "A"}


def test_values_and_sums_are_added_to_their_base() -> None:
    decoded = read(
        [{"bv": 20, "bs": 100, "n": "x", "v": 1.5, "s": 7, "u": "W"}, {"n": "x", "s": 8}, {"n": "x", "v": 1}]
    )
    assert rows(decoded) == [("x", NOW, 21.5), ("x_sum", NOW, 107.0), ("x_sum", NOW, 108.0), ("x", NOW, 21.0)]
    assert decoded.metadata[b"x_sum"].kind == "counter"


def test_times_below_2_to_28_are_relative_to_now() -> None:
    pack = [
        {"n": "x", "v": 1},
        {"n": "x", "v": 2, "t": -30},
        {"n": "x", "v": 3, "t": 2**28 - 1},
        {"n": "x", "v": 4, "t": 2**28},
    ]
    assert [t for _, t, _ in rows(read(pack))] == [NOW, NOW - 30 * S, NOW + (2**28 - 1) * S, 2**28 * S]
    based = [{"bt": -100, "n": "x", "v": 1, "t": 40.5}, {"n": "x", "bt": 1.7e9, "t": 0.25, "v": 2}]
    assert [t for _, t, _ in rows(read(based))] == [NOW - 59_500_000_000, 1_700_000_000_250_000_000]


@pytest.mark.parametrize(
    ("name", "unit", "series"),
    [
        (OW, "Cel", f'temperature{{device="{OW}"}}'),
        (OW, "%RH", f'humidity{{device="{OW}"}}'),
        (OW, "xyz", f'xyz{{device="{OW}"}}'),
        (OW, "", f'value{{device="{OW}"}}'),
        (f"{OW}_temp", "Cel", f'temp{{device="{OW}"}}'),
        ("2001:db8::2/temperature", "Cel", 'temperature{device="2001:db8::2"}'),
        ("temperature", "Cel", "temperature"),
        ("/3303/0/5700", "Cel", '_5700{device="/3303/0"}'),
    ],
)
def test_a_name_is_parted_into_device_and_measure(name: str, unit: str, series: str) -> None:
    assert rows(read([{"n": name, "u": unit, "v": 1}])) == [(series, NOW, 1.0)]


def test_booleans_texts_and_data() -> None:
    pack = [
        {"bn": f"{OW}:", "n": "temp", "u": "Cel", "v": 23.1},
        {"n": "label", "vs": "Machine Room"},
        {"n": "open", "vb": False},
        {"n": "nfc-reader", "vd": "aGkgCg"},
    ]
    decoded = read(pack)
    assert rows(decoded) == [(f'temp{{device="{OW}"}}', NOW, 23.1), (f'open{{device="{OW}"}}', NOW, 0.0)]
    assert reasons(decoded) == [("record 1", "string_field", 1), ("record 3", "data_field", 1)]
    assert (f'label{{device="{OW}",label="Machine Room"}}', NOW, 1.0) in rows(read(pack, Senml(texts="state")))
    (event,) = read(pack, Senml(texts="event")).events
    assert (event.text, event.labels) == ("Machine Room", (("event", "label"), ("device", OW)))


def test_cbor_says_the_same_as_json() -> None:
    packs = (
        [{-2: f"{OW}:", -3: 1276020076.001, -4: "A", -1: 5, 0: "voltage", 1: "V", 2: 120.1},
         {0: "current", 6: -5, 2: 1.2}],
        [{"bn": f"{OW}:", "bt": 1276020076.001, "bu": "A", "bver": 5, "n": "voltage", "u": "V", "v": 120.1},
         {"n": "current", "t": -5, "v": 1.2}],
    )  # fmt: skip
    for content_type in ("application/senml+cbor", ""):
        assert rows(read(cbor2.dumps(packs[0]), None, content_type)) == rows(read(packs[1]))
    from decimal import Decimal

    assert rows(read(cbor2.dumps([{0: "x", 2: Decimal("27.5")}]))) == [("x", NOW, 27.5)]


@pytest.mark.parametrize("end", [b"", b",", b",\n", b"]"])
def test_a_stream_may_be_cut_after_any_record(end: bytes) -> None:
    stream = b'[{"bn":"a/","n":"x","v":1},\n{"n":"x","v":2}' + end
    assert [v for _, _, v in rows(read(stream, None, "application/sensml+json"))] == [1.0, 2.0]
    assert len(read(b"\x9f" + cbor2.dumps({0: "x", 2: 1}) * 2).batch) == 2


@pytest.mark.parametrize(
    ("pack", "says"),
    [
        ([{"n": "x", "v": 1, "must_": 2}], "record 0: the field 'must_' must be understood"),
        ([{"bver": 11, "n": "x", "v": 1}], "record 0: found SenML version 11"),
        ({"n": "x", "v": 1}, "found dict, expected a list"),
        (b"hello", "no SenML as JSON"),
        (b"[{", "no SenML as JSON"),
        (b"\x81\xa1", "no SenML as CBOR"),
    ],
)
def test_what_is_no_pack_is_named(pack: Any, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        read(pack)
    with pytest.raises(DecodeError, match="no SenML as CBOR"):
        read(b"\x81\xa1", None, "application/senml+cbor")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"v": 1}, "no_name"), ({"n": "x"}, "no_value"), ({"n": "x", "v": "1"}, "bad_record"), (5, "bad_record"),
        ({"n": "x", "v": True}, "bad_record"), ({"n": "x", "v": 1, "t": 1e300}, "bad_time"),
        ({"n": "x", "v": 10**400}, "not_finite"), ({"n": "x" * 5000, "v": 1}, "key_too_long"),
        ({"n": "x/y", "v": 1, "labels": {"a": 1}}, "bad_record"), ({"n": "\ud800/x", "v": 1}, "not_utf8"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_named(record: Any, reason: str) -> None:
    decoded = read([{"n": "ok", "v": 1}, record])
    assert (rows(decoded), reasons(decoded)) == ([("ok", NOW, 1.0)], [("record 1", reason, 1)])


def test_a_record_of_base_fields_alone_is_no_mistake() -> None:
    assert not read([{"bn": "a/"}, {"n": "x", "v": 1}]).rejected


@pytest.mark.parametrize("form", ["json", "cbor"])
def test_what_is_encoded_is_read_back_with_its_labels(form: Any) -> None:
    codec = Senml(form=form)
    batch = Batch.of(
        [(Series.of("a:b_c", x="1", device="d"), NOW + 1000, 0.1), (b"plain", NOW, -2.0), (b"a:b", NOW, 3.0)]
    )
    assert rows(read(codec.encode(batch), codec)) == rows(Decoded(batch))


def test_any_bytes_as_cbor_give_rows_or_a_decode_error() -> None:
    chance, codec = random.Random(1), Senml()
    good = cbor2.dumps([{-2: "a/", 0: "x", 2: 1.5, 6: -3, 1: "V"}, {0: "y", 3: "text", 8: b"data", 5: 4}])
    for _ in range(3000):
        changed = bytearray(good)
        for _ in range(chance.randint(1, 6)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        try_decode(codec, bytes(changed), Context(content_type="application/senml+cbor", received_ns=NOW))
