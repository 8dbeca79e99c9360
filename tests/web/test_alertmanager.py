"""The same requests to Debian's Alertmanager and to us: the answers must be equal but for ids and times; and amtool."""

from __future__ import annotations

import json
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.web.alarm_hub import AlarmHub

from almenara.alarm.inhibit import Inhibition
from almenara.alarm.policies import Policies
from almenara.alarm.silence import matchers_of
from almenara.testing.process import free_port, wait_until
from almenara.web.alertmanager_shapes import fingerprint, moment

JSON = {"content-type": "application/json"}
CONFIG = """
route: {receiver: default, group_by: [alertname], group_wait: 1ms}
receivers: [{name: default}]
inhibit_rules: [{source_matchers: [kind="outage"], target_matchers: [kind="slow"], equal: [site]}]
"""
INHIBITION = Inhibition("o", matchers_of([("kind", "=", "outage")]), matchers_of([("kind", "=", "slow")]), ("site",))


def at(**shift: float) -> str:
    return (datetime.now(UTC) + timedelta(**shift)).isoformat()


def matcher(name: str, value: str, **more: bool) -> dict[str, Any]:
    return {"name": name, "value": value, "isRegex": False} | more


def silence(*matchers: dict[str, Any], **more: Any) -> dict[str, Any]:
    times = {"startsAt": at(hours=-1), "endsAt": at(hours=1)}
    return {"matchers": list(matchers), "createdBy": "ana", "comment": "a new pump"} | times | more


ALERTS = [
    {
        "labels": {"alertname": "DiskFull", "instance": "a", "severity": "page", "empty": ""},
        "annotations": {"summary": "disk of a is full", "empty": ""},
        "generatorURL": "http://prometheus/graph?g0.expr=disk",
    },
    {"labels": {"alertname": "DiskFull", "instance": "b"}, "startsAt": "2026-01-01T00:00:00Z"},
    {"labels": {"alertname": "Slow", "instance": "a"}, "endsAt": "2036-01-01T00:00:00Z", "annotations": {"a": "é"}},
    {"labels": {"instance": "nameless"}, "startsAt": "2026-01-01T00:00:00.123456789+02:00"},
    {"labels": {"alertname": "Over"}, "startsAt": "2026-01-01T00:00:00Z", "endsAt": "2026-01-02T00:00:00Z"},
]


class Both:
    """Two servers that are asked the same."""

    def __init__(self, theirs: str, ours: str):
        self.theirs, self.ours = (httpx.Client(base_url=url, timeout=30) for url in (theirs, ours))

    def ask(self, method: str, path: str, **more: Any) -> tuple[tuple[int, Any], tuple[int, Any]]:
        """(status, body) of theirs and of ours, without what must differ."""
        theirs, ours = (plain(one.request(method, path, **more)) for one in (self.theirs, self.ours))
        return theirs, ours

    def post(self, path: str, body: Any) -> tuple[tuple[int, Any], tuple[int, Any]]:
        return self.ask("POST", path, content=json.dumps(body), headers=JSON)


def plain(answer: httpx.Response) -> tuple[int, Any]:
    """The status and the body, with ids as `id`, and times as `time` where they are of now."""
    body = answer.json() if answer.content else None
    return answer.status_code, without(body)


def without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without(one) for key, one in value.items()}
    if isinstance(value, list):
        found = [without(one) for one in value]
        groups = all(isinstance(one, dict) and "fingerprint" in one for one in found)  # of equal order in no group
        return sorted(found, key=lambda one: one["fingerprint"]) if groups else found
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", value):
        return "id"
    if isinstance(value, str) and re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)", value):
        moment = datetime.fromisoformat(value).astimezone(UTC)
        return "time" if abs(moment - datetime.now(UTC)) < timedelta(hours=2) else moment
    return value


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlarmHub]:
    told = Policies(notifiers={"default": ()}, inhibitions=[INHIBITION])
    one = AlarmHub(tmp_path_factory.mktemp("hub") / "data", told=told)
    yield one
    one.stop()


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("alertmanager"), free_port()
    (folder / "config.yml").write_text(CONFIG)
    command = (
        "prometheus-alertmanager", f"--config.file={folder / 'config.yml'}", f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    )  # fmt: skip
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: answers(url), "Alertmanager to be ready")
            yield url
        finally:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def both(hub: AlarmHub, alertmanager: str) -> Iterator[Both]:
    """Both with the same alerts, and a silence for one of them."""
    one = Both(alertmanager, hub.url)
    assert one.post("/api/v2/alerts", ALERTS) == ((200, None), (200, None))
    theirs, ours = one.post("/api/v2/silences", silence(matcher("instance", "b")))
    assert theirs == ours == (200, {"silenceID": "id"})
    # Alertmanager groups and marks alerts a moment after it took them.
    wait_until(lambda: b"suppressed" in one.theirs.get("/api/v2/alerts/groups").content, "the alerts to be marked")
    yield one
    one.theirs.close()
    one.ours.close()


