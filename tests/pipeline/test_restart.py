"""A hub that dies, at whichever of its writes, goes on as if it had never stopped."""

from __future__ import annotations

import asyncio
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.faults import NOW, Disk, Life, noisy, rows, watch

from almenara.model.batch import Batch
from almenara.model.errors import AlmenaraError, FolderError, StoreError
from almenara.model.series import Series
from almenara.model.time import NS
from almenara.pipeline import flush
from almenara.pipeline.hub import Options, Pipeline
from almenara.testing.hub import Clock, pipeline

SERIES = [Series.of("temp", room=str(n)) for n in range(3)]
TIMES, VALUES = noisy(300)
for at in range(200, 300, 20):
    VALUES[at] += 10.0 ** (at / 20 - 6)  # so that there are anomalies, which go through the commit themselves

Stored = dict[tuple[bytes, int], str]


def part(first: int, last: int) -> Batch:
    return Batch.of((one, TIMES[i], VALUES[i] + n) for i in range(first, last) for n, one in enumerate(SERIES))


def hub_on(folder: Path, store: Disk, options: Options | None = None) -> Pipeline:
    return pipeline(folder, options or Options(watches=[watch()]), store=store, clock=Clock(NOW))


def stored(store: Disk) -> Stored:
    id, time, value, _ = store._columns
    return {(store._keys[i], t): v.hex() for i, t, v in zip(id.tolist(), time.tolist(), value.tolist(), strict=True)}


def learned(hub: Pipeline) -> np.ndarray:
    return hub._judge.detectors["seasonal"].state()["slots"][: len(SERIES)]


async def bury(hub: Pipeline) -> None:
    """What is left of a hub that died: its threads end without a word, and the lock is free."""
    hub._monitor.cancel()
    hub._flusher._housekeep = lambda do: None  # type: ignore[method-assign]  # no last snapshot
    hub._committer._stopping = True
    hub._flusher._stopping.set()
    hub._committer.wake()
    with hub._committer._lock:
        hub._committer._for_commit.notify()
    for thread in (hub._committer._thread, hub._flusher._thread):
        await asyncio.to_thread(thread.join)
    hub._flusher._slices.close()
    hub._readers.close()
    hub._decoding.shutdown()
    hub.folder.close()


async def uninterrupted(folder: Path) -> tuple[Stored, np.ndarray]:
    store = Disk()
    hub = hub_on(folder, store)
    await hub.start()
    await hub.commit(part(0, 300))
    await hub.settle()
    state = learned(hub)
    await hub.stop()
    return stored(store), state


async def interrupted(folder: Path, life: Life, rng: random.Random) -> tuple[Stored, np.ndarray, int]:
    """The same rows in pieces, through hubs that die; the sender sends again what was not acknowledged."""
    store, sent, deaths = Disk(), 0, 0
    while True:
        hub = hub_on(folder, store)
        await hub.start()
        life.follow(hub, rng.randrange(1, 60))
        try:
            while sent < 300:
                end = min(300, sent + rng.randrange(1, 30))
                await hub.commit(part(sent, end))
                sent = end
                if rng.random() < 0.5:
                    await hub.settle()
                else:
                    await asyncio.sleep(rng.uniform(0, 0.01))
            life.left = float("inf")
            await hub.settle()
        except AlmenaraError:
            assert life.died.is_set()
        if not life.died.is_set():
            state = learned(hub)
            await hub.stop()
            return stored(store), state, deaths
        deaths += 1
        await bury(hub)


@pytest.mark.parametrize("seed", range(6))
def test_a_hub_that_dies_at_any_write_goes_on_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    for name in ("SNAPSHOT_S", "TICK_S", "RETRY_S"):
        monkeypatch.setattr(flush, name, 0.0)
    monkeypatch.setattr(flush, "DUTY", 1e9)
    life = Life(monkeypatch)
    expected_rows, expected_state = asyncio.run(uninterrupted(tmp_path / "whole"))
    found_rows, found_state, deaths = asyncio.run(interrupted(tmp_path / "parts", life, rng))
    assert deaths > 0
    np.testing.assert_array_equal(found_state, expected_state)
    assert found_rows == expected_rows
    assert len(expected_rows) > 900  # rows, and anomalies


