"""OTLP over HTTP: what senders are told, with a real pipeline; and OpenTelemetry's own SDK as the sender."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from google.protobuf import json_format
from google.rpc import status_pb2  # type: ignore[import-untyped]
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from tests.codecs.test_otlp import attributes, request
from tests.web.conftest import NOW
from tests.web.dialects.served import Hub

from almenara.model.errors import DiskFull, Overloaded
from almenara.pipeline.kinds import COUNTER, GAUGE, HISTOGRAM, kinds_of
from almenara.web.body import Limits

PROTOBUF, JSON = "application/x-protobuf", "application/json"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    one = Hub(tmp_path_factory.mktemp("data") / "hub", limits=Limits(body_bytes=1 << 20))
    yield one
    one.stop()


def gauge(name: str, *points: dict[str, Any]) -> Any:
    return request({"name": name, "gauge": {"data_points": [{"time_unix_nano": NOW, **p} for p in points]}})


def post(served: Hub, message: Any, media: str = PROTOBUF, **headers: str) -> httpx.Response:
    body = message if isinstance(message, bytes) else message.SerializeToString()
    return served.client.post("/v1/metrics", content=body, headers={"content-type": media, **headers})


def told(answer: httpx.Response) -> Any:
    return ExportMetricsServiceResponse.FromString(answer.content).partial_success


def test_what_was_acknowledged_is_seen(served: Hub) -> None:
    answer = post(served, gauge("seen", {"as_double": 2.5, "attributes": attributes(a="b")}))
    assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, PROTOBUF, b"")
    assert [value for _, value in served.rows('seen{a="b"}')] == [2.5]


def test_json_is_answered_in_json(served: Hub) -> None:
    text = json_format.MessageToJson(gauge("in_json", {"as_int": 7})).encode()
    answer = post(served, gzip.compress(text), JSON, **{"content-encoding": "gzip"})
    assert (answer.status_code, answer.headers["content-type"], answer.json()) == (200, JSON, {})
    assert [value for _, value in served.rows("in_json")] == [7.0]


def test_points_that_cannot_be_kept_are_told_with_the_rest_kept(served: Hub) -> None:
    message = gauge("some", {"as_int": 1}, {"as_double": float("inf")}, {"as_int": 2, "time_unix_nano": 10 * NOW // 9})
    partial = told(post(served, message))
    assert partial.rejected_data_points == 2
    assert "metric some: an infinite value" in partial.error_message
    assert "future" in partial.error_message
    text = json_format.MessageToJson(gauge("more", {})).encode()
    assert post(served, text, JSON).json()["partialSuccess"]["rejectedDataPoints"] == "1"


def test_what_is_left_out_beside_the_points_is_a_warning_or_nothing(served: Hub) -> None:
    assert post(served, gauge("exemplary", {"as_int": 1, "exemplars": [{"as_int": 1}]})).content == b""
    data = {"aggregation_temporality": 2, "data_points": [{"count": 3, "time_unix_nano": NOW}]}
    partial = told(post(served, request({"name": "exponential", "exponential_histogram": data})))
    assert (partial.rejected_data_points, "buckets are not" in partial.error_message) == (0, True)


def test_errors_are_a_status_in_the_encoding_of_the_request(served: Hub) -> None:
    answer = post(served, b"\x0a\xff")
    status = status_pb2.Status.FromString(answer.content)
    assert (answer.status_code, status.code) == (400, 3)
    assert "no OTLP metrics: damaged" in status.message
    answer = post(served, b"{", JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    assert post(served, b"", "text/plain").status_code == 415
    assert post(served, b"x" * (2 << 20)).status_code == 413


@pytest.mark.parametrize("error", [Overloaded("full", retry_after_s=7), DiskFull("no room", retry_after_s=7)])
def test_a_hub_that_cannot_take_it_asks_for_it_again(
    served: Hub, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr(served.hub, "write", refuse)
    answer = post(served, gauge("again", {"as_int": 1}))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert status_pb2.Status.FromString(answer.content).code == 14


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Hub]:
    one = Hub(tmp_path / "hub", clock=time.time_ns)
    yield one
    one.stop()


def test_what_the_sdk_says_of_its_metrics_decides_how_they_are_judged(live: Hub) -> None:
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=f"{live.url}/v1/metrics"), export_interval_millis=3_600_000
    )
    provider = MeterProvider([reader], Resource.create({"service.name": "shop"}))
    meter = provider.get_meter("tests")
    meter.create_counter("orders").add(3, {"city": "Mumbai"})
    meter.create_up_down_counter("seats.total", description="Taken.").add(2, {"hall": "1"})
    meter.create_histogram("order.time", unit="s", explicit_bucket_boundaries_advisory=[1]).record(0.25, {"city": "A"})
    assert provider.force_flush(10_000)
    provider.shutdown()
    live.rows('{job="shop"}')
    index = live.hub.index
    kinds = {index[id].name: kind for id, kind in enumerate(kinds_of(index, live.hub.metadata, np.arange(len(index))))}
    assert kinds == {
        "orders_total": COUNTER, "seats_total": GAUGE, "order_time_seconds_bucket": HISTOGRAM,
        "order_time_seconds_count": COUNTER, "order_time_seconds_sum": COUNTER,
    }  # fmt: skip
    told = live.client.get("/api/v1/metadata").json()["data"]
    assert told["seats_total"] == [{"type": "gauge", "help": "Taken.", "unit": ""}]
    assert told["order_time_seconds"] == [{"type": "histogram", "help": "", "unit": "seconds"}]


def test_the_sdk_of_opentelemetry_sends_unchanged(live: Hub) -> None:
    exporter = OTLPMetricExporter(endpoint=f"{live.url}/v1/metrics", compression=Compression.Gzip)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    resource = Resource.create({"service.name": "shop", "service.instance.id": "i-1"})
    provider = MeterProvider([reader], resource)
    meter = provider.get_meter("tests")
    meter.create_counter("orders", unit="{order}").add(3, {"city": "Mumbai"})
    meter.create_up_down_counter("queue.length").add(-2)
    meter.create_histogram("order.time", unit="s", explicit_bucket_boundaries_advisory=[0.1, 1]).record(0.25)
    meter.create_gauge("room.temperature", unit="Cel").set(21.5, {"room": "attic"})
    assert provider.force_flush(10_000)
    provider.shutdown()
    found = live.client.get("/api/v1/export", params={"match[]": '{job="shop"}', "start": "1", "format": "json"})
    got = {json.dumps(one["metric"], sort_keys=True): one["values"][0] for one in found.json()}
    of = {"instance": "i-1", "job": "shop"}
    expected = {
        ("orders_total", "city", "Mumbai"): 3.0, ("queue_length", "", ""): -2.0,
        ("order_time_seconds_bucket", "le", "0.1"): 0.0, ("order_time_seconds_bucket", "le", "1"): 1.0,
        ("order_time_seconds_bucket", "le", "+Inf"): 1.0, ("order_time_seconds_count", "", ""): 1.0,
        ("order_time_seconds_sum", "", ""): 0.25, ("room_temperature_celsius", "room", "attic"): 21.5,
    }  # fmt: skip
    assert got == {
        json.dumps({"__name__": name, **of, **({label: text} if label else {})}, sort_keys=True): value
        for (name, label, text), value in expected.items()
    }
