"""A person takes folding back: nothing is lost by it, people are told of what stands alone, and a restart keeps it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from alarm.book_case import T0, Table, book, database, rows
from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.model.alarm import State
from almenara.model.errors import IncidentError, StoreError
from almenara.model.time import NS

HOT = Rule("hot", "cpu > 90")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


@pytest.fixture
def table() -> Table:
    return Table(5)


@pytest.fixture
def one(path: Path, table: Table) -> Book:
    """Incident 1 of hosts 0, 1 and 2, and incident 2 of host 3."""
    made = book(path, table, HOT, notifiers=["mail"])
    made.step(1, *rows(table, [(0, 0, 95), (1, 20, 95), (2, 30, 96), (3, 100, 95)]), 0)
    return made


def hosts(one: Book) -> dict[int, list[str]]:
    return {i.id: [dict(a.last.series.labels)["host"] for a in i.members] for i in one.incidents()}


def messages(path: Path) -> list[tuple[int, str]]:
    with sqlite3.connect(path) as db:
        return db.execute("SELECT incident, state FROM outbox ORDER BY id").fetchall()


def test_what_is_taken_out_is_an_incident_that_people_are_told_of(one: Book, path: Path, table: Table) -> None:
    before = len(messages(path))
    one.split(1, [("hot", table.keys[1])], "ada")
    assert hosts(one) == {1: ["0", "2"], 2: ["3"], 3: ["1"]}
    assert messages(path)[before:] == [(3, "firing")]
    assert [a.incident for a in one.open()] == [1, 3, 1, 2]
    new = one.incidents()[0]
    assert (new.since, new.members[0].reason) == (T0 + 20 * NS, "taken out of incident 1 by ada")
    assert [(x.kind, x.who, x.text) for x in one.lines(1) if x.kind == "split"] == [
        ("split", "ada", "one of its alarms taken out, into incident 3")
    ]


def test_each_part_ends_by_itself(one: Book, table: Table) -> None:
    one.split(1, [("hot", table.keys[1])], "ada")
    one.step(2, *rows(table, [(1, 200, 50)]), 0)
    assert {i.id: i.state for i in one.incidents()} == {3: State.RESOLVED, 2: State.FIRING, 1: State.FIRING}
    one.step(3, *rows(table, [(0, 300, 50), (2, 300, 50)]), 0)
    assert {i.id for i in one.incidents(open_only=True)} == {2}


def test_an_incident_whose_last_open_alarm_is_taken_out_is_resolved(one: Book, table: Table) -> None:
    one.step(2, *rows(table, [(0, 200, 50), (2, 200, 50)]), 0)
    one.split(1, [("hot", table.keys[1])], "ada")
    assert {i.id for i in one.incidents(open_only=True)} == {2, 3}


def test_joined_incidents_are_one_and_nothing_more_is_told_of_the_other(one: Book, path: Path, table: Table) -> None:
    before = len(messages(path))
    one.join(2, 1, "ada")
    assert hosts(one) == {1: [], 2: ["0", "1", "2", "3"]}
    assert [i.id for i in one.incidents(open_only=True)] == [2]
    assert one.incidents()[0].since == T0
    assert [a.incident for a in one.open()] == [2, 2, 2, 2]
    one.step(2, *rows(table, [(k, 200, 50) for k in range(4)]), 0)
    assert one.incidents(open_only=True) == []
    assert messages(path)[before:] == [(2, "resolved")]
    assert [(x.kind, x.text) for x in one.lines(1) if x.who == "ada"] == [("joined", "joined to incident 2")]


def test_a_restart_goes_on_with_what_a_person_made(one: Book, path: Path, table: Table) -> None:
    one.split(1, [("hot", table.keys[1])], "ada")
    one.join(2, 1, "ada")
    again = book(path, table, HOT, notifiers=["mail"])
    assert hosts(again) == hosts(one)
    told = messages(path)
    for each in (one, again):
        each.tick(T0 + 110 * NS)
    assert messages(path) == told
    # The rest comes within a minute of the incident that was begun last, which is that of host 3.
    again.step(2, *rows(table, [(4, 120, 95)]), 0)
    assert hosts(again)[2] == ["0", "2", "3", "4"]
    again.step(3, *rows(table, [(k, 300, 50) for k in range(5)]), 0)
    assert again.incidents(open_only=True) == []
    assert again.open() == []


def test_what_was_taken_out_may_be_joined_again(one: Book, table: Table) -> None:
    one.split(1, [("hot", table.keys[1])], "ada")
    one.join(1, 3, "ada")
    assert hosts(one) == {1: ["0", "1", "2"], 2: ["3"], 3: []}
    assert one.incidents()[-1].members[1].reason == "joined from incident 3 by ada"


def test_what_makes_no_sense_is_refused(one: Book, table: Table) -> None:
    every = [("hot", key) for key in table.keys[:3]]
    for keys, said in (
        (every, "expected some of its 3 alarms; got 3"), ([], "got 0"),
        ([("hot", table.keys[3])], 'incident 1 has no alarm of hot for cpu{host="3"}'),
    ):  # fmt: skip
        with pytest.raises(IncidentError, match=said):
            one.split(1, keys, "ada")
    one.step(2, *rows(table, [(0, 200, 50)]), 0)
    with pytest.raises(IncidentError, match="resolved already"):
        one.split(1, every[:1], "ada")
    for incident, other in ((1, 1), (1, 9), (9, 1)):
        with pytest.raises(IncidentError):
            one.join(incident, other, "ada")
    assert hosts(one) == {1: ["0", "1", "2"], 2: ["3"]}


def test_what_cannot_be_written_has_not_happened(one: Book, path: Path, table: Table) -> None:
    other = database(path)()
    one._db.execute("PRAGMA busy_timeout=0")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError):
        one.split(1, [("hot", table.keys[1])], "ada")
    other.execute("ROLLBACK")
    other.close()
    assert hosts(one) == {1: ["0", "1", "2"], 2: ["3"]}
    one.split(1, [("hot", table.keys[1])], "ada")
    assert hosts(one) == {1: ["0", "2"], 2: ["3"], 3: ["1"]}
