"""A snapshot is taken in slices while the flow goes on; a restart from them equals a hub that never stopped."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.pipeline.faults import NOW, Disk, Life, noisy, rows, watch
from tests.pipeline.test_flush import settled, until
from tests.pipeline.test_restart import Stored, bury, stored

from almenara.detectors.seasonal import Seasonal
from almenara.model.alarm import Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.errors import AlmenaraError
from almenara.model.series import Series
from almenara.pipeline import flush, slices, snapshot
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.judge import Watch
from almenara.testing.hub import Clock, NoAlarms

N = 300
TIMES, NOISE = noisy(N)
#: Levels that jump, one of which is new in the middle; a counter, and one that nobody told of.
SERIES = [
    *(Series.of("temp", room=str(n)) for n in range(6)),
    Series.of("requests_total"),
    Series.of("octets"),
    Series.of("late"),
]
JUMPS = {at: 10.0 ** (at / 20 - 6) for at in range(200, N, 20)}


def value(series: int, at: int) -> float:
    if SERIES[series].name in ("requests_total", "octets"):
        return 20.0 * at + NOISE[at]
    return NOISE[at] + series + JUMPS.get(at, 0.0)


def part(first: int, last: int) -> Batch:
    return Batch.of(
        (one, TIMES[at], value(n, at))
        for at in range(first, last)
        for n, one in enumerate(SERIES)
        if at >= 150 or one.name != "late"
    )


class Whole:
    """A detector that is taken all at once."""

    causes = Seasonal.causes

    def __init__(self) -> None:
        self._inner = Seasonal(p_limit=1e-3)
        self.step, self.look = self._inner.step, self._inner.look
        self.state, self.restore = self._inner.state, self._inner.restore

    def adopt(self, ids: np.ndarray, other: Whole) -> None:
        self._inner.adopt(ids, other._inner)


class Tally(NoAlarms):
    """Counts what is said of rows: each once, whatever happens."""

    def __init__(self) -> None:
        self.total, self.seq = np.zeros(3, np.int64), 0

    def step(self, seq: int, batch: Batch, verdict: Verdict, fresh_from_ns: int) -> Sequence[Transition]:
        assert seq > self.seq
        said = ~np.isnan(verdict.score)
        self.total += [np.count_nonzero(said), np.count_nonzero(verdict.score >= 1), verdict.nth.sum()]
        self.seq = seq
        return ()

    def state(self) -> dict[str, Any]:
        return {"total": self.total.copy(), "seq": np.array([self.seq])}

    def restore(self, arrays: Mapping[str, Any]) -> None:
        self.total, self.seq = np.array(arrays["total"]), int(arrays["seq"][0])


def hub_on(folder: Path, store: Disk) -> Pipeline:
    options = Options(watches=[watch(), Watch("whole", (), Whole)])
    return Pipeline(DataFolder(folder), store, options, alarms=lambda index: Tally(), clock=Clock(NOW))


Found = tuple[Stored, dict[str, dict[bytes, bytes]], list[int]]


def found_in(hub: Pipeline, store: Disk) -> Found:
    """What is stored and known, by series: ids are as they come."""
    ids = {one.key: hub.index.keys.find([one.key])[0] for one in SERIES}
    slots = {name: detector.state()["slots"] for name, detector in hub._judge.detectors.items()}
    learned = {name: {key: array[id].tobytes() for key, id in ids.items()} for name, array in slots.items()}
    own = hub._judge.part(0, 99)[""]
    del own["late"]  # what a sender sends again is late
    rates = {name: {key: array[id].tobytes() for key, id in ids.items()} for name, array in own.items()}
    return stored(store), learned | rates, hub.alarms.total.tolist()  # type: ignore[attr-defined]


async def uninterrupted(folder: Path) -> Found:
    store = Disk()
    hub = hub_on(folder, store)
    await hub.start()
    await hub.commit(part(0, N))
    await hub.settle()
    found = found_in(hub, store)
    await hub.stop()
    return found


async def interrupted(folder: Path, life: Life, rng: random.Random) -> tuple[Found, int, int]:
    """The same rows in pieces, through hubs that die; how many did, and how many went on from slices that differ."""
    store, sent, deaths, uneven = Disk(), 0, 0, 0
    while True:
        hub = hub_on(folder, store)
        await hub.start()
        uneven += hub._flusher._seen.least < hub._flusher._seen.seq
        life.follow(hub, rng.randrange(1, 400))
        try:
            while sent < N:
                end = min(N, sent + rng.randrange(1, 8))
                await hub.commit(part(sent, end))
                sent = end
                if rng.random() < 0.7:
                    await hub.settle()
                else:
                    await asyncio.sleep(rng.uniform(0, 0.01))
            life.left = float("inf")
            await hub.settle()
        except AlmenaraError:
            assert life.died.is_set()
        if not life.died.is_set():
            found = found_in(hub, store)
            await hub.stop()
            return found, deaths, uneven
        deaths += 1
        await bury(hub)


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices of four series, and a snapshot all the time."""
    for name in ("SNAPSHOT_S", "TICK_S", "RETRY_S"):
        monkeypatch.setattr(flush, name, 0.0)
    monkeypatch.setattr(flush, "DUTY", 1e9)
    monkeypatch.setattr(slices, "SLICE_SERIES", 4)


