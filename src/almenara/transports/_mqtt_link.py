"""One MQTT connection as bytes: messages are cut out of each read in bulk, all other packets are left to paho.

paho reads a message with three system calls and a dozen Python objects, and writes every acknowledgement by itself: 20
to 40 CPU seconds a million messages. Here a read of up to 256 KB is cut in one loop, and acknowledgements go out
together. What paho gets to see is a socket on which no PUBLISH of QoS 0 or 1 ever comes.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

_READ = 256 << 10
_MOST_UNSENT = 1 << 20  # bytes that wait to be written before paho is told to wait
_LAST_WORDS_S = 1.0


class Published(NamedTuple):
    """A PUBLISH of QoS 0 or 1 (MQTT 3.1.1 and 5, section 3.3)."""

    topic: bytes
    payload: bytes
    number: bytes  # the packet identifier, two bytes; empty at QoS 0
    retain: bool


class MalformedPublish(ConnectionError):
    """The broker sent a PUBLISH whose lengths do not fit."""


def cut(buffer: bytes, five: bool) -> tuple[list[Published], bytes, int, int]:
    """Complete packets of `buffer`: the messages; the bytes of all others; how many bytes are used; and how many the
    rest needs to be worth another look. Raises MalformedPublish.
    """
    found: list[Published] = []
    others: list[bytes] = []
    position, size = 0, len(buffer)
    while position + 2 <= size:
        head, length, start = buffer[position], buffer[position + 1], position + 2
        if length > 127:
            length, start = _long(buffer, position + 1)
            if not start:
                break
        if (end := start + length) > size:
            return found, b"".join(others), position, end - position
        if head & 0xF0 == 0x30 and not head & 4:  # PUBLISH, not of QoS 2
            if length < 2:
                raise MalformedPublish("a message without a topic")
            begin = start + 2
            at = begin + (buffer[start] << 8) + buffer[start + 1]
            body = at + 2 if head & 2 else at
            number = buffer[at:body]
            if five:
                properties, body = _long(buffer, body)
                body += properties
            if not begin <= body <= end:
                raise MalformedPublish("a message shorter than its topic")
            found.append(Published(buffer[begin:at], buffer[body:end], number, bool(head & 1)))
        else:
            others.append(buffer[position:end])
        position = end
    return found, b"".join(others), position, 0


def _long(buffer: bytes, at: int) -> tuple[int, int]:
    """A variable byte integer (MQTT 2.2.3) and where it ends; ends at 0 where it is not all there."""
    value = 0
    for shift in range(4):
        if at + shift >= len(buffer):
            return 0, 0
        byte = buffer[at + shift]
        value |= (byte & 127) << (7 * shift)
        if byte < 128:
            return value, at + shift + 1
    raise MalformedPublish("a length of more than four bytes")


class Link:
    """What paho takes for its socket. All but `acknowledge` is called by the one thread that drives the connection."""

    def __init__(self, sock: socket.socket, five: bool, wake: Callable[[], None]):
        self._sock, self._five, self._wake = sock, five, wake
        self._parts: list[bytes] = []  # of packets that are not complete
        self._held = self._need = 0
        self._others = bytearray()  # for paho
        self._unsent = bytearray()
        self._acknowledged: deque[bytes] = deque()
        self._tls_wants_write = False
        self.ended = False  # the other side hung up, or the connection broke

    # --- whoever is done with a message, in any thread

    def acknowledge(self, number: bytes) -> None:
        """PUBACK, soon. On a connection that is gone it does nothing: the broker sends the message again."""
        self._acknowledged.append(b"\x40\x02" + number)
        self._wake()

    # --- the thread that drives the connection

    def read(self) -> Sequence[Published]:
        """Messages that came, as many as one read brings. Sets `ended` where nothing will come any more."""
        try:
            data = self._sock.recv(_READ)
        except (BlockingIOError, ssl.SSLWantReadError):
            return ()
        except ssl.SSLWantWriteError:
            self._tls_wants_write = True
            return ()
        except OSError:
            data = b""
        self.ended = not data
        self._parts.append(data)
        self._held += len(data)
        if self._held < self._need:  # the rest of a large message: do not join it again for each piece
            return ()
        buffer = data if len(self._parts) == 1 else b"".join(self._parts)
        try:
            found, others, used, self._need = cut(buffer, self._five)
        except MalformedPublish:
            self.ended = True
            return ()
        self._parts = [buffer[used:]] if used < len(buffer) else []
        self._held = len(buffer) - used
        self._others += others
        return found

    @property
    def for_paho(self) -> bool:
        """Whether `recv` has something to give, or the end to tell of."""
        return bool(self._others) or self.ended

    @property
    def unread(self) -> bool:
        """Whether TLS holds decrypted bytes, of which no selector knows."""
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    @property
    def wants_write(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._unsent or self._acknowledged or self._tls_wants_write)

    def flush(self) -> None:
        """Write what waits, as far as the connection takes it. Sets `ended` where it broke."""
        self._tls_wants_write = False
        while self._acknowledged:
            self._unsent += self._acknowledged.popleft()
        try:
            while self._unsent:
                del self._unsent[: self._sock.send(self._unsent)]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError:
            self.ended = True

    # --- what paho calls

    def recv(self, size: int) -> bytes:
        """Bytes of packets other than messages; b"" at the end."""
        if not self._others:
            if self.ended:
                return b""
            raise BlockingIOError
        data = bytes(self._others[:size])
        del self._others[:size]
        return data

    def send(self, data: bytes) -> int:
        """Take a packet to be written by the next `flush`, whole, so that acknowledgements fall between packets."""
        if len(self._unsent) > _MOST_UNSENT:
            raise BlockingIOError
        self._unsent += data
        return len(data)

    def close(self) -> None:
        """Write what waits, such as the DISCONNECT, and hang up."""
        with contextlib.suppress(OSError):
            if self._unsent and not self.ended:
                self._sock.settimeout(_LAST_WORDS_S)
                self._sock.sendall(self._unsent)
        self.ended = True
        self._sock.close()

    def fileno(self) -> int:
        """For selectors."""
        return self._sock.fileno()

    def setblocking(self, flag: bool) -> None:
        """As of a socket."""
        self._sock.setblocking(flag)
