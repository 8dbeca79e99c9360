"""`almenara alarm`, against a real hub with a real book of alarms."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.web.alarm_hub import AlarmHub

from almenara.alarm.rules import Rule
from almenara.cli import main

SITES = ("madrid", "lima", "oslo")
Say = Callable[..., list[list[str]]]


def until(condition: Callable[[], Any], what: str, within_s: float = 60) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AlarmHub]:
    rules = [Rule(f"hot_{site}", f'pump_celsius{{site="{site}"}} > 90', severity="major") for site in SITES]
    one = AlarmHub(tmp_path_factory.mktemp("hub") / "data", rules)
    for number, site in enumerate(SITES, 1):  # one after the other, so that their numbers are known
        for pump in ("P1", "P2"):
            one.write(f"pump,host={site},pump={pump},site={site} celsius=95 {time.time_ns()}")

        def fired(n: int = number) -> bool:
            found = one.client.get("/api/v1/incidents").json()
            return [i["size"] for i in found] == [2] * n

        until(fired, f"an incident of two alarms at {site}")
    yield one
    one.stop()


@pytest.fixture
def say(hub: AlarmHub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    """Run a verb; gives the fields of the lines that it printed."""
    monkeypatch.setenv("ALMENARA_URL", hub.url)
    monkeypatch.setenv("ALMENARA_WHO", "ana")

    def run(*words: str, code: int = 0) -> list[list[str]]:
        with pytest.raises(SystemExit) as ended:
            main(["alarm", *words])
        told = capsys.readouterr()
        assert int(ended.value.code or 0) == code, told.err
        return [line.split("\t") for line in (told.err if code else told.out).splitlines()]

    return run


def test_open_incidents_are_listed_a_line_each(say: Say) -> None:
    rows = say("list")
    assert [(row[0], row[1], row[3]) for row in rows] == [(n, "major", "2") for n in ("3", "2", "1")]
    assert 'site="oslo"' in rows[0][4]
    assert [one["id"] for one in json.loads(say("list", "--json", "--limit", "1")[0][0])] == [3]


def test_one_is_taken_on_and_given_back_by_name(say: Say, hub: AlarmHub) -> None:
    ((told,),) = say("ack", "1", "--note", "on my way", "--for", "2h")
    assert told.startswith("incident 1: taken on by ana until ")
    assert say("list")[-1][5] == "ana"
    assert say("unack", "1", "--who", "bob")[0][0].startswith("incident 1: nobody has taken it on")
    story = [(row[1], row[2]) for row in say("show", "#1") if len(row) == 3]
    assert [who for who, text in story if "acknowledged" in text] == ["ana", "bob"]
    assert ("default", "waiting: firing") in story


def test_alarms_are_split_off_and_joined_again(say: Say) -> None:
    members = [row for row in say("show", "2") if row[0] == "firing"]
    assert [len(row) for row in members] == [4, 4]
    series = members[1][2].partition(" ")[2]
    ((told,),) = say("split", "2", series)
    assert told == "incident 4: made of 1 of the alarms of incident 2"
    assert say("join", "2", "4")[0][0] == "incident 2: has 2 alarms now; incident 4 is part of it"


def test_an_incident_is_silenced_by_its_number_and_told_of_again(say: Say, hub: AlarmHub) -> None:
    first, second = say("silence", "3", "--for", "1h", "--comment", "a new seal")
    assert first[0].startswith("silenced until ")
    assert second == ["it holds back 2 open alarms"]
    ((id, stage, match, _, who, comment),) = say("silences")
    assert (stage, who, comment) == ("active", "ana", "a new seal")
    assert 'site="oslo"' in match
    assert say("unsilence", id[:8])[0][0] == f"ended: {match}"
    assert say("silences") == []
    assert [row[1] for row in say("silences", "--all")] == ["expired"]


def test_a_silence_can_be_planned(say: Say) -> None:
    first, second = say("silence", '{site="riga"}', "--for", "1h", "--from", "2099-01-01T02:00:00Z")
    assert first[0].startswith("silenced from 20")
    assert second == ["it holds back 0 open alarms"]
    ((id, stage, *_),) = say("silences")
    assert stage == "planned"
    say("unsilence", id)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "99"), "there is no incident 99"),
        (("ack", "seven"), "expected the number of an incident"),
        (("ack", "1", "--for", "soon"), "duration"),
        (("split", "1", "other"), "has no alarm of other; there are: pump_celsius"),
        (("split", "99", "other"), "there is no incident 99"),
        (("unsilence", "ab"), "`almenara alarm silences` lists them"),
        (("silence", "{", "--for", "1h"), "error: "),
    ],
)
def test_what_cannot_be_done_says_what_was_expected(say: Say, words: tuple[str, ...], said: str) -> None:
    ((told,),) = say(*words, code=1)
    assert told.startswith("error: ")
    assert said in told


def test_a_verb_called_wrongly_is_exit_code_2(say: Say) -> None:
    say("silence", "{}", code=2)