def test_a_seq_is_never_given_twice_even_where_state_was_removed(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        for n in range(2):
            hub = hub_on(tmp_path, store)
            await hub.start()
            await hub.commit(part(n * 10, n * 10 + 10))
            await hub.stop()
            shutil.rmtree(tmp_path / "state")
        assert len(stored(store)) == 60

    asyncio.run(scenario())


def test_series_that_the_store_has_not_got_yet_survive_two_deaths(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        store.fail = 10**9  # neither hub gets anything into the store
        for name in ("first", "second"):
            hub = hub_on(tmp_path, store)
            store.add_series = lambda first, keys: (_ for _ in ()).throw(StoreError("away"))  # type: ignore[method-assign]
            await hub.start()
            await hub.commit(rows(name, [NOW], [1.0]))
            await bury(hub)
        del store.add_series
        store.fail = 0
        hub = hub_on(tmp_path, store)
        await hub.start()
        await hub.settle()
        assert stored(store) == {(b"first", NOW): (1.0).hex(), (b"second", NOW): (1.0).hex()}
        await hub.stop()

    asyncio.run(scenario())


def test_a_store_that_was_removed_is_named_and_not_mixed_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        await hub.commit(part(0, 10))
        await hub.settle()
        await bury(hub)
        (tmp_path / "log" / "series.log").unlink()
        with pytest.raises(FolderError, match="was store/ removed"):
            await hub_on(tmp_path, Disk()).start()
        hub = hub_on(tmp_path, store)  # the lock is free again, and with the store all is well
        await hub.start()
        await hub.stop()

    asyncio.run(scenario())


def test_what_was_learned_of_other_series_is_not_used(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = hub_on(tmp_path, Disk())
        await hub.start()
        await hub.commit(part(0, 100))
        await hub.stop()
        shutil.rmtree(tmp_path / "log")
        hub = hub_on(tmp_path, Disk())  # an empty store
        await hub.start()
        await hub.commit(rows("other", [NOW - 5000 * NS], [3.0]))
        await hub.settle()
        assert hub.counters.value("almenara_rows_late_total") == 0
        await hub.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("lost", ["state", "options"])
def test_detectors_learn_again_from_the_store(tmp_path: Path, lost: str) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        await hub.commit(part(0, 300))
        await hub.settle()
        expected = learned(hub)
        anomalies = hub.counters.value("almenara_anomalies_total", detector="seasonal")
        await hub.stop()
        before = stored(store)
        if lost == "state":
            shutil.rmtree(tmp_path / "state")
        hub = hub_on(tmp_path, store, Options(watches=[watch()], fingerprint="new" if lost == "options" else ""))
        await hub.start()
        await hub.commit(rows("temp", [NOW], [1e7], room="0"))
        await hub.settle()
        np.testing.assert_array_equal(learned(hub)[1:], expected[1:])
        assert hub.counters.value("almenara_anomalies_total", detector="seasonal") == 1 < anomalies
        assert before.items() <= stored(store).items()
        await hub.stop()

    asyncio.run(scenario())


def test_rows_that_wait_in_the_log_are_judged_after_relearning(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        await hub.commit(part(0, 150))
        await hub.stop()
        hub = hub_on(tmp_path, store)
        await hub.start()
        await hub.commit(part(150, 200))
        await hub.settle()
        expected = learned(hub)
        await bury(hub)
        shutil.rmtree(tmp_path / "state")
        hub = hub_on(tmp_path, store)
        await hub.start()
        await hub.commit(rows("x", [NOW], [1.0]))
        await hub.settle()
        np.testing.assert_array_equal(learned(hub), expected)
        assert hub.counters.value("almenara_rows_late_total") == 0
        await hub.stop()

    asyncio.run(scenario())
