"""Silences over the hub's own API, to what is held back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.web.alarm_hub import AlarmHub

from almenara.alarm.silence import Silence, matchers_of, with_windows
from almenara.model.time import LATEST_NS

NIGHT = with_windows(
    Silence(
        "maintenance-night", matchers_of([("site", "=", "rome")]), 0, LATEST_NS, "the configuration", "updates",
        ("00:00-24:00",), name="night",
    ),
    "UTC",
)  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlarmHub]:
    one = AlarmHub(tmp_path_factory.mktemp("hub") / "data", maintenance=[NIGHT])
    yield one
    one.stop()


def make(hub: AlarmHub, **given: Any) -> Any:
    answer = hub.client.post("/api/v1/silences", json={"match": '{site="madrid"}', "duration": "2h"} | given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def reason(hub: AlarmHub, **labels: str) -> str | None:
    return hub.hub.alarms.silences.reason_of(labels, time.time_ns())


def test_a_silence_is_made_shown_and_ended_with_who_did_it(hub: AlarmHub) -> None:
    made = make(hub, who="ana", comment="a new pump")
    assert (made["match"], made["stage"], made["who"]) == ('{site="madrid"}', "active", "ana")
    assert made["until_ms"] == made["ends_ms"]
    assert 7_195_000 <= made["ends_ms"] - made["starts_ms"] <= 7_200_000
    assert (reason(hub, site="madrid") or "").endswith(": a new pump")
    path = f"/api/v1/silence/{made['id']}"
    ended = hub.client.delete(path, params={"who": "bob"}).json()
    assert (ended["stage"], reason(hub, site="madrid")) == ("expired", None)
    assert hub.client.delete(path).status_code == 400
    history = hub.client.get(path).json()["history"]
    assert [(one["kind"], one["who"]) for one in history] == [("created", "ana"), ("expired", "bob")]


def test_the_user_of_the_request_is_recorded_beside_the_name_given(hub: AlarmHub) -> None:
    body = {"match": '{site="lima"}', "duration": "1h"}
    made = hub.client.post("/api/v1/silences", json=body, auth=("carla", "x")).json()
    assert made["who"] == "carla"
    given = hub.client.post("/api/v1/silences", json=body | {"who": "ana"}, auth=("carla", "x")).json()
    assert hub.client.get(f"/api/v1/silence/{given['id']}").json()["history"][0]["who"] == "ana (carla)"


def test_windows_may_come_again_for_ever(hub: AlarmHub) -> None:
    made = make(hub, match='{site="oslo"}', duration="", windows=["00:00-12:00", "12:00-24:00"], who="ana")
    assert (made["ends_ms"], made["stage"]) == (None, "active")
    assert reason(hub, site="oslo")


def test_maintenance_of_the_configuration_is_listed_and_stays(hub: AlarmHub) -> None:
    (night,) = (one for one in hub.client.get("/api/v1/silences").json() if one["maintenance"])
    assert (night["maintenance"], night["stage"], night["windows"]) == ("night", "active", ["00:00-24:00"])
    answer = hub.client.delete(f"/api/v1/silence/{night['id']}")
    assert (answer.status_code, "of the configuration" in answer.json()["error"]) == (400, True)
    assert reason(hub, site="rome")


def test_amtool_sees_windows_and_cannot_change_them(hub: AlarmHub) -> None:
    made = make(hub, match='{site="riga"}', duration="", windows=["00:00-24:00"], who="ana")
    one = hub.client.get(f"/api/v2/silence/{made['id']}").json()
    assert one["status"]["state"] == "active"
    answer = hub.client.post("/api/v2/silences", json=one | {"comment": "x"})
    assert (answer.status_code, "has windows" in answer.json()) == (400, True)


def test_a_change_of_the_end_keeps_the_silence(hub: AlarmHub) -> None:
    made = make(hub, match='{site="bonn"}', who="ana")
    longer = make(hub, match='{site="bonn"}', id=made["id"], starts=made["starts_ms"], duration="5h", who="ana")
    assert (longer["id"], longer["ends_ms"] > made["ends_ms"]) == (made["id"], True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"match": ""}, "at least one matcher"),
        ({"match": "{"}, ""),
        ({"match": '{a=~".*"}'}, "non-empty matcher"),
        ({"match": 5}, "'match': expected a text"),
        ({"duration": ""}, "expected 'ends' or 'duration'"),
        ({"duration": "soon"}, "'duration'"),
        ({"ends": "2020-01-01T00:00:00Z"}, "in the future"),
        ({"ends": True}, "'ends': expected a time"),
        ({"windows": ["sometimes"]}, "hours of the week"),
        ({"windows": "Sun"}, "expected a list"),
        ({"until": 5}, "unknown key 'until'"),
        ({"id": "nobody"}, "silence not found"),
    ],
)
def test_what_is_wrong_is_told(hub: AlarmHub, given: dict[str, Any], told: str) -> None:
    answer = hub.client.post("/api/v1/silences", json={"match": '{site="madrid"}', "duration": "2h"} | given)
    assert answer.status_code in (400, 404)
    assert told in answer.json()["error"]


def test_a_preview_tells_what_a_silence_would_hold_back(hub: AlarmHub) -> None:
    alerts = [{"labels": {"alertname": "Hot", "site": "kiel", "n": str(k)}} for k in range(3)]
    assert hub.client.post("/api/v2/alerts", json=alerts).status_code == 200
    hub.write("temp,site=kiel v=1\ntemp,site=kiel,n=1 v=1\ntemp,site=ulm v=1")
    told = hub.client.get("/api/v1/silences/preview", params={"match[]": '{site="kiel",alertname="Hot"}'}).json()
    assert (told["open_count"], told["lately_count"], told["series_count"]) == (3, 3, 2)
    assert {one["rule"] for one in (*told["open"], *told["lately"])} == {"Hot"}
    assert hub.client.get("/api/v1/silences/preview", params={"match[]": "{"}).status_code == 400


def test_no_page_of_another_site_makes_or_ends_a_silence(hub: AlarmHub) -> None:
    made = make(hub, match='{site="genoa"}', who="ana")
    foreign = {"origin": "http://evil.example"}
    body = {"match": '{site="x"}', "duration": "1h"}
    assert hub.client.post("/api/v1/silences", json=body, headers=foreign).status_code == 403
    assert hub.client.delete(f"/api/v1/silence/{made['id']}", headers=foreign).status_code == 403
    assert hub.client.post("/api/v2/silences", json={}, headers=foreign).status_code == 403
