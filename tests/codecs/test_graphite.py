"""Graphite plaintext: what is read, what is refused and why, and that the compiled reader equals its plain twin."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive

from almenara.codecs.graphite import Graphite
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, Series
from almenara.plugin.contracts import Context

NOW = 1_700_000_000_000_000_000


def read(payload: bytes | str, codec: Graphite | None = None) -> Decoded:
    payload = payload.encode() if isinstance(payload, str) else payload
    return (codec or Graphite()).decode(payload, Context(received_ns=NOW))


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), t, v) for i, t, v in zip(b.id.tolist(), b.time.tolist(), b.value.tolist(), strict=True)]


@pytest.mark.parametrize(
    ("line", "series", "time", "value"),
    [
        ("servers.web1.load 0.5 1700000001", "servers_web1_load", 1_700_000_001 * 10**9, 0.5),
        ("a.b\t-3e2\t1700000001.25\r", "a_b", 1_700_000_001_250_000_000, -300.0),
        ("  a.b   1  ", "a_b", NOW, 1.0),
        ("a.b 1 -1", "a_b", NOW, 1.0),
        ("a.b 1 N", "a_b", NOW, 1.0),
        ("disk.used;rack=a1;dc=x 7 1", 'disk_used{dc="x",rack="a1"}', 10**9, 7.0),
        ("disk.used;rack=a%20b%3B%25 7 1", 'disk_used{rack="a b;%"}', 10**9, 7.0),
        ("disk.%used;rack=5%x 7 1", 'disk__used{rack="5%x"}', 10**9, 7.0),
        ("9lives 1 1", "_9lives", 10**9, 1.0),
    ],
)
def test_a_line_becomes_a_row(line: str, series: str, time: int, value: float) -> None:
    assert rows(read(line)) == [(series, time, value)]
    assert not read(line).rejected


@pytest.mark.parametrize(
    ("templates", "path", "series"),
    [
        ([".host.measurement*"], "servers.web1.cpu.load", 'cpu_load{host="web1"}'),
        (["measurement.host.field"], "cpu.web1.user", 'cpu_user{host="web1"}'),
        (["region.region.measurement*"], "eu.west.cpu.load", 'cpu_load{region="eu_west"}'),
        (["servers.* .host.measurement* site=a"], "servers.web1.cpu", 'cpu{host="web1",site="a"}'),
        (["servers.* .host.measurement*"], "routers.r1.load", "routers_r1_load"),
        (["measurement*", "servers.* .host.measurement*"], "servers.web1.cpu", 'cpu{host="web1"}'),
        ([".host.measurement*"], "servers.web1.cpu;core=0", 'cpu{core="0",host="web1"}'),
    ],
)
def test_templates_take_labels_out_of_paths(templates: list[str], path: str, series: str) -> None:
    assert rows(read(f"{path} 1 1", Graphite(templates=templates))) == [(series, 10**9, 1.0)]


@pytest.mark.parametrize("template", ["", "host.region", "measurement*.host", "a b c d"])
def test_a_template_that_cannot_work_is_told_at_once(template: str) -> None:
    with pytest.raises(ValueError, match="template"):
        Graphite(templates=[template])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("alone", "bad_line"),
        ("a.b x 1", "bad_line"),
        ("a.b 1 soon", "bad_line"),
        ("a.b 1 2 3", "bad_line"),
        ("a.b 1.5.2 1", "bad_line"),
        ("a.b nan 1", "not_finite"),
        ("a.b -Infinity 1", "not_finite"),
        ("a.b 1e999 1", "not_finite"),
        ("a.b 1 -5", "time_out_of_range"),
        ("a.b 1 9999999999999", "time_out_of_range"),
        ("a.b;x 1 1", "bad_line"),
        ("a.b;x=1;x=2 1 1", "bad_line"),
        ("... 1 1", "bad_line"),
        (b"a\xff 1 1", "not_utf8"),
        ("a" * (MAX_KEY_BYTES + 1) + " 1 1", "key_too_long"),
        ("a;b=" + "%25" * 1360 + " 1 1", ""),
        ("a" + "".join(f";t{n}=1" for n in range(65)) + " 1 1", "too_many_labels"),
    ],
)
def test_a_bad_line_is_named_and_the_rest_goes_on(line: str | bytes, reason: str) -> None:
    line = line.encode() if isinstance(line, str) else line
    codec = Graphite()
    for _ in range(2):  # as a path never seen, and as one remembered
        decoded = read(b"ok 1 1\n" + line + b"\nok 2 2", codec)
        assert [r.reason for r in decoded.rejected] == ([reason] if reason else [])
        assert [(v) for s, _, v in rows(decoded) if s == "ok"] == [1.0, 2.0]
        assert all(r.where == "line 2" and len(r.detail) <= 80 for r in decoded.rejected)


def test_decode_error_when_no_line_can_be_read() -> None:
    with pytest.raises(DecodeError, match="line 1: found"):
        read("rubbish\nmore of it")


def test_more_new_paths_and_hard_numbers_than_fit_one_pass() -> None:
    codec = Graphite()
    text = "".join(f"p.{n} 1234567890123456789012.5e-340 {n}\n" for n in range(10_000))
    for _ in range(2):
        batch = read(text, codec).batch
        assert set(batch.value.tolist()) == {1234567890123456789012.5e-340}
        assert len(set(batch.id.tolist())) == 10_000


def test_encode_keeps_labels_that_tags_cannot_hold_and_times_to_the_ns() -> None:
    series = Series.of("a", b="x y;z%20~", c="\tü\n")
    batch = Batch.of([(series, NOW + 1, 0.1), (series, NOW, 5e-324)])
    assert rows(read(Graphite().encode(batch))) == [(str(series), NOW + 1, 0.1), (str(series), NOW, 5e-324)]


_words = st.sampled_from(
    ["a.b", "a.c", "x;y=1", "1", "-2.5e3", ".5", "5.", "nan", "1e999", "N", "-1", "-1.0", "-0", "1700000000.123456789",
     "12345678901234567890", "9223372036", "9223372035", "", "\r", "\t", "1x", "+7", "-", ".", "1_0"]
)  # fmt: skip
_lines = st.lists(st.lists(_words, max_size=5).map(" ".join), max_size=12)


@settings(max_examples=300, deadline=None)
@given(_lines, st.sampled_from(["\n", "\r\n"]))
def test_the_compiled_reader_equals_its_plain_twin(lines: list[str], end: str) -> None:
    payload = end.join(lines).encode()
    expected, refused = naive.graphite(payload, NOW)
    try:
        decoded = read(payload, CODEC)
    except DecodeError:
        assert not any(path.strip(b"._") for path, _, _ in expected)
        assert refused or expected
        return
    names = {b"a.b": "a_b", b"a.c": "a_c", b"x;y=1": 'x{y="1"}'}
    known = [(names[p], t, v) for p, t, v in expected if p in names]
    assert [row for row in rows(decoded) if row[0] in names.values()] == known
    line_reasons = [(int(r.where.split()[1]), r.reason) for r in decoded.rejected if r.where != "more lines"]
    assert set(refused) >= {one for one in line_reasons if one not in _bad_paths(payload)}


CODEC = Graphite()


def _bad_paths(payload: bytes) -> set[tuple[int, str]]:
    """Lines whose first word names nothing: the twin does not look into paths."""
    words = [line.split() for line in payload.split(b"\n")]
    return {(n, "bad_line") for n, w in enumerate(words, 1) if w and not w[0].strip(b"._\r")}
