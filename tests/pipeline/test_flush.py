"""Storing and judging: whoever waits is answered, whatever fails is named, and nothing is judged twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from tests.pipeline.faults import NOW, Disk, noisy, rows, watch

from almenara.detectors.seasonal import Seasonal
from almenara.model.alarm import Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.errors import DiskFull, StoreError
from almenara.model.time import NS
from almenara.pipeline import flush, snapshot
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.judge import Watch
from almenara.testing.hub import Clock, NoAlarms, pipeline

DEADLINE_S = 60.0


async def settled(hub: Pipeline) -> None:
    await asyncio.wait_for(hub.settle(), DEADLINE_S)


async def until(condition: object) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_whoever_waits_is_answered_where_no_row_was_kept(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, clock=Clock(NOW))
        await hub.start()
        assert (await hub.commit(rows("x", [3], [1.0]), "mqtt", 7))[0] == 0
        await settled(hub)
        assert hub.offset("mqtt") == 7
        await hub.stop()

    asyncio.run(scenario())


def test_whoever_stops_waiting_harms_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, clock=Clock(NOW))
        await hub.start()
        for n in range(20):
            await hub.commit(rows("x", [NOW + n], [1.0]))
            waiting = asyncio.create_task(hub.settle())
            await asyncio.sleep(0)
            waiting.cancel()
        await settled(hub)
        assert hub.health() == []
        await hub.stop()

    asyncio.run(scenario())


def test_whoever_asks_after_the_end_is_told_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, clock=Clock(NOW))
        await hub.start()
        await hub.stop()
        with pytest.raises(StoreError, match="has stopped"):
            await settled(hub)
        with pytest.raises(StoreError, match="has stopped"):
            await asyncio.wait_for(hub.replace_rules([], []), DEADLINE_S)

    asyncio.run(scenario())


def test_settling_under_constant_load_is_answered(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, Options(watches=[watch()]), clock=Clock(NOW))
        await hub.start()
        stop = asyncio.Event()

        async def write() -> None:
            n = 0
            while not stop.is_set():
                n += 1
                await hub.commit(rows("x", [NOW - 10**12 + n * NS], [500.0 if n > 40 and n % 3 == 0 else 1.0 + n % 2]))

        writers = [asyncio.create_task(write()) for _ in range(4)]
        for _ in range(20):
            await settled(hub)
        stop.set()
        await asyncio.gather(*writers)
        await hub.stop()

    asyncio.run(scenario())


def test_a_store_that_fails_is_tried_again_and_nothing_is_judged_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush, "RETRY_S", 0.01)

    async def scenario() -> None:
        store = Disk()
        store.fail = 5
        hub = pipeline(tmp_path, Options(watches=[watch()]), store=store, clock=Clock(NOW))
        await hub.start()
        times, values = noisy(50)
        await hub.commit(rows("x", times, values))
        await until(lambda: store.fail == 0 and hub.counters.value("almenara_rows_stored_total") == 50)
        await settled(hub)
        assert hub.counters.value("almenara_rows_judged_total", detector="seasonal") == 50
        twin = Seasonal()
        twin.step(Batch(hub.index, np.zeros(50, np.int32), np.array(times), np.array(values)))
        np.testing.assert_array_equal(hub._judge.detectors["seasonal"].state()["slots"], twin.state()["slots"])
        await hub.stop()

    asyncio.run(scenario())


def test_reading_goes_on_while_the_store_takes_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = pipeline(tmp_path, store=store, clock=Clock(NOW))
        await hub.start()
        await hub.commit(rows("x", [NOW - 1], [1.0]))
        await settled(hub)
        store.fail = 10**9
        await hub.commit(rows("x", [NOW], [2.0]))
        matrix = await asyncio.wait_for(hub.query("x", NOW, NOW, 0), DEADLINE_S)
        assert matrix.values.tolist() == [[1.0]]
        assert "nothing is stored: the store's disk is away" in hub.health()
        began = time.monotonic()
        await hub.stop()
        assert time.monotonic() - began < 8
        store.fail = 0
        hub = pipeline(tmp_path, store=store, clock=Clock(NOW))
        await hub.start()
        assert (await hub.query("x", NOW, NOW, 0)).values.tolist() == [[2.0]]
        await hub.stop()

    asyncio.run(scenario())


def test_reading_goes_on_while_anomalies_are_refused_for_want_of_disk(tmp_path: Path) -> None:
    class FullWhenJudged(Seasonal):
        """The disk is full just when a row was judged."""

        def step(self, batch: Batch) -> Verdict:
            hub._committer.refusing = DiskFull("no room", 5)
            return super().step(batch)

    async def scenario() -> None:
        times, values = noisy(100)
        values[-1] = 1e6
        await hub.start()
        hub._monitor.cancel()
        await hub.commit(rows("x", times, values))
        await settled(hub)
        hub._committer.refusing = None
        await until(lambda: hub.index.select([]).size == 5)  # sent again within a second: x, anomaly, its evidence
        await hub.stop()

    hub = pipeline(tmp_path, Options(watches=[Watch("w", (), FullWhenJudged)]), clock=Clock(NOW))
    asyncio.run(scenario())


def test_no_snapshot_counts_a_segment_as_seen_whose_anomalies_are_not_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush, "SNAPSHOT_S", 0.0)
    monkeypatch.setattr(flush, "TICK_S", 0.0)

    class FullWhenJudged(Seasonal):
        """The disk is full just when a row was judged."""

        def step(self, batch: Batch) -> Verdict:
            hub._committer.refusing = DiskFull("no room", 5)
            return super().step(batch)

    async def scenario() -> None:
        times, values = noisy(100)
        values[-1] = 1e6
        await hub.start()
        hub._monitor.cancel()
        await hub.commit(rows("x", times, values))
        await settled(hub)
        await asyncio.sleep(0.5)  # nothing may happen: there is no condition to wait for
        assert snapshot.saved(tmp_path / "state") == []
        assert len(list((tmp_path / "log").glob("*.rows"))) == 1
        hub._committer.refusing = None
        await until(lambda: any(p.name.startswith("0000") for p in (tmp_path / "state").iterdir()))
        await hub.stop()

    hub = pipeline(tmp_path, Options(watches=[Watch("w", (), FullWhenJudged)]), clock=Clock(NOW))
    asyncio.run(scenario())


def test_a_snapshot_is_written_under_a_constant_stream_of_anomalies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush, "SNAPSHOT_S", 0.0)
    monkeypatch.setattr(flush, "TICK_S", 0.0)

    class AlwaysOver(Seasonal):
        """Finds everything unusual."""

        def step(self, batch: Batch) -> Verdict:
            said = super().step(batch)
            said.score[:] = 2.0
            return said

    async def scenario() -> None:
        hub = pipeline(tmp_path, Options(watches=[Watch("w", (), AlwaysOver)]), clock=Clock(NOW))
        await hub.start()
        n = 0
        while not snapshot.saved(tmp_path / "state") or len(list((tmp_path / "log").glob("*.rows"))) > 20:
            n += 1
            await hub.commit(rows("x", [NOW - 10**12 + n * NS], [1.0]))
            assert n < 5000
        await hub.stop()

    asyncio.run(scenario())


def test_a_detector_that_fails_is_out_of_service_and_the_hub_goes_on(tmp_path: Path) -> None:
    class Broken(Seasonal):
        """Fails on the second batch."""

        calls = 0

        def step(self, batch: Batch) -> Verdict:
            self.calls += 1
            if self.calls == 2:
                raise ZeroDivisionError("a mistake")
            return super().step(batch)

    async def scenario() -> None:
        store = Disk()
        options = Options(watches=[Watch("bad", (), Broken), watch()])
        hub = pipeline(tmp_path, options, store=store, clock=Clock(NOW))
        await hub.start()
        for n in range(4):
            await hub.commit(rows("x", [NOW + n], [1.0]))
            await settled(hub)
        assert hub.health() == ["detector bad is out of service: ZeroDivisionError: a mistake"]
        assert hub.counters.value("almenara_rows_judged_total", detector="seasonal") == 4
        assert hub.counters.value("almenara_rows_judged_total", detector="bad") == 1
        await hub.stop()
        hub = pipeline(tmp_path, options, store=store, clock=Clock(NOW))
        await hub.start()
        assert hub._judge.blank == ["bad"]  # the other one goes on from the snapshot
        await hub.stop()

    asyncio.run(scenario())


def test_alarms_that_fail_keep_nothing_from_being_stored(tmp_path: Path) -> None:
    class Broken(NoAlarms):
        def step(self, seq: int, batch: Batch, verdict: Verdict, fresh_from_ns: int) -> Sequence[Transition]:
            raise KeyError("a mistake")

    async def scenario() -> None:
        store = Disk()
        hub = Pipeline(DataFolder(tmp_path), store, Options(), alarms=lambda index: Broken(), clock=Clock(NOW))
        await hub.start()
        for n in range(3):
            await hub.commit(rows("x", [NOW + n], [1.0]))
        await settled(hub)
        assert len(store._columns[0]) == 3
        assert hub.health() == ["alarms are not decided: KeyError: 'a mistake'"]
        await hub.stop()

    asyncio.run(scenario())


def test_every_row_is_stored_or_folded_or_rejected(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = pipeline(tmp_path, store=store, clock=Clock(NOW))
        await hub.start()
        rng = np.random.default_rng(1)
        sent = 0
        for _ in range(30):
            times = (NOW + rng.integers(-50, 50, 40) * 10 * NS).tolist()
            values = np.where(rng.random(40) < 0.1, np.inf, rng.normal(size=40)).tolist()
            await hub.commit(rows("x", times, values))
            sent += 40
        await settled(hub)
        value = hub.counters.value
        rejected = sum(value("almenara_rows_rejected_total", reason=r) for r in ("future", "not_finite"))
        assert rejected > 0
        assert value("almenara_rows_stored_total") + value("almenara_rows_folded_total") + rejected == sent
        await hub.stop()

    asyncio.run(scenario())


def test_a_write_on_an_idle_hub_is_committed_and_visible_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, Options(watches=[watch()]), clock=Clock(NOW))
        await hub.start()
        judged = hub.feed.subscribe()
        commits, visible = [], []
        for n in range(9):
            batch = rows("x", [NOW + n], [1.0])
            await asyncio.sleep(hub._flusher._cost_s / flush.DUTY)  # so that the hub is idle again
            began = time.perf_counter()
            await hub.commit(batch)
            commits.append(time.perf_counter() - began)
            await asyncio.wait_for(anext(aiter(judged)), DEADLINE_S)
            visible.append(time.perf_counter() - began)
        await hub.stop()
        print(f"\ncommit {np.median(commits) * 1e3:.1f} ms, visible {np.median(visible) * 1e3:.1f} ms")
        assert np.median(commits) < 5 * 0.02
        assert np.median(visible) < 5 * 0.2

    asyncio.run(scenario())


def test_who_asks_an_idle_hub_does_not_wait(tmp_path: Path) -> None:
    async def run() -> list[float]:
        hub = pipeline(tmp_path, clock=Clock(NOW))
        await hub.start()
        waited = []
        for _ in range(20):
            began = time.monotonic()
            await hub.settle()
            waited.append(time.monotonic() - began)
        await hub.stop()
        return waited

    assert median(asyncio.run(run())) < 0.1
