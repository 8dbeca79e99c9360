"""What operators ask of the hub, over real HTTP."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.web.conftest import NOW, S, Served, TwinDemo, transition

from almenara.job.runs import Outcome, Run, Runs
from almenara.job.schedule import Job, Steps
from almenara.job.turns import Turns
from almenara.model.alarm import Acknowledgement, Alarm, Incident, Severity, State
from almenara.model.batch import Event
from almenara.model.errors import Problem
from almenara.model.series import Series
from almenara.pipeline.budgets import Kept
from almenara.pipeline.sources import SourceStatus
from almenara.web.operate import Rate

MS = NOW // 1_000_000
CPU = Series.of("cpu", host="a")


def test_alarms_open_and_recent(served: Served) -> None:
    firing = transition(State.FIRING, CPU, NOW - 60 * S, NOW)
    served.hub.alarms.now = [Alarm(firing, incident=7)]
    served.hub.alarms.told = [firing, transition(State.PENDING, CPU, NOW - 60 * S, NOW - 60 * S)]
    found = served.client.get("/api/v1/alarms").json()
    (one,) = found["open"]
    assert (one["rule"], one["series"], one["state"], one["incident"]) == ("anomaly", 'cpu{host="a"}', "firing", 7)
    assert (one["since_ms"], one["time_ms"], one["severity"]) == (MS - 60_000, MS, "major")
    assert (one["value"], one["score"], one["yhat"], one["why"]) == (20.0, 2.0, None, "too high")
    assert [row["state"] for row in found["recent"]] == ["firing", "pending"]


def test_the_journal_goes_back_page_by_page(served: Served) -> None:
    served.hub.alarms.told = [transition(State.FIRING, CPU, i, NOW + i * S) for i in range(5)]
    page = served.client.get("/api/v1/journal", params={"limit": 2}).json()
    assert [row["time_ms"] for row in page] == [MS + 4000, MS + 3000]
    rest = served.client.get("/api/v1/journal", params={"before": page[-1]["time_ms"]}).json()
    assert [row["time_ms"] for row in rest] == [MS + 2000, MS + 1000, MS]


def test_incidents_with_members_and_who_took_them(served: Served) -> None:
    members = (Alarm(transition(State.FIRING, CPU), 3),)
    taken = Acknowledgement("ana", NOW, "looking")
    served.hub.alarms.grouped = [
        Incident(3, NOW, State.FIRING, Severity.CRITICAL, members, taken),
        Incident(2, NOW - S, State.RESOLVED, Severity.MINOR, (), None, NOW),
    ]
    both = served.client.get("/api/v1/incidents").json()
    assert [(one["id"], one["state"], one["resolved_ms"]) for one in both] == [(3, "firing", None), (2, "resolved", MS)]
    assert both[0]["acknowledgement"] == {"who": "ana", "time_ms": MS, "until_ms": None, "note": "looking"}
    assert both[0]["members"][0]["series"] == 'cpu{host="a"}'
    assert [one["id"] for one in served.client.get("/api/v1/incidents?open=true").json()] == [3]


def test_sources_with_rejections_problem_and_remedy(served: Served) -> None:
    one = SourceStatus(
        "mqtt:g17", NOW, NOW + S, payloads=3, received=12, stored=7, late=2, duplicate=1, overwritten=1, events=1,
        best_effort_rows=9, rejected=Counter(future=2), dropped=Counter(refused=1), last_rejected="admission: future",
        problem="It asked for MQTT 5.", remedy="Use 3.1.1.",
    )  # fmt: skip
    served.hub.seen_sources = [one, SourceStatus("http:b", received=3, stored=1, rejected=Counter(future=2))]
    (found, _) = served.client.get("/api/v1/sources").json()
    assert found == {
        "name": "mqtt:g17", "transport": "mqtt", "first_ms": MS, "last_ms": MS + 1000, "payloads": 3, "rows": 8,
        "received": 12, "stored": 7, "late": 2, "duplicate": 1, "overwritten": 1, "events": 1, "best_effort_rows": 9,
        "rejected": {"future": 2}, "dropped": {"refused": 1}, "last_rejected": "admission: future",
        "problem": "It asked for MQTT 5.", "remedy": "Use 3.1.1.",
    }  # fmt: skip
    ledger = served.client.get("/api/v1/ledger").json()
    assert ledger["sources"][0] == found
    assert ledger["total"] == {
        "payloads": 3, "received": 15, "stored": 8, "late": 2, "duplicate": 1, "overwritten": 1, "events": 1,
        "best_effort_rows": 9, "rejected": {"future": 4}, "dropped": {"refused": 1},
    }  # fmt: skip


def test_events_of_the_last_day_newest_first(served: Served) -> None:
    served.hub.events = [Event(NOW - S, (("app", "cron"),), "job ended"), Event(NOW - 2 * 86_400 * S, (), "long ago")]
    assert served.client.get("/api/v1/events").json() == [
        {"time_ms": MS - 1000, "labels": {"app": "cron"}, "text": "job ended"}
    ]
    assert len(served.client.get("/api/v1/events?start=1").json()) == 2
    assert served.client.get("/api/v1/events?match[]=up%7B").status_code == 400


def test_status_says_how_the_hub_is(served: Served) -> None:
    found = served.client.get("/api/v1/status").json()
    assert found["addresses"]["mqtt"] == "127.0.0.1:1883"
    assert (found["clock_ms"], found["ready"], found["demo"]) == (MS, [], None)
    assert found["uptime_s"] >= 0
    assert found["series"] == len(served.hub.index)


def test_the_rate_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now, rate = [100.0], Rate()
    monkeypatch.setattr("almenara.web.operate.time.monotonic", lambda: now[0])
    assert rate.of(1000) == 0
    for second in range(1, 20):
        now[0] = 100.0 + second
        assert rate.of(1000 + 50 * second) == 50
    now[0] += 3600
    assert rate.of(1950) == 0


def test_jobs_say_when_they_are_due_and_what_came_of_them(served: Served, tmp_path: Path) -> None:
    def database() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "hub.db", isolation_level=None, check_same_thread=False)

    def run(now_ns: int, last: Run | None) -> Steps:
        yield {"rows": 12}

    runs = Runs(database)
    served.hub.jobs = Turns([Job("tidy", 3600, run)], runs, served.hub.clock)
    assert served.client.get("/api/v1/jobs").json() == {
        "jobs": [{"name": "tidy", "every_s": 3600, "next_ms": MS}], "recent": []
    }  # fmt: skip
    served.hub.jobs.turn()
    runs.keep(Run("old", NOW, None, Outcome.FAILED, "the disk"))
    found = served.client.get("/api/v1/jobs").json()
    assert found["jobs"] == [{"name": "tidy", "every_s": 3600, "next_ms": MS + 3_600_000}]
    assert found["recent"] == [
        {"job": "old", "started_ms": MS, "ended_ms": None, "outcome": "failed", "message": "the disk", "figures": {}},
        {"job": "tidy", "started_ms": MS, "ended_ms": MS, "outcome": "ok", "message": "", "figures": {"rows": 12}},
    ]
    assert len(served.client.get("/api/v1/jobs", params={"limit": 1}).json()["recent"]) == 1
    runs.close()


def test_breaking_the_demo(serving: Callable[..., Served]) -> None:
    served = serving()
    none = served.client.post("/api/v1/demo/break", json={"fault": "leak"})
    assert none.status_code == 404
    assert "--demo" in none.json()["error"]
    served.hub.demo = TwinDemo()
    assert served.client.post("/api/v1/demo/break", json={"fault": "leak"}).json()["injected"][0]["fault"] == "leak"
    assert served.hub.demo.broken == ["leak"]
    assert served.client.get("/api/v1/status").json()["demo"]["faults"]["leak"] == "A pump loses pressure."
    for body, status in ((b'{"fault":"x"}', 404), (b"{", 400), (b"[1]", 400), (b'{"fault":3}', 422), (b"{}", 422)):
        assert served.client.post("/api/v1/demo/break", content=body).status_code == status


def test_ready_says_why_not_and_healthy_does_not_care(serving: Callable[..., Served]) -> None:
    served = serving()
    assert served.client.get("/-/ready").status_code == 200
    served.hub.reasons = ["judging catches up", "no broker"]
    answer = served.client.get("/-/ready")
    assert (answer.status_code, answer.text) == (503, "judging catches up\nno broker\n")
    assert served.client.get("/-/healthy").status_code == 200


def test_reload_answers_with_every_mistake(serving: Callable[..., Served]) -> None:
    problems = [Problem("hub.toml:3", "qos must be 0, 1 or 2; got 7"), Problem("hub.toml:9", "unknown option")]

    async def reload() -> list[Problem]:
        return problems

    served = serving(reload=reload)
    bad = served.client.post("/-/reload")
    assert bad.status_code == 400
    assert [one["where"] for one in bad.json()["problems"]] == ["hub.toml:3", "hub.toml:9"]
    problems.clear()
    assert served.client.post("/-/reload").status_code == 200
    assert serving(reload=lambda: ()).client.post("/-/reload").status_code == 200
    assert serving().client.post("/-/reload").status_code == 422
    assert served.client.get("/-/reload").status_code == 405


def test_metrics_are_prometheus_text(serving: Callable[..., Served]) -> None:
    served = serving()
    served.hub.counters.add("almenara_rows_rejected_total", 2, reason='a "b"\\\n')
    answer = served.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "# TYPE almenara_live_streams gauge\nalmenara_live_streams 0\n" in answer.text
    assert 'almenara_rows_rejected_total{reason="a \\"b\\"\\\\\\n"} 2\n' in answer.text
    assert answer.text.count("# HELP almenara_rows_rejected_total ") == 1


def test_nan_is_null_and_never_breaks_the_json(served: Served) -> None:
    served.hub.alarms.now = [Alarm(transition(State.NO_DATA, CPU))]
    body = served.client.get("/api/v1/alarms")
    assert b"NaN" not in body.content
    assert body.json()["open"][0]["lower"] is None
    assert not math.isnan(body.json()["open"][0]["value"])


def test_budgets_are_told_with_their_rate_and_its_interval(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept("load", 7.0, math.nan, 2, 20160.0, 3, 0.5, 6.0, 1.2, 17.6)
    monkeypatch.setattr(served.hub, "budgets", lambda: [kept], raising=False)
    (one,) = served.client.get("/api/v1/budgets").json()
    assert (one["name"], one["p_limit"], one["alerts"], one["rate"], one["high"]) == ("load", None, 3, 6, 17.6)
