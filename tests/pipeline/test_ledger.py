"""The ledger: every row is counted once, under the right word and source, whatever the hub dies of."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.faults import NOW, Disk, Life, rows
from tests.pipeline.test_restart import bury

from almenara.codecs.influx import Influx
from almenara.codecs.json import Json
from almenara.model.batch import Batch, Decoded, Event
from almenara.model.errors import AlmenaraError, DecodeError, DiskFull, KeyReused
from almenara.model.series import Metadata, Series
from almenara.model.time import NS
from almenara.pipeline import flush, keys, ledger
from almenara.pipeline.account import NOTHING_ODD
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.ledger import Figures, Ledger
from almenara.pipeline.notes import HUB, Notes
from almenara.pipeline.sources import SourceStatus
from almenara.plugin.contracts import Context, Packet
from almenara.query import parse_selector
from almenara.testing.hub import Clock, pipeline


class Said:
    """A codec of tests: a line `event TEXT`, or `unit NAME UNIT`, else a number as row `said`."""

    def decode(self, payload: bytes, context: Context) -> Decoded:
        word, _, rest = payload.decode().partition(" ")
        if word == "event":
            return Decoded(Batch.of(()), [Event(context.received_ns, (("app", "test"),), rest)])
        if word == "unit":
            name, _, unit = rest.partition(" ")
            series = Series.of(name)
            batch = Batch.of([(series, context.received_ns, 1.0)])
            return Decoded(batch, metadata={series.key: Metadata(unit, "gauge", f"the {name}")})
        raise DecodeError(f"{payload!r} is nothing")


OPTIONS = Options(codecs={"influx": Decoding(Influx), "json": Decoding(Json, "m/#"), "said": Decoding(Said, "said")})


def hub_on(folder: Path, store: Disk, options: Options = OPTIONS) -> Pipeline:
    return pipeline(folder, options, store=store, clock=Clock(NOW))


def lines(*rows: tuple[int, float], name: str = "m") -> bytes:
    return "\n".join(f"{name} v={value} {NOW - ago * NS}" for ago, value in rows).encode()


async def send(hub: Pipeline, source: str, body: bytes, codec: str = "influx", key: str = "") -> object:
    return await hub.write(Packet("/write", body, NOW, source, key=key), codec)


async def line(hub: Pipeline, source: str) -> SourceStatus:
    (found,) = [one for one in await hub.account() if one.name == source]
    return found


def holds(statuses: Sequence[SourceStatus], store: Disk) -> None:
    """The sum of every source, and of all of them what the store has."""
    for one in statuses:
        assert one.received == one.accounted, one
        assert one.late <= one.stored
    assert sum(one.stored - one.events for one in statuses) == len(store._columns[0])
    assert sum(one.events for one in statuses) == len(store._events)


def words(one: SourceStatus) -> tuple[int, ...]:
    return one.received, one.stored, one.late, one.duplicate, one.overwritten


def test_each_row_has_one_word(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        await send(hub, "http:a", lines((10, 1), (5, 2), (5, 2)))
        assert words(await line(hub, "http:a")) == (3, 2, 0, 1, 0)
        await send(hub, "http:b", lines((5, 2), (5, 3), (7, 1), (4, 9), (1000, 4)))
        assert words(await line(hub, "http:b")) == (5, 3, 2, 1, 1)
        await send(hub, "http:b", lines((5, 2)))  # back to what it was: overwritten again
        assert words(await line(hub, "http:b")) == (6, 3, 2, 1, 2)
        await send(hub, "http:c", lines((-3600, 1), (0, 1)) + b"\nbad line\n")
        one = await line(hub, "http:c")
        assert (one.received, one.stored, one.rows) == (3, 1, 1)
        assert one.rejected == {"future": 1, "no_value": 1} or sum(one.rejected.values()) == 2
        assert one.last_rejected.startswith("admission")
        holds(await hub.account(), store)
        await hub.stop()

    asyncio.run(scenario())


def test_packets_of_many_sources_that_are_committed_together(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        ahead = int((NOW + 3600 * NS) / NS)

        def packet(source: str, payload: str, qos: int = 1) -> Packet:
            return Packet("m/" + source, payload.encode(), NOW, f"mqtt:{source}", qos=qos)

        outcomes = await hub.take("mqtt", [
            packet("a", '{"x": 1, "y": 2}'), packet("b", "{"), packet("a", '{"x": 1}'),
            packet("c", f'{{"z": 1, "time": {ahead}}}'), packet("d", '{"x": 3}', qos=0),
        ])  # fmt: skip
        assert [o.rows for o in outcomes] == [2, 0, 1, 0, 1]
        a, b, c, d = [await line(hub, f"mqtt:{s}") for s in "abcd"]
        assert (a.payloads, *words(a)) == (2, 3, 2, 0, 1, 0)
        assert (b.received, b.rejected) == (1, {"undecodable": 1})
        assert (c.received, c.stored, c.rejected) == (1, 0, {"future": 1})
        assert (d.stored, d.best_effort_rows) == (1, 1)
        assert (a.first_ns, a.last_ns) == (NOW, NOW)
        holds(await hub.account(), store)
        await hub.stop()

    asyncio.run(scenario())


def test_what_never_came_to_a_commit_is_written_down_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        for _ in range(3):
            with pytest.raises(DecodeError):
                await send(hub, "http:a", b"nonsense", "said")
        hub.ledger.lost("collector:host", "dropped", "refused", 40)
        await hub.stop()
        hub = hub_on(tmp_path, store)
        await hub.start()
        one, other = await line(hub, "http:a"), await line(hub, "collector:host")
        assert (one.received, one.payloads, one.rejected) == (3, 3, {"undecodable": 3})
        assert (other.received, other.dropped) == (40, {"refused": 40})
        holds(await hub.account(), store)
        await hub.stop()

    asyncio.run(scenario())


def test_what_cannot_be_written_down_now_is_written_down_later(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = hub_on(tmp_path, Disk())
        await hub.start()
        hub._committer.refusing = DiskFull("full")
        hub.ledger.lost("a:b", "rejected", "undecodable", 1)
        with pytest.raises(DiskFull):
            await hub._commit_lost()
        hub.ledger.lost("a:b", "rejected", "undecodable", 1)
        hub._committer.refusing = None
        one = await line(hub, "a:b")
        assert (one.received, one.payloads) == (2, 2)
        await hub.stop()

    asyncio.run(scenario())


def test_the_ledger_goes_on_after_a_stop_and_after_a_death(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        for n in range(6):
            hub = hub_on(tmp_path, store)
            await hub.start()
            await send(hub, "http:a", lines((100 - n, n), (200, 0)))
            if n % 2:
                await hub.account()
            await (hub.stop() if n % 3 == 0 else bury(hub))
        hub = hub_on(tmp_path, store)
        await hub.start()
        assert words(await line(hub, "http:a")) == (12, 7, 0, 5, 0)
        holds(await hub.account(), store)
        await hub.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", range(4))
def test_a_hub_that_dies_at_any_write_counts_every_row_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    for name in ("SNAPSHOT_S", "TICK_S", "RETRY_S"):
        monkeypatch.setattr(flush, name, 0.0)
    monkeypatch.setattr(flush, "DUTY", 1e9)
    monkeypatch.setattr(ledger, "_FOLD", 3)
    life = Life(monkeypatch)
    monkeypatch.setattr(Ledger, "count", life._guarded(Ledger.count))
    monkeypatch.setattr(Ledger, "fold", life._guarded(Ledger.fold))
    monkeypatch.setattr(Disk, "append_events", life._guarded(Disk.append_events))

    bodies = [
        (
            f"http:{rng.randrange(3)}",
            lines(*((rng.randrange(50), rng.randrange(2)) for _ in range(rng.randrange(1, 8)))),
        )
        for _ in range(60)
    ]

    async def scenario() -> tuple[int, int]:
        store, acknowledged, sent, deaths = Disk(), 0, 0, 0
        while True:
            hub = hub_on(tmp_path, store)
            await hub.start()
            life.follow(hub, rng.randrange(1, 50))
            try:
                while sent < 60:
                    source, body = bodies[sent]
                    key = f"k{sent}" if sent % 3 == 0 else ""
                    await send(hub, source, body, key=key)
                    if rng.random() < 0.2:
                        await send(hub, source, b"event something", "said", key and key + "e")
                        acknowledged += 1
                    acknowledged += len(body.split(b"\n"))
                    sent += 1
                    if rng.random() < 0.5:
                        await hub.settle()
                life.left = float("inf")
                statuses = await hub.account()
            except AlmenaraError:
                assert life.died.is_set()
            if not life.died.is_set():
                holds(statuses, store)
                received = sum(one.received for one in statuses)
                await hub.stop()
                return received - acknowledged, deaths
            deaths += 1
            await bury(hub)

    more, deaths = asyncio.run(scenario())
    assert deaths > 0
    assert 0 <= more <= 8 * deaths  # what was in the log when the hub died, and was sent again


def test_a_body_with_a_key_is_kept_once_and_answered_as_the_first_time(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        body = b"m v=1\nbad line\n" + "\n".join(f"x{n}{{ v" for n in range(20)).encode() + lines((-3600, 1))
        first = await send(hub, "http:a", body, key="one")
        again = await send(hub, "http:elsewhere", body, key="one")
        assert (again.rows, len(again.rejected)) == (first.rows, len(first.rejected))  # type: ignore[attr-defined]
        with pytest.raises(KeyReused, match="another body"):
            await send(hub, "http:a", b"m v=2", key="one")
        clock = hub.clock
        clock.now_ns += NS  # type: ignore[attr-defined]
        for settles in (True, False):  # after the key went to hub.db, and while it is only in the log
            if settles:
                await hub.account()
            await bury(hub)
            hub = hub_on(tmp_path, store)
            await hub.start()
            again = await send(hub, "http:a", body, key="one")
            assert again.rows == first.rows  # type: ignore[attr-defined]
            await send(hub, "http:a", b"n v=1", key="two")
        one = await line(hub, "http:a")
        assert (one.payloads, one.stored) == (2, 2)
        holds(await hub.account(), store)
        await hub.stop()

    asyncio.run(scenario())


def test_the_same_body_at_the_same_moment_is_kept_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        outcomes = await asyncio.gather(*(send(hub, "http:a", b"m v=1\nn v=2", key="k") for _ in range(20)))
        assert {o.rows for o in outcomes} == {2}  # type: ignore[attr-defined]
        assert (await line(hub, "http:a")).received == 2
        await hub.take("coap", [Packet("said", b"event e", NOW, "coap:c", key="m1") for _ in range(2)])
        assert (await line(hub, "coap:c")).events == 1
        holds(await hub.account(), store)
        await hub.stop()

    asyncio.run(scenario())


def test_keys_are_forgotten_after_a_day_or_when_they_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", 5)

    async def scenario() -> None:
        hub = hub_on(tmp_path, Disk())
        await hub.start()
        for n in range(8):
            await send(hub, "http:a", b"m v=1", key=f"k{n}")
        await hub.settle()
        hub.ledger.keys.forget(NOW)
        table = sqlite3.connect(tmp_path / "hub.db")
        assert table.execute("SELECT count(*) FROM idempotency_key").fetchone() == (5,)
        hub.ledger.keys.forget(NOW + keys.KEPT_NS + 1)
        assert table.execute("SELECT count(*) FROM idempotency_key").fetchone() == (0,)
        table.close()
        await hub.stop()

    asyncio.run(scenario())


def test_events_are_there_after_a_death_and_each_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        for n in range(4):
            hub = hub_on(tmp_path, store)
            await hub.start()
            await send(hub, "syslog:h", f"event number {n}".encode(), "said")
            if n == 1:
                await hub.settle()
            await bury(hub)
        hub = hub_on(tmp_path, store)
        await hub.start()
        found = await hub.read_events(0, NOW + NS)
        assert sorted(one.text for one in found) == [f"number {n}" for n in range(4)]
        app, other = ([parse_selector(f'{{app="{name}"}}')] for name in ("test", "other"))
        assert len(await hub.read_events(0, NOW + NS, app, 3)) == 3
        assert await hub.read_events(0, NOW + NS, other) == []
        one = await line(hub, "syslog:h")
        assert (one.received, one.stored, one.events, one.rows) == (4, 4, 4, 0)
        holds(await hub.account(), store)
        await hub.stop()

    asyncio.run(scenario())


def test_metadata_outlives_the_hub_and_the_last_one_wins(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        for unit in ("bar", "Pa", "Pa"):
            hub = hub_on(tmp_path, store)
            await hub.start()
            await send(hub, "http:a", f"unit pump {unit}".encode(), "said")
            await bury(hub)
        hub = hub_on(tmp_path, store)
        await hub.start()
        assert hub.metadata.of(hub.index.find([b"pump"])[0]) == Metadata("Pa", "gauge", "the pump")
        assert hub.metadata.by_name() == {"pump": [Metadata("Pa", "gauge", "the pump")]}
        assert hub.metadata.of(99) == Metadata()
        assert hub.metadata.changes({Series.of("not_there", host="a").key: Metadata("m")}) == []
        await hub.stop()

    asyncio.run(scenario())


def test_figures_are_the_same_after_they_were_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_FOLD", 3)

    def opened() -> Ledger:
        return Ledger(lambda: sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False))

    one = opened()
    numbers = [one.names.number(f"a:{n}") for n in range(4)]
    for seq in range(1, 9):
        notes = Notes(np.array(numbers[:3], np.int32), np.array([seq, 0, 2], np.int32), seq, ((numbers[3], "bad", 1),))
        one.names.keep()
        one.count(seq, [notes], NOTHING_ODD)
    expected = {s.name: (s.received, s.stored, s.first_ns, s.last_ns, s.payloads, s.rejected) for s in one.statuses()}
    assert expected["a:0"] == (36, 36, 1, 8, 8, {})
    assert expected["a:3"] == (8, 0, 0, 0, 0, {"bad": 8})
    again = opened()
    assert {
        s.name: (s.received, s.stored, s.first_ns, s.last_ns, s.payloads, s.rejected) for s in again.statuses()
    } == expected
    assert again.counted == 8
    assert again.by_kind()["a", "stored"] == 36 + 16


def test_reasons_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_REASONS", 3)
    total = Figures()
    for n in range(9):
        table = np.zeros((1, len(ledger.FIGURES)), np.int64)
        total.add(Figures(np.array([HUB], np.int32), table, {("rejected", HUB, f"reason {n}"): 1}))
    assert sum(total.reasons.values()) == 9
    assert {reason for *_, reason in total.reasons} == {"reason 0", "reason 1", "reason 2", "other"}


def test_what_judging_makes_is_the_hubs(tmp_path: Path) -> None:
    async def scenario() -> None:
        store = Disk()
        hub = hub_on(tmp_path, store)
        await hub.start()
        await hub.commit(rows("x", [NOW - 5, NOW], [1.0, 2.0]))
        assert (await line(hub, "hub:judged")).stored == 2
        kinds = {s.labels: s.value for s in hub.counters.snapshot() if s.name == "almenara_ledger_rows_total"}
        assert kinds[("outcome", "stored"), ("source_kind", "hub")] == 2
        await hub.stop()

    asyncio.run(scenario())
