"""Influx line protocol: what is read, what is refused and why, and that the compiled reader equals its plain twin."""

from __future__ import annotations

import math
import struct
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive

from almenara.codecs import _influx_memo, _influx_reader
from almenara.codecs.influx import Influx
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, Series
from almenara.plugin.contracts import Context

NOW = 1_700_000_000_000_000_000


def read(payload: bytes | str, codec: Influx | None = None, **parameters: str) -> Decoded:
    payload = payload.encode() if isinstance(payload, str) else payload
    return (codec or Influx()).decode(payload, Context(received_ns=NOW, parameters=parameters))


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), t, v) for i, t, v in zip(b.id.tolist(), b.time.tolist(), b.value.tolist(), strict=True)]


def reasons(decoded: Decoded) -> list[tuple[str, str, int]]:
    return [(r.where, r.reason, r.rows) for r in decoded.rejected]


@pytest.mark.parametrize(
    ("line", "series", "time", "value"),
    [
        ("cpu,host=a usage=3.5 1700000000000000001", 'cpu_usage{host="a"}', NOW + 1, 3.5),
        ("cpu,host=a value=3.5 1", 'cpu{host="a"}', 1, 3.5),
        ("cpu usage=1", "cpu_usage", NOW, 1.0),
        ("cpu usage=-12i 0", "cpu_usage", 0, -12.0),
        ("cpu usage=18446744073709551615u 0", "cpu_usage", 0, 2.0**64),
        ("cpu usage=-9223372036854775808i -5", "cpu_usage", -5, -(2.0**63)),
        ("cpu usage=1.5e-3 0", "cpu_usage", 0, 0.0015),
        ("cpu usage=0.30000000000000004 0", "cpu_usage", 0, 0.30000000000000004),
        ("cpu up=TRUE 0", "cpu_up", 0, 1.0),
        ("cpu up=f 0", "cpu_up", 0, 0.0),
        (r"c\,p\ u,ho\=st=a\ b\,c a\ b=1 0", 'c_p_u_a_b{ho_st="a b,c"}', 0, 1.0),
        (r"disk,path=C:\x free=1 0", r'disk_free{path="C:\\x"}', 0, 1.0),
        ("Température,ort=Münster °C=1 0", 'Temp_rature__C{ort="Münster"}', 0, 1.0),
        ("cpu,b=2,a=1 x=1 0", 'cpu_x{a="1",b="2"}', 0, 1.0),
        ("cpu,host= x=1 0", "cpu_x", 0, 1.0),
        ("  cpu  x=1   7  ", "cpu_x", 7, 1.0),
        ("1wire x=1 0", "_1wire_x", 0, 1.0),
    ],
)
def test_a_line_becomes_a_row(line: str, series: str, time: int, value: float) -> None:
    assert rows(read(line)) == [(series, time, value)]
    assert not read(line).rejected


@pytest.mark.parametrize(
    ("precision", "ns"),
    [("ns", 1), ("n", 1), ("us", 10**3), ("u", 10**3), ("µ", 10**3), ("ms", 10**6), ("s", 10**9), ("m", 6 * 10**10)],
)
def test_precision_parameter_tells_the_unit_of_time_stamps(precision: str, ns: int) -> None:
    assert rows(read("cpu x=1 1700", precision=precision)) == [("cpu_x", 1700 * ns, 1.0)]
    assert rows(read("cpu x=1 1700", Influx(precision="h"))) == [("cpu_x", 1700 * 3600 * 10**9, 1.0)]


def test_unknown_precision_is_named() -> None:
    with pytest.raises(DecodeError, match="precision: found 'days', expected ns"):
        read("cpu x=1", precision="days")
    with pytest.raises(ValueError, match="precision"):
        Influx(precision="days")


def test_comments_blank_lines_and_crlf_are_no_rows() -> None:
    decoded = read("# a comment\r\n\r\n   \ncpu x=1 1\r\ncpu x=2 2\r\n")
    assert [v for _, _, v in rows(decoded)] == [1.0, 2.0]
    assert not decoded.rejected
    assert len(read("").batch) == 0


