"""What nats-server's log says of clients that it turned away, in words that help their owners."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path

from almenara.bus.contract import ClientStatus
from almenara.model.time import HOUR_NS, ns_from_datetime

#: `[pid] 2026/11/22 03:18:27.555488 [ERR] 127.0.0.1:51368 - mid:36 - "client id" - what happened`
_LINE = re.compile(r'\[\d+\] (\S+ \S+) \[(?:ERR|WRN)\] (\S+):\d+ - mid:\d+ - "(.*?)" - (.*)')

_MOST_CLIENTS = 256
_MOST_BYTES = 256 * 1024

#: (in the log line, what is wrong, what to do); the first that is found counts
_KNOWN = (
    (
        "unacceptable protocol version",
        "asked for a version of MQTT that this broker does not speak (most likely MQTT 5)",
        "this broker speaks MQTT 3.1.1: set the client to v3.1.1 (mosquitto_pub -V mqttv311), "
        "or run Mosquitto and set [mqtt] url = ...",
    ),
    (
        "not supported for MQTT topics",
        "used a topic with a space or a control character; the broker closed the connection",
        "rename the topic, for example with _ for each space; at QoS 1 also empty the client's queue, "
        "which repeats the message",
    ),
    (
        "invalid null character",
        "used a topic with a NUL character; the broker closed the connection",
        "rename the topic; at QoS 1 also empty the client's queue, which repeats the message",
    ),
    (
        "authentication error",
        "gave a user name or password that is not right",
        "give it the user and password of this hub's [mqtt] section, or none where the section has none",
    ),
    (
        "maximum payload exceeded",
        "sent a payload over the limit; the broker closed the connection",
        "send smaller payloads; at QoS 1 also empty the client's queue, which repeats the message",
    ),
    (
        "Replacing old client",
        "took over the client id of another connection: two clients share one id, and throw each other out",
        "give each client an id of its own",
    ),
    (
        "Publish Violation",
        "published to a topic that is reserved for the broker itself; the message was dropped",
        "publish to topics that do not begin with $",
    ),
    (
        "Subscription Violation",
        "asked for a topic that is reserved for the broker itself",
        "subscribe to topics that do not begin with $",
    ),
)


class Refusals:
    """The clients with a problem, at most 256, the newest kept; each is forgotten an hour after its last one."""

    def __init__(self) -> None:
        self._found: OrderedDict[tuple[str, str], ClientStatus] = OrderedDict()

    def read(self, line: str) -> None:
        """Take in one line of the log; lines that say nothing of an MQTT client are passed over."""
        if (match := _LINE.match(line)) is None:
            return
        when, host, name, text = match.groups()
        known = next(((problem, remedy) for mark, problem, remedy in _KNOWN if mark in text), None)
        if known is None:
            return
        time = ns_from_datetime(datetime.strptime(when, "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC))
        self._found.pop((name, host), None)
        self._found[name, host] = ClientStatus(name or host, host, *known, time)
        while len(self._found) > _MOST_CLIENTS:
            self._found.popitem(last=False)

    def connected(self, name: str, since_ns: int) -> None:
        """A client of this id is connected since then: what was wrong before is mended."""
        for key in [k for k, c in self._found.items() if k[0] == name and c.last_ns < since_ns]:
            del self._found[key]

    def now(self, now_ns: int) -> list[ClientStatus]:
        """The clients with a problem in the last hour, newest last."""
        for key in [k for k, c in self._found.items() if c.last_ns < now_ns - HOUR_NS]:
            del self._found[key]
        return list(self._found.values())


class LogTail:
    """New whole lines of a log file that its writer appends to and renames when it is large."""

    def __init__(self, path: Path):
        self._path = path
        self._inode, self._at = -1, 0

    def skip(self) -> None:
        """Pass over what is there already."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return
        self._inode, self._at = status.st_ino, status.st_size

    def lines(self) -> list[str]:
        """What was written since the last call; of a flood only the last 256 kB."""
        try:
            with self._path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._at:
                    self._inode, self._at = status.st_ino, 0
                self._at = max(self._at, status.st_size - _MOST_BYTES)
                file.seek(self._at)
                data = file.read(_MOST_BYTES)
        except FileNotFoundError:
            return []
        whole = data.rfind(b"\n") + 1
        self._at += whole
        return data[:whole].decode(errors="replace").splitlines()