def sorted_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


ASKED = [
    "", "?active=false", "?silenced=false", "?inhibited=false", "?silenced=false&active=false", "?active=maybe",
    '?filter=alertname="DiskFull"', "?filter=alertname=DiskFull", '?filter=alertname=~"Disk.*"&filter=instance!="a"',
    '?filter=instance!~"a|b"', '?filter=severity=""', '?filter=severity!=""', "?filter=nonsense", '?filter=a=~"("',
    "?receiver=default", "?receiver=def.*", "?receiver=nobody", "?receiver=(", "?filter=alertname%3D%22Disk%5C%22%22",
]  # fmt: skip


@pytest.mark.real("prometheus-alertmanager")
@pytest.mark.parametrize("query", ASKED)
@pytest.mark.parametrize("path", ["/api/v2/alerts", "/api/v2/alerts/groups"])
def test_alerts_are_told_as_alertmanager_tells_them(both: Both, path: str, query: str) -> None:
    (their_status, theirs), (our_status, ours) = both.ask("GET", path + query)
    assert our_status == their_status
    if "(" in query:
        assert isinstance(theirs, str)
        assert isinstance(ours, str)
    else:
        assert ours == theirs


@pytest.mark.real("prometheus-alertmanager")
@pytest.mark.parametrize(
    "alerts",
    [
        [],
        [{"labels": {}}],
        [{"labels": {"": "x"}}, {"labels": {"instance": "kept", "alertname": "Kept"}}],
        [{"labels": {"a": ""}}, {"labels": {"b": "c"}, "startsAt": at(), "endsAt": at(hours=-1)}],
        [{"annotations": {"a": "b"}}],
        [{"labels": {"a": "b"}, "generatorURL": "::no link"}],
    ],
)
def test_alerts_that_are_wrong_are_named_and_the_others_kept(both: Both, alerts: list[Any]) -> None:
    theirs, ours = both.post("/api/v2/alerts", alerts)
    assert ours == theirs
    theirs, ours = both.ask("GET", '/api/v2/alerts?filter=instance="kept"')
    assert ours == theirs


