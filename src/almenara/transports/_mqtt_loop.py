"""Drives a paho client in a thread of its own: connects, reads, writes, and connects again with growing pauses.

paho's own loop waits with select(), which takes no descriptor past 1023; a hub with many clients has more. Here a
selector of the system waits (epoll, kqueue), and the connection is a `Link`.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import paho.mqtt.client as paho

from almenara.transports._mqtt_link import Link, Published

_MISC_S = 1.0  # how often paho looks at its keepalive, where that is not short
_GATHER_S = 0.002  # a broker sends message by message: while they come fast, each read waits for some more
_STOP_S = 8.0  # longest wait for a thread that is in the middle of connecting


class Reader(Protocol):
    """Who gets what comes. All of it is called by the loop's thread."""

    def arrived(self, link: Link, messages: Sequence[Published]) -> None:
        """Messages of one read."""

    def is_full(self) -> bool:
        """Whether reading must wait; `Loop.wake` tells when it need not any more."""

    def cannot_connect(self, error: Exception) -> None:
        """Nobody answers, or TLS failed."""


class Client(paho.Client):
    """paho's client on a `Link`: the one place of paho that is replaced."""

    def __init__(self, wake: Callable[[], None], tls: ssl.SSLContext | None, **options: Any):
        super().__init__(paho.CallbackAPIVersion.VERSION2, manual_ack=True, reconnect_on_failure=False, **options)
        self._wake, self._tls_context = wake, tls
        self.on_socket_register_write = lambda *_: wake()  # it leaves writing to us

    def _create_socket(self) -> Any:
        sock = socket.create_connection((self.host, self.port), self.connect_timeout)
        try:
            # Without this a small message waits up to 40 ms for the acknowledgement of the one before it (Nagle).
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls_context is not None:
                sock = self._tls_context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:  # goes on as it is; nobody else knows of the socket yet
            sock.close()
            raise
        return Link(sock, self.protocol == paho.MQTTv5, self._wake)


class Loop:
    """The thread of one client. Pauses between attempts to connect grow from `first_wait_s` to `longest_wait_s`."""

    def __init__(self, reader: Reader):
        self.first_wait_s, self.longest_wait_s = 1.0, 60.0
        self._reader = reader
        self._stopping = threading.Event()
        self._woken = False
        self._read_s = 0.0  # when messages came last
        self._thread: threading.Thread | None = None

    def start(self, client: Client) -> None:
        """Begin to connect to where `client.connect_async` said."""
        self._client = client
        self._awake, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"mqtt {client.host}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to write, or room to read; from any thread."""
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):  # the thread has ended
                self._wakes.send(b"w")

    def stop(self) -> None:
        """End the thread, after what paho has said last, such as its DISCONNECT, is written. It blocks."""
        self._stopping.set()
        if self._thread is None:
            return
        self.wake()
        self._thread.join(_STOP_S)
        if not self._thread.is_alive():
            self._awake.close()
            self._wakes.close()

    # --- the thread

    def _run(self) -> None:
        wait_s = self.first_wait_s
        while not self._stopping.is_set():
            try:
                self._client.reconnect()
            except (OSError, UnicodeError) as error:  # TLS and names that nobody knows; names that cannot be
                self._reader.cannot_connect(error)
            else:
                link: Link = self._client.socket()
                if self._serve(link):
                    wait_s = self.first_wait_s
            # Of many clients of one broker that went away not all are to come back in the same moment.
            self._stopping.wait(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            wait_s = min(2 * wait_s, self.longest_wait_s)

    def _serve(self, link: Link) -> bool:
        """Work on a connection until it is gone; says whether the broker took us."""
        accepted, turn_s = False, min(_MISC_S, self._client.keepalive / 4)
        with selectors.DefaultSelector() as selector:
            selector.register(self._awake, selectors.EVENT_READ)
            interest = selectors.EVENT_READ
            selector.register(link, interest)
            while self._client.socket() is link:
                full = self._reader.is_full()
                wanted = 0 if full else selectors.EVENT_READ
                wanted |= selectors.EVENT_WRITE if link.wants_write or self._client.want_write() else 0
                if wanted != interest:
                    interest = _change(selector, link, interest, wanted)
                ready = {key.fileobj for key, _ in selector.select(0 if link.unread and not full else turn_s)}
                if self._awake in ready:
                    self._awake.recv(64)
                    self._woken = False  # who comes later wakes us again; what was there before is done below
                self._work(link, not full and (link in ready or link.unread))
                accepted = accepted or bool(self._client.is_connected())
                if self._stopping.is_set() and not self._client.want_write() and not link.wants_write:
                    break
        if self._client.socket() is link:  # no DISCONNECT was on its way: nobody was connected
            link.close()
        return accepted

    def _work(self, link: Link, readable: bool) -> None:
        """Read, let paho work, write: whatever of it there is to do."""
        client = self._client
        if readable:
            if time.monotonic() - self._read_s < 2 * _GATHER_S:
                time.sleep(_GATHER_S)
            if messages := link.read():
                self._reader.arrived(link, messages)
                self._read_s = time.monotonic()
        while client.socket() is link and link.for_paho:
            client.loop_read()
        if client.socket() is link and client.want_write():
            client.loop_write()
        if client.socket() is link:
            link.flush()
            client.loop_misc()


def _change(selector: selectors.BaseSelector, link: Link, interest: int, wanted: int) -> int:
    """Wait for other events of a connection, or for none of it."""
    if not interest:
        selector.register(link, wanted)
    elif wanted:
        selector.modify(link, wanted)
    else:
        selector.unregister(link)
    return wanted
