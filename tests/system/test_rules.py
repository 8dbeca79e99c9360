"""Rules over HTTP on a real hub: made, tried, listed as Prometheus does, killed in between, and deleted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(300)

CONFIG = """
[rules.hot]
expr = "temp > 90"
annotations.summary = "{{ $labels.room }} has {{ $value }} degrees"
"""
RATIO = {
    "expr": "sum by (room) (errors) / sum by (room) (requests) > 0.05",
    "every": "1s",
    "severity": "critical",
    "labels": {"team": "web"},
    "annotations": {"summary": "{{ $value | humanizePercentage }} of requests fail in {{ $labels.room }}"},
}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    with HubProcess(tmp_path / "hub", config=CONFIG, mqtt=False) as one:
        yield one


def ask(hub: HubProcess, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {hub.token}"} if hub.token else {}
    answer = httpx.request(method, hub.url + path, json=body, headers=headers, timeout=60)
    return answer.status_code, answer.json()


def say(hub: HubProcess, **values: float) -> None:
    now = time.time_ns()
    lines = "\n".join(f"{name},room=kitchen value={value} {now}" for name, value in values.items())
    assert hub.post("/api/v2/write?bucket=b&org=o", lines.encode())[0] == 204


def listed(hub: HubProcess) -> dict[str, dict[str, Any]]:
    groups = ask(hub, "GET", "/api/v1/rules")[1]["data"]["groups"]
    return {
        rule["name"]: rule | {"group": group["name"], "file": group["file"]}
        for group in groups
        for rule in group["rules"]
    }


def test_a_rule_of_the_api_lives_like_one_of_the_file(hub: HubProcess) -> None:
    say(hub, errors=10, requests=100, temp=20)
    status, tried = ask(hub, "POST", "/api/v1/rules/test", RATIO)
    assert (status, tried["kind"], tried["series"], tried["alarming_total"]) == (200, "expression", 1, 1)
    (found,) = tried["alarming"]
    assert (found["why"], found["annotations"]) == ("0.1 is above 0.05", {"summary": "10% of requests fail in kitchen"})
    assert "ratio" not in listed(hub)

    assert ask(hub, "PUT", "/api/v1/rules/ratio", RATIO) == (201, {"name": "ratio", "created": True})
    assert ask(hub, "PUT", "/api/v1/rules/ratio", RATIO) == (200, {"name": "ratio", "created": False})
    rule = wait_until(lambda: (one := listed(hub)["ratio"])["state"] == "firing" and one, "the alarm of the rule")
    assert (rule["group"], rule["health"], rule["type"], rule["kind"]) == ("api", "ok", "alerting", "expression")
    (alert,) = rule["alerts"]
    assert alert["labels"] == {
        "alertname": "ratio", "__name__": "ratio", "room": "kitchen", "severity": "critical", "team": "web",
    }  # fmt: skip
    assert (alert["value"], alert["state"]) == ("0.1", "firing")
    assert alert["annotations"]["summary"] == "10% of requests fail in kitchen"
    assert ask(hub, "GET", "/api/v1/alerts")[1]["data"]["alerts"] == [alert]
    of_file = listed(hub)["hot"]
    assert (of_file["group"], of_file["state"], of_file["file"][-8:]) == ("file", "inactive", "hub.toml")

    hub.kill()
    hub.start()
    assert listed(hub)["ratio"]["alerts"][0]["activeAt"] == alert["activeAt"], "it goes on"
    say(hub, errors=0, requests=100)
    wait_until(lambda: listed(hub)["ratio"]["state"] == "inactive", "the end of the alarm")
    states = [one["state"] for one in hub.json("/api/v1/journal") if one["rule"] == "ratio"]
    assert states == ["resolved", "firing"]

    assert ask(hub, "DELETE", "/api/v1/rules/ratio") == (200, {"name": "ratio", "deleted": True})
    assert "ratio" not in listed(hub)
    assert ask(hub, "DELETE", "/api/v1/rules/ratio")[0] == 404


def test_what_cannot_be_is_said_in_the_words_of_the_file(hub: HubProcess) -> None:
    for name, body, said in (
        ("r", {"expr": "topk(1, a) > 1"}, "expr: the aggregation topk is not supported yet"),
        ("r", {"expr": "a > 1", "fro": "5m"}, "fro: unknown option; did you mean for?"),
        ("r", {"expr": "a > 1", "annotations": {"s": "{{ $x }}"}}, "annotations.s: {{ $x }}: $x is not known"),
        ("r", {"expr": 'rule("r") or a > 1'}, "expr: speaks of itself: r -> r"),
        ("r", {"expr": 'rule("nothing")'}, 'no rule is called "nothing"'),
        ("r", {}, "expr: is missing"),
        ("hot", {"expr": "temp > 1"}, "is a rule of the configuration file; change it there"),
    ):
        status, answer = ask(hub, "PUT", f"/api/v1/rules/{name}", body)
        assert (status, answer["errorType"]) == (400, "bad_data")
        assert said in answer["error"], answer
        assert said in ask(hub, "POST", "/api/v1/rules/test", body | {"name": name})[1]["error"]
    assert ask(hub, "PUT", "/api/v1/rules/r", [1])[0] == 400
    status, answer = ask(hub, "DELETE", "/api/v1/rules/hot")
    assert (status, "configuration file" in answer["error"]) == (400, True)
    assert ask(hub, "PUT", "/api/v1/rules/a", {"expr": "a > 1"})[0] == 201
    assert ask(hub, "PUT", "/api/v1/rules/b", {"expr": 'rule("a")'})[0] == 201
    status, answer = ask(hub, "DELETE", "/api/v1/rules/a")
    assert (status, "is spoken of by b" in answer["error"]) == (400, True)
