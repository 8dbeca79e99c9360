"""Streams as at data.sparkfun.com: with PyPI's phant, and what devices send by hand."""

from __future__ import annotations

import csv
import datetime
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import phant
import pytest
from phant import Phant
from tests.web.conftest import NOW, S
from tests.web.dialects.switched import SwitchedHub as Hub
from tests.web.dialects.switched import switched

from almenara.model.errors import Overloaded

PRIVATE, DELETE = "a private key", "a key to delete"
STREAMS: dict[str, dict[str, Any]] = {
    "greenhouse": {"private": PRIVATE, "delete": DELETE, "fields": ["temp", "humidity", "place"], "labels": ["place"]},
    "plain": {"private": PRIVATE, "public": "Pub1", "fields": ["n"]},
    "small": {"private": PRIVATE, "fields": ["n"], "max_mb": 0.01, "pushes": 60},
    "keyed": {"private": PRIVATE, "fields": ["key", "p"]},
    "open": {"private": PRIVATE, "fields": ["n"], "open_output": True},
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    one = switched(tmp_path_factory.mktemp("data") / "hub", "phant", streams=STREAMS)
    yield one
    one.stop()


def client(served: Hub, public: str, *fields: str, private: str = PRIVATE) -> Phant:
    return Phant(public, *fields, private_key=private, base_url=served.url)


def push(served: Hub, public: str, headers: dict[str, str] | None = None, **fields: Any) -> httpx.Response:
    shown = {"phant-private-key": PRIVATE} | (headers or {})
    return served.client.get(f"/input/{public}", params=fields, headers=shown)


def test_phant_logs_reads_and_clears(
    served: Hub, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("basestring", "unicode"):  # its filters were written for Python 2
        monkeypatch.setattr(phant, name, str, raising=False)
    caplog.set_level(logging.DEBUG, "almenara")
    stream = client(served, "greenhouse", "temp", "humidity", "place")
    stream.clear()
    for n in range(3):
        stream.log(20 + n, 55.5, f"bed {n}")
    assert (stream.request_limit, stream.remaining_requests) == ("10000", "9997")
    assert int(stream.reset_time) > NOW // S
    found = stream.get()
    assert [row["temp"] for row in found] == ["22", "21", "20"]
    assert found[0]["timestamp"] == datetime.datetime(2023, 11, 14, 22, 13, 20)
    assert [row["temp"] for row in stream.get(limit=1, offset=1)] == ["21"]
    assert [row["temp"] for row in stream.get(sample=2)] == ["22", "20"]
    assert [row["temp"] for row in stream.get(eq=("place", "bed 1"))] == ["21"]
    assert [row["temp"] for row in stream.get(gte=("temp", "21"), lt=("temp", "22"))] == ["21"]
    assert stream.cap == 50 << 20
    assert 0 < stream.used_bytes < 1000
    stream.clear()
    assert stream.get() == []
    assert PRIVATE not in caplog.text


def test_phant_is_told_what_is_wrong(served: Hub) -> None:
    with pytest.raises(ValueError, match="forbidden: invalid key"):
        client(served, "Pub1", "n", private="another key").log(1)
    with pytest.raises(ValueError, match="stream not found"):
        client(served, "nobody", "n").log(1)
    with pytest.raises(ValueError, match=r"x is not a valid field for this stream. \n\nexpecting: n"):
        client(served, "Pub1", "x").log(1)
    with pytest.raises(ValueError, match="humidity missing from sent data"):
        client(served, "greenhouse", "temp").log(1)


def test_numbers_become_rows_of_the_stream(served: Hub) -> None:
    client(served, "greenhouse", "temp", "humidity", "place").log("-2.5", "86%", "door")
    assert [value for _, value in served.rows('temp{stream="greenhouse",place="door"}')] == [-2.5]
    assert served.rows('humidity{stream="greenhouse",place="door"}') == []
    source = next(one for one in served.client.get("/api/v1/sources").json() if one["name"] == "phant:greenhouse")
    assert source["rejected"] == {"not_a_number": 1}


def test_a_device_may_send_in_many_ways(served: Hub) -> None:
    url, key = "/input/Pub1", {"phant-private-key": PRIVATE}
    sent = [
        served.client.get(url, params={"private_key": PRIVATE, "n": "1"}),
        served.client.post(url, data={"n": "2"}, headers=key),
        served.client.post(url, json={"n": 3}, headers=key),
        served.client.post(url, params={"n": "4", "private_key": PRIVATE}),
        served.client.post(url + ".txt", params={"n": "5", "timestamp": "2001-01-01"}, headers=key),
    ]
    assert {(one.status_code, one.text) for one in sent} == {(200, "1 success\n")}
    last = served.client.post(url + ".json", data={"n": "6"}, headers=key)
    assert last.json() == {"success": True, "message": "success"}
    rows = served.client.get("/output/Pub1.json").json()
    assert rows == [{"n": str(n), "timestamp": "2023-11-14T22:13:20.000Z"} for n in (6, 5, 4, 3, 2, 1)]


def test_rows_come_out_as_csv_json_latest_and_one_field(served: Hub) -> None:
    served.client.delete("/input/greenhouse", headers={"phant-delete-key": DELETE})
    for n in range(2):
        push(served, "greenhouse", temp=n, humidity=5, place='a "b", c')
    text = served.client.get("/output/greenhouse.csv").text
    assert text.splitlines()[0] == "temp,humidity,place,timestamp"
    assert [row["place"] for row in csv.DictReader(io.StringIO(text))] == ['a "b", c'] * 2
    assert served.client.get("/output/greenhouse").text == text
    assert served.client.get("/output/greenhouse", headers={"accept": "application/json"}).json()[0]["temp"] == "1"
    assert [row["temp"] for row in served.client.get("/output/greenhouse/latest.json").json()] == ["1"]
    assert served.client.get("/output/greenhouse/temp").text == "1\n0\n"
    assert served.client.get("/output/greenhouse/nothing").status_code == 404
    names, figures = served.client.get("/output/greenhouse/stats").text.splitlines()
    assert names == "cap,pageCount,remaining,used"
    stats = served.client.get("/output/greenhouse/stats.json").json()
    assert [str(stats[name]) for name in names.split(",")] == figures.split(",")
    assert (stats["pageCount"], stats["remaining"] + stats["used"]) == (1, stats["cap"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("eq[temp]=1.0", [1]),
        ("ne[temp]=1", [3, 2, 0]),
        ("eq[place]=p2", [2]),
        ("gt[temp]=1&lte[temp]=2", [2]),
        ("gt[place]=1", []),
        ("grep[place]=^p[12]$", [2, 1]),
        ("grep[place]=1", [1]),
        ("gte[timestamp]=2023-11-14T22:13:22Z", [3, 2]),
        ("gte[timestamp]=nonsense", []),
        ("page=1&limit=2", [3, 2]),
        ("page=2", []),
        ("limit=0", []),
        ("offset=1&limit=2&sample=2", [2]),
    ],
)
def test_filters(tmp_path_factory: pytest.TempPathFactory, filtered: Hub, query: str, found: list[int]) -> None:
    rows = filtered.client.get(f"/output/greenhouse.json?{query}").json()
    assert [int(row["temp"]) for row in rows] == found


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    one = switched(tmp_path_factory.mktemp("data") / "hub", "phant", streams=STREAMS)
    for n in range(4):
        one.now = NOW + n * S
        push(one, "greenhouse", temp=n, humidity=1, place=f"p{n}")
    yield one
    one.stop()


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("eq[nothing]=1", "invalid field: nothing"),
        ("limit=-1", "limit: expected a whole number; got '-1'"),
        ("grep[place]=(", "grep: regular expression"),
        ("timezone=America/Denver", "timezone: times are told in UTC only"),
        ("&".join(f"eq[temp]={n}" for n in range(2)), "eq[temp]: expected one value; got 2"),
    ],
)
def test_what_cannot_be_answered_is_said(filtered: Hub, query: str, words: str) -> None:
    answer = filtered.client.get(f"/output/greenhouse.json?{query}")
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert words in answer.json()["message"]


