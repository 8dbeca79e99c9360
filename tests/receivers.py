"""Real HTTP servers and others that notifiers tell things to, on loopback, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PEERS = sorted(map(str, Path(__file__).parent.glob("peers/*/bin")))
PROGRAM_FOLDERS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", *PEERS])


@dataclass
class Heard:
    """What an HTTP server heard, and what it answers: a status line and more headers, without a line's end."""

    answer: bytes = b"200 OK"
    body: bytes = b""
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)  # head, body
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def http_server(answer: bytes = b"200 OK", body: bytes = b"") -> AsyncIterator[Heard]:
    """A server that answers every request in the same way."""
    heard = Heard(answer, body)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            lengths = [x.split(b":")[1] for x in head.split(b"\r\n") if x.lower().startswith(b"content-length")]
            heard.requests.append((head, await reader.readexactly(int(lengths[0]) if lengths else 0)))
            size = b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(heard.body)
            writer.write(b"HTTP/1.1 " + heard.answer + size + heard.body)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        heard.port = server.sockets[0].getsockname()[1]
        yield heard


def program(name: str) -> str:
    """Where an installed program is."""
    found = shutil.which(name, path=PROGRAM_FOLDERS)
    assert found is not None, name
    return found


@contextlib.contextmanager
def running(command: Sequence[str], ready: Callable[[], object], folder: Path, seconds: float = 60.0) -> Iterator[None]:
    """A program that runs until the block ends, begun once it is ready; what it says is in `folder`/said."""
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, cwd=folder)
    try:
        wait_for(ready, seconds, lambda: (folder / "said").read_text(errors="replace")[-2000:])
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(condition: Callable[[], object], seconds: float = 60.0, why: Callable[[], str] = str) -> None:
    """Wait until a condition holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, why() or "the condition did not come true in time"
        time.sleep(0.02)


def listens(port: int) -> bool:
    """Does somebody listen there?"""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
