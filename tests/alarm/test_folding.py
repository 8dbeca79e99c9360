"""Rules of folding: what moves or begins together is one incident, what does not is an incident of its own."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alarm.book_case import T0, Table, book, rows
from almenara.alarm.book import Book
from almenara.alarm.folding import Grouping
from almenara.alarm.rules import Rule
from almenara.model.alarm import Incident, State
from almenara.model.batch import Batch, Verdict
from almenara.model.series import encode_key
from almenara.model.time import MINUTE_NS, NS

HOT = Rule("hot", "cpu > 90")
NIGHT = 720  # minutes


class Named(Table):
    """Series of these names and labels."""

    def __init__(self, *series: tuple[str, dict[str, str]]):
        self.keys = [encode_key(name, labels) for name, labels in series]


class Plant(Table):
    """Series whose names say nothing: `cpu{n="7"}`."""

    def __init__(self, n: int):
        self.keys = [encode_key("cpu", {"n": str(k)}) for k in range(n)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def judged(table: Table, values: np.ndarray, first_minute: int, ids: Iterable[int] | None = None) -> tuple[Any, Any]:
    """values: float[n, t], one a minute, as rows around an expected 50 with a band of 10 to either side."""
    n, t = values.shape
    id = np.repeat(np.array(list(ids) if ids is not None else range(n), np.int32), t)
    at = T0 + (first_minute + np.tile(np.arange(t), n)) * MINUTE_NS
    value = values.ravel()
    full = np.full(len(id), 50.0)
    score = np.abs(value - 50) / 10 - 1
    nth = np.zeros(len(id), np.int32)
    return Batch(table, id, at, value), Verdict(
        score, full, full - 10, full + 10, np.ones(len(id)), np.zeros(len(id), np.int16), None, nth
    )


def learn(one: Book, table: Table, values: np.ndarray) -> None:
    """A night in which nothing fires."""
    one.step(1, *judged(table, values, 0), 0)


def moving(groups: list[int], lags: list[int], seed: int = 1, noise: float = 0.5) -> np.ndarray:
    """Series of groups (-1: alone), each behind its cause by so many minutes."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(max([*groups, 0]) + 1, NIGHT + 20))
    rest = rng.normal(size=(len(groups), NIGHT))
    together = [
        rest[k] if g < 0 else causes[g, 10 - lag : 10 - lag + NIGHT] + noise * rest[k]
        for k, (g, lag) in enumerate(zip(groups, lags, strict=True))
    ]
    return 50 + 3 * np.array(together)


def fire(one: Book, table: Table, given: Iterable[tuple[int, float]], seq: int = 2) -> None:
    """(id, seconds after the night) at which series go to 95."""
    one.step(seq, *rows(table, [(id, NIGHT * 60 + 600 + at, 95) for id, at in given]), 0)


def members(one: Book) -> list[list[int]]:
    """The members of each incident by id, the oldest incident first."""
    return [numbers(incident) for incident in reversed(one.incidents())]


def numbers(incident: Incident) -> list[int]:
    return [int(dict(alarm.last.series.labels)["n"]) for alarm in incident.members]


def test_alarms_whose_residuals_move_together_are_one_incident(path: Path) -> None:
    table = Plant(4)
    one = book(path, table, HOT)
    learn(one, table, moving([0, 0, 0, -1], [0, 2, 1, 0]))
    fire(one, table, [(0, 0), (1, 120), (2, 60), (3, 30)])
    assert members(one) == [[0, 2, 1], [3]]
    folded, alone = reversed(one.incidents())
    assert [a.reason for a in alone.members] == [""]
    first, second, third = (a.reason for a in folded.members)
    assert first == ""
    assert second.startswith('moves together with cpu{n="0"}: correlation 0.')
    assert second.endswith("at a lag of 1m")
    assert third.endswith("at a lag of 2m")
    assert not any("caus" in a.reason for a in folded.members)


def test_two_unrelated_faults_in_the_same_minute_stay_two(path: Path) -> None:
    table = Plant(2)
    one = book(path, table, HOT)
    learn(one, table, moving([-1, -1], [0, 0]))
    fire(one, table, [(0, 0), (1, 0)])
    assert members(one) == [[0], [1]]