def test_a_pattern_that_would_take_for_ever_does_not(filtered: Hub) -> None:
    push(filtered, "open", n="a" * 40)
    answer = filtered.client.get("/output/open.json", params={"grep[n]": "(a+)+b"})
    assert answer.json() == []


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({}, 400, "no data received"),
        ({"n": ["1", "2"]}, 400, "two values were sent for the same field: n"),
        ({"n": "1", "m": "2"}, 400, "m is not a valid field"),
    ],
)
def test_wrong_rows_are_refused(served: Hub, fields: dict[str, Any], status: int, words: str) -> None:
    answer = push(served, "Pub1", **fields)
    assert answer.status_code == status
    assert answer.text.startswith("0 ")
    assert words in answer.text


def test_a_row_that_is_too_large_is_refused(served: Hub) -> None:
    answer = served.client.post("/input/Pub1", data={"n": "x" * 60_000}, headers={"phant-private-key": PRIVATE})
    assert answer.status_code == 413


def test_keys_are_needed_and_do_one_thing_each(served: Hub) -> None:
    url = "/input/greenhouse"
    assert served.client.get(url, params={"temp": 1}).status_code == 403
    assert served.client.get(url, params={"temp": 1}, headers={"phant-private-key": PRIVATE + "x"}).status_code == 401
    assert served.client.get(url, params={"temp": 1}, headers={"phant-delete-key": DELETE}).status_code == 401
    assert served.client.delete(url).status_code == 403
    assert served.client.delete("/input/plain", headers={"phant-delete-key": DELETE}).status_code == 404
    assert served.client.get(url + "/clear", params={"private_key": PRIVATE}).status_code == 200


