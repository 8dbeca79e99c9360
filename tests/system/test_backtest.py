"""Backtest of a real hub's stored history: over HTTP, on the command line, and as a page in a real browser."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from almenara.cli import main
from almenara.client import connect
from almenara.model.errors import AlmenaraError, QueryError
from almenara.testing.browser import Browser
from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("backtest") / "data", "--demo") as one:
        wait_until(lambda: one.query('count_over_time(flow{source="simulated"}[3w])'), "history", 60)
        yield one


def test_today_and_other_options_stand_beside_each_other(hub: HubProcess) -> None:
    told = []
    with connect(hub.url) as client:
        result = client.backtest('{source="simulated"}', "7d", options={"p_limit": 1e-3}, progress=told.append)
    today, asked = result["detectors"]
    assert [today["name"], asked["name"]] == ["today", "asked"]
    assert asked["options"]["p_limit"] == 1e-3
    assert asked["anomalies"] > today["anomalies"]
    assert today["per_week_interval"][0] <= today["per_week"] <= today["per_week_interval"][1]
    assert told[-1]["series"] == told[-1]["of"] == result["series"] > 10
    assert {one["by"] for one in result["anomalies"]} <= {"asked", "today", "both"}
    assert all(one["why"] and one["score"] >= 1 for one in result["anomalies"])


def test_a_budget_is_a_limit_for_all_series_together(hub: HubProcess) -> None:
    with connect(hub.url) as client:
        result = client.backtest('flow{source="simulated"}', "14d", budget_per_week=2)
    rows = result["rows"] * 14 / 21  # what was stored before the time that counts is read to learn from
    exact = 2 / (rows / 2)
    # Limits go in steps of a tenth of a decade, downwards, as those of configured budgets do.
    assert 0.75 * exact < result["detectors"][1]["options"]["p_limit"] <= 1.02 * exact


def test_what_counts_as_an_anomaly_can_be_tried_too(hub: HubProcess) -> None:
    with connect(hub.url) as client:
        both = client.backtest('{source="simulated"}', "14d", options={"p_limit": 1e-3})["detectors"][1]
        options = {"p_limit": 1e-3, "detection_direction": "above_expected"}
        above = client.backtest('{source="simulated"}', "14d", options=options)
    assert 0 < above["detectors"][1]["anomalies"] < both["anomalies"]
    assert all(one["value"] > one["yhat"] for one in above["anomalies"] if one["by"] == "asked")


def test_nothing_but_today_is_tried_where_nothing_else_is_asked_for(hub: HubProcess) -> None:
    with connect(hub.url) as client:
        result = client.backtest('flow{source="simulated"}', "7d")
    assert [one["name"] for one in result["detectors"]] == ["today"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"options": {"p_limi": 1e-3}}, 400, "did you mean p_limit?"),
        ({"options": {"p_limit": 5}}, 400, "p_limit"),
        ({"options": {"detection_direction": "up"}}, 400, "above_expected"),
        ({"options": {"data_range": [5, 1]}}, 400, "the lower bound first"),
        ({"detector": "oracle"}, 404, "no detector is called 'oracle'; there are seasonal"),
        ({"match": ['flow{source="simulated"']}, 400, ""),
        ({"match": ["nothing_like_this"]}, 404, "no series"),
        ({"match": 5}, 422, "match"),
        ({"since": "a while"}, 400, "since"),
        ({"since": "1h"}, 400, "at least one"),
        ({"budget_per_week": -1}, 422, "budget_per_week"),
        ({"sinse": "7d"}, 400, "unknown sinse"),
        ([], 400, "a list"),
    ],
)
def test_what_is_wrong_is_said_before_work_begins(hub: HubProcess, body: object, status: int, words: str) -> None:
    answered, text = hub.post("/api/v1/backtest", json.dumps(body).encode())
    assert (answered, words in json.loads(text)["error"]) == (status, True)


def test_who_goes_away_leaves_the_way_free(hub: HubProcess) -> None:
    asked = b'{"match": ["{source=\\"simulated\\"}"], "since": "14d", "options": {"p_limit": 1e-3}}'
    head = f"POST /api/v1/backtest HTTP/1.1\r\nHost: 127.0.0.1:{hub.http}\r\nContent-Length: {len(asked)}\r\n\r\n"
    for wanted in (0, 1, 1):  # bytes of the answer that are waited for
        with socket.create_connection(("127.0.0.1", hub.http), 60) as link:
            link.sendall(head.encode() + asked)
            assert len(link.recv(wanted)) == wanted

    def free() -> bool:
        status, text = hub.post("/api/v1/backtest", b'{"match": ["flow"], "since": "7d"}')
        return status == 200 and b'"result"' in text

    wait_until(free, "the next backtest", 60)


def test_detectors_tell_their_options_and_what_they_are_set_to(hub: HubProcess) -> None:
    (seasonal,) = hub.json("/api/v1/detectors")
    options = {one["name"]: one for one in seasonal["options"]}
    assert options["p_limit"]["default"] == "0.0001"
    assert options["timezone"]["value"]
    assert all(one["help"] for one in options.values())


def test_the_command_line_shows_both_sums_and_where_they_differ(
    hub: HubProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["backtest", '{source="simulated"}', "--since", "7d", "--url", hub.url]
    with pytest.raises(SystemExit, match="0"):
        main([*command, "-o", "p_limit=1e-3"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[0] for line in lines[:2]] == ["today", "asked"]
    assert 1 <= len(lines[2:]) <= 20
    assert all("alone" in line for line in lines[2:])
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--json"])
    assert json.loads(capsys.readouterr().out)["detectors"][0]["name"] == "today"


def test_errors_of_the_hub_reach_the_command_line(hub: HubProcess) -> None:
    with connect(hub.url) as client, pytest.raises((QueryError, AlmenaraError), match="did you mean p_limit"):
        client.backtest(options={"p_limi": 1})


@pytest.mark.real("chromium", "chromium-driver")
def test_the_page_tries_options_and_links_to_each_anomaly(hub: HubProcess, tmp_path: Path) -> None:
    with Browser(1280, 800) as page:
        page.open(f"{hub.url}/backtest?since=7d")
        page.find('.try input[name="match"]')
        page.type_text('.try input[name="match"]', '{source="simulated"}')
        page.type_text('.try [data-option="p_limit"]', "1e-3")
        page.click(".try .button.primary")
        page.find(".side.asked", 60)
        assert "option.p_limit=1e-3" in page.url
        figures = [
            page.execute(f"return document.querySelector('.side.{one} b').textContent") for one in ("today", "asked")
        ]
        assert float(figures[1]) > float(figures[0])
        assert page.find_all(".day-bars .bar.side-1")
        page.click(".tried li a")
        page.find(".chart")
        assert "/series?name=" in page.url
        assert page.console() == []


RULES = """
version = 1
[notifiers.phone]
plugin = "webhook"
url = "http://127.0.0.1:9/secret-id"
match = '{severity="critical"}'
[notifiers.mail]
plugin = "webhook"
url = "http://127.0.0.1:9/other-id"
[rules.unusual]
expr = "anomaly_score > 1"
for = "10m"
[rules.flow]
expr = "flow > -1e9"
severity = "critical"
[rules.all]
expr = "sum(flow) > 1e12"
"""


def test_rules_of_a_file_are_tried_and_stand_beside_what_was(
    hub: HubProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "trial.toml", tmp_path / "trial.html"
    file.write_text(RULES)
    outbox = hub.json("/api/v1/incidents")
    arguments = ["backtest", '{source="simulated"}', "--rules", str(file), "--since", "3d", "--url", hub.url]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json", "--out", str(out)])
    assert ended.value.code in (0, None)
    result = json.loads(capsys.readouterr().out)
    would = result["would_have"]
    flow = [one for one in would["incidents"] if one["rules"] == ["flow"]]
    assert flow, "it is always true"
    assert all(one["severity"] == "critical" for one in flow)
    assert {said["notifier"] for one in flow for said in one["told"]} == {"phone", "mail"}
    others = [one for one in would["incidents"] if one["severity"] != "critical"]
    assert "phone" not in {said["notifier"] for one in others for said in one["told"]}
    assert list(result["left_out"]) == ["all"]
    assert hub.json("/api/v1/incidents") == outbox, "nothing of the hub changed"
    text = out.read_text()
    assert "secret-id" not in text
    assert "http://" not in text
    with pytest.raises(SystemExit):
        main(arguments)
    assert "would have" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"config": {"rules": {"a": {"expr": "cpu >"}}}}, 422),
        ({"config": {"http": {"listen": "0.0.0.0:1"}}}, 422),
        ({"config": {"policies": {"a": {"notify": ["nobody"]}}}}, 422),
        ({"config": []}, 400),
        ({}, 400),
        ({"config": {}, "match": "x"}, 422),
        ({"config": {}, "match": ["nothing_like_it"]}, 404),
    ],
)
def test_what_cannot_be_tried_is_told(hub: HubProcess, body: dict, status: int) -> None:
    assert hub.post("/api/v1/backtest/rules", json.dumps(body).encode())[0] == status


def test_the_noise_of_a_hub_is_reported(hub: HubProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "noise.html"
    with pytest.raises(SystemExit) as ended:
        main(["noise", hub.url, "--since", "2d", "--json", "--out", str(out)])
    assert ended.value.code in (0, None)
    report = json.loads(capsys.readouterr().out)
    assert report["end_ms"] - report["start_ms"] == 2 * 86_400_000
    assert {"rules", "flapping", "messages", "held", "budgets"} <= set(report)
    assert "<h1>Noise of the last 2d</h1>" in out.read_text()
    assert hub.get("/api/v1/noise", since="soon")[0] == 400
