"""Judging again: a series whose past has changed learns anew from its stored rows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import Series, SeriesTable
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS
from almenara.pipeline import judge as judging
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.judge import Watch
from almenara.testing.hub import Clock, pipeline

NOW = 1_790_000_000 * 1_000_000_000 // DAY_NS * DAY_NS
WATCH = Watch("seasonal", (), Seasonal)


def wave(start: int, end: int, every_ns: int, name: str) -> Batch:
    """A daily wave between 40 and 60."""
    time = np.arange(start, end, every_ns, dtype=np.int64)
    value = 50 + 10 * np.sin(2 * np.pi * (time % DAY_NS) / DAY_NS) + np.random.default_rng(1).normal(0, 0.5, len(time))
    return Batch(SeriesTable.of([Series.of(name)]), np.zeros(len(time), np.int32), time, value)


def slots(hub: Pipeline) -> np.ndarray:
    return hub._judge.detectors["seasonal"].state()["slots"]


async def until_judged_again(hub: Pipeline) -> None:
    async with asyncio.timeout(60):
        while hub.to_judge_again or not hub.jobs.runs.recent(1):
            await hub.settle()
            await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "QUIET_S", 0.2)


def test_history_that_comes_late_teaches_as_if_it_had_come_in_time(tmp_path: Path) -> None:
    async def run() -> None:
        hub = pipeline(tmp_path, Options(watches=[WATCH]), clock=Clock(NOW + HOUR_NS))
        await hub.start()
        history, today = wave(NOW - 10 * DAY_NS, NOW, 5 * MINUTE_NS, "a"), wave(NOW, NOW + HOUR_NS, MINUTE_NS, "a")
        await hub.commit(today)
        await hub.settle()
        await hub.commit(history)  # all of it is late, and not judged
        await hub.settle()
        assert hub.to_judge_again == 1
        await until_judged_again(hub)
        expected = Seasonal()
        expected.step(history)
        expected.step(today)
        assert slots(hub)[0] == expected.state()["slots"][0]
        (run,) = hub.jobs.runs.recent(1)
        assert (run.job, dict(run.figures)) == ("judge again", {"series": 1, "rows": len(history) + len(today)})
        await hub.stop()

    asyncio.run(run())


def test_series_whose_past_is_as_it_was_are_left_alone(tmp_path: Path) -> None:
    async def run() -> None:
        hub = pipeline(tmp_path, Options(watches=[WATCH]), clock=Clock(NOW + HOUR_NS))
        await hub.start()
        await hub.commit(wave(NOW, NOW + HOUR_NS, MINUTE_NS, "a"))
        await hub.commit(wave(NOW, NOW + HOUR_NS, MINUTE_NS, "b"))
        await hub.settle()
        before = slots(hub).copy()
        await hub.commit(wave(NOW - DAY_NS, NOW, MINUTE_NS, "b"))
        await hub.settle()
        await until_judged_again(hub)
        after = slots(hub)
        assert before[0] == after[0]
        assert before[1] != after[1]
        await hub.stop()

    asyncio.run(run())


def test_a_few_late_rows_change_nothing_until_somebody_asks(tmp_path: Path) -> None:
    async def run() -> None:
        hub = pipeline(tmp_path, Options(watches=[WATCH]), clock=Clock(NOW + HOUR_NS))
        await hub.start()
        await hub.commit(wave(NOW, NOW + HOUR_NS, MINUTE_NS, "a"))
        await hub.settle()
        await hub.commit(wave(NOW - HOUR_NS, NOW, MINUTE_NS, "a"))
        await hub.settle()
        assert hub.to_judge_again == 0
        await hub.judge_again(np.zeros(1, np.int32))
        assert hub.to_judge_again == 1
        await until_judged_again(hub)
        assert dict(hub.jobs.runs.recent(1)[0].figures) == {"series": 1, "rows": 120}
        await hub.stop()

    asyncio.run(run())


def test_a_hub_that_ends_before_judging_again_does_it_after_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from almenara.stores.chdb import Chdb

    async def run() -> None:
        monkeypatch.setattr(judging, "QUIET_S", 3600.0)
        hub = pipeline(
            tmp_path / "hub", Options(watches=[WATCH]), store=Chdb(tmp_path / "store"), clock=Clock(NOW + HOUR_NS)
        )
        await hub.start()
        await hub.commit(wave(NOW, NOW + HOUR_NS, MINUTE_NS, "a"))
        await hub.settle()
        await hub.commit(wave(NOW - DAY_NS, NOW, MINUTE_NS, "a"))
        await hub.settle()
        await hub.stop()
        monkeypatch.setattr(judging, "QUIET_S", 0.2)
        again = pipeline(
            tmp_path / "hub", Options(watches=[WATCH]), store=Chdb(tmp_path / "store"), clock=Clock(NOW + HOUR_NS)
        )
        await again.start()
        assert again.to_judge_again == 1
        await until_judged_again(again)
        assert dict(again.jobs.runs.recent(1)[0].figures) == {"series": 1, "rows": 25 * 60}
        await again.stop()

    asyncio.run(run())