def test_two_unrelated_faults_that_lasted_an_hour_before_they_were_alarms_stay_two(path: Path) -> None:
    table = Plant(2)
    one = book(path, table, HOT)
    values = moving([-1, -1], [0, 0])
    values[:, -60:] += 20
    learn(one, table, values)
    fire(one, table, [(0, 0), (1, 0)])
    assert members(one) == [[0], [1]]


def test_one_fault_over_many_lagging_series_is_one_incident(path: Path) -> None:
    """Each is behind the one before it, so the last ones do not move with the first at any lag that is looked at."""
    table, n = Plant(12), 12
    one = book(path, table, HOT)
    learn(one, table, moving([0] * n, [k - 2 for k in range(n)], noise=0.3))
    fire(one, table, [(k, 60 * k) for k in range(n)])
    assert members(one) == [list(range(n))]


def test_members_that_come_later_join_the_incident_while_it_grows(path: Path) -> None:
    table = Plant(3)
    one = book(path, table, HOT)
    learn(one, table, moving([0, 0, 0], [0, 0, 0]))
    for seq, (id, at) in enumerate([(0, 0), (1, 200), (2, 490)], 2):
        fire(one, table, [(id, at)], seq)
    assert members(one) == [[0, 1, 2]]


def test_what_fires_after_the_window_is_an_incident_of_its_own(path: Path) -> None:
    table = Plant(2)
    one = book(path, table, HOT, grouping=Grouping(window_s=120))
    learn(one, table, moving([0, 0], [0, 0]))
    fire(one, table, [(0, 0), (1, 121)])
    assert members(one) == [[0], [1]]


def test_a_common_day_is_no_moving_together(path: Path) -> None:
    """A detector that has not learned the day yet leaves it in the residuals."""
    table = Plant(6)
    one = book(path, table, HOT)
    day = 6 * np.sin(2 * np.pi * np.arange(NIGHT) / 1440)
    learn(one, table, moving([-1] * 6, [0] * 6) + day)
    fire(one, table, [(k, k) for k in range(6)])
    assert members(one) == [[k] for k in range(6)]


def test_series_that_seldom_have_rows_are_compared_by_those_they_have(path: Path) -> None:
    table = Plant(3)
    one = book(path, table, HOT)
    values = moving([0, 0, -1], [0, 0, 0])
    values[:, np.arange(NIGHT) % 5 > 0] = np.nan
    learn(one, table, values)
    fire(one, table, [(0, 0), (1, 10), (2, 20)])
    assert members(one) == [[0, 1], [2]]


def begun(one: Book, table: Table, minutes: dict[int, list[int]]) -> None:
    """Anomalies of series began in these minutes; nothing fired."""
    given = sorted((id, minute) for id, each in minutes.items() for minute in each)
    batch, verdict = rows(table, [(id, 60 * minute, 50) for id, minute in given])
    one.step(1, batch, replace(verdict, nth=np.ones(len(batch), np.int32)), 0)


def test_alarms_whose_anomalies_began_together_before_are_one_incident(path: Path) -> None:
    table = Plant(3)
    one = book(path, table, HOT, grouping=Grouping(correlate=False))
    begun(one, table, {0: [5, 100, 300, 640], 1: [6, 99, 302, 500], 2: [200, 400, 601]})
    fire(one, table, [(0, 0), (1, 70), (2, 75)])
    assert members(one)[0] == [0, 1]
    assert one.incidents()[-1].members[1].reason == 'began together with cpu{n="0"} 3 of 4 times'


def test_alarms_that_fired_together_before_are_remembered_over_a_restart_without_a_snapshot(path: Path) -> None:
    table = Plant(3)
    one = book(path, table, HOT)
    for seq, minute in enumerate([0, 3000, 9000, 15000], 1):
        one.step(2 * seq, *rows(table, [(k, 60 * minute + 70 * k, 95) for k in range(2)]), 0)
        one.step(2 * seq + 1, *rows(table, [(k, 60 * minute + 300, 50) for k in range(2)]), 0)
    again = book(path, table, HOT)
    again.tick(T0 + 16000 * MINUTE_NS)
    again.step(200, *rows(table, [(0, 60 * 20000, 95), (1, 60 * 20000 + 70, 95), (2, 60 * 20000 + 70, 95)]), 0)
    # The third is unknown, and of the same rule as the second, but did not fire within a minute of the first.
    assert members(again)[-2:] == [[0, 1], [2]]
    assert again.incidents()[1].members[1].reason == 'began together with cpu{n="0"} 4 of 4 times'


