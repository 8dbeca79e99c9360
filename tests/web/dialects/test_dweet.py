"""Things as at dweet.io: with PyPI's dweepy, and what devices send by hand."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dweepy
import dweepy.api
import dweepy.streaming
import httpx
import pytest
from tests.web.conftest import NOW, S
from tests.web.dialects.switched import SwitchedHub as Hub
from tests.web.dialects.switched import switched

from almenara.model.errors import Overloaded
from almenara.plugin.options import Secret
from almenara.testing.process import wait_until

KEY = "the key of the safe"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    one = switched(tmp_path_factory.mktemp("data") / "hub", "dweet", dweet={"keys": {"safe": KEY}, "kept": 3})
    yield one
    one.stop()


@pytest.fixture
def dweet_io(served: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The client, pointed here: its address is a constant."""
    monkeypatch.setattr(dweepy.api, "BASE_URL", served.url)
    monkeypatch.setattr(dweepy.streaming, "BASE_URL", served.url)
    return served


def values(served: Hub, selector: str) -> list[float]:
    return [value for _, value in served.rows(selector)]


def test_dweepy_sends_and_reads_back(dweet_io: Hub) -> None:
    sent = {"temperature": 21.5, "door": True, "where": {"floor": 3}, "city": "Mumbai"}
    told = dweepy.dweet_for("real-thing", sent)
    assert (told["thing"], told["content"], told["created"]) == ("real-thing", sent, "2023-11-14T22:13:20.000Z")
    assert re.fullmatch(r"[0-9a-f-]{36}", told["transaction"])
    dweepy.dweet_for("real-thing", {"temperature": 22})
    newest, before = dweepy.get_dweets_for("real-thing")
    assert dweepy.get_latest_dweet_for("real-thing") == [newest]
    assert (newest["content"], before["content"]) == ({"temperature": 22}, sent)


def test_numbers_become_rows_of_the_thing(dweet_io: Hub) -> None:
    dweepy.dweet_for("rows-thing", {"level": 4, "door": True, "inner": {"deep": 0.5}, "city": "Mumbai"})
    for name, value in (("level", 4.0), ("door", 1.0), ("inner_deep", 0.5)):
        assert values(dweet_io, f'{name}{{thing="rows-thing",city="Mumbai"}}') == [value]


def test_a_dweet_without_a_name_is_given_one(dweet_io: Hub) -> None:
    told = dweepy.dweet({"humidity": 40})
    assert told["thing"].startswith("thing-")
    assert dweepy.dweet({"humidity": 40})["thing"] == told["thing"]
    assert dweepy.get_latest_dweet_for(told["thing"])[0]["content"] == {"humidity": 40}
    assert values(dweet_io, f'humidity{{thing="{told["thing"]}"}}') == [40.0]


def test_dweepy_is_told_of_a_thing_that_is_not_there(dweet_io: Hub) -> None:
    with pytest.raises(dweepy.DweepyError, match="404"):
        dweepy.get_latest_dweet_for("nobody")
    answer = dweet_io.client.get("/get/dweets/for/nobody")
    assert answer.json() == {"this": "failed", "with": 404, "because": "we couldn't find this"}


def test_a_locked_thing_wants_its_key(dweet_io: Hub) -> None:
    with pytest.raises(dweepy.DweepyError, match="403"):
        dweepy.dweet_for("safe", {"open": 1})
    assert dweepy.dweet_for("safe", {"open": 1}, key=KEY)["content"] == {"open": 1}
    for wrong in (None, "", "the key of the saf", KEY + "x"):
        with pytest.raises(dweepy.DweepyError, match="403"):
            dweepy.get_latest_dweet_for("safe", key=wrong)
    assert dweepy.get_latest_dweet_for("safe", key=KEY)[0]["content"] == {"open": 1}
    assert KEY not in json.dumps(dweet_io.client.get("/api/v1/sources").json())
    assert values(dweet_io, 'open{thing="safe"}')


def test_dweepy_listens(dweet_io: Hub) -> None:
    heard: list[Any] = []

    def listen() -> None:
        for dweet in dweepy.listen_for_dweets_from("loud", timeout=60):
            heard.append(dweet)
            if len(heard) == 3:
                return

    before = dweet_io.on_loop(lambda: len(dweet_io.feed))
    thread = threading.Thread(target=listen)
    thread.start()
    wait_until(lambda: dweet_io.on_loop(lambda: len(dweet_io.feed)) > before, "somebody to listen")
    dweepy.dweet_for("quiet", {"a": 9})
    for n in range(3):
        dweepy.dweet_for("loud", {"n": n, "text": "ß\n"})
    thread.join(60)
    assert [one["content"] for one in heard] == [{"n": n, "text": "ß\n"} for n in range(3)]
    assert {one["thing"] for one in heard} == {"loud"}
    wait_until(lambda: dweet_io.on_loop(lambda: len(dweet_io.feed)) == before, "the listener to be forgotten")


def get(served: Hub, path: str, **headers: str) -> httpx.Response:
    return served.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_a_device_may_send_with_a_plain_get(served: Hub) -> None:
    told = get(served, "/dweet/for/plain?temp=-3.5&on=true&id=007&name=x%20y&key=&p=4").json()["with"]
    assert told["content"] == {"temp": -3.5, "on": True, "id": "007", "name": "x y", "p": 4}
    assert values(served, 'temp{thing="plain",id="007",name="x y"}') == [-3.5]
    assert served.client.post("/dweet/for/plain", data={"temp": "5"}).json()["with"]["content"] == {"temp": 5}
    assert get(served, "/dweet/quietly/for/plain?temp=1").status_code == 204


