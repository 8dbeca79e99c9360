"""The compiled JSON reader gives what the general one gives, row for row, whatever it has read before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almenara.codecs import _json_fast, _json_memo
from almenara.codecs.json import Json
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.plugin.contracts import Context, ManyCodec, Packet
from almenara.testing.codecs import damaged, example

NOW = 1_700_000_000_000_000_000

OPTIONS: Sequence[dict[str, Any]] = (
    {},
    {"time_unit": "ms", "drop_keys": ["c"], "state_keys": ["b"], "topic_label": ""},
    {"value_keys": ["a", "b_c"], "label_keys": ["d"], "time_keys": ["time", "t"], "time_unit": "s"},
    {"texts": "ignore", "strip": ["a_"], "zone": "Europe/Berlin"},
    {"event_keys": ["b"], "on_words": ["open"], "off_words": ["closed"], "name": "{level[0]}_{key}"},
)


def packets(payloads: Sequence[bytes], topics: int = 3) -> list[Packet]:
    return [Packet(f"plant/{n % topics}", payload, NOW + n) for n, payload in enumerate(payloads)]


def plainly(codec: Json, given: Sequence[Packet]) -> list[Any]:
    """What the general reader says of each packet."""
    found: list[Any] = []
    for p in given:
        try:
            found.append(told(codec._general.decode(p.payload, Context(topic=p.topic, received_ns=p.received_ns))))
        except DecodeError as error:
            found.append(str(error))
    return found


def told(decoded: Decoded) -> tuple[Any, ...]:
    b = decoded.batch
    rows = [(b.series.keys[i], int(t), repr(float(v))) for i, t, v in zip(b.id, b.time, b.value, strict=True)]
    return rows, list(decoded.rejected), list(decoded.events)


def at_once(codec: Json, given: Sequence[Packet]) -> list[Any]:
    """What the compiled reader says of them."""
    many = codec.decode_many(given)
    owner = np.asarray(many.owner)
    assert len(owner) == len(many.batch)
    assert (np.diff(owner) >= 0).all()
    found: list[Any] = []
    for at in range(len(given)):
        note = many.notes.get(at)
        if isinstance(note, DecodeError):
            assert not (owner == at).any()
            found.append(str(note))
            continue
        mine = owner == at
        columns = (np.asarray(c)[mine] for c in (many.batch.id, many.batch.time, many.batch.value))
        batch = Batch(many.batch.series, *columns)
        found.append(told(Decoded(batch, *((note.events, note.rejected) if note else ()))))
    return found


def check(payloads: Sequence[bytes], options: dict[str, Any], times: int = 4) -> None:
    codec, plain, given = Json(**options), Json(**options), packets(payloads)
    expected = plainly(plain, given)
    for _ in range(times):
        got = at_once(codec, given)
        for payload, one, other in zip(payloads, got, expected, strict=True):
            assert one == other, payload


MESSAGES = (
    b'{"a":1,"id":"x","time":1700000000}', b'{"a":2,"id":"x","time":1700000000.25}', b'{"a":-0,"time":1700000000123}',
    b'{"a":-0.0,"b":1e3,"c":1E-400,"d":12345678901234567890}',
    b'{"a":1.5,"time":"2024-02-29T23:59:59.123456789+01:00"}',
    b'{"a":1,"time":"2023-02-29T00:00:00Z"}', b'{"a":1,"time":"2024-12-31 00:00:00"}', b'{"time":null,"a":1}',
    b'{"time":true,"a":1}', b'{"ts":1,"time":2,"a":3}', b'{"x":{"time":5},"time":6,"a":1}', b'{"x":{"time":5},"a":1}',
    b'{"a":1,"a":2}', b'{"a":{"b":1},"a_b":2}', b'{"a":{"b":"t"},"a_b":"u","v":1}', b'{"a":true,"b":false,"c":null}',
    b'{"a":"ON","b":"heat","c":"closed"}', b'{"id":1.50,"a":1}', b'{"id":"1.50","a":1}', b'{"id":true,"a":1}',
    b'{"id":"true","a":1}', b'{"id":"","a":1}', b'{"a":[1,2]}', b'{"a":[{"b":1},{"b":2}],"d":"x"}', b"[]", b" [ ] ",
    b'[{"a":1},{"a":2,"id":"y"},{"b":null},5]', b'[{"a":1},{"a":2}]x', b'[{"a":1},]', b'{"a":1,}', b'{"a":01}',
    b'{"a":1.}', b'{"a":.5}', b'{"a":+1}', b'{"a":NaN}', b'{"a":1e999}', b"12", b"-1.5e2 ", b"true", b"ON", b'"32"',
    b"nul", b"null", b"{}", b"", b" \n", b'{"a":1}\n{"a":2}\n', b'{"a":1}\n\n{"b":}\n{"a":3}', b'{"a":1} {"a":2}',
    b'{\n"a":1}\n{"a":2}', b'\n\n{"a":1}\r\n {"a":null}', b'{"a":1}\n[{"a":2}]', b'{"\\u0061":1}',
    '{"é":1,"s":"ü"}'.encode(),
    b'{"s":"\xff","a":1}', b'{"c":"\xff","a":1}', b'{"s":"a\nb","a":1}', b'{"s":"\\ud800","a":1}',
    b'{"s":"\\"}","a":1}',
    b'{"metric":{"__name__":"m","h":"1"},"time":5,"value":2.5}',
    b'{"metric":{"__name__":"m","h":"}\\""},"time":-5,"value":null}',
    b'{"metric":{"__name__":"m"},"time":5.0,"value":1}', b'{"metric":{"__name__":1},"time":5,"value":1}',
    b'{"metric":{"__name__":"m","h":"1"},"time":5,"value":2.5,"x":1}', b'{"metric":{"x":"1"},"v":1}',
    b'{"metric":{"__name__":"m","h":"1"},"time":9223372036854775808,"value":1}', b'{"time":99999999999999999999,"a":1}',
    b'{"time":[1,2,3],"a":[1,2.5,null],"id":"x"}', b'{"time":[1,2],"a":[1]}', b'{"time":9300000000,"a":1}',
    b'{"x":' * 18 + b"1" + b"}" * 18, b'{"x":[' * 20 + b"]}" * 20, b'{"a":"' + b"x" * 5000 + b'","b":1}',
    b'\xef\xbb\xbf{"a":1}',
    b'{"a":123456789012345678901.5,"b":0.1234567890123456789,"c":9007199254740993}', b'{"": 1}', b'{"a":1}}', b"}{",
)  # fmt: skip  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_messages_of_all_sorts_give_the_same(options: dict[str, Any]) -> None:
    check(MESSAGES, options)
    for message in MESSAGES:
        check([message], options, times=3)
        check([b"[" + message + b"," + message + b"]", message + b"\n" + message], options, times=3)


def test_damaged_messages_give_the_same() -> None:
    codec, plain = Json(), Json()
    sent = (
        Json().encode(example(8)),
        b'{"id":"CITI","t":20.04,"time":1700000007,"in":{"x":1,"y":"z"},"on":true}\n' * 3,
    )
    for payload in sent:
        given = packets([p for p in damaged(payload) if len(p) < 20_000])
        expected = plainly(plain, given)
        for _ in range(3):
            assert at_once(codec, given) == expected


keys = st.sampled_from(["a", "b", "c", "d", "id", "time", "ts", "metric", "__name__", "value", "é", 'q"', "x y", ""])
leaves = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=True)
    | st.sampled_from(["ON", "off", "x", "", "y\\z", 'q"', "2024-02-29T12:00:00Z", "1700000000", "ü", "\ud800"])
    | st.text(max_size=4) | st.sampled_from([1700000000, 1700000000.5, 1_700_000_000_123])
)  # fmt: skip
objects = st.recursive(
    st.dictionaries(keys, leaves, max_size=5),
    lambda inner: st.dictionaries(keys, leaves | inner | st.lists(inner, max_size=2), max_size=4),
    max_leaves=6,
)
spacing = st.sampled_from([(",", ":"), (" , ", " : ")])
documents = objects | st.lists(objects | leaves, max_size=4) | leaves


@st.composite
def written(draw: st.DrawFn) -> bytes:
    """A payload: a document, or several lines of them, with and without spaces and escapes."""
    several = draw(st.lists(documents, min_size=1, max_size=3))
    text = "\n".join(
        json.dumps(
            one, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([(",", ":"), (" , ", " : ")]))
        )
        for one in several
    )
    return text.encode(errors="surrogatepass")


@settings(max_examples=300, deadline=None)
@given(st.lists(written(), min_size=1, max_size=6), st.sampled_from(OPTIONS))
def test_any_messages_give_the_same(payloads: list[bytes], options: dict[str, Any]) -> None:
    check(payloads, options, times=3)


def test_a_large_payload_is_read_alike_by_decode() -> None:
    rows = [{"id": f"d{n % 7}", "t": n / 3, "ok": n % 2 == 0, "time": NOW // 10**9 + n} for n in range(500)]
    rows[100]["t"] = None  # type: ignore[assignment]
    for payload in (json.dumps(rows).encode(), "\n".join(map(json.dumps, rows)).encode()):
        codec, context = Json(), Context(topic="a", received_ns=NOW)
        expected = told(codec._general.decode(payload, context))
        for _ in range(4):
            assert told(codec.decode(payload, context)) == expected
    with pytest.raises(DecodeError):
        codec.decode(b"x" * 10_000, context)


def test_known_messages_need_no_python() -> None:
    codec = Json()
    given = packets([b'{"id":"d%d","t":%d.25,"time":%d}' % (n % 5, n, NOW // 10**6 + n) for n in range(200)])
    for _ in range(3):
        codec.decode_many(given)
    assert isinstance(codec, ManyCodec)
    codec._general.one = codec._general.decode = None  # type: ignore[assignment, method-assign]
    assert len(codec.decode_many(given).batch) == 200


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("MAX_ENTRIES", "MAX_TOPICS"):
        with monkeypatch.context() as patch:
            patch.setattr(_json_memo, limit, 20)
            codec = Json()
            for n in range(0, 200, 10):
                given = [Packet(f"t/{k}", b'{"id":"d%d","v":1}' % k, NOW) for k in range(n, n + 10)]
                for _ in range(3):
                    codec.decode_many(given)
                assert codec._fast._memory._entries <= 40  # type: ignore[union-attr]
                assert len(codec._fast._memory.topics) <= 40  # type: ignore[union-attr]


def test_rows_find_room_however_many_there_are() -> None:
    codec = Json()
    dense = b'{"a":1,"b":2,"c":3,"d":4,"e":5}'
    codec.decode_many(packets([b'{"some_long_key_that_takes_room":"and a long text as well","a":1}'] * 50))
    for _ in range(3):
        codec.decode_many(packets([dense]))
    assert len(codec.decode_many(packets([dense] * 3000)).batch) == 15_000


def test_no_packets_are_no_rows() -> None:
    many = Json().decode_many([])
    assert (len(many.batch), len(many.owner), dict(many.notes)) == (0, 0, {})
    assert _json_fast.Fast is not None


def test_a_payload_of_too_many_values_is_refused_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("almenara.codecs.json.MAX_OBJECTS", 100)
    monkeypatch.setattr("almenara.codecs.json.MAX_VALUES", 150)
    objects, values = b"[" + b"{}," * 200 + b"{}]", b'{"a":[' + b"1," * 200 + b"1]}"
    packets = [Packet("t", payload, 5, "x") for payload in (b'{"v":1}', objects, values, b'{"v":2}')]
    many = Json().decode_many(packets)
    assert list(many.batch.value) == [1, 2]
    assert list(many.owner) == [0, 3]
    assert ["more than" in str(many.notes[at]) for at in (1, 2)] == [True, True]
    for payload in (objects, values):
        with pytest.raises(DecodeError, match="more than"):
            Json().decode(payload, Context("t", {}, "", 5))