def test_rules_on_one_series_are_one_incident_for_as_long_as_it_is_open(path: Path) -> None:
    table = Plant(1)
    one = book(path, table, HOT, Rule("full", "cpu > 98"))
    fire(one, table, [(0, 0)])
    one.step(3, *rows(table, [(0, NIGHT * 60 + 9000, 99)]), 0)
    (incident,) = one.incidents()
    assert [(a.last.rule, a.reason) for a in incident.members] == [
        ("hot", ""),
        ("full", "the same series as the alarm of hot"),
    ]


def test_an_alarm_that_comes_back_while_its_incident_is_open_comes_back_to_it(path: Path) -> None:
    table = Plant(3)
    one = book(path, table, HOT)
    learn(one, table, moving([0, 0, -1], [0, 0, 0]))
    fire(one, table, [(0, 0), (1, 30), (2, 30)])
    one.step(3, *rows(table, [(0, NIGHT * 60 + 640, 50), (0, NIGHT * 60 + 700, 95)]), 0)
    assert members(one) == [[0, 1], [2]]
    assert [a.last.state for a in one.incidents()[1].members] == [State.FIRING, State.FIRING]
    one.step(4, *rows(table, [(0, NIGHT * 60 + 760, 50), (0, NIGHT * 60 + 4000, 95)]), 0)
    assert members(one) == [[0, 1], [2], [0]], "not much later"


def test_equal_labels_of_group_by_are_one_incident(path: Path) -> None:
    table = Named(*(("cpu", {"n": str(k), "site": "ab"[k % 2]}) for k in range(4)), ("cpu", {"n": "4"}))
    one = book(path, table, HOT, grouping=Grouping(("site",)))
    learn(one, table, moving([-1] * 5, [0] * 5))
    fire(one, table, [(k, 0) for k in range(5)])
    assert members(one) == [[0, 2], [1, 3], [4]]
    assert one.incidents()[-1].members[1].reason == 'the same site="a"'


