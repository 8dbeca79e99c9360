"""Rules of the outbox and its sender, against a real HTTP receiver and, for kill -9, a real process."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from alarm.book_case import T0, Table, book, database, rows
from almenara.alarm import send
from almenara.alarm.book import Book
from almenara.alarm.policies import Policies, Policy
from almenara.alarm.rules import Rule
from almenara.alarm.send import Sender
from almenara.model.alarm import Incident, Notice
from almenara.model.errors import AlmenaraError, NotifyError
from almenara.model.time import DAY_NS, NS
from almenara.notifiers.webhook import Webhook
from almenara.plugin.options import Secret
from almenara.query import parse_selector
from almenara.testing.hub import Clock

HOT = Rule("hot", "cpu > 90")
DEADLINE_S = 60.0


STARTED_NS = time.monotonic_ns()


def _clock() -> int:
    return T0 + time.monotonic_ns() - STARTED_NS


class Receiver:
    """A web server that answers what it is told, then 200; it keeps what it heard."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.heard: list[dict] = []
        self.url = ""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Receiver]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = next(int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length"))
            body = json.loads(await reader.readexactly(size))
            answer = self.answers.pop(0) if self.answers else 200
            self.heard += [body] if answer == 200 else []
            writer.write(f"HTTP/1.1 {answer} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    @property
    def stories(self) -> list[tuple[str, list[str]]]:
        """(status, status of each alert) of each message."""
        return [(one["status"], [alert["status"] for alert in one["alerts"]]) for one in self.heard]


@asynccontextmanager
async def sending(
    one: Book, path: Path, receiver: Receiver, clock: Callable[[], int] = _clock
) -> AsyncIterator[Sender]:
    webhook = Webhook(url=Secret(receiver.url), timeout_s=5)
    sender = Sender(database(path), {"hook": webhook}, one, clock)
    running = asyncio.create_task(sender.run())
    try:
        yield sender
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        await webhook.close()


async def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.01)


def outcomes(path: Path) -> list[tuple[str, str]]:
    with sqlite3.connect(path) as db:
        return db.execute("SELECT state, outcome FROM outbox ORDER BY id").fetchall()


def hot(one: Book, seq: int, second: float, *hosts: int, value: float = 95) -> None:
    one.step(seq, *rows(one._series, [(host, second, value) for host in hosts]), 0)  # type: ignore[arg-type]


def run(path: Path, story: Callable[[Book, Receiver], Awaitable[None]]) -> None:
    async def main() -> None:
        one = book(path, Table(3), HOT, notifiers=["hook"])
        async with Receiver().serving() as receiver:
            await story(one, receiver)
        one.close()

    asyncio.run(main())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def test_firing_and_resolved_are_told_in_order(path: Path) -> None:
    async def story(one: Book, receiver: Receiver) -> None:
        async with sending(one, path, receiver) as sender:
            hot(one, 1, 0, 0, 1)
            await until(lambda: len(receiver.heard) == 1)
            hot(one, 2, 10, 0, 1, value=50)
            await until(lambda: sender.counts["hook", "sent"] == 2)
        assert receiver.stories == [("firing", ["firing"] * 2), ("resolved", ["resolved"] * 2)]
        assert outcomes(path) == [("firing", "sent"), ("resolved", "sent")]

    run(path, story)


def test_a_message_tells_of_the_incident_as_it_was(path: Path) -> None:
    async def story(one: Book, receiver: Receiver) -> None:
        hot(one, 1, 0, 0)
        hot(one, 2, 10, 1)
        hot(one, 3, 20, 0, 1, value=50)
        async with sending(one, path, receiver):
            await until(lambda: len(receiver.heard) == 2)
        assert receiver.stories == [("firing", ["firing"]), ("resolved", ["resolved"] * 2)]

    run(path, story)


def test_a_failure_is_tried_again_and_the_order_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send, "FIRST_WAIT_NS", NS // 50)

    async def story(one: Book, receiver: Receiver) -> None:
        receiver.answers = [500, 503, 429]
        hot(one, 1, 0, 0)
        hot(one, 2, 10, 0, value=50)
        async with sending(one, path, receiver) as sender:
            await until(lambda: sender.counts["hook", "sent"] == 2)
            assert sender.counts["hook", "failed"] == 3
        assert [status for status, _ in receiver.stories] == ["firing", "resolved"]

    run(path, story)


def test_waits_double_up_to_five_minutes_and_are_kept_on_disk(path: Path) -> None:
    async def story(one: Book, receiver: Receiver) -> None:
        receiver.answers = [500] * 11
        hot(one, 1, 0, 0)
        clock, waits = Clock(T0), []
        while len(waits) < 11:
            async with sending(one, path, receiver, clock) as sender:
                await until(lambda: sender.counts["hook", "failed"] == 1)
            with sqlite3.connect(path) as db:
                due = db.execute("SELECT due FROM outbox").fetchone()[0]
            waits.append((due - clock.now_ns) // NS)
            clock.now_ns = due
        assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]

    run(path, story)


def test_what_is_refused_for_good_is_given_up_loudly(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(one: Book, receiver: Receiver) -> None:
        receiver.answers = [404]
        hot(one, 1, 0, 0)
        hot(one, 2, 10, 0, value=50)
        async with sending(one, path, receiver) as sender:
            await until(lambda: sender.counts["hook", "sent"] == 1)
        assert outcomes(path) == [("firing", "given up"), ("resolved", "sent")]
        assert "was not told by hook, given up: webhook" in caplog.text

    run(path, story)


def days_pass() -> Callable[[], int]:
    """A clock that is a day later whenever somebody looks."""
    days = itertools.count()
    return lambda: T0 + next(days) * DAY_NS


def test_what_fails_for_a_day_and_twenty_times_is_given_up(path: Path) -> None:
    async def story(one: Book, receiver: Receiver) -> None:
        receiver.answers = [500] * 25
        hot(one, 1, 0, 0)
        async with sending(one, path, receiver, days_pass()) as sender:
            await until(lambda: sender.counts["hook", "given up"] == 1)
        assert outcomes(path) == [("firing", "given up")]
        assert len(receiver.answers) == 5

    run(path, story)


def test_a_clock_that_jumps_or_a_hub_that_was_off_for_days_is_no_reason_to_give_up(path: Path) -> None:
    async def story(one: Book, receiver: Receiver) -> None:
        receiver.answers = [500] * 10
        hot(one, 1, 0, 0)
        async with sending(one, path, receiver, days_pass()) as sender:
            await until(lambda: sender.counts["hook", "sent"] == 1)
        assert outcomes(path) == [("firing", "sent")]

    run(path, story)


def test_a_notifier_that_hangs_or_breaks_does_not_hold_up_the_others(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "TRY_S", 1.0)  # enough for the hook on a busy machine

    class Hanging:
        async def notify(self, notice: Notice) -> None:
            await asyncio.Event().wait()

    class Broken:
        async def notify(self, notice: Notice) -> None:
            raise KeyError("its own mistake")

    async def main() -> None:
        one = book(path, Table(1), HOT, notifiers=["broken", "hangs", "hook"])
        async with Receiver().serving() as receiver:
            webhook = Webhook(url=Secret(receiver.url))
            sender = Sender(database(path), {"broken": Broken(), "hangs": Hanging(), "hook": webhook}, one, Clock(T0))
            running = asyncio.create_task(sender.run())
            hot(one, 1, 0, 0)
            await until(lambda: len(sender.counts) == 3)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await webhook.close()
        assert sender.counts["hook", "sent"] == 1
        assert {name for name, outcome in sender.counts if outcome == "failed"} == {"broken", "hangs"}
        one.close()

    asyncio.run(main())


def test_one_message_that_is_not_taken_does_not_hold_up_those_of_other_incidents(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "FIRST_WAIT_NS", NS // 50)
    heard: list[tuple[int, str]] = []

    class Choosy:
        async def notify(self, notice: Notice) -> None:
            if notice.incident.id == 1:
                raise NotifyError("not this one", retry=True)
            heard.append((notice.incident.id, notice.kind.value))

    async def main() -> None:
        one = book(path, Table(3), HOT, notifiers=["choosy"])
        hot(one, 1, 0, 0)
        hot(one, 2, 300, 1)
        hot(one, 3, 400, 0, 1, value=50)
        sender = Sender(database(path), {"choosy": Choosy()}, one, Clock(T0))
        running = asyncio.create_task(sender.run())
        await until(lambda: len(heard) == 2)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert heard == [(2, "firing"), (2, "resolved")]
        with sqlite3.connect(path) as db:
            tries = dict(db.execute("SELECT state, tries FROM outbox WHERE incident = 1"))
        assert tries["firing"] > 0
        assert tries["resolved"] == 0, "the order within an incident stays"
        one.close()

    asyncio.run(main())


def test_those_who_stand_in_are_told_what_cannot_be_delivered_and_of_the_end(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notifiers = ["dead", "hook"]
    policy = Policy("all", notify=("dead",), fallback=("hook",))

    class Dead:
        async def notify(self, notice: Notice) -> None:
            raise NotifyError("unplugged", retry=False)

    async def main() -> None:
        one = book(path, Table(3), HOT, notifiers=Policies([policy], dict.fromkeys(notifiers, ())))
        async with Receiver().serving() as receiver:
            webhook = Webhook(url=Secret(receiver.url))
            sender = Sender(database(path), {"dead": Dead(), "hook": webhook}, one, Clock(T0))
            running = asyncio.create_task(sender.run())
            hot(one, 1, 0, 0)
            await until(lambda: sender.counts["hook", "sent"] == 1)
            hot(one, 2, 10, 0, value=50)
            await until(lambda: sender.counts["hook", "sent"] == 2)
            await until(lambda: sender.counts["dead", "given up"] == 2)
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await webhook.close()
        assert [status for status, _ in receiver.stories] == ["firing", "resolved"], "each once"
        kinds = [(line.kind, line.who) for line in one.lines(1)]
        assert {("fallback", "hook"), ("given up", "dead"), ("sent", "hook")} <= set(kinds)
        assert "was not told by dead, given up: unplugged" in caplog.text
        one.close()

    asyncio.run(main())


def test_a_receiver_that_asks_to_be_left_alone_is(path: Path) -> None:
    async def main() -> None:
        clock, tried = Clock(T0), []

        class Busy:
            async def notify(self, notice: Notice) -> None:
                tried.append(clock.now_ns)
                if len(tried) == 1:
                    raise NotifyError("429", retry=True, retry_after_s=40)

        one = book(path, Table(3), HOT, notifiers=["busy"])
        hot(one, 1, 0, 0)
        sender = Sender(database(path), {"busy": Busy()}, one, clock)
        running = asyncio.create_task(sender.run())
        while len(tried) < 2:
            await asyncio.sleep(0.02)
            clock.now_ns += 5 * NS
        await until(lambda: sender.counts["busy", "sent"] == 1)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert tried[1] - tried[0] >= 40 * NS
        one.close()

    asyncio.run(main())


def test_a_notifier_with_a_selector_hears_of_its_alarms_only(path: Path) -> None:
    table = Table(2)
    routes = {"all": (), "one": parse_selector('{host="1", severity="warning", alertname="hot"}')}
    made = book(path, table, HOT, notifiers=routes)
    made.step(1, *rows(table, [(0, 0, 95)]), 0)
    made.step(2, *rows(table, [(1, 300, 95)]), 0)
    made.step(3, *rows(table, [(0, 400, 50), (1, 400, 50)]), 0)
    with sqlite3.connect(path) as db:
        heard = db.execute("SELECT notifier, incident, state FROM outbox ORDER BY id").fetchall()
    assert [row for row in heard if row[0] == "one"] == [("one", 2, "firing"), ("one", 2, "resolved")]
    assert [row[1:] for row in heard if row[0] == "all"] == [
        (1, "firing"), (2, "firing"), (1, "resolved"), (2, "resolved"),
    ]  # fmt: skip
    made.close()


def test_without_notifiers_nothing_is_queued(path: Path) -> None:
    table = Table(1)
    one = book(path, table, HOT)
    one.step(1, *rows(table, [(0, 0, 95)]), 0)
    assert outcomes(path) == []
    one.close()


HUB = """
import asyncio, sys
from pathlib import Path
from alarm.book_case import Table, book, database, rows
from almenara.alarm.rules import Rule
from almenara.alarm.send import Sender
from almenara.notifiers.webhook import Webhook
from almenara.plugin.options import Secret

async def main(path, url, begin, end):
    table = Table(2)
    one = book(path, table, Rule("hot", "cpu > 90"), notifiers=["hook"])
    running = asyncio.create_task(Sender(database(path), {"hook": Webhook(url=Secret(url))}, one).run())
    for seq in range(begin, end):
        one.step(seq, *rows(table, [((seq - 1) // 2 % 2, 1000 * seq, 95 if seq % 2 else 50)]), 0)
        print(seq, flush=True)
        await asyncio.sleep(0.01)
    await running

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


def test_after_kill_9_nothing_is_lost_and_nothing_confirmed_is_repeated(path: Path) -> None:
    """Segments are stepped again from the beginning after each kill, as a hub without a snapshot does."""
    last = 41

    async def story(one: Book, receiver: Receiver) -> None:
        one.close()
        paths = [str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        for steps in (7, 19, last):
            command = [sys.executable, "-c", HUB, str(path), receiver.url, "1", str(last)]
            hub = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
            assert hub.stdout is not None
            while steps != last and int(await hub.stdout.readline() or 0) < steps:
                pass
            if steps == last:
                await until(lambda: all(outcome for _, outcome in outcomes(path)) and len(outcomes(path)) == last - 1)
            hub.send_signal(signal.SIGKILL)
            await hub.wait()
        confirmed = len(outcomes(path))
        told = [(m["status"], m["groupLabels"]["incident"]) for m in receiver.heard]
        assert len(set(told)) == confirmed == last - 1
        assert len(told) <= confirmed + 2, "only what was under way at a kill may come twice"

    run(path, story)


class Showing:
    """Keeps what it is told."""

    shows_graph = True

    def __init__(self) -> None:
        self.told: list[Notice] = []

    async def notify(self, notice: Notice) -> None:
        self.told.append(notice)


class Plain(Showing):
    shows_graph = False


async def _a_graph(incident: Incident, upto: int) -> bytes:
    return b"png of %d" % incident.id


async def _no_graph(incident: Incident, upto: int) -> bytes:
    raise AlmenaraError("no row lies in that time")


async def _broken(incident: Incident, upto: int) -> bytes:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("graph", "png", "said"),
    [
        (_a_graph, b"png of 1", None),
        (_no_graph, None, "none: no row lies in that time"),
        (_broken, None, "none: drawing it failed, the hub's log says how"),
    ],
)
def test_a_graph_goes_along_where_it_is_shown_and_its_lack_holds_nothing_up(
    path: Path, graph: Callable[[Incident, int], Awaitable[bytes]], png: bytes | None, said: str | None
) -> None:
    async def main() -> None:
        one, showing, plain = book(path, Table(3), HOT, notifiers=["showing", "plain"]), Showing(), Plain()
        running = asyncio.create_task(
            Sender(database(path), {"showing": showing, "plain": plain}, one, _clock, graph=graph).run()
        )
        hot(one, 1, 0, 0)
        await until(lambda: bool(showing.told and plain.told))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        one.close()
        facts = {fact.name: fact.text for fact in showing.told[0].facts}
        assert (showing.told[0].graph_png, facts.get("Graph")) == (png, said)
        assert plain.told[0].graph_png is None
        assert "Graph" not in {fact.name for fact in plain.told[0].facts}

    asyncio.run(main())
