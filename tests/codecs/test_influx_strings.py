"""Strings in line protocol: dropped by name, or labels, states and events by rule."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from almenara.codecs.influx import Influx
from almenara.model.batch import Decoded, Event
from almenara.model.errors import DecodeError
from almenara.model.series import Metadata
from almenara.plugin.contracts import Context

RULES = {"label_fields": ["version"], "state_fields": ["mode*"], "event_fields": ["log", "*_msg"]}


def decode(text: str, **rules: list[str]) -> Decoded:
    return Influx(**(rules or RULES)).decode(text.encode(), Context(received_ns=99))  # type: ignore[arg-type]


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    batch = decoded.batch
    return [
        (str(batch.series[int(i)]), int(t), float(v)) for i, t, v in zip(batch.id, batch.time, batch.value, strict=True)
    ]


def test_a_label_is_added_to_the_series_of_its_line() -> None:
    found = decode('pump,hall=1 flow=3.5,version="1.2, b",power=2i 5\npump flow=1 6')
    assert rows(found) == [
        ('pump_flow{hall="1",version="1.2, b"}', 5, 3.5),
        ('pump_power{hall="1",version="1.2, b"}', 5, 2.0),
        ("pump_flow", 6, 1.0),
    ]
    assert not found.rejected


def test_a_label_without_a_number_is_dropped_by_name() -> None:
    found = decode('pump version="1" 5')
    assert [(one.where, one.reason) for one in found.rejected] == [("line 1", "string_field")]


def test_a_state_is_a_series_with_the_value_one_and_known_as_a_state() -> None:
    found = decode('pump,hall=1 mode="auto on",flow=2 5')
    assert rows(found) == [('pump_flow{hall="1"}', 5, 2.0), ('pump_mode{hall="1",mode="auto on"}', 5, 1.0)]
    assert found.metadata == {found.batch.series.keys[int(found.batch.id[1])]: Metadata("", "state")}


def test_an_event_has_the_tags_and_the_time_of_its_line() -> None:
    found = decode('pump,hall=1 log="it \\"broke\\"\nand \\\\ stopped",v=1 5\npump door_msg="open"')
    assert found.events == [
        Event(5, (("event", "pump_log"), ("hall", "1")), 'it "broke"\nand \\ stopped'),
        Event(99, (("event", "pump_door_msg"),), "open"),
    ]
    assert rows(found) == [('pump_v{hall="1"}', 5, 1.0)]


def test_strings_without_a_rule_are_dropped_by_name() -> None:
    found = decode('pump flow=1,other="x",log="y" 5')
    assert rows(found) == [("pump_flow", 5, 1.0)]
    assert [one.reason for one in found.rejected] == ["string_field"]
    assert len(found.events) == 1


def test_lines_keep_their_numbers() -> None:
    found = decode('m log="a\nb",v=1\nbad\nm log="c"\nm v=x')
    assert [one.where for one in found.rejected] == ["line 3", "line 5"]


def test_a_line_that_is_wrong_gives_no_event() -> None:
    for line in (
        'm log="x" zz',
        'm,a log="x"',
        'm log="x"y',
        'm log="x',
        'm log="x",',
        'm v=1,log="x" 1 2',
        '#m log="x"',
    ):
        found = decode("good v=1\n" + line)
        assert not found.events, line
        assert rows(found) == [("good_v", 99, 1.0)], line


def test_quotes_in_tags_are_no_strings() -> None:
    assert rows(decode('m,version="x" v=1 5')) == [('m_v{version="\\"x\\""}', 5, 1.0)]


def test_a_text_may_not_end_or_break_its_label() -> None:
    found = decode('m version="a=b, c\nd\\\\",v=1 5')
    assert rows(found) == [('m_v{version="a=b, c\\\\nd"}', 5, 1.0)]


PIECES = st.sampled_from(
    [
        "m",
        ",t=a",
        " ",
        "v=1",
        "log=",
        '"x"',
        '"',
        "\\",
        "\n",
        ",",
        "=",
        'version="1"',
        'mode="a b"',
        " 5",
        "bad",
        '\\"',
        "#",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=25).map("".join))
def test_rules_change_nothing_but_the_lines_they_are_for(text: str) -> None:
    without, with_rules = (try_decode(text, rules) for rules in ({"event_fields": ["nothing"]}, RULES))
    if '"' not in text:
        assert repr(without) == repr(with_rules)
    if without is not None and with_rules is not None:  # numbers stay, under the same name or with a label more
        plain = sorted((name.partition("{")[0], time, value) for name, time, value in rows(without))
        kept = sorted((name.partition("{")[0], t, v) for name, t, v in rows(with_rules))
        assert [one for one in plain if "_mode" not in one[0]] == [one for one in kept if "_mode" not in one[0]]


def try_decode(text: str, rules: dict[str, list[str]]) -> Decoded | None:
    try:
        return decode(text, **rules)
    except DecodeError:
        return None
