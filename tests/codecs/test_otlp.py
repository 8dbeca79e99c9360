"""OTLP: names and labels, kinds of points, what is refused, JSON; and that the compiled reader equals its twin."""

from __future__ import annotations

import json
import math
import random
import struct
from collections import Counter
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from tests import naive
from tests.codecs.messages import shuffled

from almenara.codecs import _wire as wire
from almenara.codecs import otlp
from almenara.codecs._otlp_names import labels_of, prometheus_name, prometheus_unit
from almenara.codecs.otlp import Otlp
from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.model.series import Metadata
from almenara.plugin.contracts import Context
from almenara.testing.codecs import try_decode

NOW = 1_700_000_000_000_000_000
CUMULATIVE, DELTA = 2, 1
MESSAGES = frozenset(
    {(1,), (1, 1), (1, 2), (1, 2, 1), (1, 2, 2)}
    | {(1, 2, 2, kind) for kind in (5, 7, 9, 10, 11)}
    | {(1, 2, 2, kind, 1) for kind in (5, 7, 9, 10, 11)}
)


def attributes(**values: Any) -> list[dict[str, Any]]:
    kinds = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
    return [{"key": k.replace("__", "."), "value": {kinds[type(v)]: v}} for k, v in values.items()]


def request(*metrics: dict[str, Any], scope: dict[str, str] | None = None, **resource: Any) -> Any:
    scoped = {"scope": scope or {}, "metrics": metrics}
    return ExportMetricsServiceRequest(
        resource_metrics=[{"resource": {"attributes": attributes(**resource)}, "scope_metrics": [scoped]}]
    )


def read(message: Any, codec: Otlp | None = None) -> Decoded:
    payload = message if isinstance(message, bytes) else message.SerializeToString()
    return (codec or Otlp()).decode(payload, Context(received_ns=NOW))


def rows(decoded: Decoded) -> list[tuple[str, int, float]]:
    b = decoded.batch
    return [(str(b.series[i]), t, v) for i, t, v in zip(b.id.tolist(), b.time.tolist(), b.value.tolist(), strict=True)]


def values(decoded: Decoded) -> dict[str, float]:
    return {series: value for series, _, value in rows(decoded)}


def reasons(decoded: Decoded) -> list[tuple[str, str, int]]:
    return [(r.where, r.reason, r.rows) for r in decoded.rejected]


