"""Policies and inhibitions, from the file to who is told; every mistake is told with its place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from almenara.alarm.policies import Escalation
from almenara.config.build import notifiers
from almenara.config.load import load
from almenara.config.telling import told
from almenara.model.alarm import Severity
from almenara.model.errors import ConfigError
from almenara.model.time import NS
from almenara.pipeline.folder import DataFolder

NOTIFIERS = """\
version = 1
[site]
timezone = "Europe/Madrid"
[notifiers.chat]
plugin = "webhook"
url = "http://127.0.0.1:9/chat"
[notifiers.boss]
plugin = "webhook"
url = "http://127.0.0.1:9/boss"
match = '{severity="critical"}'
[calendars.feasts]
country = "ES"
"""
TREE = """\
[policies.all]
notify = ["chat"]
group_wait = "30s"
repeat_interval = 0
quiet = ["Mon-Fri 22:00-07:00", "feasts"]
quiet_severity = "major"
escalate = [{ after = "15m", notify = ["boss"] }]
[policies.database]
parent = "all"
match = '{kind="db"}'
continue = true
notify = ["chat", "boss"]
digest = ["08:00", "18:30"]
fallback = ["boss"]
fallback_after = "2m"
reminder = "1h"
[policies.often]
parent = "database"
match = '{team="b"}'
digest = "4h"
[inhibit.down]
source = '{alertname="down"}'
target = '{kind="db"}'
equal = ["host"]
"""


def write(path: Path, text: str) -> Path:
    file = path / "hub.toml"
    file.write_text(NOTIFIERS + text)
    return file


def test_a_policy_has_from_its_parent_what_it_does_not_say(tmp_path: Path) -> None:
    who = told(load(write(tmp_path, TREE)))
    database, often = who["database"], who["often"]
    assert (database.group_wait_s, database.repeat_interval_s, database.group_interval_s) == (30, 0, 300)
    assert (database.notify, database.goes_on, often.goes_on) == (("chat", "boss"), True, False)
    assert database.escalate == (Escalation(900, ("boss",)),)
    assert (often.fallback, often.fallback_after_s, often.reminder_s) == (("boss",), 120, 3600)
    assert often.quiet_severity is Severity.MAJOR
    assert (database.digest.at_s, often.digest.every_s) == ((8 * 3600, 18 * 3600 + 1800), 4 * 3600)


def test_quiet_hours_are_of_the_site_and_of_its_calendars(tmp_path: Path) -> None:
    quiet = told(load(write(tmp_path, TREE)))["all"].quiet
    assert quiet.within(1_794_956_400 * NS + 60 * NS) == "Mon-Fri 22:00-07:00"  # Tuesday 2026-11-17 22:01 in Madrid
    assert quiet.within(1_794_909_600 * NS) == ""  # at 11:00 of that day
    assert quiet.within(1_798_196_400 * NS) == "feasts"  # Christmas at noon


def test_a_notifier_hears_of_what_its_policy_and_its_own_match_fit(tmp_path: Path) -> None:
    who = told(load(write(tmp_path, TREE)))
    assert who.targets({"alertname": "a", "severity": "minor"}) == [("all", "chat")]
    assert who.targets({"kind": "db", "severity": "minor"}) == [("database", "chat")]
    assert who.targets({"kind": "db", "severity": "critical"}) == [("database", "chat"), ("database", "boss")]


def test_without_policies_each_notifier_is_told_of_what_it_selects(tmp_path: Path) -> None:
    who = told(load(write(tmp_path, "")))
    assert who.targets({"severity": "critical"}) == [("chat", "chat"), ("boss", "boss")]
    assert who["chat"].repeat_interval_s == 0


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ('[policies.a]\nnotify = ["pager"]\n', "policies.a.notify", 'no notifier is called "pager"; known: boss, chat'),
        ('[policies.a]\nfallback = ["pager"]\n', "policies.a.fallback", "no notifier"),
        ('[policies.a]\nescalate = [{ after = "1m", notify = ["x"] }]\n', "policies.a.escalate[0].notify", "no notif"),
        ('[policies.a]\nescalate = [{ notify = ["chat"] }]\n', "policies.a.escalate[0].after", "is missing"),
        ('[policies.a]\nparent = "b"\n', "policies.a.parent", 'no policy is called "b"'),
        ('[policies.a]\nparent = "a"\n', "policies.a.parent", "goes round"),
        ('[policies.a]\nparent = "b"\n[policies.b]\nparent = "a"\n', "policies.b.parent", "goes round"),
        ('[policies.a]\nquiet = ["at night"]\n', "policies.a.quiet", "must be hours of the week"),
        ('[policies.a]\ndigest = "25:00"\n', "policies.a.digest", "must be times of the day"),
        ('[policies.a]\ndigest = "1s"\n', "policies.a.digest", "must be at least 1m"),
        ("[policies.a]\nmatch = '{x=}'\n", "policies.a.match", ""),
        ("[policies.a]\nquiet_severity = 'bad'\n", "policies.a.quiet_severity", 'must be "warning"'),
        ("[policies.a]\ngroup_wait = -1\n", "policies.a.group_wait", "must be at least 0"),
        ("[inhibit.a]\nsource = ''\ntarget = '{x=\"1\"}'\n", "inhibit.a.source", "is empty"),
        ("[inhibit.a]\nsource = '{x=\"1\"}'\n", "inhibit.a.target", "is missing"),
    ],
)
def test_every_mistake_is_told_with_its_place(tmp_path: Path, text: str, where: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, text))
    found = [(one.key, str(one)) for one in caught.value.problems]
    assert any(key == where and message in said for key, said in found), found


def test_a_mistake_that_a_notifier_finds_itself_says_which_one_it_is(tmp_path: Path) -> None:
    text = 'version = 1\n[notifiers.hook]\nplugin = "webhook"\nurl = "http://127.0.0.1:9/"\n'
    (tmp_path / "hub.toml").write_text(text + '[notifiers.hook.template]\na = "{nosuch}"\n')
    config = load(tmp_path / "hub.toml")
    folder = DataFolder(tmp_path / "data")
    try:
        with pytest.raises(ConfigError, match=r"^notifiers\.hook\.template\.a: there is no 'nosuch'"):
            notifiers(config, time.time_ns, folder)
    finally:
        folder.close()
