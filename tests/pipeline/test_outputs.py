"""Outputs: what a hub says on its bus of rows and alarms, and what it does where the bus does not take it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from almenara.bus.feed import Feed
from almenara.model.alarm import Alarm, Evidence, Severity, State, Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.errors import BusError
from almenara.model.series import Series
from almenara.pipeline import outputs as module
from almenara.pipeline.counters import Counters
from almenara.pipeline.flush import Judged
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.outputs import Outputs
from almenara.query import parse_selector

NAN = float("nan")
A, B = Series.of("temp", room="a"), Series.of("temp", room="b")
CAUSES = Causes.of([("seasonal", ("rose suddenly",)), ("drift", ("drifts",))])


class Listener:
    """A bus that remembers what it was told: (topic, body or None, retained). It refuses while `problem` is set."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any] | None, bool]] = []
        self.problem: Exception | None = None

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: int = 1) -> None:
        if self.problem is not None:
            raise self.problem
        self.heard.append((topic, json.loads(payload) if payload else None, retain))

    def of(self, kind: str) -> list[dict[str, Any] | None]:
        return [body for topic, body, _ in self.heard if topic.startswith(f"almenara/{kind}/")]


class Alarms:
    """Alarms that are open, and the journal, as a test puts them there."""

    def __init__(self) -> None:
        self.now: list[Alarm] = []
        self.told: list[Transition] = []

    def open(self) -> list[Alarm]:
        return self.now

    def journal(self, limit: int = 100, before_ns: int | None = None) -> list[Transition]:
        return self.told[:limit]


class Case:
    """Outputs over a feed that the test publishes to."""

    def __init__(self, *judged: str):
        self.index = SeriesIndex()
        self.index.add([A.key, B.key])
        self.counters, self.feed, self.alarms, self.bus = Counters(), Feed(), Alarms(), Listener()
        hub: Any = SimpleNamespace(
            index=self.index, counters=self.counters, feed=self.feed, alarms=self.alarms, causes=CAUSES
        )
        self.outputs = Outputs(hub, self.bus, [parse_selector(one) for one in judged])  # type: ignore[arg-type]

    def rows(self, *given: tuple[int, int, float], changes: Sequence[Transition] = (), cause: int = 0) -> None:
        """(id, time, score), ordered; the value is 20 and 5 to 15 was expected."""
        n = len(given)
        id, time = np.array([r[0] for r in given], np.int32), np.array([r[1] for r in given], np.int64)
        score = np.array([r[2] for r in given], np.float64)
        causes = np.where(score >= 1, cause, -1).astype(np.int16)
        verdict = Verdict(score, np.full(n, 10.0), np.full(n, 5.0), np.full(n, 15.0), np.ones(n), causes)
        self.feed.publish(Judged(Batch(self.index, id, time, np.full(n, 20.0)), verdict, tuple(changes)))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.001)


def with_case(test: Callable[[Case], Awaitable[None]], *judged: str) -> None:
    async def scenario() -> None:
        case = Case(*judged)
        case.outputs.start()
        await asyncio.sleep(0)
        try:
            await test(case)
        finally:
            await case.outputs.stop()

    asyncio.run(scenario())


def change(state: State, series: Series = A, since: int = 1) -> Transition:
    return Transition("hot", series, since, state, since + 1, Severity.MAJOR, Evidence(20.0, why="20 is above 15"))


def test_a_row_over_its_limit_is_told_with_its_cause_and_its_detector() -> None:
    async def test(case: Case) -> None:
        case.rows((0, 1, 0.5), (0, 2, 1.6))
        case.rows((1, 2, 1.2), cause=1)
        await case.until(lambda: len(case.bus.heard) == 2)
        first, second = case.bus.of("anomaly")
        assert first
        assert second
        assert (first["labels"], first["anomaly"], first["severity"]) == ({"room": "a"}, True, "major")
        against = "20, 2 times the usual 10, expected 5 to 15"
        assert (first["detector"], first["why"]) == ("seasonal", f"Rose suddenly: {against}")
        assert (second["detector"], second["why"]) == ("drift", f"Drifts: {against}")
        assert not any(retained for _, _, retained in case.bus.heard)

    with_case(test)


