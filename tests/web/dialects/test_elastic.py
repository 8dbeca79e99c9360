"""What a Beat sees of us: the banner and not the page, things that are there already, an item for each document."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.web.conftest import NOW, S, Served, Twin

from almenara.codecs.bulk import Bulk
from almenara.model.batch import Decoded
from almenara.model.errors import Overloaded
from almenara.plugin.contracts import Context, Packet


class BulkTwin(Twin):
    """A hub in memory that reads _bulk."""

    def _decoded(self, packet: Packet, codec: str) -> Decoded:
        if codec == "bulk":
            return Bulk().decode(packet.payload, Context(packet.topic, received_ns=packet.received_ns))
        return super()._decoded(packet, codec)


class BulkServed(Served):
    def make_hub(self) -> Any:
        return BulkTwin()


@pytest.fixture(scope="module")
def beat() -> Iterator[Served]:
    one = BulkServed()
    one.client.headers["accept"] = "application/json"
    yield one
    one.stop()


def body(*documents: Any, action: str = "create") -> bytes:
    lines = (json.dumps({action: {"_index": "metricbeat-8.19.0"}}) + "\n" + json.dumps(one) + "\n" for one in documents)
    return "".join(lines).encode()


def document(value: float, host: str = "a", time: str = "2023-11-14T22:13:00.000Z") -> dict[str, Any]:
    return {"@timestamp": time, "host": {"name": host}, "system": {"load": {"1": value}}}


def post(beat: Served, content: bytes, path: str = "/_bulk", **headers: str) -> Any:
    return beat.client.post(path, content=content, headers={"content-type": "application/x-ndjson", **headers})


def test_the_banner_is_for_those_who_want_json_and_no_page(beat: Served) -> None:
    answer = beat.client.get("/")
    assert answer.headers["x-elastic-product"] == "Elasticsearch"
    assert (answer.json()["version"]["number"], answer.json()["tagline"]) == ("8.19.0", "You Know, for Search")
    assert beat.client.head("/").headers["x-elastic-product"] == "Elasticsearch"
    for accept in ("text/html,application/json", "*/*"):
        page = beat.client.get("/", headers={"accept": accept})
        assert page.headers["content-type"].startswith("text/html")


def test_what_a_beat_would_set_up_is_there_already(beat: Served) -> None:
    assert beat.client.get("/_license", params={"human": "false"}).json()["license"]["status"] == "active"
    assert beat.client.get("/_xpack").json()["license"]["type"] == "basic"
    for path in ("_ilm/policy/metricbeat", "_template/m", "_alias/m", "_ingest/pipeline/m", "_index_template/m"):
        assert beat.client.get(f"/{path}").status_code == 200
        assert beat.client.head(f"/{path}").status_code == 200
    assert beat.client.get("/_data_stream/metricbeat-8.19.0").json()["data_streams"][0]["name"] == "metricbeat-8.19.0"
    assert beat.client.get("/_cat/templates/metricbeat").text == "metricbeat\n"
    answer = beat.client.put("/_index_template/metricbeat", json={"index_patterns": ["metricbeat-*"]})
    assert answer.json() == {"acknowledged": True}


def test_documents_are_kept_and_each_has_its_item(beat: Served) -> None:
    answer = post(beat, body(document(0.5), document(0.7, "b")), "/metricbeat/_bulk")
    assert (answer.status_code, answer.json()["errors"]) == (200, False)
    assert [one["create"]["status"] for one in answer.json()["items"]] == [201, 201]
    found = beat.client.get("/api/v1/query", params={"query": "system_load_1", "time": NOW // S}).json()
    assert {one["metric"]["host_name"]: one["value"][1] for one in found["data"]["result"]} == {"a": "0.5", "b": "0.7"}


def test_a_compressed_body_gets_its_items_too(beat: Served) -> None:
    answer = post(beat, gzip.compress(body(document(1), action="index")), **{"content-encoding": "gzip"})
    assert [one["index"]["status"] for one in answer.json()["items"]] == [201]


def test_a_document_that_cannot_be_kept_is_named_and_the_others_stay(beat: Served) -> None:
    answer = post(beat, body(document(1), {"host": {"name": "a"}}, document(1, time="never"), document(2)))
    items = [one["create"] for one in answer.json()["items"]]
    assert [one["status"] for one in items] == [201, 400, 400, 201]
    assert items[1]["error"] == {"type": "document_parsing_exception", "reason": "no value: found no number"}
    assert answer.json()["errors"] is True


def test_each_of_very_many_bad_documents_is_named(beat: Served) -> None:
    sent = [document(n) if n % 3 == 0 else {"n": "x"} for n in range(2000)]
    items = post(beat, body(*sent)).json()["items"]
    assert [one["create"]["status"] for one in items] == [201 if n % 3 == 0 else 400 for n in range(2000)]


def test_rows_that_admission_turns_away_are_refused_documents(beat: Served) -> None:
    (item,) = post(beat, body(document(1, time="2033-01-01T00:00:00Z"))).json()["items"]
    assert (item["create"]["status"], item["create"]["error"]["reason"]) == (400, "future: ahead of the hub's clock")


def test_a_body_that_is_none_is_refused_in_elastics_words(beat: Served) -> None:
    answer = post(beat, b"hello\n")
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert "expected an action" in answer.json()["error"]["reason"]


def test_a_full_hub_makes_the_beat_come_again(beat: Served) -> None:
    beat.hub.refusing = Overloaded("a queue is full", 3)
    try:
        answer = post(beat, body(document(1)))
    finally:
        beat.hub.refusing = None
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert answer.json()["error"]["type"] == "es_rejected_execution_exception"
