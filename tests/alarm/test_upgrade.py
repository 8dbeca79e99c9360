"""A hub.db of the version that knew no policies (`hub-before-policies.sql` is its dump) goes on where it was.

In it incident 1 is over and told; incident 2 (hosts 1 and 2) goes on, acknowledged; mail knows of it, and chat is still
to have the message.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from alarm.book_case import T0, Table, book, database, rows
from almenara.alarm import outbox
from almenara.alarm.book import Book
from almenara.alarm.policies import Policies, Policy
from almenara.alarm.rules import Rule
from almenara.model.alarm import NoticeKind
from almenara.model.errors import StoreError
from almenara.model.time import NS

DUMP = Path(__file__).with_name("hub-before-policies.sql")
HOT = Rule("hot", "cpu > 90")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "hub.db") as db:
        db.executescript(DUMP.read_text(encoding="utf-8"))
    db.close()
    return tmp_path / "hub.db"


def opened(path: Path, *policies: Policy) -> Book:
    return book(path, Table(3), HOT, notifiers=Policies(policies, {"mail": (), "chat": ()}))


def queued(path: Path) -> list[tuple[str, int, str]]:
    with sqlite3.connect(path) as db:
        return db.execute(
            "SELECT notifier, incident, coalesce(kind, state) FROM outbox o LEFT JOIN outbox_about USING (id) "
            "WHERE o.id > 6 ORDER BY o.id"
        ).fetchall()


def test_nobody_is_told_again_and_the_end_is_told_to_those_who_were(path: Path) -> None:
    one = opened(path)
    one.tick(T0 + 300 * NS)
    assert queued(path) == []
    one.step(4, *rows(Table(3), [(1, 400, 5), (2, 400, 5)]), 0)
    assert sorted(queued(path)) == [("chat", 2, "resolved"), ("mail", 2, "resolved")]
    one.close()


def test_policies_take_over_what_people_were_told_before_there_were_any(path: Path) -> None:
    one = opened(path, Policy("night", notify=("mail",)))
    one.tick(T0 + 300 * NS)
    assert queued(path) == []
    one.tick(T0 + 4900 * NS)
    one.tick(T0 + 5000 * NS)
    assert sorted(queued(path)) == [("chat", 2, "reminder"), ("mail", 2, "reminder")]
    one.close()


def test_what_waits_in_the_outbox_has_the_kind_of_its_state(path: Path) -> None:
    one = opened(path)
    connection = database(path)()
    message = outbox.next_due(connection, "chat", T0 + 300 * NS)
    assert message is not None
    assert (message.id, message.incident, message.kind, message.reason) == (6, 2, NoticeKind.FIRING, "")
    connection.close()
    one.close()


def test_an_upgrade_that_is_broken_off_anywhere_is_done_again(path: Path) -> None:
    table, steps = Table(3), 0
    while True:
        steps += 50

        def connect(left: int = steps) -> sqlite3.Connection:
            connection, used = database(path)(), [0]

            def is_over() -> bool:
                used[0] += 1
                return used[0] > left

            connection.set_progress_handler(is_over, 1)
            return connection

        try:
            Book(connect, [HOT], table, table.selector).close()
            break
        except StoreError:  # broken off, as by a kill: what was not committed is gone
            continue
    assert steps > 200
    test_nobody_is_told_again_and_the_end_is_told_to_those_who_were(path)
