"""What links that listen on a port share: a bounded queue, TCP and UDP servers with limits, and what was dropped.

A link yields what arrived as packets, all that wait at a time. While the hub does not take them, nothing more is read:
TCP senders are held up by their own connection, and datagrams wait in the kernel, which drops and counts what it cannot
hold (`/proc/net/udp`). All that never became a packet is counted in `dropped` under a short fixed reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Annotated

from almenara.model.errors import BusError, ConfigError, PluginError, PortTaken, Problem
from almenara.plugin.contracts import Packet
from almenara.plugin.options import Must
from almenara.transports._inbox import Inbox

#: Bytes read from a connection at a time.
READ_BYTES = 128 << 10

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter, str], Awaitable[None]]


def split_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:2003` or `[::1]:2003` as host and port. Raises ValueError."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\[\]]+)):(\d{1,5})", text)
    if match is None or int(match[3]) > 65535:
        raise ValueError(f"{text!r} is no address; expected HOST:PORT such as 127.0.0.1:2003")
    return match[1] or match[2], int(match[3])


def _is_address(text: str) -> bool:
    try:
        split_address(text)
    except ValueError:
        return False
    return True


Address = Annotated[str, Must("HOST:PORT, such as 127.0.0.1:2003", _is_address)]
OptionalAddress = Annotated[str, Must("HOST:PORT, such as 127.0.0.1:2003", lambda text: not text or _is_address(text))]


class Listener:
    """The base of links that listen; a subclass writes `_open`, which begins to listen.

    Options:
        listen: Where to listen; only this machine can reach the default.
        allow: Networks, such as "10.0.0.0/8", whose machines may send; empty: every machine that can reach it.
    """

    #: Whether senders wait for an answer and send again where the hub did not take their payload.
    answers = False
    scheme = "link"  # the first part of a source's name

    def __init__(self, listen: str, allow: Sequence[str], clock: Callable[[], int]) -> None:
        self.host, self.port = split_address(listen)
        self.dropped: Counter[str] = Counter()  # what never became a packet, by reason; it only grows
        self.problem = ""  # what its senders do wrong, in words; empty while all is well
        self.addresses: list[str] = []  # where it listens now, such as "tcp 127.0.0.1:2003"
        self._clock = clock
        self._networks = [_network(text) for text in allow]
        self._inbox = Inbox()
        self._closers: list[Callable[[], object]] = []
        self._failure: BaseException | None = None  # of what runs beside

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """Listen, and give what arrives, all that waits at a time. Raises PortTaken, BusError."""
        self._inbox = Inbox()
        try:
            await self._open()
            while packets := await self._inbox.take():
                yield packets
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
        finally:
            self._stop_listening()

    async def _open(self) -> None:
        raise NotImplementedError

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """This link only receives. Raises PluginError."""
        raise PluginError(f"{type(self).__name__.lower()} only receives; choose another link to send {topic!r}")

    async def close(self) -> None:
        """Listen no more, hang up, end `receive`."""
        self._stop_listening()

    def _stop_listening(self) -> None:
        for close in reversed(self._closers):
            close()
        self._closers.clear()
        self.addresses.clear()
        self._inbox.close()

    def allowed(self, host: str) -> bool:
        """Whether a machine may send."""
        if not self._networks:
            return True
        address = ipaddress.ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)

    def source(self, host: str) -> str:
        """The name of a sender in the ledger."""
        return f"{self.scheme}:{host}"

    def now(self) -> int:
        """The hub's time, ns."""
        return self._clock()

    async def put(self, packet: Packet) -> None:
        """Hand on a packet; waits while too much waits already."""
        await self._inbox.put(packet)

    def add(self, packet: Packet) -> None:
        """Hand on a packet made of datagrams, which are read only while there is room."""
        self._inbox.add(packet)

    async def _serve_tcp(self, handler: Handler, max_connections: int) -> None:
        """Call `handler` for each connection, and hang up when it is done."""
        peers: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            host = str(writer.get_extra_info("peername")[0])
            if len(peers) >= max_connections or not self.allowed(host) or task is None:
                self.dropped["not_allowed" if not self.allowed(host) else "too_many_connections"] += 1
                writer.transport.abort()
                return
            peers.add(task)
            try:
                with contextlib.suppress(OSError):  # the connection broke, or nothing could be written in time
                    await handler(reader, writer, host)
            except asyncio.CancelledError:
                pass  # we listen no more; the server would log this as an error
            finally:
                peers.discard(task)
                writer.close()

        with _bind_errors(self.host, self.port):
            server = await asyncio.start_server(connected, self.host, self.port, limit=READ_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self.addresses.append(f"tcp {self.host}:{self.port}")

        def stop() -> None:
            server.close()
            for task in list(peers):
                task.cancel()

        self._closers.append(stop)

    def _beside(self, work: Coroutine[None, None, None]) -> None:
        """Run something while we listen; where it fails, `receive` does."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and task.exception() is not None:
                self._failure = task.exception()
                self._inbox.close()

        task = asyncio.create_task(work)
        task.add_done_callback(ended)
        self._closers.append(task.cancel)

    def _serve_udp(self, take: Callable[[str, list[bytes]], None]) -> None:
        """Give `take` the datagrams of each sender that wait at a time."""
        server = Datagrams(self, self._inbox, take)
        self.addresses.append(f"udp {self.host}:{self.port}")
        self._closers.append(server.close)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError([Problem("allow", f"must be a network such as 10.0.0.0/8; got {text!r}")]) from error


@contextlib.contextmanager
def _bind_errors(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host, port) from error
        raise BusError(f"{host}:{port}: cannot listen there: {error.strerror or error}") from error


#: Datagrams read at a time before others have their turn, and the buffer asked of the kernel.
_BURST = 250
_KERNEL_BYTES = 4 << 20
_WATCH_S = 2.0


class Datagrams:
    """A UDP socket read in bursts; it is not read while the hub takes nothing."""

    def __init__(self, link: Listener, inbox: Inbox, take: Callable[[str, list[bytes]], None]) -> None:
        self._link, self._inbox, self._take = link, inbox, take
        self._loop = asyncio.get_running_loop()
        self._kernel_drops = 0
        with _bind_errors(link.host, link.port):
            family, kind, protocol, _, address = socket.getaddrinfo(
                link.host, link.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
            )[0]
            self._socket = socket.socket(family, kind, protocol)
            try:
                self._socket.bind(address)
            except OSError:
                self._socket.close()
                raise
        link.port = self._socket.getsockname()[1]
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
        self._loop.add_reader(self._socket, self._read)
        self._watch = self._loop.call_later(_WATCH_S, self._look)

    def _read(self) -> None:
        found: dict[str, list[bytes]] = {}
        for _ in range(_BURST):
            try:
                payload, (host, *_) = self._socket.recvfrom(65_536)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:  # an answer of ours met a closed port; it says nothing of what comes
                continue
            found.setdefault(host, []).append(payload)
        for host, payloads in found.items():
            if self._link.allowed(host):
                self._take(host, payloads)
            else:
                self._link.dropped["not_allowed"] += len(payloads)
        if self._inbox.full:
            self._loop.remove_reader(self._socket)
            self._inbox.when_room(self._resume)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._read)

    def _look(self) -> None:
        """Count what the kernel dropped because it was not read in time."""
        drops = kernel_drops(self._socket)
        if drops > self._kernel_drops:
            self._link.dropped["kernel_queue_full"] += drops - self._kernel_drops
            self._kernel_drops = drops
        self._watch = self._loop.call_later(_WATCH_S, self._look)

    def close(self) -> None:
        """Read no more."""
        self._watch.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()


def kernel_drops(udp: socket.socket) -> int:
    """Datagrams that the kernel dropped for this socket; 0 where the system does not tell."""
    table = "/proc/net/udp6" if udp.family == socket.AF_INET6 else "/proc/net/udp"
    inode = str(os.fstat(udp.fileno()).st_ino)
    try:
        with open(table, encoding="ascii") as file:
            for line in file:
                columns = line.split()
                if len(columns) > 12 and columns[9] == inode:
                    return int(columns[12])
    except (OSError, ValueError):
        pass
    return 0


async def read_some(reader: asyncio.StreamReader, idle_s: float) -> bytes:
    """What a connection brings next; empty at its end, or where nothing came for `idle_s`."""
    try:
        async with asyncio.timeout(idle_s):
            return await reader.read(READ_BYTES)
    except TimeoutError:
        return b""


async def read_exactly(reader: asyncio.StreamReader, size: int, timeout_s: float) -> bytes:
    """So many bytes; empty where the connection ends or nothing comes in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await reader.readexactly(size)
    except (TimeoutError, asyncio.IncompleteReadError):
        return b""


def ask(loop: asyncio.AbstractEventLoop) -> tuple[asyncio.Future, Callable[[object], None]]:
    """A future, and a `done` for a packet that answers it from any thread."""
    answer: asyncio.Future = loop.create_future()

    def tell(outcome: object) -> None:
        if not answer.done():
            answer.set_result(outcome)

    def done(outcome: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits
            loop.call_soon_threadsafe(tell, outcome)

    return answer, done
