"""Prometheus' API over real HTTP: shapes, status codes, and how parameters are read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.web.conftest import NOW, S, Served

from almenara.web.params import parse_api_duration, parse_api_time

T = NOW // S


@pytest.fixture(scope="module")
def api() -> Iterator[Served]:
    one = Served()
    lines = [f"temp,city=Mumbai,id=a v={20 + i} {NOW - (9 - i) * 60 * S}" for i in range(10)]
    lines += [f"temp,city=Chennai v=31 {NOW}", f"load,host=b v=1.5 {NOW}"]
    assert one.write("\n".join(lines)).status_code == 204
    yield one
    one.stop()


def get(api: Served, path: str, **params: Any) -> dict[str, Any]:
    answer = api.client.get(f"/api/v1/{path}", params={k.replace("match", "match[]"): v for k, v in params.items()})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "success"
    return answer.json()


def refused(api: Served, path: str, **params: Any) -> tuple[int, str, str]:
    answer = api.client.get(f"/api/v1/{path}", params=params)
    body = answer.json()
    assert body["status"] == "error"
    return answer.status_code, body["errorType"], body["error"]


def test_an_instant_query_is_a_vector_at_the_hubs_time(api: Served) -> None:
    data = get(api, "query", query='temp_v{city="Mumbai"}')["data"]
    metric = {"__name__": "temp_v", "city": "Mumbai", "id": "a"}
    assert data == {"resultType": "vector", "result": [{"metric": metric, "value": [T, "29"]}]}


def test_a_number_is_a_scalar(api: Served) -> None:
    assert get(api, "query", query="1+1", time=12.5)["data"] == {"resultType": "scalar", "result": [12.5, "2"]}


def test_a_range_query_is_a_matrix(api: Served) -> None:
    asked = {"query": 'temp_v{city="Mumbai"}', "start": T - 120, "end": T, "step": "1m"}
    data = get(api, "query_range", **asked)["data"]
    assert data["resultType"] == "matrix"
    assert data["result"][0]["values"] == [[T - 120, "27"], [T - 60, "28"], [T, "29"]]


def test_a_form_asks_the_same(api: Served) -> None:
    form = {"query": "load_v", "time": str(T)}
    posted = api.client.post("/api/v1/query", data=form)
    assert posted.json() == get(api, "query", **form)
    both = api.client.post("/api/v1/query?query=temp_v", data=form)  # the form comes first, as in Prometheus
    assert both.json() == posted.json()


def test_times_are_read_in_every_form(api: Served) -> None:
    for time in (str(T), f"{T}.000", "2023-11-14T22:13:20Z", "2023-11-14T23:13:20.000+01:00", str(T * 1000)):
        assert get(api, "query", query="load_v", time=time)["data"]["result"][0]["value"][1] == "1.5"


def test_series_labels_and_values(api: Served) -> None:
    assert get(api, "series", match="load_v")["data"] == [{"__name__": "load_v", "host": "b"}]
    both = get(api, "series", match=["load_v", 'temp_v{city=~"M.*"}'])["data"]
    assert [one["__name__"] for one in both] == ["temp_v", "load_v"]
    assert get(api, "labels")["data"] == ["__name__", "city", "host", "id"]
    assert get(api, "labels", match="load_v")["data"] == ["__name__", "host"]
    assert get(api, "label/__name__/values")["data"] == ["load_v", "temp_v"]
    assert get(api, "label/city/values", match='temp_v{id="a"}')["data"] == ["Mumbai"]
    assert get(api, "label/nothing/values")["data"] == []


def test_limit_cuts_and_warns(api: Served) -> None:
    cut = get(api, "series", match="temp_v", limit=1)
    assert len(cut["data"]) == 1
    assert cut["warnings"] == ["results truncated due to limit"]
    assert "warnings" not in get(api, "series", match="temp_v", limit=2)
    assert get(api, "label/city/values", limit=1)["data"] == ["Chennai"]
    one = get(api, "query", query="temp_v", limit=1)
    assert (len(one["data"]["result"]), one["warnings"]) == (1, ["results truncated due to limit"])
    assert len(get(api, "query_range", query="temp_v", start=T - 60, end=T, step=60, limit=2)["data"]["result"]) == 2


def test_grafana_finds_what_it_asks_at_first(api: Served) -> None:
    assert get(api, "status/buildinfo")["data"]["version"].split(".")[0] == "2"
    assert get(api, "metadata")["data"] == {}


def test_errors_have_prometheus_shape_and_status(api: Served) -> None:
    assert refused(api, "query") == (400, "bad_data", "parameter 'query' is missing")
    assert refused(api, "query", query="sum(")[:2] == (400, "bad_data")
    status, kind, error = refused(api, "query", query="topk(3, load_v)")
    assert (status, kind) == (422, "execution")
    assert "not supported yet" in error
    assert refused(api, "query", query="load_v", time="yesterday")[:2] == (400, "bad_data")
    assert refused(api, "query_range", query="load_v", start=1, end=2, step=0)[0] == 400
    assert refused(api, "query_range", query="load_v", start=2, end=1, step=1)[0] == 400
    assert "11,000 points" in refused(api, "query_range", query="load_v", start=0, end=T, step=1)[2]
    assert refused(api, "series")[2] == "no match[] parameter provided"
    assert refused(api, "series", **{"match[]": "a{"})[0] == 400
    assert refused(api, "labels", limit="many")[0] == 400


def test_a_query_past_its_timeout_is_503(api: Served) -> None:
    api.hub.delay_s = 5.0
    try:
        assert refused(api, "query", query="load_v", timeout="20ms")[:2] == (503, "timeout")
    finally:
        api.hub.delay_s = 0.0


def test_a_form_that_is_no_form_is_415(api: Served) -> None:
    answer = api.client.post("/api/v1/query", content=b'{"query": "x"}', headers={"content-type": "application/json"})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("1700000000", NOW),
        ("1700000000123", NOW + 123_000_000),
        ("2023-11-14T22:13:20.000000001Z", NOW + 1),
        ("-5", 0),
        ("1e300", 2**62),
        ("9223372036854775.807", 2**62),
        ("9999-12-31T00:00:00Z", 2**62),
    ],
)
def test_times_are_exact_and_held_in_bounds(text: str, ns: int) -> None:
    assert parse_api_time(text) == ns


@pytest.mark.parametrize(("text", "ns"), [("15s", 15 * S), ("0.1", S // 10), ("1h30m", 5400 * S), ("250ms", S // 4)])
def test_durations_are_exact(text: str, ns: int) -> None:
    assert parse_api_duration(text) == ns


PATHS = ("query", "query_range", "series", "labels", "label/city/values", "export", "view", "journal", "incidents")
NAMES = (
    "query",
    "time",
    "start",
    "end",
    "step",
    "match[]",
    "limit",
    "timeout",
    "series",
    "width",
    "format",
    "since",
    "before",
)
VALUES = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["temp_v", "{city='Mumbai'}", "rate(temp_v[5m])", "1e999", "-1", "NaN", "inf", "0", "1e18", "1h", "%00", "²"]
    ),
    st.integers().map(str),
    st.floats().map(str),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), pairs=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=5))
@example(path="query", pairs=[("query", "1"), ("timeout", "0")])
def test_whatever_is_asked_the_answer_is_an_answer(api: Served, path: str, pairs: list[tuple[str, str]]) -> None:
    query = httpx.QueryParams([(name, value.encode("utf-8", "replace").decode()) for name, value in pairs])
    answer = api.client.get(f"/api/v1/{path}", params=query)
    if answer.status_code == 503:  # as Prometheus answers, where the query may take no time
        assert "timeout" in dict(pairs)
        assert answer.json()["errorType"] == "timeout"
        return
    assert answer.status_code in (200, 400, 404, 422), answer.text
    if answer.status_code != 200:
        assert answer.json()["status"] == "error"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.binary(max_size=60), path=st.sampled_from(PATHS))
def test_raw_bytes_as_a_query_are_answered_too(api: Served, query: bytes, path: str) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = api.client.post(f"/api/v1/{path}", content=query, headers=form)
    assert answer.status_code in (200, 400, 404, 405, 422), answer.text
