"""Remote write: what is read, what is refused and why, and that the compiled reader equals its plain twin."""

from __future__ import annotations

import math
import random
import struct
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive
from tests.codecs.messages import WriteRequest, shuffled

from almenara.codecs import _remote_write_reader, remote_write
from almenara.codecs._wire import text
from almenara.codecs.remote_write import RemoteWrite
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import MAX_KEY_BYTES, Metadata
from almenara.plugin.contracts import Context

NOW_MS = 1_700_000_000_000
MESSAGES = frozenset({(1,), (3,), (1, 1), (1, 2), (1, 3), (1, 4)})


def request(*series: tuple[dict[str, str], list[tuple[float, int]]]) -> Any:
    return WriteRequest(
        timeseries=[
            {
                "labels": [{"name": k, "value": v} for k, v in labels.items()],
                "samples": [{"value": v, "timestamp": t} for v, t in samples],
            }
            for labels, samples in series
        ]
    )


def read(message: Any, codec: RemoteWrite | None = None) -> Decoded:
    payload = message if isinstance(message, bytes) else message.SerializeToString()
    return (codec or RemoteWrite()).decode(payload, Context())


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), t, v) for i, t, v in zip(b.id.tolist(), b.time.tolist(), b.value.tolist(), strict=True)]


def reasons(decoded: Decoded) -> list[tuple[str, str, int]]:
    return [(r.where, r.reason, r.rows) for r in decoded.rejected]


def bits(value: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def test_samples_become_rows() -> None:
    message = request(
        ({"__name__": "up", "job": "node", "instance": "a:9100"}, [(1.0, NOW_MS), (0.0, NOW_MS + 15_000)]),
        ({"__name__": "load", "job": ""}, [(-0.5, -1)]),
    )
    expected = [
        ('up{instance="a:9100",job="node"}', NOW_MS * 1_000_000, 1.0),
        ('up{instance="a:9100",job="node"}', (NOW_MS + 15_000) * 1_000_000, 0.0),
        ("load", -1_000_000, -0.5),
    ]
    codec = RemoteWrite()
    assert rows(read(message, codec)) == rows(read(message, codec)) == expected


def test_a_staleness_marker_is_a_value_known_to_be_missing() -> None:
    stale = struct.unpack("<d", struct.pack("<Q", remote_write.STALE_BITS))[0]
    batch = read(request(({"__name__": "up"}, [(stale, NOW_MS), (math.nan, NOW_MS + 1)]))).batch
    assert [math.isnan(v) for v in batch.value] == [True, True]
    assert bits(batch.value[0]) == remote_write.STALE_BITS


def test_what_is_known_to_be_missing_is_written_as_a_staleness_marker() -> None:
    sent = WriteRequest.FromString(RemoteWrite().encode(Batch.of([(b"up", NOW_MS * 10**6, math.nan)])))
    assert [bits(s.value) for s in sent.timeseries[0].samples] == [remote_write.STALE_BITS]


def test_series_are_written_as_prometheus_wants_them() -> None:
    batch = Batch.of(
        [(b"up\xffZ\xfe1\xffjob\xfen", 1_999_999, 1.5), (b"b", 0, 2.0), (b"up\xffZ\xfe1\xffjob\xfen", 3, 3.5)]
    )
    sent = WriteRequest.FromString(RemoteWrite().encode(batch))
    assert [[(p.name, p.value) for p in s.labels] for s in sent.timeseries] == [
        [("Z", "1"), ("__name__", "up"), ("job", "n")],
        [("__name__", "b")],
    ]
    assert [[(s.value, s.timestamp) for s in one.samples] for one in sent.timeseries] == [
        [(1.5, 1), (3.5, 0)],
        [(2.0, 0)],
    ]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"job": "node"}, "no_name"),
        ({"__name__": ""}, "no_name"),
        ({"__name__": "up", "a.b": "1", "a_b": "2"}, "duplicate_label"),
        ({"__name__": "up", **{f"l{n}": "x" for n in range(65)}}, "too_many_labels"),
        ({"__name__": "up", "long": "x" * MAX_KEY_BYTES}, "key_too_long"),
    ],
)
def test_labels_that_no_series_can_have_are_refused_by_name(labels: dict[str, str], reason: str) -> None:
    codec, message = RemoteWrite(), request((labels, [(1.0, 1), (2.0, 2)]), ({"__name__": "good"}, [(3.0, 3)]))
    for _ in range(2):
        assert rows(read(message, codec)) == [("good", 3_000_000, 3.0)]
        assert reasons(read(message, codec)) == [("series 1", reason, 2)]


def test_bytes_that_are_no_text_are_refused_by_name() -> None:
    label = text(1, b"__name__") + text(2, b"\xff\xfe")
    decoded = read(text(1, text(1, label) + text(2, b"\x10\x01")))
    assert reasons(decoded) == [("series 1", "not_utf8", 1)]
    assert "UTF-8" in decoded.rejected[0].detail


