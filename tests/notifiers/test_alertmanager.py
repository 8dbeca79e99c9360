"""Rules of pushing alarms to Alertmanagers, against real ones, read with amtool and their API."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from almenara.model.alarm import Alarm, Incident, NoticeKind, Severity, State
from almenara.model.errors import ConfigError, NotifyError
from almenara.model.time import NS, ns_from_iso
from almenara.notifiers.alertmanager import AlertmanagerPush
from almenara.plugin.options import Secret
from almenara.testing.alarms import BEGAN_NS, incident, notice
from receivers import http_server, listens, program, running, wait_for

CONFIG = "route: {receiver: none}\nreceivers: [{name: none}]\n"


@contextlib.contextmanager
def alertmanager(folder: Path, port: int) -> Iterator[str]:
    folder.mkdir(exist_ok=True)
    (folder / "conf.yml").write_text(CONFIG)
    command = [
        program("prometheus-alertmanager"), f"--config.file={folder}/conf.yml", f"--storage.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        if not listens(port):
            return False
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/-/ready") as answer:
            return bool(answer.status == 200)
        return False

    with running(command, ready, folder):
        yield url


def alerts(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/api/v2/alerts") as answer:
        return sorted(json.load(answer), key=lambda one: one["labels"].get("host", ""))


def tell(notifier: AlertmanagerPush, *notices: Any) -> None:
    async def run() -> None:
        try:
            for one in notices:
                await notifier.notify(one)
        finally:
            await notifier.close()

    asyncio.run(run())


def now_incident(state: State = State.FIRING, severity: Severity = Severity.MAJOR) -> Incident:
    """The incident, as if it began a minute ago: an Alertmanager forgets what ended long ago."""
    began = time.time_ns() - 60 * NS
    of = incident(state)
    members = tuple(
        Alarm(dataclasses.replace(m.last, since=began, time=began + 5 * NS, severity=severity), of.id)
        for m in of.members
    )
    return dataclasses.replace(of, members=members, since=began, resolved=of.resolved and began + 5 * NS)


@pytest.mark.real("prometheus-alertmanager")
def test_amtool_sees_our_alerts_and_resolving_ends_them(tmp_path: Path, free_port: Callable[[], int]) -> None:
    with alertmanager(tmp_path, free_port()) as url:
        push = AlertmanagerPush(urls=[Secret(url)], labels={"hub": "plant"})
        tell(push, notice(now_incident()))
        asked = [program("amtool"), f"--alertmanager.url={url}", "alert", "query", "-o", "json", "hub=plant"]
        found = json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)
        assert sorted(one["labels"]["host"] for one in found) == ["a", "b"]
        first = alerts(url)[0]
        assert first["labels"] == {
            "alertname": "cpu", "host": "a", "hub": "plant", "series": "cpu_usage", "severity": "major",
        }  # fmt: skip
        assert first["annotations"]["summary"] == "Higher than usual: 93.25, expected 20.5 to 42"
        assert first["annotations"]["value"] == "93.25"
        assert first["generatorURL"] == "https://hub.example/alarms?incident=7"
        assert ns_from_iso(first["endsAt"]) > time.time_ns() + 80_000 * NS  # it does not end by resolve_timeout
        tell(push, notice(now_incident(State.RESOLVED)))
        wait_for(lambda: alerts(url) == [])


@pytest.mark.real("prometheus-alertmanager")
def test_a_worse_alarm_is_one_alert_and_a_test_is_seen(tmp_path: Path, free_port: Callable[[], int]) -> None:
    with alertmanager(tmp_path, free_port()) as url:
        push = AlertmanagerPush(urls=[Secret(url)])
        tell(push, notice(now_incident()), notice(now_incident(severity=Severity.CRITICAL), NoticeKind.UPDATE))
        wait_for(lambda: [one["labels"]["severity"] for one in alerts(url)] == ["critical", "critical"])
        tell(push, notice(kind=NoticeKind.TEST))
        assert "AlmenaraTest" in {one["labels"]["alertname"] for one in alerts(url)}


@pytest.mark.real("prometheus-alertmanager")
def test_an_alertmanager_that_was_started_anew_learns_of_open_alarms(
    tmp_path: Path, free_port: Callable[[], int]
) -> None:
    port = free_port()

    async def run() -> None:
        push = AlertmanagerPush(urls=[Secret(f"http://127.0.0.1:{port}")], resend_s=1.0, hold_s=120.0)
        try:
            with alertmanager(tmp_path / "1", port) as url:
                await push.notify(notice(now_incident()))
            with alertmanager(tmp_path / "2", port) as url:
                deadline = time.monotonic() + 60
                while len(await asyncio.to_thread(alerts, url)) < 2:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.05)
        finally:
            await push.close()

    asyncio.run(run())


@pytest.mark.real("prometheus-alertmanager")
def test_ten_thousand_alarms_of_one_incident_all_arrive(tmp_path: Path, free_port: Callable[[], int]) -> None:
    of = incident(hosts=tuple(f"h{i}" for i in range(10_000)))
    with alertmanager(tmp_path, free_port()) as url:
        tell(AlertmanagerPush(urls=[Secret(url)]), notice(of))
        assert len(alerts(url)) == 10_000


def test_one_of_several_is_enough_and_none_is_worth_another_try(free_port: Callable[[], int]) -> None:
    async def run() -> None:
        away = Secret(f"http://u:hidden@127.0.0.1:{free_port()}")
        async with http_server() as here:
            await AlertmanagerPush(urls=[away, Secret(here.url)]).check()
            assert here.requests[0][1] == b"[]"
        async with http_server(b"400 Bad Request", b'{"message": "start time must be before end time"}') as here:
            with pytest.raises(NotifyError, match="start time must be") as caught:
                await AlertmanagerPush(urls=[Secret(here.url)]).check()
            assert not caught.value.retry
            with pytest.raises(NotifyError, match="ConnectError") as caught:
                await AlertmanagerPush(urls=[away, Secret(here.url)]).check()
            assert caught.value.retry
            assert "hidden" not in str(caught.value)

    asyncio.run(run())


def test_names_of_labels_are_made_such_as_it_takes_and_no_alert_ends_before_it_begins() -> None:
    from almenara.notifiers.alertmanager import alert_of

    of = incident(State.RESOLVED)
    last = dataclasses.replace(of.members[0].last, labels={"2nd team": "x", "empty": ""}, time=BEGAN_NS - NS)
    alert = alert_of(Alarm(last), of, {}, "javascript:alert(1)")
    assert alert["labels"]["_2nd_team"] == "x"
    assert "empty" not in alert["labels"]
    assert alert["endsAt"] == alert["startsAt"]
    assert "generatorURL" not in alert


def test_options_are_checked() -> None:
    with pytest.raises(ConfigError, match="urls"):
        AlertmanagerPush(urls=[])
    with pytest.raises(ConfigError, match=r"urls\[1\]"):
        AlertmanagerPush(urls=[Secret("http://a"), Secret("ftp://b")])
    with pytest.raises(ConfigError, match="hold_s"):
        AlertmanagerPush(urls=[Secret("http://a")], hold_s=120.0, resend_s=100.0)
    with pytest.raises(ConfigError, match="labels"):
        AlertmanagerPush(urls=[Secret("http://a")], labels={"a-b": "c"})
