"""Rules of the ping: it goes out only while all is well, and what goes wrong with it is counted and said without its
URL, which is a secret."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from almenara.model.errors import ConfigError
from almenara.pipeline.ping import Ping


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


class Listener:
    """A web server that counts what it is asked, and answers with a status."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.status = 200

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked[head.split(b"\r\n")[0].decode()] += 1
            writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % self.status)
            await writer.drain()
        writer.close()


def run(story: Callable[[Listener, Ping, list[str], Counter[str]], object]) -> None:
    async def main() -> None:
        listener, troubles, counts = Listener(), list[str](), Counter[str]()
        async with await asyncio.start_server(listener.serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ping/secret-id"
            ping = Ping(url, 0.02, lambda: troubles, lambda outcome: counts.update([outcome]))
            task = asyncio.create_task(ping.run())
            await story(listener, ping, troubles, counts)  # type: ignore[misc]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_while_all_is_well_it_pings() -> None:
    async def story(listener: Listener, ping: Ping, troubles: list[str], counts: Counter[str]) -> None:
        await until(lambda: counts["sent"] >= 3)
        assert set(listener.asked) == {"GET /ping/secret-id HTTP/1.1"}

    run(story)


def test_while_something_is_wrong_it_stays_away_and_comes_again_after(caplog: pytest.LogCaptureFixture) -> None:
    async def story(listener: Listener, ping: Ping, troubles: list[str], counts: Counter[str]) -> None:
        troubles.append("judging is 5m behind")
        await until(lambda: counts["withheld"] >= 1)
        heard = listener.asked.total()
        await until(lambda: counts["withheld"] >= 4)
        assert listener.asked.total() == heard
        troubles.clear()
        await until(lambda: listener.asked.total() > heard)

    run(story)
    assert [r.message for r in caplog.records].count("127.0.0.1 is not pinged: judging is 5m behind") == 1


def test_a_ping_that_is_refused_is_counted_and_its_url_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    async def story(listener: Listener, ping: Ping, troubles: list[str], counts: Counter[str]) -> None:
        listener.status = 404
        await until(lambda: counts["failed"] >= 2)

    run(story)
    assert "the ping of 127.0.0.1 failed: answered 404" in caplog.text
    assert "secret-id" not in caplog.text


def test_a_url_of_another_kind_is_told() -> None:
    with pytest.raises(ConfigError, match="http"):
        Ping("file:///etc/passwd", 60, list, lambda outcome: None)