def test_a_full_stream_forgets_its_oldest_rows_and_takes_so_many_in_a_while(served: Hub) -> None:
    answers = [push(served, "small", n=f"{n:0200}") for n in range(61)]
    assert [one.status_code for one in answers] == [200] * 60 + [429]
    assert answers[0].headers["x-rate-limit-remaining"] == "59"
    assert int(answers[-1].headers["retry-after"]) <= 900
    stats = served.client.get("/output/small/stats.json").json()
    assert stats["used"] <= stats["cap"] == int(0.01 * (1 << 20))
    kept = served.client.get("/output/small.json").json()
    assert [int(row["n"]) for row in kept] == list(range(59, 59 - len(kept), -1))
    assert 10 < len(kept) < 60


def test_a_field_may_be_called_as_a_parameter_of_others(served: Hub) -> None:
    assert push(served, "keyed", key=1, p=2).status_code == 200
    assert served.client.get("/output/keyed/latest.json").json()[0]["key"] == "1"


def test_a_page_of_another_site_cannot_push(served: Hub) -> None:
    assert push(served, "Pub1", {"sec-fetch-site": "cross-site"}, n=1).status_code == 403
    assert push(served, "Pub1", {"referer": "http://evil.example/"}, n=1).status_code == 403


def test_a_hub_that_cannot_take_it_says_when_to_come_again(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> None:
        raise Overloaded("the queue is full", retry_after_s=7)

    monkeypatch.setattr(served.hub, "write", full)
    answer = push(served, "Pub1", n=1)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


def test_with_a_token_the_keys_of_a_stream_are_enough_for_it(tmp_path: Path) -> None:
    with switched(tmp_path / "hub", "phant", token="the token", streams=STREAMS) as hub:
        assert push(hub, "open", n=1).status_code == 200
        assert hub.client.get("/output/open.json").json()[0]["n"] == "1"
        assert hub.client.get("/output/Pub1.json").status_code == 401
        assert hub.client.get("/output/Pub1.json", headers={"phant-private-key": PRIVATE}).status_code == 200
        assert hub.client.get("/output/Pub1.json", headers={"authorization": "Bearer the token"}).status_code == 200
        assert hub.client.get("/input/open", params={"n": 1}).status_code == 401
        assert hub.client.get("/input/Pub1", params={"n": 1, "private_key": "wrong"}).status_code == 401
        assert hub.client.get("/api/v1/sources", headers={"phant-private-key": PRIVATE}).status_code == 401


def test_rows_outlive_a_restart(tmp_path: Path) -> None:
    with switched(tmp_path / "hub", "phant", streams=STREAMS) as first:
        push(first, "Pub1", n=1)
    with switched(tmp_path / "hub", "phant", streams=STREAMS) as second:
        push(second, "Pub1", n=2)
        assert [row["n"] for row in second.client.get("/output/Pub1.json").json()] == ["2", "1"]
