"""Sends passive check results to Nagios, Icinga or Naemon through NSCA, as `send_nsca` does.

Protocol: https://github.com/NagiosEnterprises/nsca, include/common.h, version 3: the daemon begins with 128 random
bytes and its time; the packet (version, CRC-32, time, state, host[64], service[128], output[4096]) is enciphered with
them.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping
from typing import Annotated, Literal

from almenara.model.alarm import Alarm, Incident, Notice, NoticeKind
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.notifiers._connect import connected, host_and_port, send_all
from almenara.notifiers._plain import MOST_ALARMS, cut, incidents_of, nagios_state, numbers_of, one_line
from almenara.plugin.options import Must, Range, Secret

_HEAD = struct.Struct("!hxxIIh64s128s")
_GREETING = struct.Struct("!128sI")
#: States from good to bad; where several alarms are one check the worst counts.
_BAD = (0, 3, 1, 2)
_NAME = re.compile(r"\{(\w+)\}")

Address = Annotated[str, Must("HOST or HOST:PORT", lambda text: host_and_port(text, 5667) is not None)]


class NscaNotifier:
    """Sends the state of each alarm to Nagios as a passive check result.

    It is critical (2) from major on, else warning (1), OK (0) when it is resolved, unknown (3) without data.
    NSCA answers nothing: a wrong password or a service that Nagios does not know shows in the daemon's log alone. Its
    ciphers hide little; of them there are none (0) and xor (1). Use it on this machine or inside a tunnel.

    Options:
        server: Where the NSCA daemon listens.
        encryption: `decryption_method` of nsca.cfg by its name: none is 0, xor is 1.
        password: `password` of nsca.cfg.
        host: Name of the host in Nagios, with labels of the alarm filled in.
        fallback_host: The host of alarms that have no such label.
        service: Name of the service in Nagios; `{rule}`, `{name}` (of the series) and labels are filled in; empty: a
            result for the host itself.
        output_bytes: 4096, or 512 for daemons before 2.9.
        timeout_s: Longest time for one notice.
    """

    def __init__(
        self,
        *,
        server: Address = "127.0.0.1:5667",
        encryption: Literal["none", "xor"] = "xor",
        password: Secret = Secret(""),
        host: str = "{host}",
        fallback_host: str = "almenara",
        service: str = "{rule}",
        output_bytes: Literal[512, 4096] = 4096,
        timeout_s: Annotated[float, Range(0.1, 50)] = 10.0,
    ) -> None:
        if _field(fallback_host, 64) != fallback_host.encode() or not fallback_host:
            raise ConfigError([Problem("fallback_host", "must be a name of at most 63 bytes, without ; and `")])
        self._address = host_and_port(server, 5667) or ("", 0)
        self._xors, self._password = encryption == "xor", password.encode()
        self._host, self._fallback, self._service = host, fallback_host, service
        self._output_bytes, self._timeout_s = output_bytes, timeout_s
        self._what = f"NSCA at {server}"

    async def notify(self, notice: Notice) -> None:
        """Send the result of each check that it is about; returns when the daemon has read them. The graph is not
        sent. Raises NotifyError, worth another try."""
        results = self.results(notice)
        async with connected(*self._address, self._what, self._timeout_s) as (reader, writer):
            iv, time_s = _GREETING.unpack(await reader.readexactly(_GREETING.size))
            packets = [self._packet(*check, *result, time_s) for check, result in results.items()]
            try:
                await send_all(reader, writer, b"".join(self._enciphered(packet, iv) for packet in packets))
            except OSError as error:
                why = "hung up before it had read all; has it another password or encryption?"
                raise NotifyError(f"{self._what}: {why}", retry=True) from error

    async def check(self) -> None:
        """Does an NSCA daemon answer there? Raises NotifyError."""
        async with connected(*self._address, self._what, self._timeout_s) as (reader, _):
            await reader.readexactly(_GREETING.size)

    def results(self, notice: Notice) -> dict[tuple[bytes, bytes], tuple[int, bytes]]:
        """(host, service) -> (state, output) of all alarms in it; of several with one name the worst."""
        if notice.kind is NoticeKind.TEST:
            return {(self._fallback.encode(), _field("almenara test", 128)): (0, cut(one_line(notice.title), 511))}
        found: dict[tuple[bytes, bytes], tuple[int, bytes]] = {}
        for incident in incidents_of(notice):
            for member in incident.members[:MOST_ALARMS]:
                check, result = self._check_of(member), self._result(member, incident)
                if check not in found or _BAD.index(result[0]) > _BAD.index(found[check][0]):
                    found[check] = result
        return found

    def _check_of(self, alarm: Alarm) -> tuple[bytes, bytes]:
        last = alarm.last
        labels = {**dict(last.series.labels), **last.labels, "rule": last.rule, "name": last.series.name}
        host = _field(_filled(self._host, labels), 64) or self._fallback.encode()
        if not self._service:
            return host, b""
        return host, _field(_filled(self._service, labels) or last.rule, 128)

    def _result(self, alarm: Alarm, incident: Incident) -> tuple[int, bytes]:
        state = nagios_state(alarm, incident)
        last = alarm.last
        said = one_line(last.evidence.why) or f"{last.series} {last.evidence.value:.6g}"
        word = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[state]
        figures = " ".join(f"{k}={v:.10g}" for k, v in numbers_of(last.evidence).items() if v is not None)
        text = f"{word} - {said}".replace("|", "/")
        room = self._output_bytes - 1
        return state, cut(text, room - len(figures) - 1) + (b"|" + figures.encode() if figures else b"")

    def _packet(self, host: bytes, service: bytes, state: int, output: bytes, time_s: int) -> bytes:
        packet = _HEAD.pack(3, 0, time_s, state, host, service) + output.ljust(self._output_bytes, b"\0") + b"\0\0"
        return packet[:4] + struct.pack("!I", zlib.crc32(packet)) + packet[8:]

    def _enciphered(self, packet: bytes, iv: bytes) -> bytes:
        if not self._xors:
            return packet
        packet = _xored(packet, iv)
        return _xored(packet, self._password) if self._password else packet


def _filled(template: str, labels: Mapping[str, str]) -> str:
    """The template with labels filled in; empty where one of them is missing."""
    if any(not labels.get(name) for name in _NAME.findall(template)):
        return ""
    return _NAME.sub(lambda match: labels[match[1]], template)


def _field(text: str, size: int) -> bytes:
    """A name as a field of a packet. The daemon writes it between semicolons into a command of Nagios: neither they
    nor anything that ends a line may stand in it, nor what Nagios takes no name with."""
    return cut(re.sub(r"[;`~!$%^&*\"|'<>?,()=\\]", "_", one_line(text)), size - 1)


def _xored(packet: bytes, key: bytes) -> bytes:
    size = len(packet)
    repeated = (key * (size // len(key) + 1))[:size]
    return (int.from_bytes(packet, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