def test_strings_are_left_out_by_name_and_the_rest_of_the_line_stays() -> None:
    decoded = read('w,a=1 s="a,b c=\\"1\\"\\\\",x=1,t="two\nlines",y=2 5\nw x=3 6')
    assert rows(decoded) == [('w_x{a="1"}', 5, 1.0), ('w_y{a="1"}', 5, 2.0), ("w_x", 6, 3.0)]
    assert reasons(decoded) == [("line 1", "string_field", 2)]
    assert reasons(read('w s="a\nb"\nbad\nw x=1'))[1] == ("line 3", "bad_line", 1)


@pytest.mark.parametrize("text", ["NaN", "nan", "inf", "+Inf", "-Infinity", "1e999", "-1e400"])
def test_values_that_are_not_finite_are_left_out_by_name(text: str) -> None:
    decoded = read(f"cpu a=1,b={text},c=3 9")
    assert rows(decoded) == [("cpu_a", 9, 1.0), ("cpu_c", 9, 3.0)]
    assert reasons(decoded) == [("line 1", "not_finite", 1)]


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        ("nonsense", "bad_line", "found 'nonsense', expected measurement,tags and after a space field=value"),
        ("cpu,host=a", "bad_line", "found 'cpu,host=a', expected measurement,tags and after a space field=value"),
        ("cpu x", "bad_line", "found 'x', expected field=value"),
        ("cpu =1", "bad_line", "found '=1', expected field=value"),
        ("cpu x=", "bad_line", "found '', expected a number, a boolean or a quoted string"),
        ("cpu x=abc", "bad_line", "found 'abc', expected a number, a boolean or a quoted string"),
        ("cpu x=1,", "bad_line", "found '', expected field=value"),
        ("cpu x=1z", "bad_line", "found '1z', expected a comma, a space or the end of the line after the value"),
        ("cpu x=1 soon", "bad_line", "found 'soon', expected a whole number as time"),
        ("cpu x=1 5 6", "bad_line", "found '5 6', expected a whole number as time"),
        ("cpu x=9223372036854775808i", "bad_line", "found '9223372036854775808i', expected an integer of 64 bits"),
        ('cpu x="open', "bad_line", "found '\"open', expected a string that ends with a quote"),
        (",host=a x=1", "bad_line", "found no measurement before the first comma"),
        ("cpu,host x=1", "bad_line", "tag: found 'host', expected name=value"),
        ("cpu,a=1,a=2 x=1", "duplicate_tag", "two tags become the label a"),
        ("cpu,a-b=1,a.b=2 x=1", "duplicate_tag", "two tags become the label a_b"),
        ("cpu x=1 9223372036854775808", "time_out_of_range", ""),
        (b"c\xff x=1", "not_utf8", "key is not UTF-8 at byte 1"),
        (b"cpu \xff=1", "not_utf8", ""),
        ("cpu,a=" + "x" * MAX_KEY_BYTES + " x=1", "key_too_long", ""),
        ("cpu " + "x" * MAX_KEY_BYTES + "=1", "key_too_long", ""),
        ("cpu" + "".join(f",t{k}=1" for k in range(65)) + " x=1", "too_many_labels", "found 65 tags"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_on(line: str | bytes, reason: str, detail: str) -> None:
    line = line.encode() if isinstance(line, str) else line
    codec, text = Influx(), line.decode(errors="replace")
    shown = text if len(text) <= 60 else text[:60] + "..."
    for _ in range(2):  # as a key never seen, and as one remembered
        decoded = read(b"ok x=1 1\n" + line + b"\nok x=2 2", codec)
        assert [v for _, _, v in rows(decoded)] == [1.0, 2.0]
        assert reasons(decoded) == [("line 2", reason, 1)]
        assert decoded.rejected[0].detail.startswith(detail)
        assert decoded.rejected[0].detail.endswith(f"in {shown!r}")
        assert len(decoded.rejected[0].detail) <= 160


def test_decode_error_when_no_line_can_be_read() -> None:
    with pytest.raises(DecodeError, match=r"no line of 2 .* line 1: found 'rubbish'"):
        read("rubbish\nmore")


def test_a_time_out_of_range_counts_every_row_of_its_line() -> None:
    assert reasons(read("cpu x=1,y=2 99999999999999999999\nok x=1")) == [("line 1", "time_out_of_range", 2)]
    assert reasons(read("cpu x=1 9999999999999\nok x=1", precision="s")) == [("line 1", "time_out_of_range", 1)]


def test_many_rejections_are_counted_and_the_first_of_a_kind_listed() -> None:
    decoded = read("ok x=1\n" + 'w s="a",t="b"\n' * 5000)
    assert sum(r.rows for r in decoded.rejected) == 10_000
    assert len(decoded.rejected) < 20
    assert decoded.rejected[-1] == _influx_reader.Rejected("more lines", "string_field", 10_000 - 16)


def test_an_open_quote_costs_one_line_only() -> None:
    decoded = read('a s="never closed 1\nb x=1 2\nc x=2 3')
    assert [s for s, _, _ in rows(decoded)] == ["b_x", "c_x"]


def test_more_rows_and_keys_than_there_was_room_for() -> None:
    codec = Influx()
    wide = "w " + ",".join(f"f{k}={k}" for k in range(5000)) + " 1"
    for _ in range(2):
        assert [v for _, _, v in rows(read(wide, codec))] == list(range(5000))
    hard = "".join(f"h,n={k} x=1234567890123456789012.5e-340\n" for k in range(3000))
    got = read(hard, codec).batch
    assert set(got.value.tolist()) == {1234567890123456789012.5e-340}
    assert len(set(got.id.tolist())) == 3000


def test_ids_stay_right_in_every_batch_of_one_table() -> None:
    codec = Influx()
    first, second = read("a x=1\nb x=2", codec), read("c x=3\na x=4", codec)
    assert first.batch.series is second.batch.series
    assert rows(first) == [("a_x", NOW, 1.0), ("b_x", NOW, 2.0)]
    assert rows(second) == [("c_x", NOW, 3.0), ("a_x", NOW, 4.0)]


def test_what_is_remembered_is_bounded() -> None:
    reader = _influx_reader.Reader(max_series=100, max_bytes=1 << 20)
    tables = []
    for k in range(5):
        decoded = reader.read(b"".join(b"m,k=%d x=%d\n" % (k * 60 + n, n) for n in range(60)), 1, NOW)
        assert decoded.batch.value.tolist() == list(range(60))
        tables.append(decoded.batch.series)
    assert max(map(len, tables)) == 120
    assert len(set(map(id, tables))) == 3
    memory = _influx_memo.Memory(100, 10_000)
    assert not memory.full


def test_encode_is_read_back() -> None:
    series = [Series.of("a"), Series.of("b", host="x y,z=1", path="C:\\dir", u="é"), Series.of("c", q='"')]
    batch = Batch.of([(s, NOW + k, v) for k, s in enumerate(series) for v in (0.1, -1e300, 5e-324)])
    assert rows(read(Influx().encode(batch))) == [
        (str(batch.series[i]), t, v) for i, t, v in zip(batch.id, batch.time, batch.value, strict=True)
    ]


def test_encode_leaves_out_what_the_protocol_has_no_text_for() -> None:
    batch = Batch.of([(Series.of("a", x="two\nlines\\"), 5, 1.0), (Series.of("a"), 5, math.nan)])
    assert Influx().encode(batch) == b"a,x=two\\nlines value=1.0 5\n"


# --- against the twin -------------------------------------------------------------------------------------------------

PIECES = [
    b"cpu",
    b",",
    b" ",
    b"=",
    b"host=a",
    b"\\",
    b'"',
    b"\n",
    b"\r\n",
    b"\r",
    b"1",
    b"1.5e3",
    b"12i",
    b"7u",
    b"t",
    b"NaN",
]
PIECES += [
    b"-",
    b"inf",
    b"value=",
    b"#",
    b"\xff",
    "é".encode(),
    b"123456789012345678901",
    b" 1700000000",
    b"x=1",
    b'a="',
    b".",
]
PIECES += [b"cpu,host=a x=1,y=2 5\n", b"cpu,host=a y=2,x=1\n", b'm s="a b",v=1\n', b"e", b"+", b"1e309", b"0.1", b"\t"]
fragments = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
token = st.sampled_from(["a", "b b", "c,d", "e=f", "g\\", "é", "value", "h-1", ""])
number = st.one_of(
    st.floats().map(repr),
    st.integers(-(2**64), 2**65).map(lambda n: f"{n}i"),
    st.integers(0, 2**65).map(lambda n: f"{n}u"),
) | st.sampled_from(["T", "false", '"text"', '"a\\"b"', '"a\nb"', "", "1.e5", ".5", "1e", "-"])
number |= st.decimals(allow_nan=False, allow_infinity=False).map(str)


def totals(rejected: list[tuple[str, str, int]]) -> Counter:
    """Rows by reason."""
    found: Counter = Counter()
    for _, reason, n in rejected:
        found[reason] += n
    return found


def escaped(text: str) -> str:
    return text.replace(",", "\\,").replace(" ", "\\ ").replace("=", "\\=")


@st.composite
def line(draw: st.DrawFn) -> bytes:
    tags = draw(st.lists(st.tuples(token, token), max_size=3))
    fields = draw(st.lists(st.tuples(token, number), min_size=1, max_size=4))
    time = draw(st.sampled_from(["", " "]) | st.integers(-(2**65), 2**65).map(lambda n: f" {n}"))
    key = ",".join([escaped(draw(token)), *(f"{escaped(k)}={escaped(v)}" for k, v in tags)])
    return (
        key + " " + ",".join(f"{escaped(k)}={v}" for k, v in fields) + time + draw(st.sampled_from(["\n", "\r\n"]))
    ).encode()


USED = Influx()  # remembers the keys of all examples, so that guesses, hits and misses all occur


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        fragments, st.lists(line(), max_size=8).map(b"".join), st.lists(line() | fragments, max_size=6).map(b"".join)
    ),
    st.sampled_from(["ns", "s"]),
)
def test_the_compiled_reader_equals_its_twin(payload: bytes, precision: str) -> None:
    want_rows, want_rejected = naive.influx(payload, {"ns": 1, "s": 10**9}[precision], NOW)
    if not want_rows and want_rejected and {r for _, r, _ in want_rejected} <= {"bad_line", "not_utf8"}:
        with pytest.raises(DecodeError):
            read(payload, precision=precision)
        return
    for codec in (Influx(), USED):
        decoded = read(payload, codec, precision=precision)
        b = decoded.batch
        got = [
            (b.series.keys[i], t, struct.pack("d", v))
            for i, t, v in zip(b.id.tolist(), b.time.tolist(), b.value.tolist(), strict=True)
        ]
        assert got == [(key, t, struct.pack("d", v)) for key, t, v in want_rows]
        assert totals(reasons(decoded)) == totals(want_rejected)
        if len(want_rejected) <= 8:  # more of one kind are not listed one by one
            assert Counter(reasons(decoded)) == Counter(want_rejected)


@settings(max_examples=80, deadline=None)
@given(st.lists(number.filter(lambda text: text[:1] not in ('"', "")), min_size=30, max_size=60))
def test_numbers_equal_python_bit_for_bit(texts: list[str]) -> None:
    payload = "ok x=1\n" + "".join(f"m value={text} {k}\n" for k, text in enumerate(texts))
    want = naive.influx(payload.encode(), 1, NOW)[0]
    b = read(payload, USED).batch
    assert b.time.tolist() == [t for _, t, _ in want]
    assert b.value.tobytes() == np.array([v for _, _, v in want], float).tobytes()