@pytest.mark.real("prometheus-alertmanager")
@pytest.mark.parametrize(
    ("body", "media"),
    [
        ("", "application/json"),
        ("nonsense", "application/json"),
        ('{"a": 1}', "application/json"),
        ('[{"labels": {"a": 1}}]', "application/json"),
        ('[{"labels": {"a": "b"}, "startsAt": "yesterday"}]', "application/json"),
        ("[]", "text/plain"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v2/alerts", "/api/v2/silences"])
def test_bodies_of_another_form_have_the_status_that_alertmanager_gives(
    both: Both, body: str, media: str, path: str
) -> None:
    theirs, ours = both.ask("POST", path, content=body, headers={"content-type": media})
    assert ours[0] == theirs[0]
    assert ours[1]["code"] == theirs[1]["code"]


@pytest.mark.real("prometheus-alertmanager")
@pytest.mark.parametrize(
    "given",
    [
        silence(),
        silence(matcher("a", "")),
        silence(matcher("a", ".*", isRegex=True)),
        silence(matcher("a", "x"), id=str(uuid.uuid4())),
        silence(matcher("a", "x"), id="nobody"),
        silence(matcher("a", "x"), startsAt=at(hours=2)),
        silence(matcher("a", "x"), startsAt=at(hours=-3), endsAt=at(hours=-2)),
        silence({"name": "a", "value": "x"}),
        silence({"name": "a", "isRegex": False}),
        {"matchers": [matcher("a", "x")]},
        {key: one for key, one in silence(matcher("a", "x")).items() if key != "matchers"},
    ],
)
def test_silences_that_are_wrong_are_told_as_alertmanager_does(both: Both, given: dict[str, Any]) -> None:
    theirs, ours = both.post("/api/v2/silences", given)
    assert ours == theirs
    assert ours[0] >= 400


@pytest.mark.real("prometheus-alertmanager")
def test_silences_are_listed_found_changed_and_ended_as_there(both: Both) -> None:
    regex = silence(matcher("site", "mad.*|paris", isRegex=True, isEqual=False), matcher("pump", "7"))
    coming = silence(matcher("site", "madrid"), startsAt=at(minutes=30))
    ids = []
    for given in (regex, coming):
        answers = [one.post("/api/v2/silences", json=given).json()["silenceID"] for one in (both.theirs, both.ours)]
        ids.append(answers)
    filters = ["site=madrid", 'site=~"mad.*"', 'site!~"mad.*|paris"', 'site=~"mad.*|paris"', "instance=b", 'a=""', "xx"]
    for params in ({}, *({"filter": one} for one in filters), {"filter": ["pump=7", 'site!~"mad.*|paris"']}):
        theirs, ours = both.ask("GET", "/api/v2/silences", params=params)
        assert ours == theirs, params
    told = [one.get(f"/api/v2/silence/{id}") for one, id in zip((both.theirs, both.ours), ids[0], strict=True)]
    assert plain(told[1]) == plain(told[0])

    def each(method: str, **body: Any) -> list[tuple[int, Any]]:
        found = []
        for one, id in zip((both.theirs, both.ours), ids[0], strict=True):
            given = {"json": one.get(f"/api/v2/silence/{id}").json() | body} if method == "POST" else {}
            path = "/api/v2/silences" if method == "POST" else f"/api/v2/silence/{id}"
            found.append(plain(one.request(method, path, **given)))
        return found

    theirs, ours = each("POST", endsAt=at(hours=1.5))  # longer: the same silence
    assert ours == theirs
    theirs, ours = each("POST", matchers=[matcher("site", "rome")])  # other matchers: another one, and this one ends
    assert ours == theirs
    for method in ("GET", "DELETE", "DELETE", "GET"):
        theirs, ours = each(method)
        assert ours == theirs
    theirs, ours = both.ask("GET", "/api/v2/silences")
    assert sorted(map(sorted_json, ours[1])) == sorted(map(sorted_json, theirs[1]))
    for path in ("/api/v2/silence/nobody", f"/api/v2/silence/{uuid.uuid4()}"):
        theirs, ours = both.ask("GET", path)
        assert ours[0] == theirs[0]


@pytest.mark.real("prometheus-alertmanager")
def test_what_inhibits_an_alert_is_told_as_there(both: Both) -> None:
    kinds = [("outage", "bern"), ("slow", "bern"), ("slow", "genf")]
    alerts = [{"labels": {"alertname": "Link", "kind": kind, "site": site}} for kind, site in kinds]
    assert both.post("/api/v2/alerts", alerts) == ((200, None), (200, None))
    params = {"filter": "alertname=Link"}
    wait_until(lambda: both.theirs.get("/api/v2/alerts", params=params).text.count('"suppressed"') == 1, "the mark")
    for more in ({}, {"inhibited": "false"}, {"active": "false"}):
        theirs, ours = both.ask("GET", "/api/v2/alerts", params=params | more)
        assert ours == theirs
        assert str(ours).count("'suppressed'") == (more != {"inhibited": "false"})


@pytest.mark.real("prometheus-alertmanager")
def test_receivers_and_the_form_of_the_status_are_the_same(both: Both) -> None:
    theirs, ours = both.ask("GET", "/api/v2/receivers")
    assert ours == theirs
    (_, theirs), (_, ours) = both.ask("GET", "/api/v2/status")

    def shape(value: Any) -> Any:
        return {k: shape(v) for k, v in value.items()} if isinstance(value, dict) else type(value)

    assert shape(ours) == shape(theirs)
    assert ours["versionInfo"]["version"] == theirs["versionInfo"]["version"]


def test_the_same_stands_under_the_path_of_a_proxy(hub: AlarmHub) -> None:
    body = [{"labels": {"alertname": "Behind"}}]
    assert hub.client.post("/alertmanager/api/v2/alerts", json=body).status_code == 200
    found = hub.client.get("/alertmanager/api/v2/alerts", params={"filter": "alertname=Behind"}).json()
    assert [one["labels"] for one in found] == [{"alertname": "Behind"}]


def amtool(hub: AlarmHub, *arguments: str) -> str:
    command = ["amtool", f"--alertmanager.url={hub.url}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.real("prometheus-alertmanager")
def test_amtool_adds_and_finds_alerts(hub: AlarmHub) -> None:
    amtool(hub, "alert", "add", "alertname=ByHand", "site=madrid", "--annotation=summary=by hand")
    assert "ByHand" in amtool(hub, "alert", "query", "site=madrid")
    told = json.loads(amtool(hub, "alert", "query", "site=madrid", "-o", "json"))
    assert [one["labels"] for one in told] == [{"alertname": "ByHand", "site": "madrid"}]
    assert "ByHand" not in amtool(hub, "alert", "query", "site=paris")
    assert [a.last.rule for a in hub.hub.alarms.open() if a.last.rule == "ByHand"] == ["ByHand"]


@pytest.mark.real("prometheus-alertmanager")
def test_amtool_adds_finds_and_expires_silences(hub: AlarmHub) -> None:
    hub.client.post("/api/v2/alerts", json=[{"labels": {"alertname": "Quiet", "site": "lima"}}])
    id = amtool(hub, "silence", "add", "site=~lim.", "--author=ana", "--comment=works", "--duration=1h").strip()
    assert "works" in amtool(hub, "silence", "query", "site=~lim.")
    assert id in amtool(hub, "silence", "query", "-q")
    assert "Quiet" not in amtool(hub, "alert", "query", "site=lima")
    assert "Quiet" in amtool(hub, "alert", "query", "--silenced", "site=lima")
    held = hub.hub.alarms.silences
    assert (held.reason_of({"site": "lima"}, time.time_ns()) or "").startswith("silence of ana until")
    amtool(hub, "silence", "expire", id)
    assert id not in amtool(hub, "silence", "query", "-q")
    assert id in amtool(hub, "silence", "query", "--expired", "-q")
    assert "Quiet" in amtool(hub, "alert", "query", "site=lima")
    assert [(c.kind, c.who) for c in held.history(id)] == [("created", "ana"), ("expired", "API v2")]


@pytest.mark.real("prometheus-alertmanager")
def test_amtool_reads_our_status_as_a_configuration(hub: AlarmHub, tmp_path: Path) -> None:
    (tmp_path / "shown.yml").write_text(amtool(hub, "config", "show"))
    assert "SUCCESS" in amtool(hub, "check-config", str(tmp_path / "shown.yml"))
    assert "default" in amtool(hub, "config", "routes", "test", "site=madrid")


def test_thousands_of_alerts_in_one_post_are_alarms_and_cost_no_line_again(hub: AlarmHub) -> None:
    many = [{"labels": {"alertname": "Many", "n": str(k)}, "annotations": {"value": "1"}} for k in range(3000)]
    for _ in range(3):
        assert hub.client.post("/api/v2/alerts", json=many).status_code == 200
    assert len(hub.client.get("/api/v2/alerts", params={"filter": "alertname=Many"}).json()) == 3000
    assert sum(one.rule == "Many" for one in hub.hub.alarms.journal(limit=10_000)) == 3000
    over = [one | {"endsAt": moment(time.time_ns())} for one in many]
    assert hub.client.post("/api/v2/alerts", json=over).status_code == 200
    assert hub.client.get("/api/v2/alerts", params={"filter": "alertname=Many"}).json() == []
    assert sum(i.state.value == "firing" for i in hub.hub.alarms.incidents() if i.members[0].last.rule == "Many") == 0


def test_what_is_left_out_is_counted(hub: AlarmHub) -> None:
    before = hub.hub.counters.value("almenara_alerts_invalid_total")
    body = [{"labels": {}}, {"labels": {"a": "x" * 5000}}]
    answer = hub.client.post("/api/v2/alerts", json=body)
    assert (answer.status_code, answer.json().count(";")) == (400, 1)
    assert hub.hub.counters.value("almenara_alerts_invalid_total") == before + 2


def test_a_fingerprint_is_that_of_prometheus() -> None:
    assert fingerprint({"alertname": "A", "site": "m"}) == "3095016e0a601ee9"
