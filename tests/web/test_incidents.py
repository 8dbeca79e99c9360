"""Incidents over the hub's API: what became of them, and what people order, over a real book of alarms."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.web.alarm_hub import AlarmHub

from almenara.alarm.rules import Rule
from almenara.model.time import HOUR_NS

SITES = ("madrid", "lima", "oslo", "rome", "riga", "porto")


def until(condition: Callable[[], Any], what: str, within_s: float = 60) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlarmHub]:
    rules = [Rule(f"hot_{site}", f'pump_celsius{{site="{site}"}} > 90') for site in SITES]  # one rule folds them all
    one = AlarmHub(tmp_path_factory.mktemp("hub") / "data", rules)
    yield one
    one.stop()


def fire(hub: AlarmHub, site: str, *pumps: str) -> dict[str, Any]:
    """An incident of its own, of the pumps of a site; they are of one host."""
    now = time.time_ns()
    for pump in pumps:
        hub.write(f"pump,host={site},pump={pump},site={site} celsius=95 {now}")

    def made() -> Any:
        found = hub.client.get("/api/v1/incidents?open=true").json()
        mine = [i for i in found if any(f'site="{site}"' in alarm["series"] for alarm in i["members"])]
        return mine[0] if mine and len(mine[0]["members"]) == len(pumps) else None

    return until(made, f"an incident of {len(pumps)} alarms at {site}")


def order(hub: AlarmHub, id: int, verb: str, expected: int = 200, **given: Any) -> Any:
    answer = hub.client.post(f"/api/v1/incidents/{id}/{verb}", json=given)
    assert answer.status_code == expected, answer.text
    return answer.json()


def detail(hub: AlarmHub, id: int) -> Any:
    return hub.client.get(f"/api/v1/incidents/{id}").json()


def test_an_incident_tells_members_reasons_lines_changes_and_messages(hub: AlarmHub) -> None:
    id = fire(hub, "madrid", "P1", "P2")["id"]
    found = detail(hub, id)
    assert (found["size"], found["state"], found["acknowledgement"], found["silenced"]) == (2, "firing", None, [])
    first, second = found["members"]
    assert (first["reason"], bool(second["reason"])) == ("", True)
    assert {change["state"] for change in found["changes"]} == {"firing"}
    assert [(one["notifier"], one["outcome"], one["kind"]) for one in found["messages"]] == [
        ("default", "waiting", "firing")
    ]
    assert found["match"] == '{__name__="pump_celsius", alertname="hot_madrid", host="madrid", site="madrid"}'
    (short,) = (i for i in hub.client.get("/api/v1/incidents?members=1").json() if i["id"] == id)
    assert (short["size"], len(short["members"]), short["strongest"]) == (2, 1, 0)


def test_who_takes_it_on_and_gives_it_back_is_recorded(hub: AlarmHub) -> None:
    id = fire(hub, "lima", "P1")["id"]
    taken = order(hub, id, "acknowledge", who="ana", note="on my way\nnow", duration="2h")["acknowledgement"]
    assert (taken["who"], taken["note"]) == ("ana", "on my way now")
    assert taken["until_ms"] - taken["time_ms"] == pytest.approx(HOUR_NS / 1e6 * 2, abs=1000)
    hub.client.post(f"/api/v1/incidents/{id}/unacknowledge", json={"who": "bob"}, auth=("carla", "x"))
    assert [(one["kind"], one["who"]) for one in detail(hub, id)["lines"]] == [
        ("acknowledged", "ana"), ("unacknowledged", "bob (carla)"),
    ]  # fmt: skip
    assert order(hub, id, "unacknowledge")["acknowledgement"] is None, "a second time changes nothing"
    assert order(hub, id, "acknowledge")["acknowledgement"]["who"] == "API"


def test_alarms_are_split_off_and_joined_again(hub: AlarmHub) -> None:
    one = fire(hub, "oslo", "P1", "P2", "P3")
    alarm = {key: one["members"][2][key] for key in ("rule", "series")}
    new = order(hub, one["id"], "split", who="ana", alarms=[alarm])
    assert (new["id"] != one["id"], [m["series"] for m in new["members"]]) == (True, [alarm["series"]])
    assert "ana" in new["members"][0]["reason"]
    assert detail(hub, one["id"])["size"] == 2
    assert ("split", "ana") in [(line["kind"], line["who"]) for line in detail(hub, one["id"])["lines"]]
    assert order(hub, one["id"], "join", who="ana", incident=new["id"])["size"] == 3
    assert "is not open" in order(hub, new["id"], "join", 409, incident=one["id"])["error"]


def test_what_silences_an_incident_is_told(hub: AlarmHub) -> None:
    id = fire(hub, "rome", "P1")["id"]
    body = {"match": detail(hub, id)["match"], "duration": "1h", "who": "ana", "comment": "a new seal"}
    assert hub.client.post("/api/v1/silences", json=body).status_code == 200
    (reason,) = detail(hub, id)["silenced"]
    assert "silence of ana until" in reason
    assert {one["id"] for one in hub.client.get("/api/v1/incidents").json() if one["is_silenced"]} == {id}


@pytest.mark.parametrize(
    ("verb", "given", "status", "said"),
    [
        ("acknowledge", {"duration": "soon"}, 400, "duration"),
        ("acknowledge", {"until": 1}, 400, "future"),
        ("acknowledge", {"until": "never"}, 400, "until"),
        ("acknowledge", {"who": 7}, 400, "expected a text"),
        ("acknowledge", {"reason": ""}, 400, "unknown key 'reason'"),
        ("split", {"alarms": []}, 400, "expected a list"),
        ("split", {"alarms": [{"rule": "hot"}]}, 400, "as texts"),
        ("split", {"alarms": [{"rule": "hot", "series": 'a{b=~"c"}'}]}, 400, "as it is listed"),
        ("split", {"alarms": [{"rule": "hot", "series": "other"}]}, 409, "has no alarm of hot"),
        ("join", {"incident": "8"}, 400, "the number"),
        ("join", {"incident": 10**9}, 409, "is not open"),
    ],
)
def test_what_cannot_be_ordered_says_what_was_expected(
    hub: AlarmHub, verb: str, given: dict[str, Any], status: int, said: str
) -> None:
    id = hub.client.get("/api/v1/incidents?open=true").json()[0]["id"]
    assert said in order(hub, id, verb, status, **given)["error"]


def test_an_incident_that_is_not_there_or_over_takes_no_orders(hub: AlarmHub) -> None:
    for number in ("999999", "seven"):
        assert hub.client.get(f"/api/v1/incidents/{number}").status_code == 404
    id = fire(hub, "riga", "P1")["id"]
    hub.write(f"pump,host=riga,pump=P1,site=riga celsius=20 {time.time_ns()}")
    until(lambda: detail(hub, id)["state"] == "resolved", "its end")
    assert "not open any more" in order(hub, id, "acknowledge", 409)["error"]
    assert "not open any more" in order(hub, id, "unacknowledge", 409)["error"]


def test_the_outbox_is_listed_by_incident_and_outcome(hub: AlarmHub) -> None:
    id = fire(hub, "porto", "P1")["id"]
    (mine,) = hub.client.get("/api/v1/outbox", params={"incident": id, "outcome": "waiting"}).json()
    assert (mine["incident"], mine["notifier"], mine["done_ms"], mine["error"]) == (id, "default", None, "")
    assert hub.client.get("/api/v1/outbox?outcome=sent").json() == []
    assert hub.client.get("/api/v1/outbox?outcome=lost").status_code == 400
