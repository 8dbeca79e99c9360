"""Rules of the book: what is told is on disk, once, whatever happens to the hub."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alarm.book_case import T0, Table, book, brief, database, rows
from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.model.alarm import Severity, State, Transition
from almenara.model.errors import DiskFull, StoreError
from almenara.model.time import NS

HOT = Rule("hot", "cpu > 90", 60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def states(book: Book) -> list[tuple[str, str]]:
    return [(brief([a.last])[0][0], a.last.state.value) for a in book.open()]


def test_pending_firing_resolved_are_told_and_written(path: Path) -> None:
    table = Table(2)
    one = book(path, table, HOT)
    told = [brief(one.step(k, *rows(table, [(0, 30 * k, 95 if k < 4 else 50), (1, 30 * k, 50)]), 0)) for k in range(5)]
    assert told == [[("0", "pending", 0, 0)], [], [("0", "firing", 0, 60)], [], [("0", "resolved", 0, 120)]]
    assert brief(one.journal()) == [x for step in reversed(told) for x in step]
    assert brief(one.journal(limit=1, before_ns=T0 + 120 * NS)) == [("0", "firing", 0, 60)]
    assert one.open() == []


def test_evidence_says_in_a_sentence_what_was_found(path: Path) -> None:
    table = Table(1)
    one = book(path, table, Rule("hot", "cpu > 90"), Rule("odd", 'anomaly_score{of="cpu"} > 1'))
    hot, odd = one.step(1, *rows(table, [(0, 0, 95)]), 0), one.step(2, *rows(table, [(0, 1, 1.6)], scored=True), 0)
    assert hot[0].evidence.why == "95 is above 90"
    resolved, found = odd
    assert resolved.evidence.why == "20 is not above 90"
    said = "Higher than usual for this time of day and week: 20, 2 times the usual 10, expected 5 to 15"
    assert found.evidence.why == said
    assert hot[0].evidence.detector == "", "a threshold is no detector"
    assert (found.evidence.score, found.evidence.yhat, found.evidence.detector) == (1.6, 10, "seasonal")


def test_an_anomaly_is_as_severe_as_its_worst_score(path: Path) -> None:
    table = Table(1)
    one = book(
        path,
        table,
        Rule("odd", 'anomaly_score{of="cpu"} > 1', 60),
        Rule("fixed", "anomaly_score > 1", 60, severity="minor"),
    )
    told = [x for k, score in enumerate([1.1, 2.5, 1.3, 0.0])
            for x in one.step(k, *rows(table, [(0, 30 * k, score)], scored=True), 0)]  # fmt: skip
    severities = {(c.rule, c.state): c.severity for c in told}
    assert severities["odd", State.PENDING] is Severity.WARNING
    assert severities["odd", State.FIRING] is Severity.CRITICAL
    assert severities["odd", State.RESOLVED] is Severity.CRITICAL
    assert severities["fixed", State.FIRING] is Severity.MINOR


def test_a_score_that_is_not_ready_changes_nothing(path: Path) -> None:
    table = Table(1)
    one = book(path, table, Rule("odd", "anomaly_score > 1"))
    one.step(1, *rows(table, [(0, 0, 2)], scored=True), 0)
    assert one.step(2, *rows(table, [(0, 10, float("nan"))], scored=True), 0) == []
    assert states(one) == [("0", "firing")]


def test_history_and_late_rows_raise_no_alarm(path: Path) -> None:
    table = Table(1)
    one = book(path, table, Rule("hot", "cpu > 90"))
    assert one.step(1, *rows(table, [(0, 0, 95)]), T0 + NS) == []
    assert one.step(2, *rows(table, [(0, 10, 50)]), T0 + NS) == []
    assert one.step(3, *rows(table, [(0, 5, 95)]), T0 + NS) == []


def test_a_new_series_is_judged_from_its_first_row(path: Path) -> None:
    table = Table(1)
    one = book(path, table, Rule("hot", "cpu > 90"))
    one.step(1, *rows(table, [(0, 0, 50)]), 0)
    table.keys += Table(3000).keys[1:]
    assert len(one.step(2, *rows(table, [(id, 1, 95) for id in range(3000)]), 0)) == 3000


def test_a_step_without_changes_writes_nothing(path: Path) -> None:
    table = Table(1)
    one = book(path, table, HOT)
    one.step(1, *rows(table, [(0, 0, 95)]), 0)
    before = one._db.total_changes
    one.step(2, *rows(table, [(0, 10, 95)]), 0)
    one.tick(T0 + 11 * NS)
    assert one._db.total_changes == before


def test_silence_is_told_by_the_clock(path: Path) -> None:
    table = Table(1)
    one = book(path, table, Rule("hot", "cpu > 90"))
    one.step(1, *rows(table, [(0, 0, 95), (0, 60, 95)]), 0)
    for second in (60, 200, 360):
        assert one.tick(T0 + second * NS) == []
    (gone,) = one.tick(T0 + 361 * NS)
    assert (gone.state, gone.evidence.why) == (State.NO_DATA, "no data for 5m1s, usually every 1m")
    assert states(one) == [("0", "no-data")]
    assert brief(one.step(2, *rows(table, [(0, 400, 95)]), 0)) == [("0", "firing", 400, 400)]
    (incident,) = one.incidents()
    assert brief([incident.members[0].last]) == [("0", "firing", 400, 400)]


def test_a_hub_that_was_away_does_not_take_its_own_absence_for_silence(path: Path) -> None:
    table = Table(1)
    one = book(path, table, Rule("hot", "cpu > 90"))
    one.step(1, *rows(table, [(0, 0, 95)]), 0)
    one.tick(T0 + NS)
    assert one.tick(T0 + 7200 * NS) == []
    again = book(path, table, Rule("hot", "cpu > 90"))
    assert again.tick(T0 + 9000 * NS) == []
    assert states(again) == [("0", "firing")]


def test_alarms_that_fire_within_a_minute_are_one_incident(path: Path) -> None:
    table = Table(4)
    one = book(path, table, Rule("hot", "cpu > 90"))
    one.step(1, *rows(table, [(0, 0, 95), (1, 30, 95), (2, 59, 95), (3, 61, 95)]), 0)
    second, first = one.incidents()
    assert [len(i.members) for i in (first, second)] == [3, 1]
    assert {a.incident for a in one.open()} == {first.id, second.id}


def test_an_incident_is_resolved_when_all_its_alarms_are(path: Path) -> None:
    table = Table(2)
    one = book(path, table, Rule("hot", "cpu > 90"))
    one.step(1, *rows(table, [(0, 0, 95), (1, 0, 95)]), 0)
    one.step(2, *rows(table, [(0, 10, 50), (1, 10, 95)]), 0)
    assert [i.state for i in one.incidents(open_only=True)] == [State.FIRING]
    one.step(3, *rows(table, [(0, 20, 50), (1, 20, 50)]), 0)
    assert one.incidents(open_only=True) == []
    (incident,) = one.incidents()
    assert (incident.state, (incident.resolved - T0) // NS, (incident.since - T0) // NS) == (State.RESOLVED, 20, 0)


def test_an_alarm_that_comes_back_after_its_incident_is_another_one(path: Path) -> None:
    table = Table(1)
    one = book(path, table, Rule("hot", "cpu > 90"))
    one.step(1, *rows(table, [(0, 0, 95), (0, 10, 50), (0, 20, 95)]), 0)
    again, first = one.incidents()
    assert (first.state, again.state) == (State.RESOLVED, State.FIRING)
    assert brief([first.members[0].last]) == [("0", "resolved", 0, 10)]


def test_an_acknowledgement_belongs_to_the_incident_and_survives(path: Path) -> None:
    table = Table(1)
    one = book(path, table, Rule("hot", "cpu > 90"))
    one.step(1, *rows(table, [(0, 0, 95)]), 0)
    (incident,) = one.incidents()
    assert one.acknowledge(incident.id, "ada", "on it", until=T0 + 99 * NS, now_ns=T0 + NS)
    assert not one.acknowledge(99, "ada")
    one.step(2, *rows(table, [(0, 10, 96)]), 0)
    taken = book(path, table, Rule("hot", "cpu > 90")).incidents()[0].acknowledgement
    assert taken is not None
    assert (taken.who, taken.note, taken.until, taken.time) == ("ada", "on it", T0 + 99 * NS, T0 + NS)


def test_alarms_of_rules_that_are_gone_are_resolved(path: Path) -> None:
    table = Table(2)
    one = book(path, table, Rule("hot", "cpu > 90"), Rule("slow", "cpu > 90", 600))
    one.step(1, *rows(table, [(0, 0, 95), (1, 0, 95)]), 0)
    told = one.replace_rules([Rule("hot", 'cpu{host="1"} > 90')])
    assert sorted((c.rule, c.state.value, c.evidence.why) for c in told) == [
        ("hot", "resolved", "its rule no longer speaks of this series"),
        ("slow", "inactive", "its rule was removed"),
        ("slow", "inactive", "its rule was removed"),
    ]
    assert states(one) == [("1", "firing")]
    assert one.step(2, *rows(table, [(0, 10, 95), (1, 10, 95)]), 0) == []
    again = book(path, table)
    assert brief(again.tick(T0 + 20 * NS)) == [("1", "resolved", 0, 20)]
    assert again.incidents(open_only=True) == []


@pytest.mark.parametrize("broken", ["full", "locked"])
def test_what_cannot_be_written_has_not_happened_and_can_be_done_again(path: Path, broken: str) -> None:
    table = Table(500)
    one, rule = None, Rule("hot", "cpu > 90")
    one = book(path, table, rule)
    one.step(1, *rows(table, [(0, 0, 95), (1, 0, 50)]), 0)
    storm = rows(table, [(id, 10, 40 if id == 0 else 95) for id in range(500)])
    other = database(path)()
    if broken == "full":
        pages = one._db.execute("PRAGMA page_count").fetchone()[0]
        one._db.execute(f"PRAGMA max_page_count={pages}")
    else:
        one._db.execute("PRAGMA busy_timeout=0")
        other.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(DiskFull if broken == "full" else StoreError):
            one.step(2, *storm, 0)
        assert states(one) == [("0", "firing")]
    if broken == "full":
        one._db.execute("PRAGMA max_page_count=1000000")
    else:
        other.execute("ROLLBACK")
    assert len(one.step(2, *storm, 0)) == 500
    assert len(one.open()) == 499
    assert len(one.journal(limit=1000)) == 501
    other.close()


def test_a_hub_whose_segments_are_counted_anew_is_not_deaf(path: Path) -> None:
    table = Table(1)
    book(path, table, Rule("hot", "cpu > 90")).step(100, *rows(table, [(0, 0, 95)]), 0)
    again = book(path, table, Rule("hot", "cpu > 90"))
    again.tick(T0 + 5 * NS)
    assert brief(again.step(1, *rows(table, [(0, 10, 50)]), 0)) == [("0", "resolved", 0, 10)]


RULES = (
    Rule("a", "cpu > 90"), Rule("b", "cpu > 90", 60, 45), Rule("c", "cpu < 40", 20), Rule("d", "cpu != 60", 30, 1000),
)  # fmt: skip
_row = st.tuples(st.integers(0, 3), st.integers(-30, 60), st.sampled_from([10.0, 60.0, 95.0, 95.0, float("nan")]))
_segments = st.lists(st.lists(_row, max_size=12), min_size=1, max_size=10)


def steps(segments: list[list[tuple[int, int, float]]], table: Table) -> Iterator[tuple[int, tuple]]:
    """(seq, batch and verdict); times go on from segment to segment, some rows are late."""
    for seq, segment in enumerate(segments, 1):
        unique = {(id, 40 * seq + offset): value for id, offset, value in segment}
        yield seq, rows(table, [(id, at, value) for (id, at), value in unique.items()])


def whole(told: list[Transition]) -> list[tuple]:
    return sorted((c.rule, *brief([c])[0], c.evidence.why) for c in told)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_segments, st.data())
def test_a_crash_changes_nothing_that_is_told(
    tmp_path_factory: pytest.TempPathFactory, segments: list[list[tuple[int, int, float]]], data: st.DataObject
) -> None:
    folder, table = tmp_path_factory.mktemp("crash"), Table(4)
    calm = book(folder / "calm.db", table, *RULES, notifiers=["mail"])
    expected = [change for seq, step in steps(segments, table) for change in calm.step(seq, *step, 0)]
    crash = data.draw(st.integers(0, len(segments)), "crash after")
    saved = data.draw(st.integers(0, crash), "snapshot after")
    one, told, snapshot = book(folder / "crash.db", table, *RULES, notifiers=["mail"]), [], None
    for seq, step in steps(segments, table):
        if seq <= crash:
            told += one.step(seq, *step, 0)
        if seq == saved:
            snapshot = one.state()
    again = book(folder / "crash.db", table, *RULES, notifiers=["mail"])
    if snapshot is not None:
        again.restore(snapshot)
    for seq, step in steps(segments, table):
        if seq > saved:
            told += again.step(seq, *step, 0)
    assert whole(told) == whole(expected)
    assert whole(again.journal(10_000)) == whole(calm.journal(10_000)) == whole(expected)
    query = "SELECT notifier, state, count(*) FROM outbox GROUP BY 1, 2"
    with sqlite3.connect(folder / "calm.db") as a, sqlite3.connect(folder / "crash.db") as b:
        assert a.execute(query).fetchall() == b.execute(query).fetchall()
    for made in (calm, one, again):
        made.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_segments, st.data())
def test_without_a_snapshot_nothing_is_told_twice(
    tmp_path_factory: pytest.TempPathFactory, segments: list[list[tuple[int, int, float]]], data: st.DataObject
) -> None:
    """Rows before the replayed ones are then not known: an alarm may end a little earlier, and late rows may count."""
    path, table = tmp_path_factory.mktemp("crash") / "x.db", Table(4)
    crash = data.draw(st.integers(0, len(segments)), "crash after")
    replay = data.draw(st.integers(0, crash), "replay after")
    one, told = book(path, table, *RULES), []
    for seq, step in steps(segments, table):
        if seq <= crash:
            told += one.step(seq, *step, 0)
    again = book(path, table, *RULES)
    for seq, step in steps(segments, table):
        if seq > replay:
            told += again.step(seq, *step, 0)
    keys = [(c.rule, c.series, c.since, c.state) for c in told]
    assert len(keys) == len(set(keys))
    assert len(again.journal(10_000)) == len(told)
    for made in (one, again):
        made.close()


def test_an_alarm_that_the_clock_fired_is_not_told_again(path: Path) -> None:
    table = Table(1)
    one, step = book(path, table, HOT), rows(table, [(0, 0, 95)])
    one.step(1, *step, 0)
    assert brief(one.tick(T0 + 61 * NS)) == [("0", "firing", 0, 61)]
    again = book(path, table, HOT)
    assert again.step(1, *step, 0) == []
    assert again.tick(T0 + 62 * NS) == []
    assert brief(again.step(2, *rows(table, [(0, 70, 50)]), 0)) == [("0", "resolved", 0, 70)]


def test_a_storm_of_ten_thousand_alarms_takes_seconds_and_then_costs_little(path: Path) -> None:
    table, n = Table(10_000), 10_000
    one = book(path, table, Rule("hot", "cpu > 90"), notifiers=["mail"])
    began = time.process_time()
    assert len(one.step(1, *rows(table, [(id, 0, 95) for id in range(n)]), 0)) == n
    assert time.process_time() - began < 10
    (incident,) = one.incidents()
    assert len(incident.members) == n
    going_on = [rows(table, [(id, second, 95) for id in range(n)]) for second in (1, 2, 3)]
    began = time.process_time()
    assert not any(one.step(seq, *step, 0) for seq, step in enumerate(going_on, 2))
    assert time.process_time() - began < 1


_event = st.one_of(
    st.tuples(st.just("rows"), st.lists(_row, max_size=8)),
    st.tuples(st.just("tick"), st.sampled_from([1, 30, 200])),
    st.tuples(st.just("crash"), st.booleans()),
    st.tuples(st.just("snapshot"), st.none()),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_event, max_size=25))
def test_with_clock_and_crashes_every_incident_is_told_once_and_ends(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, Any]]
) -> None:
    path, table = tmp_path_factory.mktemp("crashes") / "x.db", Table(4)
    one, log, saved, now = book(path, table, *RULES, notifiers=["mail"]), [], (0, None), 100.0
    made = [one]
    for what, more in events:
        if what == "rows":
            now += 40
            unique = {(id, now + offset): value for id, offset, value in more}
            log.append(rows(table, [(id, at, value) for (id, at), value in unique.items()]))
            one.step(len(log), *log[-1], 0)
        elif what == "tick":
            now += more
            one.tick(T0 + round(now * NS))
        elif what == "snapshot":
            saved = (len(log), one.state())
        else:
            one = book(path, table, *RULES, notifiers=["mail"])
            made.append(one)
            if saved[1] is not None and more:
                one.restore(saved[1])
            for seq, step in enumerate(log[saved[0] :], saved[0] + 1):
                decided = seq <= one._decided
                told = one.step(seq, *step, 0)
                assert told == [] or not (decided or more)
    for quiet in (2000, 4000):
        one.step(len(log) + quiet, *rows(table, [(id, now + quiet, 60.0) for id in range(4)]), 0)
    assert one.open() == []
    assert one.incidents(open_only=True) == []
    with sqlite3.connect(path) as db:
        told = db.execute("SELECT incident, group_concat(state) FROM (SELECT * FROM outbox ORDER BY id) GROUP BY 1")
        assert {states for _, states in told} <= {"firing,resolved"}
        assert (
            db.execute("SELECT count(*) FROM incident").fetchone()[0] * 2
            == db.execute("SELECT count(*) FROM outbox").fetchone()[0]
        )
        assert db.execute("SELECT count(*) FROM alarm_state").fetchone()[0] == 0
    for each in made:
        each.close()


def test_alarms_without_a_rule_are_resolved_as_soon_as_the_disk_takes_it(path: Path) -> None:
    table = Table(1)
    book(path, table, Rule("hot", "cpu > 90")).step(1, *rows(table, [(0, 0, 95)]), 0)
    again, other = book(path, table), database(path)()
    again._db.execute("PRAGMA busy_timeout=0")
    other.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(StoreError):
            again.tick(T0 + NS)
    other.execute("ROLLBACK")
    other.close()
    assert brief(again.tick(T0 + 2 * NS)) == [("0", "resolved", 0, 2)]


def test_rules_that_cannot_be_taken_over_leave_everything_as_it_was(path: Path) -> None:
    table = Table(2)
    one, other = book(path, table, Rule("hot", "cpu > 90")), database(path)()
    one.step(1, *rows(table, [(0, 0, 95)]), 0)
    one._db.execute("PRAGMA busy_timeout=0")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError):
        one.replace_rules([])
    other.execute("ROLLBACK")
    other.close()
    assert states(one) == [("0", "firing")]
    assert brief(one.step(2, *rows(table, [(0, 10, 50), (1, 10, 95)]), 0)) == [
        ("0", "resolved", 0, 10), ("1", "firing", 10, 10),
    ]  # fmt: skip