def bits(value: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", value))[0]


@pytest.mark.parametrize(
    ("name", "unit", "counter", "gauge", "expected"),
    [
        ("system.filesystem.usage", "By", False, True, "system_filesystem_usage_bytes"),
        ("http.server.request.duration", "s", False, False, "http_server_request_duration_seconds"),
        ("system.network.io", "By", True, False, "system_network_io_bytes_total"),
        ("requests.total", "{request}", True, False, "requests_total"),
        ("total.errors", "1", True, False, "errors_total"),
        ("cpu.utilization", "1", False, True, "cpu_utilization_ratio"),
        ("cpu.utilization", "1", False, False, "cpu_utilization"),
        ("disk.speed", "By/s", False, True, "disk_speed_bytes_per_second"),
        ("queue.rate", "{message}/min", False, True, "queue_rate_per_min"),
        ("room.seconds.left", "s", False, True, "room_seconds_left"),
        ("2xx", "", False, True, "_2xx"),
        ("a__b..c", "", False, True, "a_b_c"),
        ("node:load", "", False, True, "node:load"),
        ("temperature", "Cel", False, True, "temperature_celsius"),
        ("°", "s", False, True, ""),
    ],
)
def test_names_follow_the_compatibility_specification(
    name: str, unit: str, counter: bool, gauge: bool, expected: str
) -> None:
    assert prometheus_name(name, unit, counter=counter, gauge=gauge) == expected


def test_units_are_said_in_words() -> None:
    assert [prometheus_unit(u) for u in ("By/s", "ms", "{request}", "1", "")] == [
        "bytes_per_second",
        "milliseconds",
        "",
        "",
        "",
    ]


def test_attributes_that_get_one_label_are_joined() -> None:
    assert labels_of({"a_b": "2", "a.b": "1", "2x": "y"}) == {"a_b": "1;2", "key_2x": "y"}


def test_a_gauge_becomes_a_row_with_its_resource() -> None:
    point = {"time_unix_nano": NOW + 1, "as_double": 0.25, "attributes": attributes(state="idle", cpu=3, on=True)}
    metric = {"name": "cpu.load", "unit": "1", "description": "Load.", "gauge": {"data_points": [point]}}
    message = request(metric, service__name="shop", service__namespace="web", service__instance__id="i-7", os="linux")
    codec = Otlp()
    for _ in range(2):
        decoded = read(message, codec)
        assert rows(decoded) == [
            ('cpu_load_ratio{cpu="3",instance="i-7",job="web/shop",on="true",state="idle"}', NOW + 1, 0.25)
        ]
        assert decoded.metadata == {b"cpu_load_ratio": Metadata("", "gauge", "Load.")}


def test_resource_and_scope_become_labels_where_the_options_say_so() -> None:
    metric = {"name": "up", "gauge": {"data_points": [{"as_int": 1}]}}
    message = request(metric, scope={"name": "lib", "version": "2"}, host__name="a", os="linux")
    codec = Otlp(resource_labels=["host.name"], scope_labels=True)
    assert rows(read(message, codec)) == [('up{host_name="a",otel_scope_name="lib",otel_scope_version="2"}', NOW, 1.0)]


def test_attribute_values_of_any_kind_become_text() -> None:
    nested = {"kvlist_value": {"values": attributes(a=1, b=0.5)}}
    given = [*attributes(whole=2.0, part=0.1, raw=b"\x00\xff", no=False), {"key": "list", "value": nested}]
    message = request({"name": "x", "gauge": {"data_points": [{"as_int": 1, "attributes": given}]}})
    ((series, _, _),) = rows(read(message))
    assert series == r'x{list="{\"a\":1,\"b\":0.5}",no="false",part="0.1",raw="AP8=",whole="2"}'


def test_a_monotonic_cumulative_sum_is_a_counter() -> None:
    data = {"aggregation_temporality": CUMULATIVE, "is_monotonic": True, "data_points": [{"as_int": 2**53}]}
    decoded = read(request({"name": "jobs", "sum": data}))
    assert rows(decoded) == [("jobs_total", NOW, 2.0**53)]
    assert decoded.metadata == {b"jobs_total": Metadata("", "counter", "")}


def test_deltas_are_refused_by_name() -> None:
    data = {"aggregation_temporality": DELTA, "is_monotonic": True, "data_points": [{"as_int": 1}, {"as_int": 2}]}
    decoded = read(request({"name": "jobs", "sum": data}, {"name": "up", "gauge": {"data_points": [{"as_int": 1}]}}))
    assert rows(decoded) == [("up", NOW, 1.0)]
    assert reasons(decoded) == [("metric jobs", "delta_temporality", 2)]
    assert "=cumulative" in decoded.rejected[0].detail


def test_a_histogram_becomes_cumulative_buckets_count_and_sum() -> None:
    point = {"count": 9, "sum": 4.5, "explicit_bounds": [0.5, 10], "bucket_counts": [2, 3, 4], "time_unix_nano": NOW}
    data = {"aggregation_temporality": CUMULATIVE, "data_points": [point]}
    decoded = read(request({"name": "wait", "unit": "s", "histogram": data}))
    assert values(decoded) == {
        'wait_seconds_bucket{le="0.5"}': 2.0, 'wait_seconds_bucket{le="10"}': 5.0,
        'wait_seconds_bucket{le="+Inf"}': 9.0, "wait_seconds_count": 9.0, "wait_seconds_sum": 4.5,
    }  # fmt: skip
    assert {m.kind for m in decoded.metadata.values()} == {"histogram"}


def test_a_summary_becomes_quantiles_count_and_sum() -> None:
    quantiles = [{"quantile": 0.0, "value": 1.0}, {"quantile": 0.99, "value": 7.5}]
    data = {"data_points": [{"count": 3, "sum": 9.0, "quantile_values": quantiles, "attributes": attributes(a="b")}]}
    assert values(read(request({"name": "wait", "summary": data}))) == {
        'wait{a="b",quantile="0"}': 1.0, 'wait{a="b",quantile="0.99"}': 7.5,
        'wait_count{a="b"}': 3.0, 'wait_sum{a="b"}': 9.0,
    }  # fmt: skip


def test_of_an_exponential_histogram_count_and_sum_are_kept() -> None:
    data = {"aggregation_temporality": CUMULATIVE, "data_points": [{"count": 3, "sum": 9.0, "scale": 2}]}
    decoded = read(request({"name": "wait", "exponential_histogram": data}))
    assert values(decoded) == {"wait_count": 3.0, "wait_sum": 9.0}
    assert reasons(decoded) == [("metric wait", "exponential_histogram", 1)]


def test_a_point_without_a_value_is_known_to_be_missing() -> None:
    point = {"count": 9, "sum": 4.5, "explicit_bounds": [1], "bucket_counts": [2, 7], "flags": 1}
    histogram = {"name": "h", "histogram": {"aggregation_temporality": CUMULATIVE, "data_points": [point]}}
    decoded = read(request({"name": "up", "gauge": {"data_points": [{"flags": 1}]}}, histogram))
    assert len(decoded.batch) == 5
    assert all(math.isnan(v) for v in decoded.batch.value)


def test_what_cannot_be_kept_is_refused_by_name() -> None:
    points = [{"as_double": math.inf}, {}, {"as_int": 1, "time_unix_nano": 2**63}, {"as_int": 1, "exemplars": [{}, {}]}]
    bad = {"count": 1, "explicit_bounds": [1, 2], "bucket_counts": [1]}
    decoded = read(
        request(
            {"name": "up", "gauge": {"data_points": points}},
            {"name": "h", "histogram": {"aggregation_temporality": CUMULATIVE, "data_points": [bad]}},
            {"name": "°", "gauge": {"data_points": [{"as_int": 1}]}},
            {"name": "long", "gauge": {"data_points": [{"as_int": 1, "attributes": attributes(a="x" * 5000)}]}},
        )
    )
    assert rows(decoded) == [("up", NOW, 1.0)]
    assert set(reasons(decoded)) == {
        ("metric up", "not_finite", 1), ("metric up", "no_value", 1), ("metric up", "time_out_of_range", 1),
        ("metric up", "exemplar", 2), ("metric h", "bad_buckets", 1), ("metric °", "no_name", 1),
        ("metric long", "key_too_long", 1),
    }  # fmt: skip


def test_a_resource_that_cannot_be_read_refuses_its_points() -> None:
    point = wire.text(1, wire.fixed64(6, 1))
    metric = wire.text(2, wire.text(1, b"up") + wire.text(5, point))
    broken = wire.text(1, wire.text(1, b"\x0a\xff")) + wire.text(2, metric)
    good = wire.text(1, wire.text(2, metric))
    decoded = read(wire.text(1, wire.text(1, wire.text(1, b"\x0a\xff")) + wire.text(2, metric)) + good)
    assert broken
    assert (rows(decoded), reasons(decoded)) == ([("up", NOW, 1.0)], [("metric up", "bad_labels", 1)])


def test_damaged_messages_are_named() -> None:
    payload = request({"name": "up", "gauge": {"data_points": [{"as_int": 1}]}}).SerializeToString()
    with pytest.raises(DecodeError, match="no OTLP metrics: damaged at byte 0 of"):
        read(payload[:-1])


def test_memory_begins_afresh_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "_MAX_SERIES", 10)
    codec = Otlp()
    for n in range(60):
        assert rows(read(request({"name": f"m{n}", "gauge": {"data_points": [{"as_int": n}]}}), codec)) == [
            (f"m{n}", NOW, n)
        ]
    assert codec._reader is not None
    assert len(codec._reader._table) <= 11


