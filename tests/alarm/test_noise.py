"""Rules of the noise report: who acted on what, what flaps, and what was sent, from what hub.db has of a while."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from alarm.book_case import T0, Table, book, rows
from almenara.alarm.book import Book
from almenara.alarm.noise import Noise, noise
from almenara.alarm.rules import Rule
from almenara.model.time import HOUR_NS, NS

TABLE = Table(3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def report(path: Path, start: int = T0 - NS, end: int = T0 + 24 * HOUR_NS) -> Noise:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE outbox SET outcome = 'sent', done = queued WHERE outcome = ''")
        return noise(db, start, end)


def hot(one: Book, seq: int, second: float, host: int, value: float) -> None:
    one.step(seq, *rows(TABLE, [(host, second, value)]), 0)


def test_an_alarm_that_nobody_took_on_and_that_ended_is_noise(path: Path) -> None:
    one = book(path, TABLE, Rule("hot", "cpu > 90"), notifiers=["phone"])
    hot(one, 1, 0, 0, 95)
    hot(one, 2, 60, 0, 50)
    (rule,) = report(path).rules
    assert (rule.fired, rule.incidents, rule.acknowledged, rule.by_themselves) == (1, 1, 0, 1)
    assert rule.messages == 2
    assert rule.is_noise
    one.close()


def test_one_that_somebody_took_on_is_none_even_if_it_was_given_back(path: Path) -> None:
    one = book(path, TABLE, Rule("hot", "cpu > 90"), notifiers=["phone"])
    hot(one, 1, 0, 0, 95)
    assert one.acknowledge(1, "ann", now_ns=T0 + 10 * NS)
    one.unacknowledge(1, "ann", now_ns=T0 + 20 * NS)
    hot(one, 2, 60, 0, 50)
    (rule,) = report(path).rules
    assert (rule.acknowledged, rule.by_themselves, rule.is_noise) == (1, 0, False)
    one.close()


def test_one_that_goes_on_did_not_end_by_itself(path: Path) -> None:
    one = book(path, TABLE, Rule("hot", "cpu > 90"), notifiers=["phone"])
    hot(one, 1, 0, 0, 95)
    (rule,) = report(path).rules
    assert (rule.by_themselves, rule.is_noise) == (0, False)
    one.close()


def test_what_comes_again_and_again_flaps(path: Path) -> None:
    one = book(path, TABLE, Rule("hot", "cpu > 90"), notifiers=["phone"])
    for k in range(10):
        hot(one, k + 1, 60 * k, 1, 50 if k % 2 else 95)
    (flapping,) = report(path).flapping
    assert (flapping.rule, flapping.series, flapping.fired) == ("hot", 'cpu{host="1"}', 5)
    one.close()


def test_what_was_before_or_after_does_not_count(path: Path) -> None:
    one = book(path, TABLE, Rule("hot", "cpu > 90"), notifiers=["phone"])
    hot(one, 1, 0, 0, 95)
    hot(one, 2, 60, 0, 50)
    found = report(path, T0 + HOUR_NS, T0 + 2 * HOUR_NS)
    assert (found.rules, found.flapping, found.messages) == ([], [], {})
    one.close()
