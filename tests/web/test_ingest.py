"""Writes over HTTP, to a real server on loopback."""

from __future__ import annotations

import gzip
import random
import subprocess

import orjson
import pytest
from tests.web.conftest import NOW, S, Served

from almenara.model.batch import Rejected
from almenara.model.errors import DiskFull, Overloaded
from almenara.web.ingest import codec_of, rejection


def rows(served: Served, selector: str) -> list[tuple[int, float]]:
    """(time in s, value) of the series that a selector holds."""
    text = served.client.get("/api/v1/export", params={"match[]": selector, "format": "jsonl"}).text
    found = [orjson.loads(line) for line in text.splitlines()]
    return [(t // S, v) for one in found for t, v in zip(one["times"], one["values"], strict=True)]


def test_a_write_is_answered_with_204_and_kept(served: Served) -> None:
    answer = served.write(f"kept,host=a usage=3.5 {NOW}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["x-influxdb-version"]
    assert rows(served, 'kept_usage{host="a"}') == [(NOW // S, 3.5)]


def test_curl_writes_as_the_readme_says(served: Served) -> None:
    told = subprocess.run(
        [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--data-binary",
            "curled,host=a usage=3.5",
            f"{served.url}/write",
        ],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    assert told.stdout == "204"
    assert rows(served, "curled_usage") == [(NOW // S, 3.5)]


def test_parameters_reach_the_codec_and_secrets_do_not(served: Served) -> None:
    assert served.write("milli v=1 1700000000000", precision="ms", db="d", u="me", p="secret").status_code == 204
    packet, codec = served.hub.packets[-1]
    assert codec == "influx"
    assert packet.parameters == {"precision": "ms", "db": "d"}
    assert packet.source == "http:127.0.0.1"
    assert packet.received_ns == NOW
    assert rows(served, "milli_v") == [(NOW // S, 1.0)]


def test_influx_2_and_1_paths_keep_alike(served: Served) -> None:
    assert (
        served.client.post("/api/v2/write?org=o&bucket=b&precision=s", content=b"two v=1 1700000000").status_code == 204
    )
    assert rows(served, "two_v") == [(NOW // S, 1.0)]


def test_a_partial_write_keeps_the_good_rows_and_names_the_bad_line(served: Served) -> None:
    answer = served.write("part v=1\npart,host=b v=2\nnot a line at all\npart,host=c v=3")
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error.startswith("partial write: line 3: ")
    assert error.endswith(" dropped=1")
    assert answer.headers["x-influxdb-error"] == error
    assert answer.headers["x-influxdb-version"]
    assert len(rows(served, "part_v")) == 3


def test_influx_clients_find_any_error_of_a_write_in_a_header_of_one_line(served: Served) -> None:
    bad = served.write("a bad line \x01\tof a höst\x7f" + "x" * 2000)
    told = dict(bad.headers.raw)[b"x-influxdb-error"]
    assert told.startswith(b"unable to parse: ")
    assert "höst".encode() in told
    served.hub.refusing = Overloaded("queue\r\nfull")
    try:
        assert served.write("full v=1").headers["x-influxdb-error"] == "queue  full"
    finally:
        served.hub.refusing = None


def test_nothing_readable_is_unable_to_parse(served: Served) -> None:
    answer = served.write("what is this")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("unable to parse")


def test_rows_from_the_future_are_a_partial_write(served: Served) -> None:
    answer = served.write(f"ahead v=1 {NOW + 3600 * S}")
    assert answer.status_code == 400
    assert answer.json()["error"] == "partial write: future: ahead of the hub's clock dropped=1"


def test_many_rejected_rows_are_told_briefly() -> None:
    error = rejection(5, [Rejected(f"line {i}", "bad_line") for i in range(50)])
    assert str(error).count("bad line") == 10
    assert str(error).endswith("; and 40 more dropped=50")


def test_an_empty_body_is_fine(served: Served) -> None:
    assert served.write("").status_code == 204


def test_a_full_disk_is_507_and_a_full_queue_503_with_the_time_to_wait(served: Served) -> None:
    try:
        served.hub.refusing = DiskFull("10 MB free", retry_after_s=4.2)
        full = served.write("full v=1")
        served.hub.refusing = Overloaded("queue full")
        busy = served.write("full v=1")
    finally:
        served.hub.refusing = None
    assert (full.status_code, full.headers["retry-after"], full.json()) == (507, "5", {"error": "10 MB free"})
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")


def test_any_codec_by_name_with_its_topic(served: Served) -> None:
    assert served.client.post("/ingest/number/sensors/mumbai", content=b"32").status_code == 204
    assert rows(served, 'number{topic="sensors/mumbai"}') == [(NOW // S, 32.0)]
    unknown = served.client.post("/ingest/nonsense/x", content=b"32")
    assert unknown.status_code == 400
    assert "influx, number" in unknown.json()["error"]


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        ("application/json; charset=utf-8", "json"),
        ("text/plain", "influx"),
        ("text/plain; version=0.0.4", "prometheus"),
        ("APPLICATION/SENML+JSON", "senml"),
    ],
)
def test_auto_goes_by_content_type(content_type: str, codec: str) -> None:
    assert codec_of(content_type) == codec


def test_auto_with_an_unknown_content_type_is_415(served: Served) -> None:
    answer = served.client.post("/ingest/auto/x", content=b"32", headers={"content-type": "image/png"})
    assert answer.status_code == 415


def test_json_goes_to_its_codec_with_the_topic_asked_for(served: Served) -> None:
    served.client.post("/api/v1/write/json?topic=plant/1", content=b'{"a":1}')
    packet, codec = served.hub.packets[-1]
    assert (packet.topic, codec) == ("plant/1", "json")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_ping_says_204_and_a_version(served: Served, method: str) -> None:
    answer = served.client.request(method, "/ping")
    assert answer.status_code == 204
    assert answer.headers["x-influxdb-version"]


def test_a_wrong_method_is_405_in_json_and_says_which(served: Served) -> None:
    answer = served.client.get("/write")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert "error" in answer.json()
    assert served.client.put("/api/v1/status").json()["status"] == "error"
    assert served.client.get("/nowhere").json()["error"] == "no such path: /nowhere"
    assert served.client.get("/api/v1/nowhere").status_code == 404


# --- encodings and limits


def test_gzip_is_read_in_one_or_more_members(served: Served) -> None:
    body = gzip.compress(f"zipped v=1 {NOW}\n".encode()) + gzip.compress(f"zipped v=2 {NOW + S}\n".encode())
    answer = served.client.post("/write", content=body, headers={"content-encoding": "gzip"})
    assert answer.status_code == 204
    assert rows(served, "zipped_v") == [(NOW // S, 1.0), (NOW // S + 1, 2.0)]


def test_a_large_gzip_body_is_read_too(served: Served) -> None:
    lines = "\n".join(f"large,i={i} v={random.random()}" for i in range(8000))
    body = gzip.compress(lines.encode())
    assert 64 * 1024 < len(body) < 200_000
    assert served.client.post("/write", content=body, headers={"content-encoding": "gzip"}).status_code == 204
    assert len(rows(served, "large_v")) == 8000


def test_a_gzip_bomb_is_413_and_never_inflated(served: Served) -> None:
    bomb = gzip.compress(bytes(80_000_000), 9)
    assert len(bomb) < 200_000
    answer = served.client.post("/write", content=bomb, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413
    assert "after decompression" in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"not gzip", "gzip", 400),
        (gzip.compress(b"cut v=1")[:-9], "gzip", 400),
        (gzip.compress(b"cut v=1")[:5], "gzip", 400),
        (gzip.compress(b"two v=1\n") + gzip.compress(b"two v=2"), "gzip", 204),
        (gzip.compress(b"") * 2000, "gzip", 400),
        (gzip.compress(random.Random(1).randbytes(100_000).hex().encode()) + gzip.compress(b"\n"), "gzip", 400),
        (b"x v=1", "br", 415),
        (b"x v=1", "identity", 204),
    ],
    # Named: a gzip header holds the second of its making, and workers may collect in different ones.
    ids=["no gzip", "cut short", "a header", "two members", "empty members", "a large one and a small", "br", "plain"],
)
def test_damaged_and_unknown_encodings_are_named(served: Served, body: bytes, encoding: str, status: int) -> None:
    answer = served.client.post("/write", content=body, headers={"content-encoding": encoding})
    assert answer.status_code == status


def test_a_body_above_the_limit_is_413_and_the_client_hears_it(served: Served) -> None:
    for content in (b"x" * 300_000, (b"x" * 1000 for _ in range(300))):
        answer = served.client.post("/write", content=content)
        assert answer.status_code == 413
        assert answer.headers["connection"] == "close"
        assert "200000 bytes" in answer.json()["error"]
