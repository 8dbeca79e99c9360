"""JSON: what of a message becomes a value, a label and the time, and what is left out under which name."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almenara.codecs import _json_text
from almenara.codecs.json import Json
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import Series
from almenara.plugin.contracts import Context

NOW = 1_700_000_000_000_000_000
S = 10**9


def read(payload: bytes | str | Any, topic: str = "", codec: Json | None = None) -> Decoded:
    if not isinstance(payload, bytes | str):
        payload = json.dumps(payload)
    payload = payload.encode() if isinstance(payload, str) else payload
    return (codec or Json()).decode(payload, Context(topic=topic, received_ns=NOW))


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), t, v) for i, t, v in zip(b.id, b.time, b.value, strict=True)]


def reasons(decoded: Decoded) -> list[tuple[str, str, int]]:
    return [(r.where, r.reason, r.rows) for r in decoded.rejected]


def test_an_object_on_a_topic_becomes_a_series_for_each_number() -> None:
    text = '{"id":"CITIMUM","temperature":20.04,"humidity":32.06,"timestamp":1700000007,"city":"Mumbai"}'
    decoded = read(text, "sensors/mumbai")
    labels = '{city="Mumbai",id="CITIMUM",topic="sensors/mumbai"}'
    assert rows(decoded) == [(f"temperature{labels}", NOW + 7 * S, 20.04), (f"humidity{labels}", NOW + 7 * S, 32.06)]
    assert not decoded.rejected


@pytest.mark.parametrize(
    ("text", "value"),
    [("32", 32.0), (" 32.5\n", 32.5), ("-1e3", -1e3), ("true", 1.0), ("False", 0.0), ("ON", 1.0), ('"off"', 0.0)],
)
def test_a_bare_number_is_named_after_the_last_level_of_its_topic(text: str, value: float) -> None:
    assert rows(read(text, "sensors/x/temp")) == [('temp{topic="sensors/x/temp"}', NOW, value)]
    assert rows(read(text, "sensors/x/air temp/")) == [('air_temp{topic="sensors/x/air temp/"}', NOW, value)]
    assert rows(read(text)) == [("value", NOW, value)]


@pytest.mark.parametrize(
    "sent", [1700000007, 1700000007000, 1700000007.0, "1700000007", "2023-11-14T22:13:27Z", "2023-11-14T23:13:27+01:00"]
)
@pytest.mark.parametrize("key", ["time", "timestamp", "ts", "Time"])
def test_the_devices_own_time_counts_in_any_unit(sent: Any, key: str) -> None:
    assert rows(read({key: sent, "t": 1})) == [("t", NOW + 7 * S, 1.0)]


@pytest.mark.parametrize("sent", ["yesterday", True, 1e300, "", "9" * 100, 10**30])
def test_a_time_that_cannot_be_read_costs_the_record(sent: Any) -> None:
    decoded = read([{"time": sent, "a": 1, "b": 2}, {"a": 3}])
    assert rows(decoded) == [("a", NOW, 3.0)]
    assert reasons(decoded) == [("item 0", "bad_time", 2)]


def test_time_unit_may_be_said() -> None:
    assert rows(read({"ts": 5, "v": 1}, codec=Json(time_unit="ms"))) == [("v", 5_000_000, 1.0)]
    assert rows(read({"ts": "5", "v": 1}, codec=Json(time_unit="s"))) == [("v", 5 * S, 1.0)]
    assert rows(read({"ts": None, "v": 1})) == [("v", NOW, 1.0)]


def test_identifiers_are_labels_even_as_numbers() -> None:
    assert rows(read({"id": 7, "Device": 1.5, "host": True, "v": 1})) == [
        ('v{Device="1.5",host="true",id="7"}', NOW, 1.0)
    ]


def test_long_numeric_identifiers_keep_every_digit() -> None:
    assert rows(read('{"id":89490200001234567890,"v":1}')) == [('v{id="89490200001234567890"}', NOW, 1.0)]


def test_nested_keys_are_joined() -> None:
    tasmota = {"Time": "2023-11-14T22:13:27", "AM2301": {"Temperature": 20.5, "Id": 3}, "TempUnit": "C", "on": False}
    assert rows(read(tasmota, "tele/x/SENSOR")) == [
        ('AM2301_Temperature{AM2301_Id="3",TempUnit="C",topic="tele/x/SENSOR"}', NOW + 7 * S, 20.5),
        ('on{AM2301_Id="3",TempUnit="C",topic="tele/x/SENSOR"}', NOW + 7 * S, 0.0),
    ]


def test_a_list_of_objects_is_many_records() -> None:
    assert rows(read([{"a": 1, "ts": 1700000001}, {"a": 2, "ts": 1700000002}])) == [
        ("a", NOW + S, 1.0),
        ("a", NOW + 2 * S, 2.0),
    ]
    inside = {"site": "x", "time": 1700000001, "sensors": [{"id": 1, "t": 5}, {"id": 2, "t": 6, "time": 1700000002}]}
    assert rows(read(inside)) == [
        ('sensors_t{sensors_id="1",site="x"}', NOW + S, 5.0),
        ('sensors_t{sensors_id="2",site="x"}', NOW + 2 * S, 6.0),
    ]


def test_one_object_a_line_is_read_and_a_bad_line_named() -> None:
    decoded = read('{"a":1}\n\n{"a":\n{"a":2}\r\n7\n[{"a":3}]\n')
    assert [v for _, _, v in rows(decoded)] == [1.0, 2.0, 3.0]
    assert reasons(decoded) == [("line 3", "bad_json", 2)]
    assert rows(read('{\n "a": 1\n}')) == [("a", NOW, 1.0)]


@pytest.mark.parametrize(
    ("payload", "reason", "where"),
    [
        ('{"ok":1,"x":null}', "null", "key x"),
        ('{"ok":1,"x":[1,2]}', "list", "key x"),
        ('{"ok":1,"x":NaN}', "not_finite", "key x"),
        ('{"ok":1,"x":1e999}', "not_finite", "key x"),
        ('{"ok":1,"x":' + "9" * 400 + "}", "not_finite", "key x"),
        ('[{"ok":1},{"city":"x"}]', "no_value", "item 1"),
        ('[{"ok":1},{"city":"\\ud800","v":1}]', "not_utf8", "item 1"),
        ('[{"ok":1},5]', "list", "item 1"),
        ('[{"ok":1},{"city":"' + "x" * 1_000_000 + '","v":1}]', "key_too_long", "item 1, key city"),
        ('[{"ok":1},{"' + "k" * 5000 + '":1}]', "key_too_long", "item 1"),
        ('[{"ok":1},{' + ",".join(f'"k{n}":1' for n in range(10_000)) + "}]", "too_many_keys", "item 1"),
        ('[{"ok":1},{"v":1,' + ",".join(f'"k{n}":"x"' for n in range(65)) + "}]", "too_many_labels", "item 1"),
        ('{"ok":1,"x":' + '{"x":' * 40 + "1" + "}" * 41, "too_deep", "key " + "_".join("x" * 17)),
        ('{"ok":1,"x":[' * 40 + "]}" * 40, None, None),
    ],
)
@pytest.mark.parametrize("fast", [True, False])
def test_what_is_left_out_is_named(
    payload: str, reason: str | None, where: str | None, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fast:
        monkeypatch.setattr(_json_text, "_fast", None)
    codec = Json()
    for _ in range(2):
        decoded = read(payload, codec=codec)
        assert ("ok", NOW, 1.0) in rows(decoded)
        if reason:
            assert reasons(decoded) == [(where, reason, 1)]


@pytest.mark.parametrize("payload", ["onn", "OK", '"32"', "{", "\xff", '{"a":1', "nope\nnope", "[" * 100_000])
@pytest.mark.parametrize("fast", [True, False])
def test_decode_error_says_what_was_found(payload: str, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(_json_text, "_fast", None)
    with pytest.raises(DecodeError, match=r"a/b: found .* expected") as caught:
        read(payload.encode("latin-1"), "a/b")
    assert len(str(caught.value)) < 250


def test_options_change_what_keys_mean() -> None:
    message = {"when": 1700000001, "Temp": "20.5", "rssi": -60, "unit": "C", "junk": "x", "serial": 12}
    codec = Json(
        time_keys=["when"], label_keys=["serial"], value_keys=["temp"], drop_keys=["junk"], topic_label="source"
    )
    assert rows(read(message, "a/b", codec)) == [('Temp{serial="12",source="a/b",unit="C"}', NOW + S, 20.5)]
    assert reasons(read({"temp": "warm"}, codec=codec)) == [("key temp", "not_a_number", 1)]
    assert rows(read({"v": 1}, "a/b", Json(topic_label=""))) == [("v", NOW, 1.0)]


def test_on_and_off_are_values_and_the_words_can_be_chosen() -> None:
    assert rows(read({"state": "ON", "lamp": {"power": "off"}})) == [("state", NOW, 1.0), ("lamp_power", NOW, 0.0)]
    assert rows(read({"door": "Open", "v": 1}, codec=Json(on_words=["open"]))) == [("door", NOW, 1.0), ("v", NOW, 1.0)]
    assert rows(read({"id": "on", "v": 1})) == [('v{id="on"}', NOW, 1.0)]
    for word in ("1", "", "over_8_characters", "ä"):
        with pytest.raises(ValueError, match="on_words, off_words: found"):
            Json(on_words=[word])


def test_a_text_is_a_label_a_state_or_an_event_by_rule() -> None:
    codec = Json(state_keys=["mode"], event_keys=["action"])
    decoded = read({"mode": "heat", "room": "x", "t": 20.5, "action": "pressed"}, "a/b", codec)
    assert rows(decoded) == [
        ('mode{mode="heat",room="x",topic="a/b"}', NOW, 1.0),
        ('t{room="x",topic="a/b"}', NOW, 20.5),
    ]
    (event,) = decoded.events
    assert (event.time, event.text) == (NOW, "pressed")
    assert event.labels == (("event", "action"), ("room", "x"), ("topic", "a/b"))
    assert read({"action": "pressed"}, codec=codec).rejected == []


def test_lists_beside_a_list_of_times_are_columns() -> None:
    sent = {"city": "x", "time": [1700000001, 1700000002], "t": [20, 20.5], "ok": [True, False], "in": {"id": 7}}
    decoded = read(sent, "a", Json(topic_label=""))
    labels = '{city="x",in_id="7"}'
    assert rows(decoded) == [
        (f"t{labels}", NOW + S, 20.0), (f"t{labels}", NOW + 2 * S, 20.5),
        (f"ok{labels}", NOW + S, 1.0), (f"ok{labels}", NOW + 2 * S, 0.0),
    ]  # fmt: skip
    assert not decoded.rejected


@pytest.mark.parametrize(
    ("more", "reason", "kept"),
    [
        ({"b": [1]}, ("key b", "uneven", 1), 2),
        ({"b": [1, None]}, ("key b", "null", 1), 3),
        ({"b": [1, "x"]}, ("key b", "list", 2), 2),
        ({"b": [1, 10**400]}, ("key b", "not_finite", 2), 2),
        ({"b": 5}, ("key b", "no_column", 1), 2),
        ({"time": [1700000001, "x"]}, ("payload", "bad_time", 2), 0),
        ({"time": [None, True]}, ("payload", "bad_time", 2), 0),
        ({"t": "x"}, ("payload", "no_value", 1), 0),
    ],
)
def test_what_is_left_out_of_columns_is_named(more: dict[str, Any], reason: tuple[str, str, int], kept: int) -> None:
    decoded = read({"time": [1700000001, 1700000002], "t": [20, 20.5]} | more)
    assert (len(decoded.batch), reasons(decoded)) == (kept, [reason])


def test_times_of_columns_may_be_of_any_unit_and_differ_in_it() -> None:
    for times in ([1700000001, 1700000002000], [1700000001.0, "2023-11-14T22:13:22Z"], [1700000001000, 1700000002000]):
        assert [t for _, t, _ in rows(read({"time": times, "t": [1, 2]}))] == [NOW + S, NOW + 2 * S]


def test_texts_may_be_ignored_and_beginnings_of_names_left_off() -> None:
    sent = {"dev": {"id": "x"}, "up": {"raw": "AQI=", "data": {"t": 20, "on": "ON", "note": "ok"}}}
    codec = Json(texts="ignore", strip=["up_data_", "dev_"])
    assert rows(read(sent, codec=codec)) == [('t{id="x"}', NOW, 20.0), ('on{id="x"}', NOW, 1.0)]


def test_times_without_an_offset_may_be_of_a_zone() -> None:
    codec = Json(zone="Europe/Berlin")
    for sent in ("2023-11-14T23:13:27", "2023-11-14T22:13:27Z", "2023-11-14T20:13:27-02:00", 1700000007):
        assert rows(read({"time": sent, "t": 1}, codec=codec)) == [("t", NOW + 7 * S, 1.0)]
    with pytest.raises(ValueError, match="zone: found"):
        Json(zone="Mars/Olympus")


def test_a_bare_value_below_state_is_named_after_what_has_that_state() -> None:
    (row,) = rows(read("21.5", "livingroom/sensor/outdoor_temperature/state"))
    assert row[0].startswith("outdoor_temperature{")
    assert rows(read("1", "state"))[0][0].startswith("state{")


def test_name_is_a_template() -> None:
    assert rows(read({"v": 1}, "home/attic", Json(name="{level[1]}_{key}", topic_label=""))) == [("attic_v", NOW, 1.0)]
    assert rows(read("1", "home/attic", Json(name="{level[-2]}", topic_label=""))) == [("home", NOW, 1.0)]
    assert rows(read({"v": 1}, "a", Json(name="{topic}{level[5]}", topic_label=""))) == [("a", NOW, 1.0)]
    with pytest.raises(ValueError, match="name: found"):
        Json(name="{key.__class__}")


def test_an_empty_payload_has_no_rows() -> None:
    assert len(read("").batch) == len(read(" \n").batch) == 0


def test_last_of_two_equal_keys_counts() -> None:
    assert rows(read('{"a":1,"a":2}')) == [("a", NOW, 2.0)]


def test_encode_is_read_back() -> None:
    series = [Series.of("a"), Series.of("b", host='"x"\n', time="1", value="2", topic="t", u="é"), Series.of("c:d")]
    batch = Batch.of([(s, t, v) for s in series for t, v in ((0, 0.1), (NOW, -1e300), (-5, math.nan))])
    codec = Json()
    back = read(codec.encode(batch), "some/topic", codec)
    assert repr(rows(back)) == repr(rows(Decoded(batch)))
    assert not back.rejected


def test_a_row_that_is_not_as_encode_writes_it_is_named() -> None:
    good = '{"metric":{"__name__":"a"},"time":1,"value":2}\n'
    for bad in (
        '{"metric":{"__name__":1},"value":2}',
        '{"metric":{"__name__":"a"}}',
        '{"metric":{"__name__":"a"},"time":"x","value":1}',
    ):
        decoded = read(good + bad)
        assert (rows(decoded), reasons(decoded)) == ([("a", 1, 2.0)], [("line 2", "bad_row", 1)])


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("almenara.codecs._json_general.MAX_RECORDS", 10)
    codec = Json()
    tables = [read({"v": n, "city": str(n)}, codec=codec).batch.series for n in range(25)]
    assert max(map(len, tables)) == 11
    assert len(set(map(id, tables))) == 3
    assert rows(read({"v": 1, "city": "x"}, codec=codec)) == [('v{city="x"}', NOW, 1.0)]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["id", "ts", "metric", "__name__", "value"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(values)
def test_the_standard_library_gives_the_same_rows(value: Any) -> None:
    text = json.dumps(value)
    results = []
    for fast in (_json_text._fast, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_json_text, "_fast", fast)
            try:
                decoded = read(text, "a/b")
                results.append((rows(decoded), reasons(decoded)))
            except DecodeError:
                results.append(None)
    assert repr(results[0]) == repr(results[1])
