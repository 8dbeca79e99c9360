"""CSV: what of a table is time, value and label, in the dialects people export, and what is rejected at which line."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from almenara.codecs._csv_layout import parse_series
from almenara.codecs._csv_reader import Reader
from almenara.codecs.csv import Csv, plain
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import Series, SeriesTable
from almenara.plugin.contracts import Context

NOW = 1_700_000_000_000_000_000
S = 10**9


def read(text: str | bytes, topic: str = "", **options: Any) -> Decoded:
    payload = text if isinstance(text, bytes) else text.encode()
    return Csv(**options).decode(payload, Context(topic=topic, received_ns=NOW))


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), int(t), float(v)) for i, t, v in zip(b.id, b.time, b.value, strict=True)]


def reasons(decoded: Decoded) -> list[tuple[str, str, int]]:
    return [(r.where, r.reason, r.rows) for r in decoded.rejected]


def test_numbers_are_values_and_texts_labels() -> None:
    decoded = read("time,host,cpu,memory\n1700000000,a,1.5,2\n1700000060,b,-0.25,3e2\n")
    assert rows(decoded) == [
        ('cpu{host="a"}', NOW, 1.5), ('memory{host="a"}', NOW, 2.0),
        ('cpu{host="b"}', NOW + 60 * S, -0.25), ('memory{host="b"}', NOW + 60 * S, 300.0),
    ]  # fmt: skip


def test_a_column_of_names_makes_it_long() -> None:
    assert rows(read("ts,metric,site,value\n1700000000,load,x,1\n1700000001,temp,y,2\n")) == [
        ('load{site="x"}', NOW, 1.0),
        ('temp{site="y"}', NOW + S, 2.0),
    ]
    assert rows(
        read("id,what,a,b\nx,load,1,2\n", name_column="what", label_columns=["id"], value_columns=["a", "b"])
    ) == [
        ('load_a{id="x"}', NOW, 1.0),
        ('load_b{id="x"}', NOW, 2.0),
    ]


def test_what_export_writes_is_read_back() -> None:
    series = '"a{x=""1,2"",y=""\\""q\\\\""}"'
    text = f"time,series,value\n2023-11-14T22:13:20.000000001Z,{series},5\n2023-11-14T22:13:20Z,b,NaN\n"
    decoded = read(text)
    assert [(s, t) for s, t, _ in rows(decoded)] == [('a{x="1,2",y="\\"q\\\\"}', NOW + 1), ("b", NOW)]
    batch = Batch.of([(Series.of("a", x='"\n\\n', y="é, b"), NOW + 7, 0.1), (b"b", 5 * 10**16, float("nan"))])
    again = read(Csv().encode(batch))
    assert repr(rows(again)) == repr(rows(Decoded(batch)))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_found(separator: str) -> None:
    text = 'time,"a, b; c",x\n1700000000,1,2\n'.replace(",", separator).replace(f"a{separator} b", "a, b")
    assert [v for _, _, v in rows(read(text))] == [1.0, 2.0]
    assert rows(read(text, separator=separator)) == rows(read(text))


def test_decimal_commas_are_told_from_separators() -> None:
    assert [v for _, _, v in rows(read("t;x\na;1,5\nb;1.234,5\nc;7\n"))] == [1.5, 1234.5, 7.0]
    assert [v for _, _, v in rows(read("x\ty\n1,25\t2\n"))] == [1.25, 2.0]
    assert [v for _, _, v in rows(read("x;y\n1,5;2\n", decimal=".", label_columns=["x"]))] == [2.0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(encoding: str) -> None:
    assert rows(read("Ort;Wert\nKöln;1\n".encode(encoding))) == [('Wert{Ort="Köln"}', NOW, 1.0)]


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("1700000007", {}), ("1700000007000", {}), ("1700000007.0", {}), ("2023-11-14T22:13:27Z", {}),
        ("2023-11-14 22:13:27", {}), ("2023-11-14T23:13:27+01:00", {}),
        ("2023-11-14 23:13:27", {"zone": "Europe/Berlin"}),
        ("14.11.2023 22:13:27", {"time_format": "%d.%m.%Y %H:%M:%S"}), ("1700000007", {"time_unit": "s"}),
        ("14.11.2023 23:13", {"time_format": "%d.%m.%Y %H:%M", "zone": "Europe/Berlin"}),
    ],
)  # fmt: skip
def test_times_of_many_forms(cell: str, options: dict[str, Any]) -> None:
    at = NOW - 20 * S if cell.endswith("23:13") else NOW + 7 * S
    assert rows(read(f"time,x\n{cell},1\n", **options)) == [("x", at, 1.0)]
    assert rows(read(f'when,x\n"{cell}",1\n', time_column="when", **options)) == [("x", at, 1.0)]


def test_without_a_header_columns_have_numbers_or_given_titles() -> None:
    assert rows(read("1700000000,5,6\n")) == [("column_2", NOW, 5.0), ("column_3", NOW, 6.0)]
    assert rows(read("1700000000,5\n", columns=["time", "load"])) == [("load", NOW, 5.0)]
    assert rows(read("a,b\nx,1\n", header="no", value_columns=["column_2"]))[-1] == ('column_2{column_1="x"}', NOW, 1.0)


def test_cells_without_a_value_have_no_row() -> None:
    decoded = read("time,a,b\n1700000000,,1\n1700000001,NA,2\n1700000002,-,3\n1700000003,null,4\n1700000004,5,\n")
    assert [v for _, _, v in rows(decoded)] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert not decoded.rejected


def test_what_is_left_out_is_named_with_its_line() -> None:
    good = "time,host,x,y\n1700000000,a,1,2\n"
    bad = "\nwhen,a,1,2\n1700000000,a,1\n1700000000,a,one,2\n1700000000,a,inf,2\n1700000000," + "h" * 5000 + ",1,2\n"
    decoded = read(good + bad + "1700000001,b,3,4\n")
    assert [v for _, _, v in rows(decoded)] == [1.0, 2.0, 2.0, 2.0, 3.0, 4.0]
    assert reasons(decoded) == [
        ("line 4", "bad_time", 2), ("line 5", "bad_row", 1), ("line 6, column x", "not_a_number", 1),
        ("line 7, column x", "not_finite", 1), ("line 8", "key_too_long", 2),
    ]  # fmt: skip
    assert reasons(read("time,series,value\n1700000000,ok,1\n1700000000,no series,1\n")) == [("line 3", "no_name", 1)]


def test_quotes_may_hold_separators_newlines_and_quotes() -> None:
    text = 'host,x\r\n"a, ""b""\nc",1\r\nplain,"2"\r\n5" pipe,3\r\n'
    assert [(s, v) for s, _, v in rows(read(text))] == [
        ('x{host="a, \\"b\\"\\nc"}', 1.0), ('x{host="plain"}', 2.0), ('x{host="5\\" pipe"}', 3.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("a,b\nx,y\n", {}, "found no column of numbers among a, b"),
        ("a,b\nx,1\n", {"time_column": "when"}, "found no column 'when' among a, b"),
        ("time,x\nyesterday,1\n", {}, "no row can be read as CSV; line 2"),
        ("," * 20_000, {}, "found 20001 columns"),
    ],
)
def test_a_table_without_values_is_named(text: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        read(text, **options)


@pytest.mark.parametrize("options", [{"separator": ",,"}, {"separator": '"'}, {"zone": "Mars/Olympus"}])
def test_options_that_cannot_be_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(options))}: found"):
        Csv(**options)


def test_topic_and_dropped_columns() -> None:
    assert rows(read("a,b\n1,2\n", "plant/1", topic_label="topic", drop_columns=["B"])) == [
        ('a{topic="plant/1"}', NOW, 1.0)
    ]
    assert len(read("").batch) == len(read("\n \n").batch) == 0


def test_a_series_may_be_written_as_in_promql() -> None:
    assert parse_series('a:b{c="d\\n\\"",e=""}') == ("a:b", {"c": 'd\n"', "e": ""})
    for wrong in ("", "a{", "a{b}", 'a{b="c"', "1a", 'a{b="c"}x'):
        with pytest.raises(ValueError, match="expected a series"):
            parse_series(wrong)


cells = st.sampled_from(
    ["1", "-2.5", "+3", "1e3", ".5", "5.", "1,5", "1.234,5", "", "NA", "nan", "inf", "x", "1700000000",
     "a b", '"', '""',
     '"q"', '"1"', '"a,b"', '"a""b"', 'a""b', '"a\nb"', " 7 ", "2024-02-29T00:00:00Z", "9" * 30, "\r", "é",
     "0.1234567890123456789"]
)  # fmt: skip
tables = st.lists(st.lists(cells, min_size=1, max_size=4), min_size=1, max_size=6)


@settings(max_examples=400, deadline=None)
@given(tables, st.sampled_from([",", ";"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_compiled_reader_gives_what_the_plain_one_gives(
    table: list[list[str]], separator: str, newline: str, named: bool
) -> None:
    head = separator.join(["time", "host", "x", "y"]) + newline
    body = newline.join(separator.join(one) for one in [*table, ["1700000000", "h", "1", "2"]])
    options = {"label_columns": ["host"], "value_columns": ["x", "y"], "separator": separator}
    codec = Csv(**options, name_column="host") if named else Csv(**options)
    payload = plain((head + body).encode())
    layout = codec._layout(payload)
    start, line = codec._first_row(payload, layout)
    results = []
    for compiled in (True, False):
        reader = Reader(layout, SeriesTable(), "t", NOW)
        if compiled:
            decoded = reader.compiled(payload, start, line)
        else:
            reader.plainly(payload[start:].decode(), line)
            decoded = Decoded(
                Batch(reader._table, reader._id, reader._time, reader._value), (), reader._refusals.listed()
            )
        results.append((repr(rows(decoded)), reasons(decoded)))
    assert results[0] == results[1]
