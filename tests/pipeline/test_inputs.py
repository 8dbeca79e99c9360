"""Inputs: packets of a bus are committed or waited with, never dropped; whatever fails is begun again and said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.pipeline.faults import NOW, rows

from almenara.bus.memory import MemoryBus
from almenara.codecs.json import Json
from almenara.model.batch import Batch
from almenara.model.errors import StoreError
from almenara.pipeline import inputs
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.inputs import BUS, Inputs
from almenara.testing.hub import Clock, pipeline

JSON = Options(codecs={"json": Decoding(Json)})


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def begun(folder: Path, options: Options = JSON) -> tuple[Pipeline, MemoryBus, Inputs]:
    hub, bus = pipeline(folder, options, clock=Clock(NOW)), MemoryBus()
    await hub.start()
    await bus.start(hub.offset(BUS))
    feeding = Inputs(hub, bus)
    feeding.start()
    return hub, bus, feeding


def test_messages_are_committed_with_their_offset(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub, bus, feeding = await begun(tmp_path)
        for n in range(10):
            bus.give("room", b'{"t": %d}' % n, received_ns=NOW + n)
        bus.give("room", b"\xff\xfe not json", received_ns=NOW)
        await until(lambda: hub.offset(BUS) == 10)
        await asyncio.wait_for(hub.settle(), 60)
        assert hub.counters.value("almenara_rows_stored_total") == 10
        assert hub.counters.value("almenara_payloads_undecodable_total") == 1
        await feeding.stop()
        await hub.stop()

    asyncio.run(scenario())


def test_garbage_alone_moves_the_offset_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub, bus, feeding = await begun(tmp_path)
        bus.give("room", b"\xff", received_ns=NOW)
        await until(lambda: hub.offset(BUS) == 0)
        await asyncio.wait_for(hub.settle(), 60)
        await feeding.stop()
        await hub.stop()

    asyncio.run(scenario())


def test_packets_are_kept_while_the_log_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        hub, bus, feeding = await begun(tmp_path)
        take, left = hub.take, [2]

        async def failing(name: str, packets: object) -> None:
            if left[0]:
                left[0] -= 1
                raise StoreError("the log's disk is away")
            await take(name, packets)  # type: ignore[arg-type]

        monkeypatch.setattr(hub, "take", failing)
        bus.give("room", b'{"t": 1}', received_ns=NOW)
        await until(lambda: hub.offset(BUS) == 0)
        assert hub.counters.value("almenara_rows_committed_total") == 1
        assert hub.counters.value("almenara_writes_refused_total", reason="StoreError") == 2
        await feeding.stop()
        await hub.stop()

    asyncio.run(scenario())


def test_a_collector_that_fails_is_begun_again_and_its_problem_ends(tmp_path: Path) -> None:
    class Flaky:
        """Fails by a mistake, once."""

        failed = False

        async def batches(self) -> AsyncIterator[Batch]:
            if not self.failed:
                self.failed = True
                raise KeyError("a mistake")
            yield rows("x", [NOW], [1.0])

    async def scenario() -> None:
        hub, _, feeding = await begun(tmp_path)
        feeding.collect({"flaky": Flaky()}, {})  # type: ignore[dict-item]

        def problem() -> str:
            return next((s.problem for s in hub.sources() if s.name == "flaky"), "")

        await until(lambda: "KeyError" in problem())
        await until(lambda: hub.counters.value("almenara_rows_committed_total") == 1 and not problem())
        await feeding.stop()
        await hub.stop()

    asyncio.run(scenario())


def test_the_hubs_own_figures_are_series_past_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "OWN_FIGURES_S", 0.05)

    async def scenario() -> None:
        from almenara.pipeline.admission import Limits

        hub, _, feeding = await begun(tmp_path, Options(limits=Limits(series=0)))
        await until(lambda: len(hub.index) > 5)
        assert "almenara_series" in hub.index.label_values("__name__")
        await feeding.stop()
        await hub.stop()

    asyncio.run(scenario())
