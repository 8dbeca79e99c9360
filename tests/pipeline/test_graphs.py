"""Rules of graphs for messages, drawn from the rows of a whole hub."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from almenara.detectors.seasonal import Seasonal
from almenara.model.alarm import Alarm, Evidence, Incident, Severity, State, Transition
from almenara.model.batch import Batch
from almenara.model.series import Metadata, Series
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS
from almenara.pipeline import graphs
from almenara.pipeline.graphs import MOST_PANELS, MOST_WAITING, Graphs, NoGraph, series_of, span_of
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.judge import Watch
from almenara.testing.hub import Clock, pipeline

pytestmark = pytest.mark.compiled
NOW = 1_800_000_000 * NS
BEGAN = NOW - 20 * MINUTE_NS
TANK = Series.of("temperature", plant="brewery", tank="3")
PUMP = Series.of("flow_bytes", plant="brewery", pump="$1\\x")


def alarm(series: Series, severity: Severity = Severity.MAJOR, after_ns: int = 0, score: float = 1.6) -> Alarm:
    evidence = Evidence(90.0, score)
    return Alarm(Transition("r", series, BEGAN + after_ns, State.FIRING, BEGAN + after_ns, severity, evidence), 7)


def incident(*members: Alarm, resolved: int = 0) -> Incident:
    state = State.RESOLVED if resolved else State.FIRING
    return Incident(7, BEGAN, state, Severity.MAJOR, members, resolved=resolved)


def with_hub(folder: Path, use: Callable[[Pipeline], Awaitable[None]]) -> None:
    async def main() -> None:
        options = Options(watches=[Watch("seasonal", (), Seasonal)])
        hub = pipeline(folder, options, clock=Clock(NOW))
        await hub.start()
        try:
            time = np.arange(NOW - 3 * DAY_NS, NOW, MINUTE_NS)
            day = np.sin(2 * np.pi * (time % DAY_NS) / DAY_NS)
            noise = np.random.default_rng(7).normal(size=(2, len(time)))
            tank = np.where(time >= BEGAN, 93.0, 31 + 8 * day) + noise[0]
            pump = np.where(time >= BEGAN + 2 * MINUTE_NS, 0.4, 3.0 + 0.3 * day) * 1e9 + 5e7 * noise[1]
            rows = [(TANK, t, v) for t, v in zip(time.tolist(), tank.tolist(), strict=True)]
            rows += [(PUMP, t, v) for t, v in zip(time.tolist(), pump.tolist(), strict=True)]
            await hub.commit(Batch.of(rows))
            await hub.settle()
            hub.metadata.keep(hub.metadata.changes({TANK.key: Metadata("celsius", "", "")}))
            await use(hub)
        finally:
            await hub.stop()

    asyncio.run(main())


def size_of(png: bytes) -> tuple[int, int]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_an_incident_is_drawn_once_for_all_notifiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "LONGEST_S", 100.0)

    async def use(hub: Pipeline) -> None:
        drawing = Graphs(hub, "Europe/Madrid")
        one = incident(alarm(TANK), alarm(PUMP, after_ns=2 * MINUTE_NS))
        first, second = await asyncio.gather(drawing.of_incident(one, 5), drawing.of_incident(one, 5))
        assert first is second
        assert await drawing.of_incident(one, 6) is not first
        assert size_of(first) == (graphs.WIDTH, 2 * graphs.HEIGHT)
        assert len(first) < 300_000
        await drawing.close()

    with_hub(tmp_path, use)


def test_without_rows_there_is_no_graph_and_a_word_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "LONGEST_S", 100.0)

    async def use(hub: Pipeline) -> None:
        drawing = Graphs(hub)
        with pytest.raises(NoGraph, match="no row of its series"):
            await drawing.of_incident(incident(alarm(Series.of("unheard_of"))), 1)
        assert await drawing.of_incident(incident(alarm(Series.of("unheard_of")), alarm(TANK)), 2)
        await drawing.close()

    with_hub(tmp_path, use)


def test_a_graph_that_takes_too_long_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "LONGEST_S", 0.0)

    async def use(hub: Pipeline) -> None:
        drawing = Graphs(hub)
        with pytest.raises(NoGraph, match="longer than 0 s"):
            await drawing.of_incident(incident(alarm(TANK)), 1)
        await drawing.close()

    with_hub(tmp_path, use)


def test_in_a_storm_most_are_told_without_a_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "LONGEST_S", 100.0)

    async def use(hub: Pipeline) -> None:
        drawing = Graphs(hub)
        some = [drawing.of_incident(incident(alarm(TANK)), upto) for upto in range(20)]
        found = await asyncio.gather(*some, return_exceptions=True)
        assert [isinstance(one, bytes) for one in found] == [True] * MOST_WAITING + [False] * (20 - MOST_WAITING)
        assert "too many" in str(found[-1])
        await drawing.close()

    with_hub(tmp_path, use)


def test_a_graph_that_is_too_large_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST_BYTES", 1000)
    monkeypatch.setattr(graphs, "LONGEST_S", 100.0)

    async def use(hub: Pipeline) -> None:
        drawing = Graphs(hub)
        with pytest.raises(NoGraph, match="more than the 1,000"):
            await drawing.of_incident(incident(alarm(TANK)), 1)
        await drawing.close()

    with_hub(tmp_path, use)


def test_many_rows_are_drawn_by_their_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "MOST_ROWS", 50)
    monkeypatch.setattr(graphs, "LONGEST_S", 100.0)

    async def use(hub: Pipeline) -> None:
        drawing = Graphs(hub)
        assert size_of(await drawing.of_incident(incident(alarm(TANK)), 1)) == (graphs.WIDTH, graphs.HEIGHT)
        await drawing.close()

    with_hub(tmp_path, use)


@pytest.mark.parametrize(
    ("lasted", "resolved", "before", "after"),
    [
        (MINUTE_NS, False, 2 * HOUR_NS, 0), (6 * HOUR_NS, False, 6 * HOUR_NS, 0), (3 * DAY_NS, False, DAY_NS, 0),
        (20 * MINUTE_NS, True, 2 * HOUR_NS, 20 * MINUTE_NS),
    ],
)  # fmt: skip
def test_a_graph_begins_a_while_before(lasted: int, resolved: bool, before: int, after: int) -> None:
    one = replace(incident(alarm(TANK)), resolved=BEGAN + lasted if resolved else 0)
    now = BEGAN + lasted + (HOUR_NS if resolved else 0)
    assert span_of(one, now) == (BEGAN - before, BEGAN + lasted + after)


def test_a_graph_of_weeks_shows_the_last_week() -> None:
    start, end = span_of(incident(alarm(TANK)), BEGAN + 30 * DAY_NS)
    assert (start, end) == (BEGAN + 23 * DAY_NS, BEGAN + 30 * DAY_NS)


def test_the_strongest_is_drawn_first_then_those_that_began_first() -> None:
    others = [alarm(Series.of("x", n=str(n)), after_ns=n * NS) for n in range(5)]
    strong = alarm(PUMP, Severity.CRITICAL, after_ns=90 * NS)
    found = series_of(incident(*others, strong))
    assert found == [PUMP, others[0].last.series, others[1].last.series]
    assert len(found) == MOST_PANELS