def test_a_payload_larger_than_the_first_room_is_read_whole() -> None:
    points = [{"as_int": n, "attributes": attributes(n=n)} for n in range(5000)]
    codec, message = (
        Otlp(),
        request(*({"name": f"m{n}", "gauge": {"data_points": points[n::50]}} for n in range(50))),
    )
    for _ in range(2):
        assert len(read(message, codec).batch) == 5000


def test_what_is_known_to_be_missing_is_written_as_no_recorded_value() -> None:
    sent = ExportMetricsServiceRequest.FromString(Otlp().encode(Batch.of([(b"up\xffa\xfeb", 5, math.nan)])))
    (point,) = sent.resource_metrics[0].scope_metrics[0].metrics[0].gauge.data_points
    assert (point.flags, point.time_unix_nano, point.attributes[0].value.string_value) == (1, 5, "b")


# --- JSON -------------------------------------------------------------------------------------------------------------


def test_json_says_the_same_as_protobuf() -> None:
    point = {"count": 9, "sum": 4.5, "explicit_bounds": [0.5, 10], "bucket_counts": [2, 3, 4], "time_unix_nano": NOW}
    message = request(
        {"name": "up", "gauge": {"data_points": [{"as_int": -7, "attributes": attributes(a=1, b=b"\x01", c=True)}]}},
        {"name": "h", "histogram": {"aggregation_temporality": CUMULATIVE, "data_points": [point]}},
        {"name": "s", "summary": {"data_points": [{"count": 1, "quantile_values": [{"quantile": 0.5, "value": 2}]}]}},
        {"name": "nan", "gauge": {"data_points": [{"as_double": math.nan, "time_unix_nano": NOW}]}},
        service__name="shop",
    )  # fmt: skip
    text = json_format.MessageToJson(message, use_integers_for_enums=True).encode()
    assert repr(rows(read(text))) == repr(rows(read(message)))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"resourceMetrics": 7}', "resourceMetrics: found 7, expected a list"),
        ('{"resourceMetrics": [', "no OTLP metrics in JSON"),
        (
            '{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": 7}]}]}]}',
            "metrics.name: found 7, expected a text",
        ),
        ("{" + '"a":{' * 100_000, "no OTLP metrics in JSON"),
    ],
)
def test_mistakes_in_json_are_named(text: str, where: str) -> None:
    with pytest.raises(DecodeError, match=where):
        read(text.encode())


