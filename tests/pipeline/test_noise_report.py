"""The weekly noise report: once a week to a real file notifier, over restarts, kills and clocks that are set."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from alarm.book_case import T0, Table, book, database, rows
from almenara.alarm.book import Book
from almenara.alarm.letters import Letter
from almenara.alarm.rules import Rule
from almenara.alarm.send import Sender
from almenara.alarm.times import Weekly
from almenara.job.runs import Outcome, Run, Runs
from almenara.job.turns import Turns
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS, WEEK_NS
from almenara.notifiers.file import FileNotifier
from almenara.pipeline.budgets import Kept
from almenara.pipeline.noise_report import NAME, NoiseReport, noise_jobs
from almenara.testing.hub import Clock

TABLE = Table(3)
HOT = Rule("hot", "cpu > 90")
ZONE = ZoneInfo("Europe/Madrid")
REPORT = NoiseReport(("file",), Weekly.of("Mon 08:00", "Europe/Madrid"))
FIRST = REPORT.at.after_ns(T0)
BUDGETS = [Kept("plant", 2, 1e-4, 3, 30_000, 5, 1.5, 3.3333, 1.1, 7.8)]


class Hub:
    """What of a hub tells of the week: a book, jobs, a sender; `kill` leaves all as it is on disk."""

    def __init__(self, path: Path, clock: Clock, notifiers: Sequence[str] = ("file",)):
        self.path, self.clock = path, clock
        self.book: Book = book(path / "hub.db", TABLE, HOT, notifiers=["file"], clock=clock)
        report = NoiseReport(tuple(notifiers), REPORT.at)
        jobs = noise_jobs(report, database(path / "hub.db"), lambda: BUDGETS, self.post)
        self.jobs = Turns(jobs, Runs(database(path / "hub.db")), clock)
        self.is_killed = False

    def post(self, letter: Letter, notifiers: Sequence[str]) -> int:
        queued = self.book.post(letter, notifiers)
        if self.is_killed:
            raise KeyboardInterrupt
        return queued

    def at(self, now_ns: int) -> Hub:
        self.clock.now_ns = now_ns
        self.jobs.turn()
        return self

    def kill(self) -> Hub:
        self.book.close()
        self.jobs.close()
        return Hub(self.path, self.clock)

    def told(self) -> list[dict[str, Any]]:
        """All that the file has once the outbox is empty."""
        asyncio.run(self._send())
        file = self.path / "told.log"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [line for line in lines if line["kind"] == "digest"]

    async def _send(self) -> None:
        notifier = FileNotifier(path=self.path / "told.log", sync=False, clock=self.clock)
        running = asyncio.create_task(Sender(self.book_database, {"file": notifier}, self.book, self.clock).run())
        deadline = time.monotonic() + 60
        while self._waiting():
            assert time.monotonic() < deadline, "the outbox was not sent in time"
            await asyncio.sleep(0.01)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    @property
    def book_database(self) -> Any:
        return database(self.path / "hub.db")

    def _waiting(self) -> int:
        with contextlib.closing(self.book_database()) as db:
            return int(db.execute("SELECT count(*) FROM outbox WHERE outcome = ''").fetchone()[0])


def hub(tmp_path: Path) -> Hub:
    return Hub(tmp_path, Clock(T0)).at(T0)


def hot(one: Hub, seq: int, second: float, host: int, value: float) -> None:
    one.clock.now_ns = T0 + round(second * NS)
    one.book.step(seq, *rows(TABLE, [(host, second, value)]), 0)


def test_it_comes_once_a_week_at_its_time_and_first_at_the_next_one(tmp_path: Path) -> None:
    one = hub(tmp_path)
    assert not one.at(FIRST - NS).told()
    (first,) = one.at(FIRST).told()
    assert datetime.fromtimestamp(FIRST // NS, ZONE).strftime("%a %H:%M") == "Mon 08:00"
    assert first["title"] == "Noise of the week: 0 messages, 0 rules nobody ever acted on, 0 alarms flapping"
    assert first["incidents"] == []
    assert len(one.at(FIRST + MINUTE_NS).at(FIRST + 6 * DAY_NS).told()) == 1
    assert len(one.at(FIRST + WEEK_NS).told()) == 2


def test_it_says_who_only_makes_noise_what_flaps_and_what_came_of_budgets(tmp_path: Path) -> None:
    one = hub(tmp_path)
    for k in range(10):
        hot(one, k + 1, 60 * k, 1, 50 if k % 2 else 95)
    one.told()
    (report,) = one.at(FIRST).told()
    facts = report["facts"]
    assert report["title"].endswith("1 rule nobody ever acted on, 1 alarm flapping")
    assert facts["Rule hot"].startswith("nobody ever acted on it: fired 5 times, ")
    assert facts['Flaps: cpu{host="1"}'] == "fired 5 times, rule hot"
    assert facts["Messages"].endswith("by file")
    assert facts["Budget plant"] == "2 a week are welcome; 5 anomalies began in the last 1.5 weeks, 3.33 a week"
    assert facts["Held back"]


def test_one_that_was_due_while_the_hub_was_down_comes_when_it_is_back_and_only_once(tmp_path: Path) -> None:
    one = hub(tmp_path).kill()
    back = one.at(FIRST + 3 * WEEK_NS + 2 * DAY_NS)
    (report,) = back.told()
    assert report["facts"]["Week"] == "Monday 19 January 08:00 CET to Monday 26 January 08:00 CET"
    again = back.kill()
    assert len(again.at(FIRST + 3 * WEEK_NS + 3 * DAY_NS).told()) == 1
    assert len(again.at(FIRST + 4 * WEEK_NS).told()) == 2


def test_one_that_waits_in_the_outbox_is_sent_after_a_restart(tmp_path: Path) -> None:
    assert len(hub(tmp_path).at(FIRST).kill().told()) == 1


def test_nobody_gets_it_twice_where_the_hub_is_killed_before_the_job_is_recorded(tmp_path: Path) -> None:
    one = hub(tmp_path)
    one.is_killed = True
    with contextlib.suppress(KeyboardInterrupt):
        one.at(FIRST)
    again = one.kill()
    last = again.jobs.runs.last(NAME)
    assert last is not None
    assert last.outcome is Outcome.FAILED
    assert len(again.at(FIRST + HOUR_NS).told()) == 1
    assert again.jobs.runs.last(NAME) == Run(
        NAME, FIRST + HOUR_NS, FIRST + HOUR_NS, Outcome.OK, "", {"messages": 0}, last.id + 1
    )


def test_a_clock_set_back_tells_nothing_twice_and_forgets_nothing(tmp_path: Path) -> None:
    one = hub(tmp_path).at(FIRST)
    assert len(one.at(FIRST - HOUR_NS).at(FIRST).told()) == 1
    one.at(FIRST + 200 * WEEK_NS)  # a clock that is wrong by years
    assert len(one.told()) == 2
    assert len(one.at(FIRST + DAY_NS).told()) == 2
    assert len(one.at(FIRST + WEEK_NS - NS).told()) == 2
    assert len(one.at(FIRST + WEEK_NS).told()) == 3


def test_without_anybody_to_tell_there_is_no_job(tmp_path: Path) -> None:
    assert Hub(tmp_path, Clock(T0), ()).jobs.jobs == ()
