"""Rules of going on after a crash: nothing is forgotten, nothing is told twice, whatever the last snapshot saw."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from alarm.book_case import T0, Table, book, brief, rows
from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.model.alarm import Transition
from almenara.model.time import NS

HOT = Rule("hot", "cpu > 90", 60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def test_an_alarm_that_the_clock_fired_is_not_told_again(path: Path) -> None:
    table = Table(1)
    one, step = book(path, table, HOT), rows(table, [(0, 0, 95)])
    one.step(1, *step, 0)
    assert brief(one.tick(T0 + 61 * NS)) == [("0", "firing", 0, 61)]
    again = book(path, table, HOT)
    assert again.step(1, *step, 0) == []
    assert again.tick(T0 + 62 * NS) == []
    assert brief(again.step(2, *rows(table, [(0, 70, 50)]), 0)) == [("0", "resolved", 0, 70)]


def test_what_fires_after_a_restart_joins_the_incident_that_it_would_have_joined(path: Path) -> None:
    table = Table(3)
    one = book(path, table, Rule("hot", "cpu > 90"))
    one.step(1, *rows(table, [(0, 0, 95), (1, 61, 95)]), 0)
    one.step(2, *rows(table, [(1, 70, 50)]), 0)
    again = book(path, table, Rule("hot", "cpu > 90"))
    again.tick(T0 + 71 * NS)
    again.step(3, *rows(table, [(2, 59, 95)]), 0)  # the newest is resolved; the one before it is open and near
    assert [len(i.members) for i in again.incidents()] == [1, 2]


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


_crashes = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 20)), min_size=1, max_size=3)


def tables(path: Path) -> list[list[tuple]]:
    """What a book holds on disk, but for what moves on inside of alarms."""
    queries = (
        "SELECT * FROM incident ORDER BY id", "SELECT * FROM incident_member ORDER BY 1, 2, 3",
        "SELECT notifier, incident, state, upto FROM outbox ORDER BY id",
        "SELECT rule, series, code, since, journal, incident FROM alarm_state ORDER BY 1, 2",
    )  # fmt: skip
    with sqlite3.connect(path) as db:
        return [db.execute(query).fetchall() for query in queries]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    _segments.flatmap(lambda s: st.tuples(st.just(s), st.lists(st.integers(0, 39) | st.none(), max_size=len(s)))),
    _crashes,
)
# Alarms of one series that were written at different segments, and no snapshot.
@example(([[], [(2, 0, 95)], [(2, 20, 95)], [(2, 0, 10), (2, 1, 95)], [(2, 0, 10)]], []), [(4, 20)])
def test_a_crash_changes_nothing_that_is_told(
    tmp_path_factory: pytest.TempPathFactory,
    given: tuple[list[list[tuple[int, int, float]]], list[int | None]],
    crashes: list[tuple[int, int]],
) -> None:
    """given: segments, and the second after each at which the clock ticks, if it does. crashes: each after how many
    steps and ticks, and how many of these after the snapshot (more than there were: there is none)."""
    segments, ticks = given
    folder, table = tmp_path_factory.mktemp("crash"), Table(4)
    events: list[tuple[int, Any]] = []
    for (seq, step), second in zip_longest(steps(segments[:7], table), ticks[:7]):  # or silence would be told
        events += [(seq, step)] if second is None else [(seq, step), (0, T0 + (40 * seq + second) * NS)]

    def live(one: Book, event: tuple[int, Any]) -> list[Transition]:
        return list(one.step(event[0], *event[1], 0) if event[0] else one.tick(event[1]))

    calm = book(folder / "calm.db", table, *RULES, notifiers=["mail"])
    expected = [change for event in events for change in live(calm, event)]
    one, made, told, done = book(folder / "crash.db", table, *RULES, notifiers=["mail"]), [calm], [], 0
    snapshots: dict[int, Any] = {}
    for after, back in [*sorted(crashes), (len(events), 0)]:
        for event in events[done:after]:
            told += live(one, event)
            done += 1
            snapshots[done] = one.state()
        made.append(one)
        one = book(folder / "crash.db", table, *RULES, notifiers=["mail"])
        if saved := max(0, done - back):
            one.restore(snapshots[saved])
        for event in events[saved:done]:
            assert not event[0] or not live(one, event)
    assert whole(told) == whole(expected)
    assert whole(one.journal(10_000)) == whole(calm.journal(10_000)) == whole(expected)
    assert tables(folder / "calm.db") == tables(folder / "crash.db")
    inside, expected_inside = one.state(), calm.state()
    for name in inside.keys() - {"seq"}:
        np.testing.assert_array_equal(inside[name], expected_inside[name], name)
    for each in [*made, one]:
        each.close()


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
        told = db.execute(
            "SELECT incident, group_concat(kind) FROM (SELECT * FROM outbox JOIN outbox_about USING (id) ORDER BY id) "
            "GROUP BY 1"
        ).fetchall()
        assert all(re.fullmatch("firing(,update)*,resolved", kinds) for _, kinds in told)
        assert db.execute("SELECT count(*) FROM incident").fetchone()[0] == len(told)
        assert db.execute("SELECT count(*) FROM alarm_state").fetchone()[0] == 0
    for each in made:
        each.close()
