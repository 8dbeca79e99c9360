"""Silence from each series' own cadence: a rule `stale_gaps > 10` raises one alarm and ends it when rows come again."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tests.alarm.book_case import T0, Table, book, brief, rows

import naive
from almenara.alarm.book import Book
from almenara.alarm.pace import GONE_NS, Pace
from almenara.alarm.rules import Rule
from almenara.analysis.schedule import Schedule
from almenara.model.alarm import State
from almenara.model.errors import AlmenaraError
from almenara.model.time import DAY_NS, NS
from almenara.query import NAME, match_all

STALE = Rule("stale", "stale_gaps > 10")
HOUR = 3600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def fed(one: Book, table: Table, seconds: np.ndarray, seq: int = 1, hosts: int = 1) -> list:
    given = [(host, float(at), 1.0) for host in range(hosts) for at in seconds]
    return list(one.step(seq, *rows(table, given), 0))


def waited(one: Book, start: float, end: float, every: float = 60) -> list:
    """What the clock changes from `start` to `end`."""
    return [change for at in np.arange(start, end, every) for change in one.tick(T0 + round(at * NS))]


def test_a_host_that_is_switched_off_is_one_alarm_until_it_returns(path: Path) -> None:
    table = Table(40)
    one = book(path, table, STALE)
    waited(one, 0, 60)
    fed(one, table, np.arange(60, 6 * HOUR, 60), hosts=40)
    last = 6 * HOUR - 60
    assert waited(one, last, last + 600) == []
    fired = waited(one, last + 600, last + 6 * HOUR)
    assert len(fired) == 40
    assert fired[0].state is State.FIRING
    assert fired[0].evidence.why == "no row for 11m, usually every 1m"
    (incident,) = one.incidents()
    assert len(incident.members) == 40, "people are told once"
    back = fed(one, table, np.array([last + 7 * HOUR]), seq=2, hosts=40)
    assert {change.state for change in back} == {State.RESOLVED}
    assert back[0].evidence.why == "rows come again"
    assert one.open() == []


def test_since_is_when_the_silence_became_too_long(path: Path) -> None:
    table = Table(1)
    one = book(path, table, STALE)
    waited(one, 0, 60)
    fed(one, table, np.arange(60, 6 * HOUR + 60, 60))
    (fired,) = waited(one, 6 * HOUR, 7 * HOUR, 240)
    assert brief([fired])[0][2:] == (6 * HOUR + 600, 6 * HOUR + 720)


def test_rows_that_come_irregularly_are_not_stale_before_their_longest_gaps(path: Path) -> None:
    """A door: most gaps are a minute or two, some are an hour."""
    table = Table(1)
    one = book(path, table, STALE)
    rng = np.random.default_rng(2)
    gaps = np.where(rng.random(3000) < 0.02, HOUR, rng.exponential(90, 3000) + 1)
    seconds = np.cumsum(gaps)
    waited(one, 0, 60)
    told, seq = [], 1
    for at, until in pairwise(seconds):
        told += fed(one, table, np.array([at]), seq)
        told += waited(one, at, until, 200)
        seq += 1
    assert told == []
    told = waited(one, seconds[-1], seconds[-1] + 12 * HOUR, 200)
    assert [change.state for change in told] == [State.FIRING]


def test_a_series_of_few_rows_a_day_has_days_of_its_own(path: Path) -> None:
    table = Table(1)
    one = book(path, table, STALE)
    waited(one, 0, 60)
    fed(one, table, np.arange(1, 600) * 6 * HOUR)
    last = 599 * 6 * HOUR
    assert waited(one, last, last + 59 * HOUR, 240) == []
    assert len(waited(one, last + 59 * HOUR, last + 62 * HOUR, 240)) == 1


def test_a_series_that_was_known_only_shortly_is_not_missed(path: Path) -> None:
    table = Table(1)
    one = book(path, table, STALE)
    waited(one, 0, 60)
    fed(one, table, np.arange(60, 3 * HOUR, 60))
    assert waited(one, 3 * HOUR, 5 * HOUR) == []


def test_an_alarm_goes_on_over_a_restart_and_is_not_raised_again(path: Path) -> None:
    table = Table(1)
    one = book(path, table, STALE)
    waited(one, 0, 60)
    fed(one, table, np.arange(60, 6 * HOUR, 60))
    assert len(waited(one, 6 * HOUR, 7 * HOUR)) == 1
    state = one.state()
    one.close()
    again = book(path, table, STALE)
    again.restore(state)
    assert waited(again, 7 * HOUR, 9 * HOUR) == []
    (resolved,) = fed(again, table, np.array([9 * HOUR]), seq=5)
    assert resolved.state is State.RESOLVED
    for at in np.arange(9 * HOUR + 60, 10 * HOUR, 60):  # what was learned before the restart counts
        fed(again, table, np.array([at]), seq=6 + int(at))
    assert len(waited(again, 10 * HOUR, 11 * HOUR)) == 1


def test_a_hub_that_was_away_waits_before_it_misses_anything(path: Path) -> None:
    table = Table(1)
    one = book(path, table, STALE)
    waited(one, 0, 60)
    fed(one, table, np.arange(60, 6 * HOUR, 60))
    assert waited(one, 10 * HOUR, 10 * HOUR + 600) == []
    (fired,) = waited(one, 10 * HOUR + 600, 11 * HOUR)
    assert brief([fired])[0][2] == 10 * HOUR + 600


def test_what_does_not_come_back_is_gone_for_good(path: Path) -> None:
    table = Table(1)
    one = book(path, table, STALE)
    waited(one, 0, 60)
    fed(one, table, np.arange(60, 6 * HOUR, 60))
    days = GONE_NS / NS
    fired, gone = waited(one, 6 * HOUR, 6 * HOUR + days + HOUR, 240)
    assert (fired.state, gone.state) == (State.FIRING, State.RESOLVED)
    assert gone.evidence.why.endswith("taken as gone for good")
    assert waited(one, 7 * HOUR + days, 8 * HOUR + days, 240) == []


def test_a_hold_is_added_to_what_is_usual(path: Path) -> None:
    table = Table(1)
    one = book(path, table, Rule("stale", "stale_gaps > 10", for_s=1200))
    waited(one, 0, 60)
    fed(one, table, np.arange(60, 6 * HOUR + 60, 60))
    (fired,) = waited(one, 6 * HOUR, 7 * HOUR)
    assert brief([fired])[0][2:] == (6 * HOUR + 1800, 6 * HOUR + 1860)


def test_it_speaks_of_the_series_that_it_selects_and_never_of_our_own() -> None:
    rule = Rule("stale", 'stale_gaps{of="cpu", host="a"} > 5')
    assert match_all(rule.matchers, {NAME: "cpu", "host": "a"})
    assert not match_all(rule.matchers, {NAME: "mem", "host": "a"})
    assert not match_all(STALE.matchers, {NAME: "anomaly"})
    assert not match_all(STALE.matchers, {NAME: "almenara_rows_total"})


def test_it_is_a_multiple_above_zero() -> None:
    for expr in ("stale_gaps < 10", "stale_gaps > 0"):
        with pytest.raises((ValueError, AlmenaraError), match="must be > a number above 0"):
            Rule("stale", expr)


def test_gaps_are_those_of_the_naive_twin() -> None:
    rng = np.random.default_rng(1)
    gaps = rng.choice([1.0, 60.0, 61.0, 3600.0], 500, p=[0.1, 0.5, 0.3, 0.1])
    time = (T0 + np.cumsum(gaps) * NS).astype(np.int64)
    time[50] = time[40]
    value = np.where(rng.random(500) < 0.1, np.nan, 1.0)
    one = Pace()
    parts = [slice(0, 7), slice(7, 500)]
    live = np.concatenate([one.step(np.zeros_like(time[p], np.int32), time[p], value[p], T0 + 100 * NS) for p in parts])
    expected = naive.pace(list(zip(time.tolist(), value.tolist(), strict=True)), T0 + 100 * NS)
    assert (one.last[0], one.first[0], one.gap[0], one.far[0], live.tolist()) == expected


def test_an_older_snapshot_has_no_longest_gap_yet() -> None:
    one = Pace()
    one.restore({"last": np.array([T0]), "gap": np.array([60.0 * NS])})
    assert one.far.tolist() == one.gap.tolist()
    assert not one.stale(T0 + DAY_NS, 0, 10).any(), "it is not known for how long it was known"


def test_a_series_of_which_only_its_alarm_is_known_after_a_restart_must_be_learned_anew(path: Path) -> None:
    table, rules = Table(1), (STALE, Rule("on", "cpu > 0"))
    fed(book(path, table, *rules), table, np.arange(60, 600, 60))
    again = book(path, table, *rules)  # without a snapshot
    fed(again, table, np.array([600, 660, 720]), seq=2)
    assert [one.state for one in waited(again, 720, 3 * HOUR)] == [State.NO_DATA], "the usual gap is not known yet"


def test_a_rule_that_is_taken_out_and_put_back_tells_again_of_what_is_still_silent(path: Path) -> None:
    table = Table(1)
    one = book(path, table, STALE)
    waited(one, 0, 60)
    fed(one, table, np.arange(60, 6 * HOUR, 60))
    (fired,) = waited(one, 6 * HOUR, 7 * HOUR)
    (resolved,) = one.replace_rules([])
    assert resolved.state is State.RESOLVED
    assert waited(one, 7 * HOUR, 8 * HOUR) == []
    assert one.replace_rules([STALE]) == []
    (again,) = waited(one, 8 * HOUR, 9 * HOUR)
    assert again.state is State.FIRING
    assert again.since >= T0 + 8 * HOUR * NS > fired.since
    assert [alarm.last.state for alarm in one.open()] == [State.FIRING]


def test_what_is_silent_still_is_told_again_when_the_hours_of_its_rule_begin(path: Path) -> None:
    table = Table(1)
    hours = Schedule.of(["08:00-18:00"])
    one = book(path, table, Rule("stale", "stale_gaps > 10", schedule=hours))
    holds = [hours.holds_at(T0 + at * HOUR * NS) for at in range(25)]
    begin = HOUR * next(at for at in range(1, 25) if holds[at] and not holds[at - 1])
    waited(one, begin, begin + 60)
    fed(one, table, np.arange(begin + 60, begin + 6 * HOUR, 60))
    told = waited(one, begin + 6 * HOUR, begin + 34 * HOUR, 240)
    assert [change.state for change in told[:3]] == [State.FIRING, State.RESOLVED, State.FIRING]
    assert brief([told[2]])[0][2] >= begin + 24 * HOUR
