"""Tells systemd how a service of `Type=notify` is doing: datagrams to the socket that it names in the environment.

Source: sd_notify(3). Without that variable nothing is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable


def notify(*lines: str) -> None:
    """Say something, such as "READY=1"; what cannot be said is not."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    address = "\0" + path[1:] if path[0] == "@" else path  # a name in the abstract namespace
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
        to.setblocking(False)
        to.sendto("\n".join(lines).encode(), address)


def watchdog_s() -> float:
    """How long systemd waits for a sign of life before it restarts the service; 0: it does not."""
    pid = os.environ.get("WATCHDOG_PID", "")
    us = os.environ.get("WATCHDOG_USEC", "")
    return int(us) / 1e6 if us.isdecimal() and pid in ("", str(os.getpid())) else 0.0


async def keep_alive(is_alive: Callable[[], bool]) -> None:
    """Give signs of life, from the loop, as long as there is life in the rest; for ever."""
    every_s = watchdog_s() / 2
    while every_s:
        if is_alive():
            notify("WATCHDOG=1")
        await asyncio.sleep(every_s)