def test_the_first_row_back_under_the_limit_is_told_also_in_a_later_segment() -> None:
    async def test(case: Case) -> None:
        case.rows((0, 1, 1.5), (1, 1, 0.2))
        case.rows((0, 2, NAN), (1, 2, 0.2))  # says nothing, so it ends nothing
        case.rows((0, 3, 0.4), (0, 4, 0.4), (1, 3, 0.2))
        await case.until(lambda: len(case.bus.heard) == 2)
        assert [(one["anomaly"], one["score"]) for one in case.bus.of("anomaly") if one] == [(True, 1.5), (False, 0.4)]

    with_case(test)


def test_judged_rows_are_told_of_the_series_that_were_asked_for() -> None:
    async def test(case: Case) -> None:
        case.rows((0, 1, 0.5), (1, 1, 0.6))
        await case.until(lambda: case.bus.heard)
        (only,) = case.bus.of("judged")
        assert only
        assert (only["labels"], only["score"], only["lower"], only["upper"]) == ({"room": "b"}, 0.6, 5, 15)
        assert "why" not in only

    with_case(test, 'temp{room="b"}')


def test_nobody_is_told_of_rows_that_are_as_expected() -> None:
    async def test(case: Case) -> None:
        case.rows((0, 1, 0.5), (1, 1, NAN))
        case.rows((0, 2, 1.5))
        await case.until(lambda: case.bus.heard)
        assert [one["score"] for one in case.bus.of("anomaly") if one] == [1.5]

    with_case(test)


def test_an_alarm_is_retained_while_it_is_open_and_cleared_when_it_is_over() -> None:
    async def test(case: Case) -> None:
        case.rows(changes=[change(State.FIRING)])
        case.rows(changes=[change(State.RESOLVED)])
        await case.until(lambda: len(case.bus.heard) == 2)
        (opened, body, kept), (closed, nothing, cleared) = case.bus.heard
        assert opened == closed
        assert body
        assert body["state"] == "firing"
        assert (nothing, kept, cleared) == (None, True, True)

    with_case(test)


def test_at_the_start_open_alarms_are_told_and_those_that_ended_meanwhile_are_cleared() -> None:
    async def scenario() -> None:
        case = Case()
        case.alarms.now = [Alarm(change(State.FIRING, A, since=9))]
        case.alarms.told = [change(State.RESOLVED, B), change(State.FIRING, B), change(State.RESOLVED, A)]
        case.outputs.start()
        await case.until(lambda: len(case.bus.heard) == 2)
        assert [body and body["labels"] for body in case.bus.of("alarm")] == [{"room": "a"}, None]
        assert "room-b" in case.bus.heard[1][0], "the alarm of room a is open again: it is not cleared"
        await case.outputs.stop()

    asyncio.run(scenario())


def test_of_too_many_rows_the_latest_are_told_and_the_others_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 3)

    async def test(case: Case) -> None:
        case.rows(*((0, n, 1.5) for n in range(10)))
        await case.until(lambda: len(case.bus.heard) == 3)
        assert [one["time"][-8:] for one in case.bus.of("anomaly") if one] == ["0000007Z", "0000008Z", "0000009Z"]
        assert case.counters.value("almenara_unpublished_total", reason="too many") == 7

    with_case(test)


def test_what_the_bus_does_not_take_is_counted_and_the_next_segment_is_told() -> None:
    async def test(case: Case) -> None:
        case.bus.problem = BusError("the broker is away")
        case.rows((0, 1, 1.5))
        await case.until(lambda: case.counters.value("almenara_unpublished_total", reason="BusError") == 1)
        case.bus.problem = None
        case.rows((0, 2, 1.5))
        await case.until(lambda: case.bus.heard)
        assert case.counters.value("almenara_published_total", kind="anomaly") == 1

    with_case(test)


def test_a_segment_that_cannot_be_told_does_not_silence_later_ones() -> None:
    async def test(case: Case) -> None:
        case.bus.problem = ValueError("a mistake of ours")
        case.rows((0, 1, 1.5))
        await case.until(lambda: case.counters.value("almenara_unpublished_total", reason="failed") == 1)
        case.bus.problem = None
        case.rows((0, 2, 1.5))
        await case.until(lambda: case.bus.heard)

    with_case(test)
