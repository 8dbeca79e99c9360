"""Rules of speaking to systemd, over the socket that it would give."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from almenara.cli._systemd import keep_alive, notify, watchdog_s


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    name = str(tmp_path / "notify") if request.param == "path" else f"@almenara-test-{os.getpid()}"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind("\0" + name[1:] if name[0] == "@" else name)
    listening.settimeout(60)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    yield listening
    listening.close()


def test_it_says_when_it_is_ready(systemd: socket.socket) -> None:
    notify("READY=1", "STATUS=here")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=here"


def test_signs_of_life_come_twice_as_often_as_asked_and_only_from_the_living(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    asked: list[None] = []

    async def story() -> None:
        task = asyncio.create_task(keep_alive(lambda: (asked.append(None), len(asked) < 3)[1]))
        async with asyncio.timeout(60):
            while len(asked) < 5:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
    assert [systemd.recv(1000), systemd.recv(1000)] == [b"WATCHDOG=1"] * 2
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(1000)


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    notify("READY=1")
    asyncio.run(asyncio.wait_for(keep_alive(lambda: True), 60))


def test_a_watchdog_of_another_process_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert watchdog_s() == 0
