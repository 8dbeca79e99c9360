"""The path of a batch through a real pipeline: commit, store, judge, read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import Series
from almenara.model.time import NS
from almenara.pipeline.hub import Options
from almenara.pipeline.judge import Watch
from almenara.plugin.contracts import Selection
from almenara.query import Matcher, parse_selector
from almenara.stores.memory import Memory
from almenara.testing.hub import Clock, pipeline

NOW = 1_800_000_000 * NS


def rows(name: str, times: list[int], values: list[float], **labels: str) -> Batch:
    series = Series.of(name, **labels)
    return Batch.of((series, t, v) for t, v in zip(times, values, strict=True))


def test_what_was_committed_is_read_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, clock=Clock(NOW))
        await hub.start()
        kept, turned = await hub.commit(rows("cpu", [NOW - 2 * NS, NOW - NS], [1.5, 2.5], host="a"))
        assert (kept, list(turned)) == (2, [])
        found = await hub.read(Selection(hub.index, hub.index.select(parse_selector('cpu{host="a"}'))), 0, NOW)
        assert found.value.tolist() == [1.5, 2.5]
        matrix = await hub.query('cpu{host="a"} * 2', NOW, NOW, 0)
        assert matrix.values.tolist() == [[5.0]]
        await hub.stop()

    asyncio.run(scenario())


def test_rows_outside_the_window_are_turned_away_by_name(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, clock=Clock(NOW))
        await hub.start()
        batch = rows("x", [NOW, NOW + 301 * NS, 3 * NS, NOW - NS], [1.0, 2.0, 3.0, float("inf")])
        kept, turned = await hub.commit(batch)
        assert kept == 1
        assert {t.rejected.reason: t.at.tolist() for t in turned} == {"future": [1], "no_clock": [2], "not_finite": [3]}
        assert hub.counters.value("almenara_rows_rejected_total", reason="future") == 1
        await hub.stop()

    asyncio.run(scenario())


def watch() -> Watch:
    return Watch("seasonal", (), Seasonal)


def noisy(n: int, end: int, seed: int = 1) -> tuple[list[int], list[float]]:
    values = np.random.default_rng(seed).normal(20, 1, n)
    return [end - (n - i) * 10 * NS for i in range(n)], values.tolist()


def test_an_anomaly_is_stored_with_its_evidence(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, Options(watches=[watch()]), clock=Clock(NOW))
        await hub.start()
        times, values = noisy(500, NOW - 20 * NS)
        await hub.commit(rows("temp", times, values))
        await hub.commit(rows("temp", [NOW - 20 * NS, NOW - 10 * NS], [500.0, 20.0]))
        await hub.settle()
        ids = hub.index.select(parse_selector('{__name__=~"anomaly.*",of="temp"}'))
        assert sorted(hub.index[i].name for i in ids) == ["anomaly", "anomaly_lower", "anomaly_upper", "anomaly_yhat"]
        scores = await hub.read(
            Selection(hub.index, hub.index.select([Matcher("__name__", "=", "anomaly")])), NOW - 20 * NS, NOW
        )
        assert scores.time.tolist() == [NOW - 20 * NS, NOW - 10 * NS]
        assert scores.value[0] > 1 > scores.value[1]
        virtual = await hub.query('anomaly_score{of="temp"}', NOW - 20 * NS, NOW - 20 * NS, 0)
        assert virtual.values[0, 0] == scores.value[0]
        await hub.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("graceful", [True, False])
def test_a_restarted_hub_goes_on_as_if_it_had_never_stopped(tmp_path: Path, graceful: bool) -> None:
    times, values = noisy(600, NOW)

    async def part(folder: Path, store: Memory, first: int, last: int, stop: bool) -> dict[str, np.ndarray]:
        hub = pipeline(folder, Options(watches=[watch()]), store=store, clock=Clock(NOW))
        await hub.start()
        for at in range(first, last, 50):
            await hub.commit(rows("temp", times[at : at + 50], values[at : at + 50]))
            await hub.settle()
        state = hub._judge.detectors["seasonal"].state()
        if stop:
            await hub.stop()
        else:  # the process dies: nothing more is written
            hub._committer._stopping = True
            hub._flusher._stopping.set()
            hub.folder.close()
        return state

    class Kept(Memory):
        def close(self) -> None:
            """Stays, as a disk does."""

    whole = asyncio.run(part(tmp_path / "whole", Kept(), 0, 600, True))
    store = Kept()
    asyncio.run(part(tmp_path / "parts", store, 0, 300, graceful))
    state = asyncio.run(part(tmp_path / "parts", store, 300, 600, True))
    for name, array in whole.items():
        np.testing.assert_array_equal(state[name], array, err_msg=name)
