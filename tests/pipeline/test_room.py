"""What a disk refuses is remembered, told, not tried at each write, and over by itself; on a real small disk."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.pipeline.faults import NOW, rows

from almenara.model.errors import DiskFull, LogUnwritable
from almenara.pipeline.hub import Options
from almenara.testing.hub import Clock, pipeline
from brokers import until
from small_disk import fill, free, small_disk

BATCH = rows("x", [NOW], [1.0])


def test_a_full_disk_is_told_until_there_is_room_though_nobody_writes(tmp_path: Path) -> None:
    async def scenario(disk: Path) -> None:
        hub = pipeline(disk / "data", clock=Clock(NOW))
        await hub.start()
        assert (await hub.commit(BATCH))[0] == 1
        fill(disk)
        with pytest.raises(DiskFull, match="no space left") as caught:  # noqa: PT012
            for _ in range(10_000):  # the last page of the log's file has some room
                await hub.commit(BATCH)
        assert hub.health() == [f"writes are refused: {caught.value}"]
        assert caught.value.retry_after_s == 5
        free(disk)
        await until(lambda: not hub.health())
        assert (await hub.commit(BATCH))[0] == 1
        await hub.stop()

    with small_disk(tmp_path / "disk", 16) as disk:
        asyncio.run(scenario(disk))


def test_while_the_disk_refuses_it_is_not_tried_at_each_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    really = os.open

    def counted(path: object, *arguments: object, **named: object) -> int:
        opened.append(str(path))
        return really(path, *arguments, **named)  # type: ignore[arg-type]

    async def scenario() -> None:
        hub = pipeline(tmp_path / "data", clock=Clock(NOW))
        await hub.start()
        (hub.folder.log).rename(tmp_path / "away")
        with pytest.raises(LogUnwritable, match="the log cannot be written: No such file"):
            await hub.commit(BATCH)
        assert "the log cannot be written: No such file" in hub.health()[0]
        monkeypatch.setattr(os, "open", counted)
        for _ in range(1000):
            with pytest.raises(LogUnwritable):
                await hub.commit(BATCH)
        assert len(opened) <= 5
        (tmp_path / "away").rename(hub.folder.log)
        await until(lambda: not hub.health())
        assert (await hub.commit(BATCH))[0] == 1
        await hub.stop()

    asyncio.run(scenario())


def test_below_the_floor_nothing_is_taken_and_above_it_all_is(tmp_path: Path) -> None:
    async def scenario(disk: Path) -> None:
        hub = pipeline(disk / "data", Options(min_free_bytes=4 << 20), clock=Clock(NOW))
        await hub.start()
        fill(disk, 3)
        await until(hub.health)
        assert "below the floor of 4 MB" in hub.health()[0]
        with pytest.raises(DiskFull, match="below the floor of 4 MB"):
            await hub.commit(BATCH)
        free(disk)
        await until(lambda: not hub.health())
        assert (await hub.commit(BATCH))[0] == 1
        await hub.stop()

    with small_disk(tmp_path / "disk", 16) as disk:
        asyncio.run(scenario(disk))
