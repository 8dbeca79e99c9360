"""Rules of watching hubs from elsewhere: down after some looks in a row, told once, back once, also over restarts."""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from alarm.book_case import T0, database
from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.model.causes import Causes
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.pipeline.watcher import STALLED_S, Watcher
from almenara.testing.hub import Clock
from almenara.testing.process import free_port
from certificates import Authority


class Hub:
    """Something that answers on /-/ready as a hub does, or does not."""

    def __init__(self) -> None:
        self.status, self.body, self.judged, self.moves = 200, b"Almenara is ready.\n", 1000, True
        self.header = "almenara-judged-to"
        self.looks = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            self.looks += 1
            self.judged += 1000 * self.moves
            head = f"HTTP/1.1 {self.status} X\r\n{self.header}: {self.judged}\r\nconnection: close\r\n"
            writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(self.body) + self.body)
            await writer.drain()
        writer.close()

    @asynccontextmanager
    async def serving(self, port: int, **more: Any) -> Any:
        async with await asyncio.start_server(self.serve, "127.0.0.1", port, **more):
            yield self


class Watching:
    """A watcher, and how often it has looked."""

    def __init__(self, path: Path, urls: list[str], **more: Any):
        def make(index: SeriesIndex, rule: Rule, causes: Causes) -> Book:
            return Book(database(path), [rule], index, lambda matchers: Selector(index, matchers), causes, ["mail"])

        self.clock, self.looks, self.path = Clock(T0), 0, path
        self.now_s = 0.0
        options = {"every_s": 0.01, "after": 3, "clock": self.clock, "elapsed": lambda: self.now_s} | more
        self.watcher = Watcher(urls, make, **options)  # type: ignore[arg-type]

    async def __aenter__(self) -> Watching:
        self._task = asyncio.create_task(self.watcher.run(self._done))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.watcher.book.close()

    def _done(self) -> None:
        self.looks += 1
        self.clock.now_ns += 30_000_000_000
        self.now_s += 30

    async def more_looks(self, n: int) -> None:
        wanted = self.looks + n
        async with asyncio.timeout(60):
            while self.looks < wanted:
                assert not self._task.done(), self._task.result()
                await asyncio.sleep(0.005)

    @property
    def down(self) -> list[tuple[str, str]]:
        """(hub, why) of each that is down."""
        return [(dict(a.last.series.labels)["hub"], a.last.evidence.why) for a in self.watcher.book.open()]

    @property
    def messages(self) -> list[str]:
        with sqlite3.connect(self.path) as db:
            return [state for (state,) in db.execute("SELECT state FROM outbox ORDER BY id")]


def run(story: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(story())  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def test_a_hub_that_is_well_is_not_told_of(path: Path) -> None:
    async def story() -> None:
        port = free_port()
        async with Hub().serving(port), Watching(path, [f"http://127.0.0.1:{port}/"]) as watching:
            await watching.more_looks(5)
            assert (watching.down, watching.messages) == ([], [])

    run(story)


def test_a_hub_that_is_gone_is_down_after_some_looks_and_told_once_and_once_when_it_is_back(path: Path) -> None:
    async def story() -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        async with Watching(path, [url]) as watching:
            await watching.more_looks(8)
            why = "The hub does not answer: the connection is refused (seen 3 times in a row)"
            assert watching.down == [(url, why)]
            assert watching.messages == ["firing"]
            async with Hub().serving(port):
                await watching.more_looks(3)
            assert watching.messages == ["firing", "resolved"]

    run(story)


def test_a_hub_is_not_down_before_it_was_not_well_so_many_times(path: Path) -> None:
    async def story() -> None:
        async with Watching(path, [f"http://127.0.0.1:{free_port()}"], after=1_000_000) as watching:
            await watching.more_looks(3)
            assert watching.down == []

    run(story)


def test_it_goes_on_after_its_own_restart(path: Path) -> None:
    async def story() -> None:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        for _ in range(3):
            async with Watching(path, [url]) as watching:
                watching.clock.now_ns = T0  # also where the clock was set back in between
                await watching.more_looks(5)
        assert watching.messages == ["firing"]
        async with Hub().serving(port), Watching(path, [url]) as watching:
            await watching.more_looks(2)
            assert watching.messages == ["firing", "resolved"]

    run(story)


def test_a_hub_that_answers_but_no_longer_judges_is_down(path: Path) -> None:
    async def story() -> None:
        port, hub = free_port(), Hub()
        hub.moves = False
        async with hub.serving(port), Watching(path, [f"http://127.0.0.1:{port}"]) as watching:
            await watching.more_looks(int(STALLED_S / 30) + 5)
            assert [why for _, why in watching.down] == [
                "The hub answers, but has judged nothing for 3m (seen 3 times in a row)"
            ]
            hub.moves = True
            await watching.more_looks(2)
            assert watching.down == []

    run(story)


@pytest.mark.parametrize(
    ("status", "body", "header", "why"),
    [
        (503, b"nothing is stored: no space\nwrites are refused\n", "almenara-judged-to",
         "is not ready: nothing is stored: no space; writes are refused"),
        (401, b"", "x", "asks for a token: give --token, or set ALMENARA_TOKEN"),
        (302, b"", "x", "answers 302, not as a hub does"),
        (200, b"welcome to the hotel", "x", "answers, but not as a hub does"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_words(path: Path, status: int, body: bytes, header: str, why: str) -> None:
    async def story() -> None:
        port, hub = free_port(), Hub()
        hub.status, hub.body, hub.header = status, body, header
        async with hub.serving(port), Watching(path, [f"http://127.0.0.1:{port}"], after=1) as watching:
            await watching.more_looks(1)
            assert [said for _, said in watching.down] == [f"The hub {why}"]

    run(story)


def test_a_certificate_that_is_not_trusted_is_no_hub(path: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.sign("hub", "127.0.0.1"))

    async def story() -> None:
        port = free_port()
        url = f"https://127.0.0.1:{port}"
        async with Hub().serving(port, ssl=context):
            async with Watching(path, [url], after=1) as watching:
                await watching.more_looks(1)
                assert "has a certificate that is not trusted" in watching.down[0][1]
            async with Watching(path, [url], after=1, ca_file=str(authority.file)) as watching:
                await watching.more_looks(1)
                assert watching.down == []

    run(story)


def test_several_hubs_are_told_apart(path: Path) -> None:
    async def story() -> None:
        here, gone = free_port(), free_port()
        urls = [f"http://127.0.0.1:{port}" for port in (here, gone)]
        async with Hub().serving(here), Watching(path, urls) as watching:
            await watching.more_looks(4)
            assert [hub for hub, _ in watching.down] == [urls[1]]

    run(story)
