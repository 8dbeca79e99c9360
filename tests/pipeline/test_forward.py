"""Routes: every stored row goes out at least once, under the names the route gives it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from almenara.codecs.influx import Influx
from almenara.model.batch import Batch
from almenara.model.errors import BusError, Undeliverable
from almenara.model.series import Series
from almenara.pipeline.forward import Cursors, Forwarder, Route
from almenara.pipeline.hub import Pipeline
from almenara.pipeline.relabel import Relabeling, Step
from almenara.plugin.contracts import Context
from almenara.query import parse_selector
from almenara.testing.hub import Clock, pipeline
from almenara.testing.stores import NOW

Row = tuple[str, int, float]


class Receiver:
    """The other side: takes payloads, or fails as it is told."""

    def __init__(self) -> None:
        self.payloads: list[tuple[str, bytes]] = []
        self.fails: Exception | None = None
        self.tries = 0

    async def send(self, topic: str, payload: bytes) -> None:
        self.tries += 1
        if self.fails is not None:
            raise self.fails
        self.payloads.append((topic, payload))

    def rows(self) -> list[Row]:
        found = []
        for _, payload in self.payloads:
            batch = Influx().decode(payload, Context(received_ns=1)).batch
            for id, time, value in zip(batch.id, batch.time, batch.value, strict=True):
                found.append((str(batch.series[int(id)]), int(time), float(value)))
        return found


def route(receiver: Receiver, match: str = "", relabeling: Relabeling | None = None, topic: str = "") -> Route:
    matchers = tuple(parse_selector(match)) if match else ()
    return Route("out", receiver.send, Influx(), matchers, relabeling or Relabeling(), topic, rows=3)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.005)


def rows(first: int, n: int, name: str = "temperature", **labels: str) -> Batch:
    return Batch.of((Series.of(name, **labels), NOW + k * 1_000_000, float(k)) for k in range(first, first + n))


async def started(folder: Path) -> Pipeline:
    hub = pipeline(folder, clock=Clock(NOW))
    await hub.start()
    return hub


def test_rows_go_out_as_they_are_stored_in_payloads_of_the_size_asked_for(tmp_path: Path) -> None:
    async def run() -> None:
        hub, receiver = await started(tmp_path), Receiver()
        cursors = Cursors(hub.folder.database)
        forwarder = Forwarder(hub, route(receiver), cursors)
        forwarder.start()
        await until(lambda: cursors.load("out") is not None)
        await asyncio.sleep(0)
        await hub.commit(rows(0, 7))
        await until(lambda: len(receiver.rows()) == 7)
        assert [value for _, _, value in receiver.rows()] == [0, 1, 2, 3, 4, 5, 6]
        assert len(receiver.payloads) == 3
        await forwarder.stop()
        cursors.close()
        await hub.stop()

    asyncio.run(run())


def test_only_series_of_the_selector_go_out_under_other_names_to_topics_by_label(tmp_path: Path) -> None:
    async def run() -> None:
        hub, receiver = await started(tmp_path), Receiver()
        cursors = Cursors(hub.folder.database)
        drop = Step(source_labels=["room"], regex="attic", action="drop")
        relabeling = Relabeling({"temperature": "t"}, {"site": "north"}, [drop])
        chosen = route(receiver, 'temperature{room!=""}', relabeling, "rooms/{room}/{__name__}")
        forwarder = Forwarder(hub, chosen, cursors)
        forwarder.start()
        await until(lambda: cursors.load("out") is not None)
        for room in ("hall", "attic", "den"):
            await hub.commit(rows(0, 1, room=room))
        await hub.commit(rows(0, 1, "pressure", room="hall"))
        await hub.commit(rows(1, 1, room="hall"))
        await until(lambda: len(receiver.rows()) == 3)
        assert sorted(receiver.rows()) == [
            ('t{room="den",site="north"}', NOW, 0.0),
            ('t{room="hall",site="north"}', NOW, 0.0),
            ('t{room="hall",site="north"}', NOW + 1_000_000, 1.0),
        ]
        assert {topic for topic, _ in receiver.payloads} == {"rooms/hall/t", "rooms/den/t"}
        await forwarder.stop()
        cursors.close()
        await hub.stop()

    asyncio.run(run())


def test_what_was_stored_while_the_route_was_down_goes_out_later(tmp_path: Path) -> None:
    async def run() -> None:
        hub, receiver = await started(tmp_path), Receiver()
        cursors = Cursors(hub.folder.database)
        first = Forwarder(hub, route(receiver), cursors)
        first.start()
        await until(lambda: cursors.load("out") is not None)
        await hub.commit(rows(0, 2))
        await until(lambda: len(receiver.rows()) == 2)
        await until(lambda: cursors.load("out") == hub.flushed_seq)
        await first.stop()
        for k in range(2, 40):  # each a segment of its own
            await hub.commit(rows(k, 1))
            await hub.settle()
        second = Forwarder(hub, route(receiver), cursors)
        second.start()
        await until(lambda: len(receiver.rows()) >= 40)
        assert [value for _, _, value in receiver.rows()] == list(range(40))
        await second.stop()
        cursors.close()
        await hub.stop()

    asyncio.run(run())


def test_while_the_other_side_is_away_nothing_is_left_out(tmp_path: Path) -> None:
    async def run() -> None:
        hub, receiver = await started(tmp_path), Receiver()
        cursors = Cursors(hub.folder.database)
        receiver.fails = BusError("away")
        forwarder = Forwarder(hub, route(receiver), cursors)
        forwarder.start()
        await until(lambda: cursors.load("out") is not None)
        for k in range(100):  # more segments than the feed holds
            await hub.commit(rows(k, 1))
            await hub.settle()
        await until(lambda: receiver.tries > 0)
        assert [(s.name, s.problem) for s in hub.sources() if s.problem] == [("route:out", "away")]
        receiver.fails = None
        await until(lambda: len(receiver.rows()) >= 100)
        assert [value for _, _, value in receiver.rows()] == list(range(100))
        await until(lambda: not any(s.problem for s in hub.sources()))
        await forwarder.stop()
        cursors.close()
        await hub.stop()

    asyncio.run(run())


def test_what_will_never_be_taken_is_left_out_and_counted(tmp_path: Path) -> None:
    async def run() -> None:
        hub, receiver = await started(tmp_path), Receiver()
        cursors = Cursors(hub.folder.database)
        receiver.fails = Undeliverable("answered 400")
        forwarder = Forwarder(hub, route(receiver), cursors)
        forwarder.start()
        await until(lambda: cursors.load("out") is not None)
        await hub.commit(rows(0, 2))
        await until(lambda: receiver.tries == 1)
        receiver.fails = None
        await hub.commit(rows(2, 2))
        await until(lambda: len(receiver.rows()) == 2)
        dropped = [s.value for s in hub.counters.snapshot() if s.name == "almenara_route_dropped_total"]
        assert dropped == [2.0]
        await forwarder.stop()
        cursors.close()
        await hub.stop()

    asyncio.run(run())
