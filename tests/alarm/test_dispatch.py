"""Rules of who is told when: a book with a settable clock, and what stands in its outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alarm.book_case import T0
from alarm.story import HOT, Story
from almenara.alarm.external import Alert
from almenara.alarm.inhibit import Inhibition
from almenara.alarm.policies import Escalation, Policies, Policy
from almenara.alarm.rules import Rule
from almenara.alarm.silence import Occasions
from almenara.alarm.times import Quiet, Times
from almenara.analysis.hours import Hours
from almenara.analysis.occasions import Calendar
from almenara.model.alarm import Severity
from almenara.model.time import NS
from almenara.query import Matcher, parse_selector

MINUTE, HOUR, DAY = 60, 3600, 86_400
MAIL = Policy("mail", notify=("mail",), group_wait_s=0, group_interval_s=5 * MINUTE, repeat_interval_s=4 * HOUR)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def long(story: Story, *seconds: float, hosts: Iterable[int] = (0,)) -> list[tuple[float, list[tuple[str, ...]]]]:
    """What is told at each of these seconds while the hosts go on to be hot."""
    return [(second, told) for second in seconds if (told := story.tick(second, hosts))]


def test_people_are_told_at_once_and_of_the_end(path: Path) -> None:
    story = Story(path, MAIL)
    assert story.at(0, 0) == [("mail", "firing")]
    assert story.calm(10, 0) == [("mail", "resolved")]
    assert story.tick(20) == []


def test_group_wait_gathers_what_comes_together(path: Path) -> None:
    story = Story(path, replace(MAIL, group_wait_s=30))
    assert story.at(0, 0) == story.at(10, 1) == story.tick(29) == []
    assert story.tick(30) == [("mail", "firing")]
    assert story.tick(400, [0, 1]) == []


def test_what_ends_within_group_wait_is_told_to_nobody_and_a_line_says_so(path: Path) -> None:
    story = Story(path, replace(MAIL, group_wait_s=30))
    assert story.at(0, 0) == story.calm(10, 0) == story.tick(60) == []
    assert story.lines() == [("untold", "")]


def test_updates_come_no_sooner_than_group_interval_and_only_of_news(path: Path) -> None:
    story = Story(path, MAIL)
    story.at(0, 0)
    assert story.at(10, 1) == story.tick(299, [0, 1]) == []
    assert story.tick(300, [0, 1]) == [("mail", "update")]
    assert long(story, 600, 900, 1200, hosts=[0, 1]) == []
    assert story.calm(1210, 1) == [("mail", "update")], "one of them ended, long after the last message"


def test_what_goes_on_is_repeated_and_never_with_zero(path: Path) -> None:
    story = Story(path, MAIL, replace(MAIL, name="once", notify=("once",), repeat_interval_s=0), rules=[HOT])
    story.policies = Policies(
        [replace(MAIL, goes_on=True), replace(MAIL, name="once", notify=("once",), repeat_interval_s=0)],
        {"mail": (), "once": ()},
    )
    story.restart()
    assert story.at(0, 0) == [("mail", "firing"), ("once", "firing")]
    hours = [3.9 * HOUR, 4 * HOUR, 7.9 * HOUR, 8.01 * HOUR]
    assert long(story, *hours) == [(4 * HOUR, [("mail", "repeat")]), (8.01 * HOUR, [("mail", "repeat")])]


def test_nobody_is_told_twice_of_the_same_by_two_policies(path: Path) -> None:
    story = Story(path, replace(MAIL, goes_on=True), replace(MAIL, name="other"))
    assert story.at(0, 0) == [("mail", "firing")]
    assert story.tick(4 * HOUR, [0]) == [("mail", "repeat")]
    assert story.calm(4 * HOUR + 10, 0) == [("mail", "resolved")]
    assert ("nothing new", "mail") in story.lines()


def test_a_notifier_hears_only_of_what_its_own_selector_fits(path: Path) -> None:
    story = Story(path, MAIL, notifiers={"mail": parse_selector('{host="1"}')})
    assert story.at(0, 0) == []
    assert story.at(100, 1) == [("mail", "firing")]


def test_what_no_policy_fits_leaves_a_line(path: Path) -> None:
    story = Story(path, replace(MAIL, matchers=(Matcher("host", "=", "1"),)))
    assert story.at(0, 0) == []
    assert story.lines() == [("untold", "")]


def test_the_end_is_told_to_those_who_were_told_and_to_nobody_else(path: Path) -> None:
    slow = replace(MAIL, name="slow", notify=("slow",), group_wait_s=60)
    story = Story(path, replace(MAIL, goes_on=True), slow)
    assert story.at(0, 0) == [("mail", "firing")]
    assert story.calm(30, 0) == [("mail", "resolved")]
    assert story.tick(90) == []


# --- what holds back


def test_an_alarm_is_inhibited_while_its_source_fires_and_told_afterwards(path: Path) -> None:
    source, target = parse_selector('{host="0"}'), parse_selector('{host=~"[12]"}')
    story = Story(path, MAIL, inhibitions=[Inhibition("down", tuple(source), tuple(target), ("alertname",))])
    assert story.at(0, 0) == [("mail", "firing")]
    assert story.at(300, 1) == []
    assert story.at(600, 3) == [("mail", "firing")], "not a target"
    assert story.lines(2) == [("inhibited", "mail")]
    assert story.calm(1000, 0) == [("mail", "resolved"), ("mail", "firing")]


def test_a_silence_holds_back_and_its_end_is_named(path: Path) -> None:
    story = Story(path, MAIL)
    story.silence(0, 600)
    assert story.at(1, 0) == long(story, 2, 3, 300, 599) == []
    story.tick(601)
    story.seen = 0
    (message,) = story.messages()
    assert message[:3] == ("mail", "firing", 1)
    assert message[3].startswith("held back until now: ")
    assert "a new pump" in message[3]
    assert story.lines() == [("silenced", "mail")], "one line, not one a second"


def test_an_incident_goes_on_while_one_of_its_alarms_is_not_silenced(path: Path) -> None:
    story = Story(path, MAIL)
    story.silence(0, DAY)
    assert story.at(1, 0) == []
    assert story.at(2, 1) == [("mail", "firing")]
    story.at(4, 2)
    story.silence(3, DAY)
    assert story.tick(310, [0, 1, 2]) == [("mail", "update")]
    story.at(320, 3)
    assert long(story, 700, 900, hosts=[0, 1, 2, 3]) == [], "what joined is silenced"


def test_alerts_of_other_systems_need_no_severity(path: Path) -> None:
    story = Story(path, MAIL)
    for second, name in ((1, "a"), (2, "b")):
        now = T0 + second * NS
        one = Alert({"alertname": "x", "n": name}, starts=now, ends=now + HOUR * NS, updated=now)
        story.book.take_alerts([one], now)
    story.tick(2)
    assert story.tick(310) == [("mail", "update")]


def test_quiet_hours_wait_until_the_morning_but_not_with_the_worst(path: Path) -> None:
    night = Quiet((("22:00-07:00", Hours(["22:00-07:00"], "UTC")),))
    severe = Rule("severe", "cpu > 200", severity="critical")
    story = Story(path, replace(MAIL, quiet=night), rules=[HOT, severe])  # T0 is a midnight
    assert story.at(0, 0) == long(story, HOUR, 6.9 * HOUR) == []
    assert story.tick(7 * HOUR, [0]) == [("mail", "firing")]
    assert story.lines()[0] == ("quiet hours", "mail")
    story.calm(22.5 * HOUR, 0)
    assert story.tick(23 * HOUR) == [], "nobody is woken to be told that it is over"
    assert story.at(23.1 * HOUR, 1, value=300)[-1] == ("mail", "firing")
    assert ("mail", "resolved") in story.tick(31 * HOUR)


def test_a_calendar_can_be_quiet(path: Path) -> None:
    feast = Calendar("feast", np.array([T0 // NS]), np.array([T0 // NS + HOUR]))
    story = Story(path, replace(MAIL, quiet=Quiet((("feast", Occasions(feast)),))))
    assert story.at(0, 0) == []
    assert story.tick(HOUR, [0]) == [("mail", "firing")]


def test_an_alarm_that_flaps_is_told_once_as_such_and_then_when_it_is_calm(path: Path) -> None:
    story = Story(path, replace(MAIL, repeat_interval_s=0))
    for k in range(3):
        assert story.at(k * 300, 0) == [("mail", "firing")]
        assert story.calm(k * 300 + 100, 0) == [("mail", "resolved")]
    story.at(900, 0)
    story.seen -= 1
    ((_, kind, _, reason),) = story.messages()
    assert kind == "firing"
    assert "came and went 3 times within an hour" in reason
    assert story.calm(1000, 0) == [("mail", "resolved")]
    assert story.at(1200, 0) == story.calm(1300, 0) == story.at(1500, 0) == []
    assert ("flapping", "mail") in story.lines(6)
    assert long(story, 1600, 3000, 4299) == []
    assert story.tick(4700, [0]) == [("mail", "firing")], "of five ends two are left in the last hour"


# --- acknowledgement


def test_acknowledged_means_no_repeats_and_updates_only_of_what_is_worse_or_new(path: Path) -> None:
    story = Story(path, MAIL)
    story.at(0, 0, 1)
    assert story.book.acknowledge(1, "ana", "looking", now_ns=T0 + NS)
    story.calm(400, 1)
    assert long(story, 800, 4.5 * HOUR, 9 * HOUR) == []
    story.at(9 * HOUR, 0)
    assert story.book.unacknowledge(1, "ana", now_ns=T0 + 9 * HOUR * NS)
    assert story.tick(9 * HOUR + 1, [0]) == [("mail", "update")]
    assert [line for line in story.lines() if line[1] == "ana"] == [("acknowledged", "ana"), ("unacknowledged", "ana")]
    assert not story.book.acknowledge(99, "ana")


def test_news_is_told_although_somebody_took_it_on(path: Path) -> None:
    story = Story(path, MAIL)
    story.at(0, 0)
    story.book.acknowledge(1, "ana")
    story.at(10, 1)
    assert story.tick(310, [0, 1]) == [("mail", "update")]


def test_when_an_acknowledgement_is_over_people_are_reminded_once(path: Path) -> None:
    story = Story(path, MAIL)
    story.at(0, 0)
    story.book.acknowledge(1, "ana", until=T0 + HOUR * NS)
    assert long(story, HOUR - 1, HOUR, HOUR + 1, HOUR + 400) == [(HOUR, [("mail", "reminder")])]
    assert story.book.incidents()[0].acknowledgement is None
    assert story.tick(5 * HOUR, [0]) == [("mail", "repeat")]


def test_a_policy_reminds_of_acknowledgements_without_an_end(path: Path) -> None:
    story = Story(path, replace(MAIL, reminder_s=HOUR))
    story.at(0, 0)
    story.book.acknowledge(1, "ana", now_ns=T0)
    told = long(story, HOUR - 1, HOUR, HOUR + 400, 2 * HOUR)
    assert told == [(HOUR, [("mail", "reminder")]), (2 * HOUR, [("mail", "reminder")])]


# --- escalation, digest


ESCALATING = replace(MAIL, escalate=(Escalation(15 * MINUTE, ("boss",)), Escalation(HOUR, ("boss", "director"))))


def test_what_nobody_takes_on_is_escalated_step_by_step(path: Path) -> None:
    story = Story(path, ESCALATING)
    story.at(0, 0)
    assert long(story, 899, 900, 3599, 3600, 3700) == [
        (900, [("boss", "escalation")]),
        (3600, [("boss", "escalation"), ("director", "escalation")]),
    ]
    told = story.calm(3800, 0)
    assert sorted(told) == [("boss", "resolved"), ("director", "resolved"), ("mail", "resolved")]


def test_what_somebody_took_on_is_not_escalated_until_it_is_given_back(path: Path) -> None:
    story = Story(path, ESCALATING)
    story.at(0, 0)
    story.book.acknowledge(1, "ana", now_ns=T0 + 600 * NS)
    assert long(story, 900, 3700) == []
    story.book.unacknowledge(1, "ana", now_ns=T0 + 4000 * NS)
    assert long(story, 4001, 4899, 4900) == [(4900, [("boss", "escalation")])]


def test_a_digest_gathers_all_until_its_time(path: Path) -> None:
    morning = Times(at_s=(8 * HOUR,), timezone="UTC")
    other = Rule("other", "cpu > 200")
    story = Story(path, replace(MAIL, digest=morning), rules=[HOT, other])
    assert story.at(0, 0) == story.calm(100, 0) == story.at(200, 1) == story.tick(8 * HOUR - 1, [1]) == []
    assert story.tick(8 * HOUR, [1]) == [("mail", "digest")]
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT incident, more FROM outbox JOIN outbox_about USING (id)").fetchall() == [(1, "[2]")]
    story.calm(9 * HOUR, 1)
    assert story.tick(32 * HOUR) == [("mail", "digest")]
    assert story.tick(56 * HOUR) == []


# --- restarts, clocks, configurations


def test_a_restart_anywhere_changes_nothing_that_is_told(path: Path, tmp_path: Path) -> None:
    def tell(story: Story, restarting: bool) -> list[Any]:
        found: list[Any] = []
        for step in (
            lambda: story.at(0, 0), lambda: story.tick(30), lambda: story.at(40, 1), lambda: story.tick(400, [0, 1]),
            lambda: story.tick(1000, [0, 1]), lambda: story.calm(1100, 1), lambda: story.tick(1500, [0]),
            lambda: story.book.acknowledge(1, "ana", until=T0 + 2 * HOUR * NS), lambda: story.tick(HOUR, [0]),
            lambda: story.tick(2 * HOUR, [0]), lambda: story.tick(7 * HOUR, [0]), lambda: story.calm(8 * HOUR, 0),
        ):  # fmt: skip
            found.append(step())
            if restarting:
                story.restart()
        return found

    policy = replace(ESCALATING, group_wait_s=30)
    assert tell(Story(path, policy), True) == tell(Story(tmp_path / "other.db", policy), False)


def test_a_clock_that_is_set_back_delays_by_one_wait_at_most(path: Path) -> None:
    story = Story(path, replace(MAIL, repeat_interval_s=HOUR))
    story.at(0, 0)
    story.tick(10)
    assert story.tick(-10 * HOUR) == []
    assert story.tick(-9 * HOUR - 1) == []
    assert story.tick(-9 * HOUR) == [("mail", "repeat")]


def test_other_policies_do_not_tell_again_what_people_know(path: Path) -> None:
    story = Story(path, MAIL)
    story.at(0, 0)
    after = Policies([replace(MAIL, name="new", notify=("mail", "chat"))], {"mail": (), "chat": ()})
    story.book.replace_rules(story.rules, after)
    assert story.tick(10) == [("chat", "firing")]
    assert sorted(story.calm(20, 0)) == [("chat", "resolved"), ("mail", "resolved")]


def test_a_notifier_that_is_gone_is_told_nothing(path: Path) -> None:
    story = Story(path, MAIL)
    story.at(0, 0)
    story.book.replace_rules(story.rules, Policies())
    assert story.calm(20, 0) == story.tick(30) == []


def test_a_worse_incident_is_news(path: Path) -> None:
    severe = Rule("hot", "cpu > 90", severity="major")
    story = Story(path, MAIL)
    story.at(0, 0)
    story.book.replace_rules([severe])
    story.at(10, 1)
    assert story.tick(310, [0, 1]) == [("mail", "update")]
    assert story.book.incidents()[0].severity is Severity.MAJOR


def test_who_was_told_of_an_incident_hears_the_end_of_the_one_that_it_was_put_into(path: Path) -> None:
    first, second = (replace(MAIL, name=n, notify=(n,), matchers=(Matcher("host", "=", n),)) for n in ("1", "2"))
    story = Story(path, first, second)
    assert story.at(0, 1) == [("1", "firing")]
    assert story.at(300, 2) == [("2", "firing")]
    story.book.join(1, 2, "ana")
    story.restart()
    assert story.tick(310) == []
    assert sorted(story.calm(400, 1, 2)) == [("1", "resolved"), ("2", "resolved")]