def test_a_hub_that_dies_at_any_write_goes_on_from_its_slices_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    life = Life(monkeypatch)
    expected = asyncio.run(uninterrupted(tmp_path / "whole"))
    assert len(expected[0]) > 9 * N - 150  # rows, and anomalies
    deaths, uneven = 0, 0
    for seed in range(4):
        found, died, differed = asyncio.run(interrupted(tmp_path / f"parts{seed}", life, random.Random(seed)))
        deaths, uneven = deaths + died, uneven + differed
        for name, slots in expected[1].items():
            assert found[1][name] == slots, (seed, name)
        assert found[0] == expected[0], seed
        assert found[2] == expected[2], seed
    assert deaths > 4
    assert uneven > 0  # how many slices there are when a hub dies is a matter of threads


@pytest.mark.parametrize("what", ["slice", "rest", "format"])
def test_a_snapshot_that_cannot_be_read_is_not_used_at_all(tmp_path: Path, what: str) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        await hub.commit(part(0, 200))
        await hub.settle()
        expected = found_in(hub, store)
        await hub.stop()
        (path,) = snapshot.saved(tmp_path / "state")
        if what == "format":
            about = json.loads((path / "about.json").read_text())
            (path / "about.json").write_text(json.dumps(about | {"format": snapshot.FORMAT + 1}))
        else:
            damaged = path / {"slice": "00001.npz", "rest": "rest.npz"}[what]
            damaged.write_bytes(damaged.read_bytes()[:-300])
        hub = hub_on(tmp_path, store)
        await hub.start()
        assert hub._judge.blank == ["seasonal", "whole"]
        await hub.settle()
        await hub.commit(rows("other", [NOW], [1.0]))
        await settled(hub)
        assert found_in(hub, store)[1]["seasonal"] == expected[1]["seasonal"], "learned again from the store"
        await hub.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "SLICE_SERIES", 4)
        asyncio.run(scenario())


def test_rows_are_judged_and_read_while_a_slice_is_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    disk = threading.Event()  # the disk is slow until this is set
    entered = threading.Event()
    save = snapshot.save_part

    def slow(*arguments: Any) -> None:
        entered.set()
        disk.wait(60)
        save(*arguments)

    monkeypatch.setattr(snapshot, "save_part", slow)

    async def scenario() -> None:
        hub = hub_on(tmp_path, Disk())
        await hub.start()
        await hub.commit(part(0, 50))
        await until(entered.is_set)
        for at in range(50, 80):
            await hub.commit(part(at, at + 1))
            await settled(hub)
        assert hub.counters.value("almenara_rows_judged_total", detector="seasonal") == 80 * 8
        assert snapshot.saved(tmp_path / "state") == []
        disk.set()
        await until(lambda: snapshot.saved(tmp_path / "state"))
        about = snapshot.load(tmp_path / "state", "", hub.index.keys.checksum)[0]
        assert about.seen.least < about.seen.seq
        await hub.stop()
        assert list((tmp_path / "log").glob("*.rows")) == [], "the last one is of one moment"

    asyncio.run(scenario())


def test_a_detector_of_which_a_slice_does_not_fit_learns_again_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        await hub.commit(part(0, 100))
        await hub.stop()
        options = Options(watches=[Watch("seasonal", (), lambda: Seasonal(p_limit=1e-5)), Watch("whole", (), Whole)])
        hub = Pipeline(DataFolder(tmp_path), store, options, alarms=lambda index: Tally(), clock=Clock(NOW))
        await hub.start()
        assert hub._judge.blank == ["seasonal"]
        await hub.stop()

    asyncio.run(scenario())
