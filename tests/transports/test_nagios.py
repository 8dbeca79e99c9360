"""Spools and growing files: nothing before it is whole, gone only once it is kept, the same pieces after a kill."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from almenara.model.errors import ConfigError, DecodeError
from almenara.plugin.contracts import Outcome, Packet
from almenara.transports import _spool
from almenara.transports.nagios import Nagios

LINE = b"DATATYPE::SERVICEPERFDATA\tTIMET::1700000000\tHOSTNAME::h\tSERVICEDESC::s\tSERVICEPERFDATA::a=1\n"


def link(folder: Path, **options: object) -> Nagios:
    spool = folder / "spool"
    spool.mkdir(exist_ok=True)
    given = {"spool": spool, "poll_s": 0.05, "folder": folder / "notes"} | options
    return Nagios(**given)  # type: ignore[arg-type]


class Hub:
    """Takes packets of a link and answers them, as the pipeline does."""

    def __init__(self, one: Nagios) -> None:
        self.link, self.got = one, [[]]
        self.answer = Outcome(1)

    def payloads(self) -> list[bytes]:
        return [packet.payload for packet in self.packets]

    async def take(self, packets: Sequence[Packet]) -> None:
        self.packets += packets
        for packet in packets:
            packet.done(self.answer)

    async def __aenter__(self) -> Hub:
        self.packets: list[Packet] = []

        async def run() -> None:
            async for packets in self.link.receive():
                await self.take(packets)

        self.task = asyncio.create_task(run())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.link.close()
        await asyncio.wait_for(self.task, 60)


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.01)


def run(case: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(case())  # type: ignore[arg-type]


def test_a_file_goes_once_it_is_committed(tmp_path: Path) -> None:
    async def case() -> None:
        one = link(tmp_path)
        file = tmp_path / "spool" / "service-perfdata.1"
        file.write_bytes(LINE)
        async with Hub(one) as hub:
            await until(lambda: not file.exists())
        (packet,) = hub.packets
        assert (packet.payload, packet.codec, packet.source) == (LINE, "nagios_perfdata", f"nagios:{file.parent}")
        assert packet.key

    run(case)


def test_a_file_stays_while_the_hub_has_not_committed_it(tmp_path: Path) -> None:
    async def case() -> None:
        one = link(tmp_path)
        file = tmp_path / "spool" / "service-perfdata.1"
        file.write_bytes(LINE)
        receiving = aiter(one.receive())
        (packet,) = await asyncio.wait_for(anext(receiving), 60)
        after = asyncio.ensure_future(anext(receiving, None))
        await asyncio.sleep(0.2)
        assert file.exists()
        packet.done(Outcome(1))
        await until(lambda: not file.exists())
        await one.close()
        assert await asyncio.wait_for(after, 60) is None

    run(case)


def test_the_same_pieces_come_again_under_the_same_keys_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_spool, "PIECE_BYTES", 300)

    async def case() -> None:
        file = tmp_path / "spool" / "service-perfdata.1"
        file.parent.mkdir()
        file.write_bytes(b"".join(LINE.replace(b"a=1", b"a=%d" % n) for n in range(50)))
        keys = []
        for _ in range(2):
            receiving = aiter(link(tmp_path).receive())
            packets = await asyncio.wait_for(anext(receiving), 60)
            await receiving.aclose()  # type: ignore[attr-defined]
            assert b"".join(p.payload for p in packets) == file.read_bytes()
            assert all(p.payload.endswith(b"\n") and len(p.payload) <= 300 for p in packets)
            keys.append([p.key for p in packets])
        assert keys[0] == keys[1]
        assert len(set(keys[0])) == len(keys[0]) > 10

    run(case)


@pytest.mark.parametrize("done", [True, False])
def test_what_is_written_to_a_file_after_it_was_read_is_read_too(tmp_path: Path, done: bool) -> None:
    """Nagios closes a file before it moves it; others, such as a rotation by copies of its command, may not."""

    async def case() -> None:
        one = link(tmp_path, done=tmp_path / "done" if done else None)
        file = tmp_path / "spool" / "service-perfdata.1"
        with file.open("ab", buffering=0) as writing:
            writing.write(LINE)
            receiving = aiter(one.receive())
            (first,) = await asyncio.wait_for(anext(receiving), 60)
            writing.write(b"2" + LINE)
            after = asyncio.ensure_future(anext(receiving))
            first.done(Outcome(1))
            (second,) = await asyncio.wait_for(after, 60)
        assert (first.payload, second.payload) == (LINE, b"2" + LINE)
        after = asyncio.ensure_future(anext(receiving, None))
        second.done(Outcome(1))
        await until(lambda: not list((tmp_path / "spool").iterdir()))
        await one.close()
        await asyncio.wait_for(after, 60)
        if done:
            assert (tmp_path / "done" / file.name).read_bytes() == LINE + b"2" + LINE

    run(case)


def test_a_file_that_took_the_name_of_one_that_was_read_stays_and_is_read(tmp_path: Path) -> None:
    async def case() -> None:
        one = link(tmp_path, done=tmp_path / "done")
        file = tmp_path / "spool" / "service-perfdata.1"
        file.write_bytes(LINE)
        receiving = aiter(one.receive())
        (first,) = await asyncio.wait_for(anext(receiving), 60)
        file.rename(tmp_path / "spool" / "service-perfdata.1.~1~")  # as `mv --backup` does
        file.write_bytes(b"2" + LINE)
        after = asyncio.ensure_future(anext(receiving))
        first.done(Outcome(1))
        packets = list(await asyncio.wait_for(after, 60))
        while len(packets) < 2:
            after = asyncio.ensure_future(anext(receiving))
            packets[-1].done(Outcome(1))
            packets += await asyncio.wait_for(after, 60)
        assert sorted(p.payload for p in packets) == [b"2" + LINE, LINE]
        assert next(p.key for p in packets if p.payload == LINE) == first.key  # so the hub knows it
        for packet in packets:
            packet.done(Outcome(1))
        after = asyncio.ensure_future(anext(receiving, None))
        await until(lambda: not list((tmp_path / "spool").iterdir()))
        await one.close()
        await asyncio.wait_for(after, 60)
        assert len(list((tmp_path / "done").iterdir())) == 2

    run(case)


def test_a_file_that_was_being_taken_away_at_a_kill_comes_again_under_its_key(tmp_path: Path) -> None:
    async def case() -> None:
        one = link(tmp_path)
        (tmp_path / "spool" / ".service-perfdata.1.taken").write_bytes(LINE)
        async with Hub(one) as hub:
            await until(lambda: not list((tmp_path / "spool").iterdir()))
        (packet,) = hub.packets
        assert packet.key == _spool.key_of(0, LINE)

    run(case)


def test_a_file_in_done_is_never_overwritten(tmp_path: Path) -> None:
    async def case() -> None:
        one = link(tmp_path, done=tmp_path / "done")
        file = tmp_path / "spool" / "service-perfdata.1"
        async with Hub(one):
            for text in (LINE, b"2" + LINE, b"3" + LINE):
                file.write_bytes(text)
                await until(lambda: not file.exists())
        assert sorted(p.read_bytes() for p in (tmp_path / "done").iterdir()) == [b"2" + LINE, b"3" + LINE, LINE]

    run(case)


def test_a_file_is_not_read_while_it_is_written(tmp_path: Path) -> None:
    async def case() -> None:
        one = link(tmp_path)
        file = tmp_path / "spool" / "service-perfdata.1"
        async with Hub(one) as hub:
            with file.open("ab", buffering=0) as writer:
                for n in range(20):
                    writer.write(LINE[:30] if n % 2 == 0 else LINE[30:])
                    await asyncio.sleep(0.02)
            await until(lambda: not file.exists())
        assert b"".join(hub.payloads()) == LINE * 10
        assert hub.payloads() == [LINE * 10]

    run(case)


def test_only_names_of_the_pattern_are_touched(tmp_path: Path) -> None:
    async def case() -> None:
        one = link(tmp_path)
        spool = tmp_path / "spool"
        others = [
            spool / "service-perfdata",
            spool / "retention.dat",
            spool / ".host-perfdata.1",
            spool / "x.unreadable",
        ]
        for path in others:
            path.write_bytes(LINE)
        (spool / "a-perfdata.d").mkdir()
        (spool / "b-perfdata.1").symlink_to(spool / "retention.dat")
        (spool / "host-perfdata.1").write_bytes(LINE)
        async with Hub(one) as hub:
            await until(lambda: not (spool / "host-perfdata.1").exists())
        assert len(hub.packets) == 1
        assert all(path.exists() for path in others)

    run(case)


def test_empty_files_go_and_read_ones_move_where_they_should(tmp_path: Path) -> None:
    async def case() -> None:
        one = link(tmp_path, done=tmp_path / "done")
        spool = tmp_path / "spool"
        (spool / "host-perfdata.1").touch()
        (spool / "host-perfdata.2").write_bytes(LINE)
        async with Hub(one):
            await until(lambda: not list(spool.iterdir()))
        assert (tmp_path / "done" / "host-perfdata.2").read_bytes() == LINE

    run(case)


def test_a_file_in_which_nothing_can_be_read_stays_under_another_name(tmp_path: Path) -> None:
    async def case() -> None:
        one = link(tmp_path)
        file = tmp_path / "spool" / "service-perfdata.1"
        file.write_bytes(b"rubbish\n")
        hub = Hub(one)
        hub.answer = Outcome(error=DecodeError("no"))
        async with hub:
            await until(lambda: not file.exists())
            await asyncio.sleep(0.2)
        assert file.with_name("service-perfdata.1.unreadable").read_bytes() == b"rubbish\n"
        assert len(hub.packets) == 1

    run(case)


def test_a_missing_folder_is_said_and_found_once_it_is_there(tmp_path: Path) -> None:
    async def case() -> None:
        one = Nagios(spool=tmp_path / "later", poll_s=0.05)
        async with Hub(one) as hub:
            await until(lambda: "No such file" in one.problem)
            (tmp_path / "later").mkdir()
            (tmp_path / "later" / "perfdata.1").write_bytes(LINE)
            await until(lambda: hub.packets and not one.problem)

    run(case)


def test_a_growing_file_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    async def case() -> None:
        file = tmp_path / "service-perfdata"
        one = Nagios(follow=[file], poll_s=0.05, folder=tmp_path / "notes")
        async with Hub(one) as hub:
            with file.open("ab", buffering=0) as writer:
                writer.write(LINE + LINE[:20])
                await until(lambda: hub.payloads() == [LINE])
                writer.write(LINE[20:])
                await until(lambda: hub.payloads() == [LINE, LINE])
        assert file.read_bytes() == LINE * 2

    run(case)


def test_a_growing_file_goes_on_where_it_was_kept_and_what_was_on_its_way_comes_again(tmp_path: Path) -> None:
    async def case() -> None:
        file = tmp_path / "service-perfdata"
        make = lambda: Nagios(follow=[file], poll_s=0.05, folder=tmp_path / "notes")  # noqa: E731
        file.write_bytes(LINE)
        async with Hub(make()) as hub:
            await until(lambda: len(hub.packets) == 1)
        file.write_bytes(LINE + b"2" + LINE)
        receiving = aiter(make().receive())
        (lost,) = await asyncio.wait_for(anext(receiving), 60)
        await receiving.aclose()  # type: ignore[attr-defined]
        file.write_bytes(LINE + b"2" + LINE + b"3" + LINE)  # in place: the same file with more in it
        async with Hub(make()) as hub:
            await until(lambda: len(hub.packets) == 2)
        assert hub.payloads() == [b"2" + LINE, b"3" + LINE]
        assert hub.packets[0].key == lost.key

    run(case)


@pytest.mark.parametrize("how", ["rename", "truncate", "delete"])
def test_a_growing_file_that_begins_anew_is_read_from_its_begin(tmp_path: Path, how: str) -> None:
    async def case() -> None:
        file = tmp_path / "service-perfdata"
        one = Nagios(follow=[file], poll_s=0.05, folder=tmp_path / "notes")
        file.write_bytes(b"1" + LINE)
        async with Hub(one) as hub:
            await until(lambda: len(hub.packets) == 1)
            if how == "rename":
                with file.open("ab") as writer:
                    writer.write(b"rest" + LINE)
                file.rename(tmp_path / "service-perfdata.old")
                file.write_bytes(b"2" + LINE + LINE)
            elif how == "truncate":
                os.truncate(file, 0)
                with file.open("ab") as writer:
                    writer.write(b"2" + LINE + LINE)
            else:
                file.unlink()
                file.write_bytes(b"2" + LINE + LINE)  # it may well get the number of the file that is gone
            await until(lambda: any(p.endswith(b"2" + LINE + LINE) for p in hub.payloads()))
        between = [b"rest" + LINE] if how == "rename" else []
        assert b"".join(hub.payloads()) == b"".join([b"1" + LINE, *between, b"2" + LINE + LINE])

    run(case)


def test_options_that_make_no_sense_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="spool"):
        Nagios()
    with pytest.raises(ConfigError, match="without a folder"):
        Nagios(spool=tmp_path, pattern="a/b")