@pytest.mark.parametrize("label", ["host", "instance"])
def test_of_a_young_hub_alarms_of_one_host_are_one_incident(path: Path, label: str) -> None:
    table = Named(*((name, {"n": str(k), label: str(k // 2)}) for k, name in enumerate(["cpu", "mem", "cpu", "mem"])))
    one = book(path, table, Rule("hot", "cpu > 90"), Rule("full", "mem > 90"))
    fire(one, table, [(0, 0), (1, 200), (2, 100), (3, 290)])
    assert members(one) == [[0, 1], [2, 3]]
    assert one.incidents()[-1].members[1].reason == f'the same {label} "0"; nothing is measured yet'


def test_what_is_measured_goes_before_the_same_host(path: Path) -> None:
    table = Named(("cpu", {"n": "0", "host": "a"}), ("cpu", {"n": "1", "host": "a"}))
    one = book(path, table, HOT)
    learn(one, table, moving([-1, -1], [0, 0]))
    fire(one, table, [(0, 0), (1, 0)])
    assert members(one) == [[0], [1]]


def test_a_burst_of_one_rule_is_one_incident_and_names_its_usual_rate(path: Path) -> None:
    """A switch fails: thirty series that never moved together fall at once."""
    table = Plant(32)
    one = book(path, table, HOT, Rule("low", "cpu < 10"))
    learn(one, table, moving([-1] * 32, [0] * 32))
    fire(one, table, [(k, k % 7) for k in range(31)])
    one.step(3, *rows(table, [(31, NIGHT * 60 + 600, 5)]), 0)
    assert [len(each) for each in members(one)] == [31, 1]
    said = "one of 31 alarms of this rule within a minute, where 0 are usual"
    assert one.incidents()[-1].members[1].reason == said


def test_each_incident_names_its_likely_first_and_its_strongest(path: Path) -> None:
    table = Plant(3)
    one = book(path, table, Rule("odd", "anomaly_score > 1"))
    learn(one, table, moving([0, 0, 0], [2, 0, 1]))
    start = NIGHT * 60 + 600
    one.step(2, *rows(table, [(0, start, 1.2), (1, start + 20, 1.5), (2, start + 25, 1.1)], scored=True), 0)
    one.step(3, *rows(table, [(1, start + 30, 0.0), (2, start + 40, 1.9)], scored=True), 0)
    (incident,) = one.incidents()
    assert incident.first is not None
    assert incident.strongest is not None
    # Within a minute the measured lag says more than the moment at which a limit was crossed.
    assert dict(incident.first.last.series.labels)["n"] == "1"
    assert dict(incident.strongest.last.series.labels)["n"] == "1"


def test_an_old_database_gets_its_new_columns_and_goes_on(path: Path) -> None:
    table = Plant(2)
    one = book(path, table, HOT)
    fire(one, table, [(0, 0), (1, 1)])
    one.close()
    with sqlite3.connect(path) as db:
        for column in ("reason", "lag", "out"):
            db.execute(f"ALTER TABLE incident_member DROP COLUMN {column}")
        db.execute("ALTER TABLE incident_member ADD COLUMN lag INTEGER NOT NULL DEFAULT 0")  # it was killed after one
    again = book(path, table, HOT)
    assert members(again) == [[0, 1]]
    again.tick(T0 + (NIGHT * 60 + 610) * NS)
    again.step(3, *rows(table, [(0, NIGHT * 60 + 620, 50)]), 0)
    assert [len(i.members) for i in again.incidents(open_only=True)] == [2]


def storm_of(n: int, causes: int) -> tuple[list[int], np.ndarray]:
    groups = [k % causes for k in range(n)]
    return groups, moving(groups, [k % 4 for k in range(n)], noise=0.7)[:, :240]


def test_ten_thousand_alarms_of_three_causes_are_three_incidents_in_seconds(path: Path) -> None:
    table, n = Plant(10_001), 10_000
    one = book(path, table, HOT, notifiers=["mail"])
    groups, values = storm_of(n, 3)
    learn(one, table, np.vstack((values, moving([-1], [0], seed=9)[:, :240])))
    rng = np.random.default_rng(2)
    began = time.process_time()
    for seq, part in enumerate(np.array_split(rng.permutation(n + 1), 10), 2):
        fire(one, table, [(int(k), (seq - 2) * 6 + k % 6) for k in part], seq)
    assert time.process_time() - began < 10
    found = members(one)
    assert sorted(Counter(groups[k] if k < n else 3 for k in each).most_common() for each in found) == sorted(
        [[(0, 3334)], [(1, 3333)], [(2, 3333)], [(3, 1)]]
    )


_Change = Callable[[Book], object]


@pytest.mark.parametrize("crash", [1, 2, 3, 4])
@pytest.mark.parametrize("replay", [False, True])
def test_a_restart_folds_as_a_hub_that_never_stopped(path: Path, tmp_path: Path, crash: int, replay: bool) -> None:
    table = Plant(9)
    values = moving([0, 0, 0, 1, 1, 1, -1, -1, -1], [0, 1, 2, 0, 1, 2, 0, 0, 0])
    fires = [[(0, 0), (3, 5), (6, 9)], [(1, 70), (7, 72)], [(4, 80), (2, 100)], [(5, 170), (8, 200)]]
    steps: list[_Change] = [lambda one: learn(one, table, values)]
    for seq, given in enumerate(fires, 2):
        steps.append(lambda one, seq=seq, given=given: fire(one, table, given, seq))  # type: ignore[misc]
    calm, one = book(tmp_path / "calm.db", table, HOT), book(path, table, HOT)
    saved = {}
    for k, step in enumerate(steps):
        step(calm)
        if k < crash:
            step(one)
            saved[k] = one.state()
    last = 0 if replay else crash - 1
    again = book(path, table, HOT)
    again.restore(saved[last])
    for step in steps[last + 1 :]:
        step(again)
    assert members(again) == members(calm) == [[0, 1, 2], [3, 4, 5], [6], [7], [8]]
    assert [[a.reason for a in i.members] for i in again.incidents()] == [
        [a.reason for a in i.members] for i in calm.incidents()
    ]
    for name, column in calm.state().items():
        np.testing.assert_array_equal(again.state()[name], column, name)
