"""Alarms in a real hub: from a committed row to the journal, over an abandoned hub and a new start."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.model.batch import Batch
from almenara.model.series import Series
from almenara.model.time import NS
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.stores.memory import Memory
from almenara.testing.hub import Clock

NOW = 1_800_000_000 * NS
RULES = (Rule("hot", 'temp{room="a"} > 90', 20),)
A, B = Series.of("temp", room="a"), Series.of("temp", room="b")


async def with_hub(path: Path, use: Callable[[Pipeline], Awaitable[None]], clock: Clock) -> None:
    folder = DataFolder(path)

    def alarms(index: SeriesIndex) -> Book:
        return Book(folder.database, RULES, index, lambda matchers: Selector(index, matchers))

    hub = Pipeline(folder, Memory(), Options(), alarms=alarms, clock=clock)
    await hub.start()
    try:
        await use(hub)
    finally:
        await hub.stop()
        hub.alarms.close()  # type: ignore[attr-defined]


async def say(hub: Pipeline, second: int, a: float) -> None:
    hub.clock.now_ns = NOW + second * NS  # type: ignore[attr-defined]  # rows come when they are measured
    await hub.commit(Batch.of([(B, NOW + second * NS, 99.0), (A, NOW + second * NS, a)]))
    await hub.settle()


def test_an_alarm_goes_on_over_a_restart_and_is_told_once(tmp_path: Path) -> None:
    async def before(hub: Pipeline) -> None:
        await say(hub, -100, 95)
        await say(hub, -80, 95)
        await say(hub, -60, 95)
        assert [(a.last.series, a.last.state.value) for a in hub.alarms.open()] == [(A, "firing")]

    async def after(hub: Pipeline) -> None:
        assert [a.last.state.value for a in hub.alarms.open()] == ["firing"]
        await say(hub, -40, 95)
        await say(hub, -20, 20)
        told = [(c.state.value, (c.time - NOW) // NS) for c in hub.alarms.journal()]
        assert told == [("resolved", -20), ("firing", -80), ("pending", -100)]
        assert [i.state.value for i in hub.alarms.incidents()] == ["resolved"]

    clock = Clock(NOW - 200 * NS)
    asyncio.run(with_hub(tmp_path / "data", before, clock))
    asyncio.run(with_hub(tmp_path / "data", after, clock))
