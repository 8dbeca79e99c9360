"""Links beside the bus: what they dropped is counted, senders that wait are told, and they are closed with the hub."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.pipeline.faults import NOW

from almenara.codecs.influx import Influx
from almenara.codecs.json import Json
from almenara.model.errors import Overloaded
from almenara.pipeline import inputs
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.inputs import Inputs
from almenara.plugin.contracts import Outcome, Packet
from almenara.testing.hub import Clock, pipeline

OPTIONS = Options(codecs={"json": Decoding(Json), "transport lines": Decoding(Influx, plugin="influx")})


class Link:
    """Gives what a test puts in."""

    def __init__(self, answers: bool = False):
        self.answers, self.problem = answers, ""
        self.dropped: Counter[str] = Counter()
        self.given: asyncio.Queue[Sequence[Packet]] = asyncio.Queue()
        self.outcomes: list[Outcome] = []
        self.is_closed = False

    def give(self, *payloads: bytes) -> None:
        self.given.put_nowait([Packet("t", p, NOW, "link:a", done=self.outcomes.append) for p in payloads])

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        while True:
            yield await self.given.get()

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        self.is_closed = True


async def until(is_so: object) -> None:
    assert callable(is_so)
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.01)


async def begun(folder: Path, **links: Link) -> tuple[Pipeline, Inputs]:
    hub = pipeline(folder, OPTIONS, clock=Clock(NOW))
    await hub.start()
    feeding = Inputs(hub, None)
    feeding.start()
    feeding.collect({}, links)
    return hub, feeding


def test_the_codec_that_is_configured_for_a_link_reads_it(tmp_path: Path) -> None:
    async def run() -> None:
        link = Link()
        hub, feeding = await begun(tmp_path, lines=link)
        link.give(b"a value=1 1700000000000000000\n", b"rubbish")
        await until(lambda: len(link.outcomes) == 2)
        assert [one.rows for one in link.outcomes] == [1, 0]
        assert "line protocol" in str(link.outcomes[1].error)
        await feeding.stop()
        await hub.stop()
        assert link.is_closed

    asyncio.run(run())


@pytest.mark.parametrize("answers", [True, False])
def test_only_senders_that_wait_for_an_answer_are_told_of_a_refusal(
    tmp_path: Path, answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        link = Link(answers)
        hub, feeding = await begun(tmp_path, lines=link)
        take, refusals = hub.take, 0

        async def refusing(bus: str, packets: Sequence[Packet]) -> list[Outcome]:
            nonlocal refusals
            refusals += 1
            if refusals == 1:
                raise Overloaded("a queue is full", 0.01)
            return await take(bus, packets)

        monkeypatch.setattr(hub, "take", refusing)
        link.give(b"a value=1 1700000000000000000\n")
        await until(lambda: link.outcomes)
        (outcome,) = link.outcomes
        assert isinstance(outcome.error, Overloaded) if answers else outcome.rows == 1
        await feeding.stop()
        await hub.stop()

    asyncio.run(run())


def test_what_a_link_dropped_is_counted_and_its_problem_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "CLIENTS_S", 0.01)

    async def run() -> None:
        link = Link()
        hub, feeding = await begun(tmp_path, lines=link)

        def dropped() -> float:
            return hub.counters.value("almenara_link_dropped_total", reason="line_too_long", transport="lines")

        def problem() -> str:
            return next((one.problem for one in hub.sources() if one.name == "transport:lines"), "")

        for amount in (2, 5):
            link.dropped["line_too_long"] = amount
            await until(lambda amount=amount: dropped() == amount)
        link.problem = "another password"
        await until(lambda: problem() == "another password")
        link.problem = ""
        await until(lambda: problem() == "")
        await feeding.stop()
        await hub.stop()

    asyncio.run(run())