KEYS = (
    "resourceMetrics scopeMetrics metrics name gauge sum histogram dataPoints asInt asDouble timeUnixNano attributes "
    "key value stringValue bytesValue bucketCounts explicitBounds count flags"
)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=4),
    max_leaves=30,
)


@settings(max_examples=200, deadline=None)
@given(trees)
def test_any_json_gives_rows_or_a_decode_error(value: Any) -> None:
    for text in (json.dumps(value), json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [value]}]}]})):
        try_decode(Otlp(), text.encode() if text.startswith("{") else b"{" + text.encode())


# --- the twin ---------------------------------------------------------------------------------------------------------

texts = st.sampled_from(["", "a", "b", "é", "x" * 130])
pairs = st.lists(
    st.tuples(st.sampled_from(["a", "b.c", "job"]), texts), max_size=3, unique_by=lambda pair: pair[0]
).map(lambda some: [{"key": k, "value": {"string_value": v}} for k, v in some])
times = st.sampled_from([0, 1, NOW, 2**63 - 1, 2**63, 2**64 - 1])
floats = st.floats() | st.sampled_from([0.0, -0.0, math.inf])
base = {
    "time_unix_nano": times,
    "start_time_unix_nano": times,
    "attributes": pairs,
    "flags": st.sampled_from([0, 0, 1, 2]),
}
exemplars = st.lists(st.just({"as_double": 1.0}), max_size=2)
numbers = st.fixed_dictionaries(
    base | {"exemplars": exemplars}, optional={"as_double": floats}
) | st.fixed_dictionaries(base, optional={"as_int": st.integers(-(2**63), 2**63 - 1)})
counts = st.integers(0, 2**64 - 1) | st.integers(0, 100)
bounds = st.lists(st.sampled_from([0.0, 0.5, 2.5, 10.0, math.inf]), max_size=4)
histograms = st.fixed_dictionaries(
    base
    | {
        "count": counts,
        "explicit_bounds": bounds,
        "bucket_counts": st.lists(counts, max_size=5),
        "exemplars": exemplars,
    },
    optional={"sum": floats, "min": floats},
) | bounds.flatmap(
    lambda b: st.fixed_dictionaries(
        base
        | {
            "count": counts,
            "explicit_bounds": st.just(b),
            "bucket_counts": st.lists(counts, min_size=len(b) + 1, max_size=len(b) + 1),
        }
    )
)
quantiles = st.lists(st.fixed_dictionaries({"quantile": st.sampled_from([0.0, 0.5, 1.0]), "value": floats}), max_size=3)
summaries = st.fixed_dictionaries(base | {"count": counts, "sum": floats, "quantile_values": quantiles})
exponentials = st.fixed_dictionaries(base | {"count": counts, "scale": st.just(3)}, optional={"sum": floats})
temporality = {"aggregation_temporality": st.sampled_from([0, 1, 2, 2, 2])}


