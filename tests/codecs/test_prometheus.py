"""Prometheus text: what is read and refused, what TYPE and HELP say, and that what is written is read back."""

from __future__ import annotations

import math

import pytest

from almenara.codecs.prometheus import Prometheus
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import Metadata, Series
from almenara.plugin.contracts import Context

NOW = 1_700_000_000_000_000_000


def read(text: str | bytes, codec: Prometheus | None = None) -> Decoded:
    return (codec or Prometheus()).decode(text.encode() if isinstance(text, str) else text, Context(received_ns=NOW))


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), t, v) for i, t, v in zip(b.id, b.time, b.value, strict=True)]


@pytest.mark.parametrize(
    ("line", "series", "time", "value"),
    [
        ("up 1", "up", NOW, 1.0),
        ("up{} 1 5", "up", 5_000_000, 1.0),
        ('a{b="c"} -1.5e3 -7', 'a{b="c"}', -7_000_000, -1500.0),
        ('a { b = "c" , d = "e", } 1', 'a{b="c",d="e"}', NOW, 1.0),
        (r'a{b="x\"y\\z\nw}"} 1', r'a{b="x\"y\\z\nw}"}', NOW, 1.0),
        ('a_bucket{le="+Inf"} 3', 'a_bucket{le="+Inf"}', NOW, 3.0),
        ('a{b=""} 1', "a", NOW, 1.0),
        ("\ta:b   7\r", "a:b", NOW, 7.0),
        ('a{b="é {x} 1"} 1', 'a{b="é {x} 1"}', NOW, 1.0),
    ],
)
def test_a_line_becomes_a_row(line: str, series: str, time: int, value: float) -> None:
    codec = Prometheus()
    for _ in range(2):
        decoded = read(line, codec)
        assert rows(decoded) == [(series, time, value)]
        assert not decoded.rejected


def test_nan_is_a_value_known_to_be_missing() -> None:
    assert math.isnan(read("a NaN").batch.value[0])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a +Inf", "not_finite"),
        ("a 1e999", "not_finite"),
        ("a", "bad_line"),
        ("a 1 2 3", "bad_line"),
        ("a one", "bad_line"),
        ("a 1_000", "bad_line"),
        ("a 1 2.5", "bad_line"),
        ("1a 1", "bad_line"),
        ("a{ 1", "bad_line"),
        ("a} 1", "bad_line"),
        ('a{b="c} 1', "bad_line"),
        ('a{b="c",b="d"} 1', "bad_line"),
        ('a{b="c"d="e"} 1', "bad_line"),
        ("a 1 99999999999999", "time_out_of_range"),
        (b'a{b="\xff"} 1', "not_utf8"),
        ('a{b="' + "x" * 4097 + '"} 1', "key_too_long"),
        ('a{b="' + "x" * 9000 + '"} 1', "key_too_long"),
        ("a{" + ",".join(f'l{n}="1"' for n in range(65)) + "} 1", "too_many_labels"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_on(line: str | bytes, reason: str) -> None:
    line = line.encode() if isinstance(line, str) else line
    decoded = read(b"ok 1\n" + line + b"\nok 2")
    assert [v for _, _, v in rows(decoded)] == [1.0, 2.0]
    assert [(r.where, r.reason, r.rows) for r in decoded.rejected] == [("line 2", reason, 1)]
    assert 0 < len(decoded.rejected[0].detail) <= 80


def test_decode_error_when_no_line_can_be_read() -> None:
    with pytest.raises(DecodeError, match="line 1: found 'rubbish'"):
        read("rubbish\nmore of it")
    assert len(read("").batch) == len(read("# only a comment").batch) == 0


def test_many_bad_lines_are_counted_and_the_first_listed() -> None:
    decoded = read("ok 1\n" + "bad\n" * 1000)
    assert sum(r.rows for r in decoded.rejected) == 1000
    assert len(decoded.rejected) == 21


def test_type_and_help_become_metadata_of_their_series() -> None:
    decoded = read(
        "# HELP h A \\\\ histogram\\nof x\n# TYPE h histogram\n"
        'h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n'
        "# TYPE c counter\nc 1\n# HELP g only help\ng 1\nx 1\n# TYPE u untyped\nu 1\n"
        '# TYPE s summary\ns{quantile="0.5"} 1\ns_sum 1\n'
    )
    told = {str(Series.from_key(key)): (m.kind, m.help) for key, m in decoded.metadata.items()}
    text = "A \\ histogram\nof x"
    assert told == {
        'h_bucket{le="1"}': ("histogram", text),
        'h_bucket{le="+Inf"}': ("histogram", text),
        "h_sum": ("histogram", text),
        "h_count": ("histogram", text),
        "c": ("counter", ""),
        "g": ("", "only help"),
        "u": ("", ""),
        's{quantile="0.5"}': ("gauge", ""),
        "s_sum": ("counter", ""),
    }


def test_encode_is_read_back_to_the_millisecond() -> None:
    series = [Series.of("a"), Series.of("b", x='"\\\n', y="é }"), Series.of("a", z="1")]
    batch = Batch.of([(s, NOW + k * 10**6, v) for k, v in enumerate((0.1, -1e300, math.nan)) for s in series])
    back = read(Prometheus().encode(batch))
    assert sorted(map(repr, rows(back))) == sorted(map(repr, rows(Decoded(batch))))


def test_encode_puts_the_lines_of_a_metric_together_under_its_type() -> None:
    keys = [Series.of("h_bucket", le="1").key, Series.of("c").key, Series.of("h_count").key]
    kinds = [Metadata(kind="histogram", help="a\nb"), Metadata(kind="counter"), Metadata(kind="histogram", help="a\nb")]
    batch = Batch.of([(key, NOW, float(n)) for n, key in enumerate([*keys, keys[1]])] + [(b"i", NOW, math.inf)])
    assert Prometheus(timestamps=False).encode(batch, dict(zip(keys, kinds, strict=True))).decode() == (
        '# HELP h a\\nb\n# TYPE h histogram\nh_bucket{le="1"} 0.0\nh_count 2.0\n# TYPE c counter\nc 3.0\n'
    )


def test_a_line_of_form_feeds_is_empty() -> None:
    found = Prometheus().decode(b"a 1\n\x0c\n\x0b\x0b\nb 2\x0c", Context("", {}, "", 5))
    assert list(found.batch.value) == [1, 2]
    assert not found.rejected
