"""Rules of the feed in memory."""

import asyncio
import threading

import pytest

from almenara.bus.feed import Feed


def test_each_reader_gets_every_item_in_order_from_any_thread() -> None:
    async def run() -> None:
        feed: Feed[int] = Feed()
        readers = [feed.subscribe(depth=10_000) for _ in range(3)]
        thread = threading.Thread(target=lambda: [feed.publish(i) for i in range(5000)])
        thread.start()
        for reader in readers:
            assert [await anext(reader) for _ in range(5000)] == list(range(5000))
        thread.join()

    asyncio.run(run())


def test_a_slow_reader_loses_the_oldest_and_knows_how_many() -> None:
    async def run() -> None:
        feed: Feed[int] = Feed()
        slow = feed.subscribe(depth=3)
        for i in range(10):
            feed.publish(i)
        assert [await anext(slow) for _ in range(3)] == [7, 8, 9]
        assert slow.lost == 7

    asyncio.run(run())


def test_closing_ends_a_waiting_reader_and_the_feed_forgets_it() -> None:
    async def run() -> None:
        feed: Feed[int] = Feed()
        reader = feed.subscribe()

        async def read() -> list[int]:
            return [item async for item in reader]

        waiting = asyncio.create_task(read())
        await asyncio.sleep(0)
        reader.close()
        assert await waiting == []
        assert len(feed) == 0
        feed.publish(1)

    asyncio.run(run())


def test_a_reader_whose_loop_is_closed_does_not_stop_the_others() -> None:
    feed: Feed[int] = Feed()

    async def leave() -> None:
        feed.subscribe()

    asyncio.run(leave())
    feed.publish(1)
    feed.publish(2)


def test_depth_is_at_least_one() -> None:
    async def run() -> None:
        with pytest.raises(ValueError, match="at least 1"):
            Feed[int]().subscribe(depth=0)

    asyncio.run(run())
