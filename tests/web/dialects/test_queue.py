"""Named queues over HTTP: the calls of scripts with `requests`, leases, bounds, and `kill -9`."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.web.conftest import S
from tests.web.dialects.switched import SwitchedHub as Hub
from tests.web.dialects.switched import switched

from almenara.testing.process import HubProcess, wait_until

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    queue = {"at_root": True, "ingest": True, "max_messages": 5, "max_message_kb": 1.0, "max_queues": 3}
    one = switched(tmp_path_factory.mktemp("data") / "hub", "queue", queue=queue)
    yield one
    one.stop()


@pytest.fixture(autouse=True)
def emptied(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "served" in request.fixturenames:
        hub = request.getfixturevalue("served")
        hub.now += 86_400 * S
        for name in hub.client.get("/queue").json():
            while hub.client.get(f"/queue/{name}").status_code == 200:
                pass


@pytest.mark.parametrize("path", ["/queue/measures", "/measures"])
def test_a_script_appends_forms_and_json_and_takes_the_oldest(served: Hub, path: str) -> None:
    url = served.url + path
    sent = requests.post(url, data={"city": "Mumbai", "temp": 20.5})
    assert (sent.status_code, sent.json()) == (200, {"city": "Mumbai", "temp": "20.5"})
    assert requests.post(url, json={"city": "Madrid", "temp": 9, "inner": {"a": [1]}}).json()["city"] == "Madrid"
    assert requests.get(url).json() == {"city": "Mumbai", "temp": "20.5"}
    assert requests.get(url).json() == {"city": "Madrid", "temp": 9, "inner": {"a": [1]}}
    empty = requests.get(url)
    assert (empty.status_code, empty.content) == (204, b"")


def test_both_paths_are_one_queue(served: Hub) -> None:
    served.client.post("/both", json=1)
    assert served.client.get("/queue/both/stats").json()["messages"] == 1
    assert served.client.get("/queue/both").json() == 1


def test_a_document_comes_out_as_it_went_in(served: Hub) -> None:
    for text in (b'{"a": 123456789012345678901, "b":1.10,"a":2}', b"[1, null]", b'"text"', b"0", '{"ü":"ß"}'.encode()):
        assert served.client.post("/queue/exact", content=b" " + text + b"\n", headers=JSON).content == text
        assert served.client.get("/queue/exact").content == text
    assert requests.post(served.url + "/queue/exact", data='{"a": 1}').json() == {"a": 1}
    curl = {"content-type": "application/x-www-form-urlencoded"}  # what `curl -d` says of JSON
    assert served.client.post("/queue/exact", content=b'{"a": 2}', headers=curl).json() == {"a": 2}
    assert served.client.post("/queue/exact", content=b"a=1&a=2&b=", headers=curl).json() == {"a": ["1", "2"], "b": ""}


def test_what_is_lent_comes_back_unless_its_work_is_done(served: Hub) -> None:
    for n in range(2):
        served.client.post("/queue/work", json=n)
    lent = served.client.get("/queue/work", params={"lease": "30s"})
    assert lent.json() == 0
    assert re.fullmatch(r"/queue/work/\d+", lent.headers["location"])
    assert lent.headers["x-lease-until"] > "2023"
    assert served.client.get("/queue/work", params={"lease": "60"}).json() == 1
    assert served.client.get("/queue/work").status_code == 204
    told = served.client.get("/queue/work/stats").json()
    assert (told["messages"], told["leased"]) == (2, 2)
    served.now += 31 * S
    again = served.client.get("/queue/work", params={"lease": "30s"})
    assert (again.json(), again.headers["location"]) == (0, lent.headers["location"])
    assert served.client.delete(again.headers["location"]).status_code == 204
    assert served.client.delete(again.headers["location"]).status_code == 404
    served.now += 60 * S
    assert [served.client.get("/queue/work").status_code for _ in range(2)] == [200, 204]


def test_a_full_queue_says_when_to_come_again(served: Hub) -> None:
    answers = [served.client.post("/queue/full", json={"n": n}) for n in range(6)]
    assert [one.status_code for one in answers] == [200] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert len(served.rows('n{topic="queue/full"}')) == 1  # its clock stands: one time, the last value
    for name in ("b", "c"):
        served.client.post(f"/queue/{name}", json=1)
    assert served.client.post("/queue/d", json=1).status_code == 429
    assert served.client.get("/queue").json() == ["b", "c", "full"]
    assert 'almenara_queued_documents{queue="full"} 5\n' in served.client.get("/metrics").text


def test_numbers_become_rows_where_they_are_wanted(served: Hub) -> None:
    served.client.post("/queue/rows", json={"temperature": 20.5, "city": "Mumbai"})
    served.client.post("/queue/rows", data={"humidity": "40", "city": "Madrid"})
    served.client.post("/queue/rows", json="no number")
    assert [v for _, v in served.rows('temperature{city="Mumbai",topic="queue/rows"}')] == [20.5]
    assert [v for _, v in served.rows('humidity{city="Madrid",topic="queue/rows"}')] == [40.0]
    assert served.client.get("/queue/rows/stats").json()["messages"] == 3


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        ("/queue/bad", b"{", JSON, 400),
        ("/queue/bad", b"", JSON, 400),
        ("/queue/bad", b"NaN", JSON, 400),
        ("/queue/bad", b'"\xff"', JSON, 400),
        ("/queue/bad", b"[" * 5000, JSON, 413),
        ("/queue/bad", b"[" * 1000, JSON, 400),
        ("/queue/bad", b"--x", {"content-type": "multipart/form-data; boundary=x"}, 415),
        ("/queue/" + "x" * 65, b"1", JSON, 400),
        ("/queue/a%2Fb", b"1", JSON, 405),
        ("/queue/ü", b"1", JSON, 400),
    ],
)
def test_what_cannot_be_kept_is_refused(served: Hub, path: str, content: bytes, headers: Any, status: int) -> None:
    assert served.client.post(path, content=content, headers=headers).status_code == status
    assert served.client.get("/queue").json() == []


@pytest.mark.parametrize("lease", ["0", "-1", "soon", "13h", "1e99", ""])
def test_a_lease_is_a_time(served: Hub, lease: str) -> None:
    assert served.client.get("/queue/any", params={"lease": lease}).status_code == 400


def test_the_hubs_own_paths_are_no_queues(served: Hub) -> None:
    for path in ("/alarms", "/metrics", "/openapi.json", "/queue", "/api", "/static", "/-"):
        assert served.client.post(path, json={"a": 1}).status_code in (404, 405, 415), path
    assert served.client.get("/write").status_code == 405
    assert served.client.get("/alarms").headers["content-type"].startswith("text/html")
    assert served.client.get("/queue").json() == []


def test_a_page_of_another_site_can_take_nothing(served: Hub) -> None:
    served.client.post("/queue/safe", json=1)
    for path in ("/queue/safe", "/safe"):
        for headers in ({"sec-fetch-site": "cross-site"}, {"referer": "http://evil.example/"}):
            assert served.client.get(path, headers=headers).status_code == 403
            assert served.client.post(path, json=2, headers=headers).status_code == 403
        assert served.client.head(path).status_code == 405
    assert served.client.get("/queue/safe/stats").json()["messages"] == 1


def test_a_hub_with_little_disk_takes_nothing(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.hub.folder, "free_bytes", lambda: -1)
    answer = served.client.post("/queue/disk", json=1)
    assert (answer.status_code, answer.headers["retry-after"]) == (507, "5")


def test_with_a_token_queues_need_it(tmp_path: Path) -> None:
    with switched(tmp_path / "hub", "queue", token="the token") as hub:
        assert hub.client.post("/queue/a", json=1).status_code == 401
        assert hub.client.get("/queue/a?key=the%20token").status_code == 401
        bearer = {"authorization": "Bearer the token"}
        assert hub.client.post("/queue/a", json=1, headers=bearer).status_code == 200
        assert hub.client.get("/a", headers=bearer).status_code == 404  # at the root only by configuration


def test_kill_9_loses_no_acknowledged_document_and_gives_none_twice(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path / "data", config=CONFIG, mqtt=False).start()
    acknowledged: list[int] = []
    taken: list[int] = []
    threads = [
        threading.Thread(target=until_it_is_gone, args=(each, hub, into))
        for each, into in ((put, acknowledged), (take, taken))
    ]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(taken) > 50 and len(acknowledged) > 100, "documents to come and go")
        for path in ("/dweet/for/killed?level=4", "/input/killed?private_key=a%20private%20key&level=5"):
            assert hub.get(path)[0] == 200
    finally:
        hub.kill()
        for thread in threads:
            thread.join(60)
    with hub:
        left = list(iter(lambda: next_of(hub), None))
        assert hub.json("/get/latest/dweet/for/killed")["with"][0]["content"] == {"level": 4}
        assert [row["level"] for row in hub.json("/output/killed.json")] == ["5"]
        assert hub.query("level") == {'level{thing="killed"}': 4.0, 'level{stream="killed"}': 5.0}
    missing = set(acknowledged) - set(taken) - set(left)
    assert len(missing) <= 1  # that which was lent, or whose end was on its way, when the hub died
    assert set(left) & set(taken) == set()
    assert taken + left == sorted(taken + left)
    assert max(left) <= len(acknowledged)
    assert "private key" not in hub.said()


CONFIG = """
[http]
dialects = ["dweet", "phant", "queue"]
[mqtt]
enabled = false
[collectors]
[streams.killed]
private = "a private key"
fields = ["level"]
"""


def until_it_is_gone(each: Callable[..., None], hub: HubProcess, into: list[int]) -> None:
    with requests.Session() as session:
        try:
            while True:
                each(session, hub.url + "/queue/work", into)
        except requests.RequestException:
            return


def put(session: requests.Session, url: str, acknowledged: list[int]) -> None:
    session.post(url, json=len(acknowledged), timeout=60).raise_for_status()
    acknowledged.append(len(acknowledged))


def take(session: requests.Session, url: str, taken: list[int]) -> None:
    answer = session.get(url + "?lease=1h", timeout=60)
    if answer.status_code == 200:
        session.delete(url.removesuffix("/queue/work") + answer.headers["location"], timeout=60).raise_for_status()
        taken.append(answer.json())


def next_of(hub: HubProcess) -> int | None:
    """The next document, taken for good; None once there is none."""
    status, text = hub.get("/queue/work")
    return int(text) if status == 200 else None