def data_of(points: Any, **more: Any) -> Any:
    return st.fixed_dictionaries({"data_points": st.lists(points, max_size=4)} | more)


named = {"name": st.sampled_from(["up", "load", "wait"]), "description": texts}
metrics = st.one_of(
    st.fixed_dictionaries(named | {"gauge": data_of(numbers)}),
    st.fixed_dictionaries(named | {"sum": data_of(numbers, is_monotonic=st.booleans(), **temporality)}),
    st.fixed_dictionaries(named | {"histogram": data_of(histograms, **temporality)}),
    st.fixed_dictionaries(named | {"exponential_histogram": data_of(exponentials, **temporality)}),
    st.fixed_dictionaries(named | {"summary": data_of(summaries)}),
)
scopes = st.fixed_dictionaries(
    {"scope": st.fixed_dictionaries({"name": texts}), "metrics": st.lists(metrics, max_size=3)}
)
services = st.lists(
    st.sampled_from(["service.name", "service.namespace", "service.instance.id", "os"]), unique=True, max_size=4
).map(lambda keys: {"attributes": [{"key": k, "value": {"string_value": k[-2:]}} for k in keys]})
requests = st.lists(
    st.fixed_dictionaries({"resource": services, "scope_metrics": st.lists(scopes, max_size=2)}), max_size=2
)


@settings(max_examples=150, deadline=None)
@given(st.lists(requests, min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_compiled_reader_equals_its_plain_twin(messages: list[Any], chance: random.Random) -> None:
    """One codec over several payloads, each as Google's library writes it and with its fields in another order."""
    codec = Otlp()
    for resource_metrics in messages:
        message = ExportMetricsServiceRequest(resource_metrics=resource_metrics)
        expected, refused = naive.otlp(message, NOW)
        payload = message.SerializeToString()
        for sent in (payload, shuffled(payload, chance, MESSAGES)):
            decoded = read(sent, codec)
            b = decoded.batch
            got = [
                (b.series.keys[i], t, v)
                for i, t, v in zip(b.id.tolist(), b.time.tolist(), b.value.tolist(), strict=True)
            ]
            assert as_bits(got) == as_bits(expected)
            assert Counter({r.reason: r.rows for r in decoded.rejected}) == refused


def as_bits(found: list[tuple[bytes, int, float]]) -> list[tuple[bytes, int, int]]:
    """Bit for bit, all NaN alike."""
    return [(key, time, bits(math.nan if value != value else value)) for key, time, value in found]
