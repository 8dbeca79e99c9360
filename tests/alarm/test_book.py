"""Rules of the book: what is told is on disk, once, whatever happens to the hub."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from alarm.book_case import T0, Table, book, brief, database, rows
from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.model.alarm import Severity, State
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


def test_a_clock_that_is_set_back_makes_no_row_late_and_no_hold_longer(path: Path) -> None:
    one = book(path, table := Table(2), Rule("hot", "cpu > 90", for_s=60))
    hour = 3600
    states = [*one.step(1, *rows(table, [(0, hour, 95), (0, hour + 60, 95), (1, hour + 60, 95)]), 0)]
    one.tick(T0 + (hour + 60) * NS)
    one.tick(T0 + 100 * NS)
    for seq, (second, value) in enumerate([(101, 95), (130, 95), (161, 95), (162, 50)], 2):
        states += one.step(seq, *rows(table, [(0, second, value), (1, second, value)]), 0)
    assert [(str(c.series), c.state.value, (c.time - T0) // NS) for c in states] == [
        ('cpu{host="0"}', "pending", hour), ('cpu{host="0"}', "firing", hour + 60),
        ('cpu{host="1"}', "pending", hour + 60), ('cpu{host="1"}', "firing", 161),
        ('cpu{host="0"}', "resolved", 162), ('cpu{host="1"}', "resolved", 162),
    ]  # fmt: skip


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
