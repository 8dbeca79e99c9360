"""Every cell of the state table in silence, for each `no_data`; and outside of a rule's schedule."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from tests.alarm.book_case import T0, Table, book, brief, rows
from tests.alarm.test_states import say, told

from almenara.alarm.pace import GONE_NS, LEAST_NS, Pace
from almenara.alarm.rules import Rule, RuleMistake
from almenara.alarm.states import Machine
from almenara.analysis.schedule import Schedule
from almenara.model.errors import StoreError
from almenara.model.time import NS

EVER = np.ones(3, np.bool_)
LIMIT = LEAST_NS // NS  # with a gap of 10 s


def machine(no_data: str, hold: float = 0, keep: float = 0) -> Machine:
    return Machine(Rule("hot", "cpu > 90", hold, keep, no_data=no_data))


def at(one: Machine, second: float, last: float = 100) -> list[tuple[str, int]]:
    """(state, since) of what the clock changes at `second`, where series 0 had its last row at `last`."""
    pace = Pace()
    pace.reserve(3)
    pace.last[0], pace.gap[0] = round(last * NS), 10 * NS
    found = one.tick(round(second * NS), pace, 0, EVER)
    return [(state, since) for state, since, _ in told(found, found.row)]


def pending(no_data: str, hold: float = 3600) -> Machine:
    one = machine(no_data, hold)
    assert say(one, (100, True)) == [("pending", 100, 100)]
    return one


def firing(no_data: str, keep: float = 0) -> Machine:
    one = machine(no_data, keep=keep)
    assert say(one, (100, True)) == [("firing", 100, 100)]
    return one


@pytest.mark.parametrize("no_data", ["keep", "ok", "ignore", "alarm"])
def test_until_it_is_silence_nothing_changes(no_data: str) -> None:
    for one in (machine(no_data), pending(no_data), firing(no_data)):
        assert at(one, 100 + LIMIT) == []


@pytest.mark.parametrize(
    ("no_data", "of_inactive", "of_pending", "of_firing"),
    [
        ("keep", [], [("no-data", 100)], [("no-data", 100)]),
        ("alarm", [("firing", 100 + LIMIT)], [], []),
        ("ok", [], [("inactive", 100)], [("resolved", 100)]),
        ("ignore", [], [], []),
    ],
)
def test_what_silence_makes(no_data: str, of_inactive: list, of_pending: list, of_firing: list) -> None:
    assert at(machine(no_data), 101 + LIMIT) == of_inactive
    assert at(pending(no_data), 101 + LIMIT) == of_pending
    assert at(firing(no_data), 101 + LIMIT) == of_firing


@pytest.mark.parametrize("no_data", ["keep", "ok", "ignore", "alarm"])
def test_it_is_said_once(no_data: str) -> None:
    for one in (machine(no_data), pending(no_data), firing(no_data)):
        at(one, 101 + LIMIT)
        assert at(one, 102 + LIMIT) == []


class TestAlarm:
    """Silence is as a row where it is true."""

    def test_pending_fires_in_silence_when_its_hold_is_over(self) -> None:
        one = pending("alarm", 1000)
        assert at(one, 1105) == [], "one usual gap is left to the next row"
        assert at(one, 1110) == [("firing", 100)]

    def test_inactive_is_pending_since_the_silence_was_too_long(self) -> None:
        one = machine("alarm", hold=600)
        assert at(one, 101 + LIMIT) == [("pending", 100 + LIMIT)]
        assert at(one, 709 + LIMIT) == []
        assert at(one, 710 + LIMIT) == [("firing", 100 + LIMIT)]

    def test_a_row_where_it_is_false_ends_it(self) -> None:
        one = machine("alarm")
        at(one, 101 + LIMIT)
        assert say(one, (1000, False)) == [("resolved", 100 + LIMIT, 1000)]

    def test_a_row_where_it_is_true_goes_on_with_it(self) -> None:
        one = machine("alarm")
        at(one, 101 + LIMIT)
        assert say(one, (1000, True)) == []

    def test_keep_firing_for_counts_from_the_end_of_the_silence(self) -> None:
        one = firing("alarm", keep=600)
        at(one, 5000)
        assert say(one, (5300, False), (5599, False), (5600, False)) == [("resolved", 100, 5600)]

    def test_what_does_not_come_back_is_gone_for_good(self) -> None:
        one, days = machine("alarm"), GONE_NS // NS
        at(one, 101 + LIMIT)
        assert at(one, 99 + days) == []
        assert at(one, 200 + days) == [("resolved", 100 + LIMIT)]
        assert at(one, 300 + days) == []

    def test_pending_that_does_not_come_back_is_inactive(self) -> None:
        one, days = pending("alarm", 30 * 86_400), GONE_NS // NS
        assert at(one, 200 + days) == [("inactive", 100)]

    def test_a_series_that_had_one_row_only_is_not_missed(self) -> None:
        one, pace = machine("alarm"), Pace()
        pace.reserve(3)
        pace.last[0] = 100 * NS
        assert len(one.tick(10_000 * NS, pace, 0, EVER)) == 0

    def test_a_hub_that_was_away_counts_from_its_return(self) -> None:
        one, pace = machine("alarm"), Pace()
        pace.reserve(3)
        pace.last[0], pace.gap[0] = 100 * NS, 10 * NS
        assert len(one.tick(10_000 * NS, pace, 9_900 * NS, EVER)) == 0
        found = one.tick((9_901 + LIMIT) * NS, pace, 9_900 * NS, EVER)
        assert found.since.tolist() == [(9_900 + LIMIT) * NS]

    def test_a_series_of_which_the_rule_does_not_speak_is_left_alone(self) -> None:
        one, pace = machine("alarm"), Pace()
        pace.reserve(3)
        pace.last[:], pace.gap[:] = 100 * NS, 10 * NS
        found = one.tick(10_000 * NS, pace, 0, np.array([False, True, False]))
        assert found.id.tolist() == [1]


class TestOk:
    """Silence is as a row where it is false."""

    def test_keep_firing_for_counts_from_the_last_row_where_it_was_true(self) -> None:
        one = firing("ok", keep=3600)
        assert at(one, 3700) == [], "one usual gap is left to the next row"
        assert at(one, 3710) == [("resolved", 100)]

    def test_a_row_where_it_is_true_begins_anew(self) -> None:
        one = firing("ok")
        at(one, 101 + LIMIT)
        assert say(one, (1000, True)) == [("firing", 1000, 1000)]

    def test_what_was_without_data_when_the_rule_was_changed_ends(self) -> None:
        one = firing("keep")
        assert at(one, 101 + LIMIT) == [("no-data", 100)]
        changed = one.with_rule(Rule("hot", "cpu > 90", no_data="ok"))
        assert at(changed, 102 + LIMIT) == [("resolved", 100)]


class TestIgnore:
    """Silence is nothing."""

    def test_pending_fires_when_its_hold_is_over(self) -> None:
        assert at(pending("ignore", 1000), 1110) == [("firing", 100)]

    def test_firing_goes_on_until_a_row_says_otherwise(self) -> None:
        one = firing("ignore")
        assert at(one, 900_000) == []
        assert say(one, (900_001, False)) == [("resolved", 100, 900_001)]


@pytest.mark.parametrize(
    ("no_data", "said"),
    [
        ("alarm", ["firing: no data for 6m, usually every 1m"]),
        ("ok", []),
        ("keep", []),
        ("ignore", []),
    ],
)
def test_the_change_says_so(no_data: str, said: list[str], tmp_path: Path) -> None:
    table = Table(1)
    one = book(tmp_path / "hub.db", table, Rule("hot", "cpu > 90", no_data=no_data))
    one.tick(T0)
    one.step(1, *rows(table, [(0, 60, 1.0), (0, 120, 1.0)]), 0)
    found = [change for second in (300, 480) for change in one.tick(T0 + second * NS)]
    assert [f"{c.state.value}: {c.evidence.why}" for c in found] == said


def test_an_alarm_taken_as_over_says_so(tmp_path: Path) -> None:
    table = Table(1)
    one = book(tmp_path / "hub.db", table, Rule("hot", "cpu > 90", no_data="ok"))
    one.tick(T0)
    one.step(1, *rows(table, [(0, 60, 95.0), (0, 120, 95.0)]), 0)
    (found,) = [change for second in (300, 480) for change in one.tick(T0 + second * NS)]
    assert (found.state.value, found.evidence.why) == ("resolved", "no data for 6m: taken as over")


def test_what_the_clock_began_is_taken_back_when_it_cannot_be_written(tmp_path: Path) -> None:
    """An alarm in memory that is not on disk would never be told."""
    table = Table(2)
    one = book(tmp_path / "hub.db", table, Rule("hot", "cpu > 90", no_data="alarm"))
    one.tick(T0)
    one.step(1, *rows(table, [(h, s, 1.0) for h in (0, 1) for s in (60, 120)]), 0)
    one.tick(T0 + 300 * NS)
    with sqlite3.connect(tmp_path / "hub.db") as other:
        other.execute("CREATE TRIGGER refuse BEFORE INSERT ON alarm_journal BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(StoreError):
        one.tick(T0 + 480 * NS)
    with sqlite3.connect(tmp_path / "hub.db") as other:
        other.execute("DROP TRIGGER refuse")
    assert [state for _, state, _, _ in brief(one.tick(T0 + 481 * NS))] == ["firing", "firing"]


def test_of_silence_itself_there_is_no_choice() -> None:
    with pytest.raises(RuleMistake, match="no_data: does not go with stale_gaps"):
        Rule("stale", "stale_gaps > 10", no_data="ok")
    with pytest.raises(RuleMistake, match="must be one of keep, alarm, ok, ignore; got 'maybe'"):
        Rule("r", "cpu > 1", no_data="maybe")


class TestSchedule:
    """T0 is Monday 2026-01-05, 00:00 UTC."""

    def test_rows_outside_begin_nothing_and_the_end_of_the_schedule_ends_what_is_open(self, tmp_path: Path) -> None:
        table, hour = Table(1), 3600
        rule = Rule("hot", "cpu > 90", keep_firing_for_s=900, schedule=Schedule.of(["Mon-Fri 08:00-18:00"]))
        one = book(tmp_path / "hub.db", table, rule)
        told = list(one.step(1, *rows(table, [(0, 7 * hour, 95.0), (0, 8 * hour - 1, 95.0)]), 0))
        assert told == []
        told += one.step(2, *rows(table, [(0, 8 * hour, 95.0), (0, 17 * hour, 95.0)]), 0)
        assert brief(told) == [("0", "firing", 8 * hour, 8 * hour)]
        assert one.tick(T0 + (18 * hour - 1) * NS) == []
        (over,) = one.tick(T0 + 18 * hour * NS)
        assert (over.state.value, over.evidence.why) == ("resolved", "outside of the times at which its rule holds")
        assert one.step(3, *rows(table, [(0, 18 * hour, 95.0), (0, 19 * hour, 10.0)]), 0) == []
        assert [i.state.value for i in one.incidents()] == ["resolved"]

    def test_silence_outside_begins_nothing(self, tmp_path: Path) -> None:
        table, hour = Table(1), 3600
        rule = Rule("stale", "stale_gaps > 10", schedule=Schedule.of(["08:00-18:00"]))
        one = book(tmp_path / "hub.db", table, rule)
        one.tick(T0)
        one.step(1, *rows(table, [(0, float(s), 1.0) for s in range(60, 6 * hour, 60)]), 0)
        told = [c for s in range(6 * hour, 20 * hour, 240) for c in one.tick(T0 + s * NS)]
        assert [(state, at // hour) for _, state, _, at in brief(told)] == [("firing", 8), ("resolved", 18)]
