"""Writes each notice to syslog: over UDP, TCP, TLS, or to the system's own socket.

Formats: RFC 5424, framed on streams by octet counting (RFC 6587, RFC 5425); on a socket of this machine the older form
of its `syslog()`, which is what listens there expects.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from almenara.model.alarm import Notice, Severity, State
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.model.time import NS, format_time
from almenara.model.tls import client_context
from almenara.notifiers._connect import connected, host_and_port, send_all
from almenara.notifiers._plain import cut, fields, is_about_none, one_line
from almenara.plugin.options import Range

_FACILITIES = (
    ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"]
    + ["12", "13", "14", "15"]
    + [f"local{n}" for n in range(8)]
)
_LEVEL = {Severity.CRITICAL: 2, Severity.MAJOR: 3, Severity.MINOR: 4, Severity.WARNING: 4}
_PORTS = {"udp": 514, "tcp": 514, "tls": 6514}
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

Facility = Literal[
    "user", "daemon", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"
]  # fmt: skip


class SyslogNotifier:
    """Writes a line to syslog for each notice, as `crit`, `err` or `warning`; `notice` when an incident is resolved.

    UDP and sockets of this machine confirm nothing: what a full or absent receiver drops is lost. TCP and TLS tell at
    least whether somebody read it.

    Options:
        url: `unix:///dev/log`, or `udp://`, `tcp://` or `tls://` and `host:port`.
        facility: Which facility the lines have.
        app_name: The program that the lines are said to be from.
        host_name: The host that they are said to be from; empty: this one's name.
        ca_file: With tls, PEM file of the authority that signed the server's certificate; empty: those of the system.
        cert_file: With tls, PEM file of our own certificate, where the server asks for one.
        key_file: PEM file of its private key; empty: it is in cert_file too.
        max_bytes: Longest line; what is over is cut off. Receivers take at least 2048 (RFC 5424, 6.1).
        timeout_s: Longest time for one notice.
    """

    def __init__(
        self,
        *,
        url: str = "unix:///dev/log",
        facility: Facility = "daemon",
        app_name: str = "almenara",
        host_name: str = "",
        ca_file: str = "",
        cert_file: str = "",
        key_file: str = "",
        max_bytes: Annotated[int, Range(480, 60_000)] = 2048,
        timeout_s: Annotated[float, Range(0.1, 50)] = 10.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._scheme, self._path, self._address = _address(url)
        files = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
        self._tls = client_context("https://" if self._scheme == "tls" else f"{self._scheme}://", **files)
        for option, text in (("app_name", app_name), ("host_name", host_name)):
            if not text.isascii() or not text.isprintable() or " " in text or len(text) > 48:
                raise ConfigError([Problem(option, f"must be at most 48 letters and digits; got {text[:60]!r}")])
        self._facility = _FACILITIES.index(facility)
        self._app, self._host = app_name or "-", host_name or cut(socket.gethostname(), 255).decode() or "-"
        self._most, self._timeout_s, self._clock = max_bytes, timeout_s, clock
        self.where = f"syslog {self._path or url}"

    async def notify(self, notice: Notice) -> None:
        """Write it; the graph is not sent. Raises NotifyError, worth another try."""
        line = self.line(notice, self._clock())
        if self._scheme == "unix":
            await self._off_loop(self._to_socket, line)
        elif self._scheme == "udp":
            await self._off_loop(self._to_udp, line)
        else:
            async with connected(*self._address, self.where, self._timeout_s, self._tls) as (reader, writer):
                await send_all(reader, writer, b"%d %b" % (len(line), line))

    async def check(self) -> None:
        """Does somebody listen? Over UDP nobody can tell. Raises NotifyError."""
        if self._scheme == "unix":
            await self._off_loop(self._to_socket, b"")
        elif self._scheme != "udp":
            async with connected(*self._address, self.where, self._timeout_s, self._tls):
                pass

    def line(self, notice: Notice, now_ns: int) -> bytes:
        """The notice as one line."""
        values = fields(notice)
        priority = self._facility * 8 + level_of(notice)
        said = "; ".join(f"{fact.name}: {fact.text}" for fact in notice.facts)
        text = one_line(" | ".join(filter(None, [notice.title, said, notice.link])))
        if self._scheme == "unix":
            when = time.localtime(now_ns / NS)
            clock = f"{_MONTHS[when.tm_mon - 1]} {when.tm_mday:2d} {time.strftime('%H:%M:%S', when)}"
            return cut(f"<{priority}>{clock} {self._app}[{os.getpid()}]: {text}", self._most)
        about = "".join(
            f' {name}="{_escaped(str(values[name]))}"' for name in ("incident", "kind", "severity", "rule", "alarms")
        )
        # 32473 is the number that RFC 5612 keeps for those who have none of their own.
        head = f"<{priority}>1 {_micros(now_ns)} {self._host} {self._app} {os.getpid()} {values['kind']}"
        return cut(f"{head} [alarm@32473{about}] \ufeff{text}", self._most)

    async def _off_loop(self, do: Callable[[bytes], None], line: bytes) -> None:
        try:
            await asyncio.to_thread(do, line)
        except OSError as error:
            raise NotifyError(f"{self.where}: {error.strerror or error}", retry=True) from error

    def _to_socket(self, line: bytes) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
                link.settimeout(self._timeout_s)
                link.connect(self._path)
                if line:
                    link.send(line)
        except OSError as error:
            if error.errno != _WRONG_TYPE:
                raise
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(self._timeout_s)
                link.connect(self._path)
                link.sendall(line and line + b"\0")

    def _to_udp(self, line: bytes) -> None:
        host, port = self._address
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as link:
            link.settimeout(self._timeout_s)
            link.connect(address)
            link.send(line)


_WRONG_TYPE = errno.EPROTOTYPE  # a stream listens there


def _address(url: str) -> tuple[str, str, tuple[str, int]]:
    """Scheme, path of a socket, host and port. Raises ConfigError."""
    scheme, _, rest = url.partition("://")
    if scheme == "unix" and Path(urlsplit(url).path).is_absolute():
        return scheme, rest, ("", 0)
    address = host_and_port(rest, _PORTS.get(scheme, 0)) if scheme in _PORTS else None
    if address is None:
        wanted = "must be unix:// and an absolute path, or udp://, tcp:// or tls:// and host:port"
        raise ConfigError([Problem("url", f"{wanted}; got {url[:80]!r}")])
    return scheme, "", address


def level_of(notice: Notice) -> int:
    """The severity as syslog has it: 2 critical, 3 error, 4 warning, 5 notice (resolved), 6 informational (none)."""
    if is_about_none(notice):
        return 6
    return 5 if notice.incident.state is State.RESOLVED else _LEVEL[notice.incident.severity]


def _micros(now_ns: int) -> str:
    """RFC 5424 takes microseconds at most."""
    return format_time(now_ns // 1000 * 1000)


def _escaped(text: str) -> str:
    """A value of structured data (RFC 5424, 6.3.3)."""
    return one_line(text, 200).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
