"""Rules of the vigil: how long nobody was watching is known after an outage, and each notifier is told of it once."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from alarm.book_case import T0, Table, book, database, rows
from almenara.alarm import vigil
from almenara.alarm.rules import Rule
from almenara.alarm.send import Sender
from almenara.alarm.vigil import STUCK_NS, WRITE_S, Outage, Vigil
from almenara.model.alarm import Notice
from almenara.model.time import HOUR_NS, MINUTE_NS, NS
from almenara.testing.hub import Clock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def watch(path: Path, clock: Clock, *ticks: int) -> Vigil:
    """A run of a hub that ticked at these times."""
    one = Vigil(database(path), clock)
    for at in ticks:
        clock.now_ns = at
        one.tick()
    return one


def test_a_first_start_ends_no_outage(path: Path) -> None:
    one = watch(path, Clock(T0), T0)
    assert (one.before, one.last) == (None, None)
    one.close()


def test_a_start_after_an_outage_knows_from_when_to_when(path: Path) -> None:
    watch(path, Clock(T0), T0, T0 + NS).close()
    one = watch(path, Clock(T0 + 75 * MINUTE_NS))
    assert one.before == Outage(0, T0 + NS, T0 + 75 * MINUTE_NS)
    assert one.ticked_ns == T0 + NS, "until alarms are decided again nobody watches"
    one.tick()
    assert one.last is not None
    assert (one.last.since, one.last.until) == (T0 + NS, T0 + 75 * MINUTE_NS)
    one.close()


def test_killed_it_knows_the_time_to_some_seconds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    awake = [0.0]
    monkeypatch.setattr(vigil, "_awake_s", lambda: awake[0])
    clock = Clock(T0)
    one = Vigil(database(path), clock)
    for second in range(60):
        clock.now_ns, awake[0] = T0 + second * NS, float(second)
        one.tick()
    again = Vigil(database(path), Clock(T0 + HOUR_NS))  # the first was never closed
    assert again.before is not None
    assert T0 + (59 - WRITE_S) * NS <= again.before.since <= T0 + 59 * NS


def test_a_quick_restart_is_no_outage(path: Path) -> None:
    watch(path, Clock(T0), T0).close()
    assert watch(path, Clock(0), T0 + 59 * NS).last is None


def test_a_clock_that_was_set_back_is_no_outage(path: Path) -> None:
    watch(path, Clock(T0), T0).close()
    assert watch(path, Clock(0), T0 - HOUR_NS).last is None


def test_a_machine_that_slept_was_not_watching(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    awake = [0.0]
    monkeypatch.setattr(vigil, "_awake_s", lambda: awake[0])
    clock = Clock(T0)
    one = watch(path, clock, T0)
    clock.now_ns, awake[0] = T0 + HOUR_NS, 3600.0
    one.tick()
    assert one.last is not None
    assert one.last.since == T0


def test_a_clock_that_runs_fast_or_is_set_forward_is_no_outage(path: Path) -> None:
    one = watch(path, Clock(0), T0, T0 + HOUR_NS, T0 + 2 * HOUR_NS)
    assert one.last is None


@pytest.mark.parametrize(
    ("minutes", "words"),
    [
        (75, "from 2026-01-05 00:00 to 01:15 UTC (75 minutes)"),
        (1, "from 2026-01-05 00:00 to 00:01 UTC (1 minute)"),
        (150, "from 2026-01-05 00:00 to 02:30 UTC (2.5 hours)"),
        (3 * 1440, "from 2026-01-05 00:00 to 2026-01-08 00:00 UTC (3.0 days)"),
    ],
)
def test_an_outage_in_words(minutes: int, words: str) -> None:
    assert Outage(1, T0, T0 + minutes * MINUTE_NS).words() == words


class Kept:
    """A notifier that keeps what it was told, after having failed so many times."""

    def __init__(self) -> None:
        self.heard: list[Notice] = []

    async def notify(self, notice: Notice) -> None:
        self.heard.append(notice)

    async def close(self) -> None:
        pass


@asynccontextmanager
async def sending(path: Path, one: object, notifiers: dict[str, Kept], clock: Clock) -> AsyncIterator[Sender]:
    sender = Sender(database(path), notifiers, one, clock)  # type: ignore[arg-type]
    task = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def test_the_first_message_after_an_outage_says_how_long_nobody_was_watching(path: Path) -> None:
    clock, table = Clock(T0), Table(2)
    one = book(path, table, Rule("hot", "cpu > 90"), notifiers=["a", "b"])
    watch(path, clock, T0).close()
    watch(path, Clock(0), T0 + 75 * MINUTE_NS).close()
    a, b = Kept(), Kept()

    async def story() -> None:
        clock.now_ns = T0 + 80 * MINUTE_NS
        async with sending(path, one, {"a": a, "b": b}, clock) as sender:
            one.step(1, *rows(table, [(0, 4800, 95)]), 0)
            async with asyncio.timeout(30):
                while not (sender.counts["a", "sent"] and sender.counts["b", "sent"]):  # heard, and known as told
                    await asyncio.sleep(0.01)
        async with sending(path, one, {"a": a, "b": b}, clock):  # after a restart it is not said again
            one.step(2, *rows(table, [(0, 4900, 50)]), 0)
            async with asyncio.timeout(30):
                while len(a.heard) < 2 or len(b.heard) < 2:
                    await asyncio.sleep(0.01)

    asyncio.run(story())
    for first, second in (a.heard, b.heard):
        said = [fact.text for fact in first.facts if fact.name == "Nobody was watching"]
        assert said == ["from 2026-01-05 00:00 to 01:15 UTC (75 minutes)"]
        assert "Nobody was watching" not in second.text
    one.close()


def test_a_message_that_waits_too_long_is_stuck(path: Path) -> None:
    clock, table = Clock(T0), Table(1)
    one = book(path, table, Rule("hot", "cpu > 90"), notifiers=["mail"])
    watching = watch(path, clock, T0)
    one.step(1, *rows(table, [(0, 0, 95)]), 0)
    assert watching.stuck() == ""
    clock.now_ns = T0 + STUCK_NS + MINUTE_NS
    assert watching.stuck() == "mail: 1 message waits for 11 minutes"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE outbox SET error = 'mail: connection refused', tries = 4, due = ?", (clock.now_ns + NS,))
    assert watching.stuck() == "mail: 1 message waits for 11 minutes: mail: connection refused"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE outbox SET outcome = 'sent'")
    assert watching.stuck() == ""
    one.close()