def test_only_the_last_ones_are_kept(served: Hub) -> None:
    for n in range(5):
        get(served, f"/dweet/for/many?n={n}")
    found = get(served, "/get/dweets/for/many").json()["with"]
    assert [one["content"]["n"] for one in found] == [4, 3, 2]


def test_what_holds_no_number_is_kept_as_a_document(served: Hub) -> None:
    assert get(served, "/dweet/for/talks?say=hello").status_code == 200
    assert get(served, "/get/latest/dweet/for/talks").json()["with"][0]["content"] == {"say": "hello"}


@pytest.mark.parametrize("number", ["0x1F", "1_000", "1e999", "nan", "Infinity", "٣", "1.", "+", ".", "e5", ""])
def test_what_is_no_plain_number_stays_a_text(served: Hub, number: str) -> None:
    told = served.client.get("/dweet/for/texts", params={"a": number, "n": 1}).json()["with"]["content"]
    assert told == {"a": number, "n": 1}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/dweet/for/bad", b"[1]", 400),
        ("/dweet/for/bad", b"{", 400),
        ("/dweet/for/bad", b"", 400),
        ("/dweet/for/bad", b'{"a":"\xff"}', 400),
        ("/dweet/for/bad", b'{"a":' * 2000, 400),
        ("/dweet/for/bad", b'{"a":"' + b"x" * 70_000 + b'"}', 413),
        ("/dweet/for/" + "x" * 129, b'{"a":1}', 400),
        ("/dweet/for/two%20words", b'{"a":1}', 400),
    ],
)
def test_what_cannot_be_kept_is_refused_in_dweet_words(served: Hub, path: str, body: bytes, status: int) -> None:
    answer = served.client.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["this"], answer.json()["with"]) == (status, "failed", status)


def test_a_page_of_another_site_cannot_send(served: Hub) -> None:
    path = "/dweet/for/forged?a=1"
    for headers in (
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"referer": "http://evil.example/page"},
        {"origin": "http://evil.example"},
        {"origin": "null"},
    ):
        assert get(served, path, **headers).status_code == 403
    assert served.client.head(path).status_code == 405
    assert get(served, "/get/latest/dweet/for/forged").status_code == 404
    assert get(served, path, sec_fetch_site="none").status_code == 200
    assert get(served, path, sec_fetch_site="same-origin", referer=served.url + "/x").status_code == 200


def test_a_hub_that_cannot_take_it_says_when_to_come_again(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> None:
        raise Overloaded("the queue is full", retry_after_s=7)

    monkeypatch.setattr(served.hub, "write", full)
    answer = get(served, "/dweet/for/later?a=1")
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["this"]) == (503, "7", "failed")
    assert get(served, "/get/latest/dweet/for/later").status_code == 404


def test_documents_outlive_a_restart_and_end_after_their_time(tmp_path: Path) -> None:
    with switched(tmp_path / "hub", "dweet") as first:
        get(first, "/dweet/for/kept?a=1")
    with switched(tmp_path / "hub", "dweet") as second:
        assert get(second, "/get/latest/dweet/for/kept").json()["with"][0]["content"] == {"a": 1}
        second.now = NOW + 86_401 * S
        assert get(second, "/get/latest/dweet/for/kept").status_code == 404


def test_with_a_token_the_key_of_a_thing_is_enough_for_this_thing(tmp_path: Path) -> None:
    with switched(tmp_path / "hub", "dweet", token="the token", dweet={"keys": {"safe": Secret(KEY)}}) as hub:
        for path, status in (
            (f"/dweet/for/safe?a=1&key={KEY}", 200),
            (f"/get/latest/dweet/for/safe?key={KEY}", 200),
            ("/dweet/for/other?a=1&key=the%20token", 200),
            ("/dweet?a=1&p=the%20token", 200),
            (f"/dweet/for/other?a=1&key={KEY}", 401),
            ("/dweet/for/safe?a=1&key=wrong", 401),
            ("/dweet/for/safe?a=1", 401),
            (f"/api/v1/sources?key={KEY}", 401),
            (f"/write/dweet/for/safe?key={KEY}", 401),
        ):
            assert get(hub, path).status_code == status, path
        assert "token" not in get(hub, "/get/latest/dweet/for/other?key=the%20token").text


def test_a_topic_filter_chooses_other_rules(tmp_path: Path) -> None:
    topics = {"dweet/+": {"state_keys": ["mode"], "topic_label": "thing"}}
    with switched(tmp_path / "hub", "dweet", topics=topics) as hub:
        get(hub, "/dweet/for/heating?mode=heat&temp=20")
        assert values(hub, 'mode{mode="heat",thing="dweet/heating"}') == [1.0]
        assert values(hub, 'temp{thing="dweet/heating"}') == [20.0]


def test_it_is_off_unless_switched_on(tmp_path: Path) -> None:
    with switched(tmp_path / "hub") as hub:
        for path in ("/dweet?a=1", "/dweet/for/x?a=1", "/get/latest/dweet/for/x", "/queue/x", "/input/x", "/output/x"):
            assert get(hub, path).status_code == 404