def test_values_and_times_that_cannot_be_kept_are_refused_by_name() -> None:
    decoded = read(request(({"__name__": "up"}, [(math.inf, 1), (1.0, 1 << 62), (-math.inf, 2), (2.0, 2)])))
    assert rows(decoded) == [("up", 2_000_000, 2.0)]
    assert sorted(reasons(decoded)) == [("series 1", "not_finite", 2), ("series 1", "time_out_of_range", 1)]


def test_native_histograms_and_exemplars_are_counted() -> None:
    message = request(({"__name__": "latency"}, [(1.0, 1)]))
    message.timeseries[0].histograms.add(count_int=7, sum=3.5)
    message.timeseries[0].exemplars.add(value=1.0)
    message.timeseries[0].exemplars.add(value=2.0)
    decoded = read(message)
    assert rows(decoded) == [("latency", 1_000_000, 1.0)]
    assert sorted(reasons(decoded)) == [("series 1", "exemplar", 2), ("series 1", "native_histogram", 1)]


def test_metadata_speaks_of_all_series_of_a_family() -> None:
    message = WriteRequest(
        metadata=[
            {"type": 1, "metric_family_name": "requests_total", "help": "All.", "unit": ""},
            {"type": 3, "metric_family_name": "latency_seconds", "help": "How long.", "unit": "seconds"},
        ]
    )
    told = read(message).metadata
    assert told[b"requests_total"] == Metadata("", "counter", "All.")
    openmetrics = read(WriteRequest(metadata=[{"type": 1, "metric_family_name": "jobs", "unit": "1"}])).metadata
    assert openmetrics[b"jobs_total"] == openmetrics[b"jobs"] == Metadata("1", "counter", "")
    assert (
        told[b"latency_seconds_bucket"] == told[b"latency_seconds_sum"] == Metadata("seconds", "histogram", "How long.")
    )


def test_damaged_messages_are_named() -> None:
    payload = request(({"__name__": "up"}, [(1.0, NOW_MS)])).SerializeToString()
    with pytest.raises(DecodeError, match="damaged at byte 0 of"):
        read(payload[:-1])
    with pytest.raises(DecodeError, match="damaged"):
        read(text(3, b"\x12\xff"))


def test_version_2_is_named() -> None:
    with pytest.raises(DecodeError, match=r"remote write 2\.0, expected 1\.0"):
        read(text(4, b"") + text(4, b"__name__") + text(5, b"\x0a\x00"))


def test_memory_begins_afresh_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_write, "_MAX_SERIES", 10)
    codec = RemoteWrite()
    for n in range(100):
        assert rows(read(request(({"__name__": f"m{n}"}, [(n, 1)])), codec)) == [(f"m{n}", 1_000_000, n)]
    assert codec._reader is not None
    assert len(codec._reader._table) <= 11


def test_a_payload_larger_than_the_first_room_is_read_whole() -> None:
    many = request(*(({"__name__": f"m{n}"}, [(n, k) for k in range(3)]) for n in range(3000)))
    many.MergeFrom(WriteRequest(metadata=[{"metric_family_name": f"m{n}", "type": 2} for n in range(200)]))
    codec = RemoteWrite()
    for _ in range(2):
        decoded = read(many, codec)
        assert rows(decoded) == [(f"m{n}", k * 1_000_000, n) for n in range(3000) for k in range(3)]
        assert len(decoded.metadata) == 200


names = st.sampled_from(["__name__", "job", "instance", "a.b", "a_b", "le"])
values = st.sampled_from(["", "x", "up", "é", "a" * 130, "0.5"])
samples = st.fixed_dictionaries(
    {
        "value": st.floats() | st.just(0.0),
        "timestamp": st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(0, 2 * NOW_MS) | st.just(0),
    }
)
series = st.fixed_dictionaries(
    {
        "labels": st.lists(st.fixed_dictionaries({"name": names, "value": values}), max_size=4),
        "samples": st.lists(samples, max_size=4),
        "exemplars": st.lists(st.just({"value": 1.0}), max_size=2),
        "histograms": st.lists(st.just({"sum": 1.0}), max_size=2),
    }
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(series, max_size=6), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_compiled_reader_equals_its_plain_twin(messages: list[Any], chance: random.Random) -> None:
    """One codec over several payloads, each as Google's library writes it and with its fields in another order."""
    codec = RemoteWrite()
    for timeseries in messages:
        payload = WriteRequest(timeseries=timeseries).SerializeToString()
        for sent in (payload, shuffled(payload, chance, MESSAGES)):
            expected, refused = naive.remote_write(WriteRequest.FromString(sent))
            decoded = read(sent, codec)
            b = decoded.batch
            got = zip(b.id.tolist(), b.time.tolist(), b.value.tolist(), strict=True)
            assert [(b.series.keys[i], t, bits(v)) for i, t, v in got] == [(k, t, bits(v)) for k, t, v in expected]
            assert Counter({r.reason: r.rows for r in decoded.rejected}) == refused


def test_columns_of_the_walker_match() -> None:
    batch = read(request(({"__name__": "up"}, [(1.0, 1)]))).batch
    assert [c.dtype.name for c in (batch.id, batch.time, batch.value)] == ["int32", "int64", "float64"]
    assert _remote_write_reader.columns(7).id.shape == (7,)
