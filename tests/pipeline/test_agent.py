"""Rules of the agent's inside: what it says of itself, what it does with too much, and with collectors that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from almenara.codecs.json import Json
from almenara.model.batch import Batch
from almenara.model.errors import AlmenaraError
from almenara.model.series import Series, SeriesTable
from almenara.pipeline.agent import Agent, data_topic
from almenara.pipeline.spool import Spool
from almenara.plugin.contracts import Context, Packet
from almenara.transports.mqtt import Mqtt
from brokers import embedded, reading, until


class Given:
    """Yields what it is given, then nothing more."""

    def __init__(self, *batches: Batch | Exception) -> None:
        self.left = list(batches)

    async def batches(self) -> AsyncIterator[Batch]:
        while self.left:
            one = self.left.pop(0)
            if isinstance(one, Exception):
                raise one
            yield one
        await asyncio.Event().wait()


def one_row(value: float, **labels: str) -> Batch:
    return Batch.of([(Series.of("x", **labels), 1_700_000_000_000_000_000, value)])


def values(heard: list[Packet], name: str) -> list[float]:
    """Values of all series of this name, in order of arrival."""
    rows = [json.loads(line) for packet in heard for line in packet.payload.splitlines()]
    return [row["value"] for row in rows if row["metric"]["__name__"] == name]


def last_figure(heard: list[Packet], name: str, **labels: str) -> float | None:
    found = None
    for packet in heard:
        for row in map(json.loads, packet.payload.splitlines()):
            if row["metric"]["__name__"] == name and labels.items() <= row["metric"].items():
                found = row["value"]
    return found


def with_hub(
    tmp_path: Path,
    collectors: dict[str, Any],
    work: Callable[[Agent, Spool, list[Packet]], Awaitable[None]],
    spool: Spool | None = None,
) -> None:
    """Run an agent that sends to the embedded broker while `work` looks on."""
    spool = spool or Spool(tmp_path / "spool")

    async def run() -> None:
        bus = embedded(tmp_path / "hub")
        async with reading(bus) as heard:
            agent = Agent("a", collectors, spool, Mqtt(url=f"mqtt://{bus.address}"), figures_every_s=0.25)
            stop = asyncio.Event()
            running = asyncio.create_task(agent.run(stop))
            await work(agent, spool, heard)
            stop.set()
            assert await asyncio.wait_for(running, 60) == 0

    asyncio.run(run())
    spool.close()


def test_its_own_figures_are_series(tmp_path: Path) -> None:
    async def look(agent: Agent, spool: Spool, heard: list[Packet]) -> None:
        await until(lambda: (last_figure(heard, "puma_sent_total", host="a") or 0) >= 2)
        assert {p.topic for p in heard} == {"puma/a"}
        assert last_figure(heard, "puma_collected_rows_total", host="a", collector="given") == 1
        assert last_figure(heard, "puma_spool_dropped_total", host="a", reason="spool_full") == 0
        assert (last_figure(heard, "puma_spool_bytes", host="a") or 0) > 0
        assert last_figure(heard, "puma_spool_waiting", host="a") == 0
        assert last_figure(heard, "puma_connections_total", host="a") == 1

    with_hub(tmp_path, {"given": Given(one_row(1.0))}, look)


def test_what_overflowed_while_the_link_was_down_is_a_series(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", 1 << 17)
    for i in range(500):
        spool.put("puma/a", Json().encode(one_row(float(i), filler="x" * 500)))
    lost = spool.dropped["spool_full"]

    async def look(agent: Agent, spool: Spool, heard: list[Packet]) -> None:
        await until(lambda: last_figure(heard, "puma_spool_dropped_total", reason="spool_full") == lost)
        assert values(heard, "x") == list(map(float, range(lost, 500)))

    assert 200 < lost < 400
    with_hub(tmp_path, {}, look, spool)


def test_a_large_batch_is_sent_in_pieces(tmp_path: Path) -> None:
    batch = Batch.of((Series.of("x", filler="y" * 3000), i, float(i)) for i in range(4321))

    async def look(agent: Agent, spool: Spool, heard: list[Packet]) -> None:
        await until(lambda: len(values(heard, "x")) == 4321)
        assert values(heard, "x") == list(map(float, range(4321)))
        assert max(len(p.payload) for p in heard) <= 120_000
        assert len(heard) > 13_000_000 / 120_000

    with_hub(tmp_path, {"given": Given(batch)}, look)


def test_a_row_that_no_broker_takes_is_left_out_and_counted(tmp_path: Path) -> None:
    batch = Batch.of([(b"x", 1, 1.0), (b"x\xffl\xfe" + b"y" * (2 << 20), 2, 2.0), (b"x", 3, 3.0)])

    async def look(agent: Agent, spool: Spool, heard: list[Packet]) -> None:
        await until(lambda: last_figure(heard, "puma_spool_dropped_total", reason="too_large") == 1)
        assert values(heard, "x") == [1.0, 3.0]

    with_hub(tmp_path, {"given": Given(batch)}, look)


@pytest.mark.parametrize("error", [AlmenaraError("gone"), OSError("gone"), NotImplementedError("gone")])
def test_a_collector_that_fails_is_begun_again_and_hinders_no_other(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    failing, fine = Given(one_row(1.0), error, one_row(2.0)), Given(one_row(3.0))

    async def look(agent: Agent, spool: Spool, heard: list[Packet]) -> None:
        await until(lambda: sorted(values(heard, "x")) == [1.0, 2.0, 3.0])
        await until(lambda: last_figure(heard, "puma_collect_failed_total", collector="failing") == 1)

    with_hub(tmp_path, {"failing": failing, "fine": fine}, look)
    assert "collector failing: gone; tried again in 1 s" in caplog.text


def test_rows_come_out_of_the_hubs_decoder_as_they_went_in() -> None:
    series = Series.of("disk_used_percent", host='a "b" \\ ü', path="/a b")
    batch = Batch(SeriesTable.of([series]), [0, 0], [1_700_000_000_123_456_789, 1], [0.1, float("nan")])
    context = Context(topic=data_topic("a"), received_ns=5)
    decoded = Json().decode(Json().encode(batch), context)
    assert list(decoded.batch.series) == [series]
    assert list(decoded.batch.time) == [1_700_000_000_123_456_789, 1]
    assert decoded.batch.value[0] == 0.1
    assert decoded.rejected == []


def test_the_topic_is_one_level_of_plain_letters() -> None:
    assert data_topic("web-1") == "puma/web-1"
    assert data_topic("web 1/#") != data_topic("web 1/+")
    assert data_topic("web 1/#").startswith("puma/web-1-")
