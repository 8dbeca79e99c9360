"""The port that `send_nsca` of Nagios sends check results to.

Protocol: https://github.com/NagiosEnterprises/nsca: the server begins with 128 random bytes and its time; each packet
of 720 or 4304 bytes is then enciphered with them and the password.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from almenara.model.errors import ConfigError, Problem
from almenara.model.time import NS
from almenara.plugin.contracts import Packet
from almenara.plugin.options import Range, Secret
from almenara.transports._listen import Address, Listener, read_exactly

_IV_BYTES = 128
_OLD, _NEW = 720, 4304
_WHOLE_S = 10.0


class Nsca(Listener):
    """Takes check results of `send_nsca`. Of its ciphers those that need no library: none (0) and xor (1).

    NSCA's xor hides a password from nobody who listens: use it on this machine or inside a tunnel.

    Options:
        encryption: `encryption_method` of send_nsca.cfg by its name: none is 0, xor is 1.
        password: `password` of send_nsca.cfg.
        max_age_s: A packet whose time is further away from ours is dropped, since somebody may have recorded it.
        max_connections: Connections at a time; more are hung up.
        idle_s: A connection that is silent for so long is hung up.
    """

    scheme = codec = "nsca"

    def __init__(
        self,
        *,
        listen: Address = "127.0.0.1:5667",
        encryption: Literal["none", "xor", "des", "3des", "cast-128", "rijndael-128", "rijndael-256"] = "xor",
        password: Secret = Secret(""),
        max_age_s: Annotated[float, Range(1)] = 30.0,
        allow: Sequence[str] = (),
        max_connections: Annotated[int, Range(1, 1000)] = 100,
        idle_s: Annotated[float, Range(1)] = 60.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(listen, allow, clock)
        if encryption not in ("none", "xor"):
            hint = "use none or xor here and 0 or 1 as encryption_method in send_nsca.cfg, inside a tunnel"
            raise ConfigError([Problem("encryption", f"{encryption} needs a library that is not there", hint)])
        self._xors, self._password = encryption == "xor", password.encode()
        self._max_age_s, self._most, self._idle_s = max_age_s, max_connections, idle_s

    async def _open(self) -> None:
        await self._serve_tcp(self._read, self._most)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        iv, sent_s = secrets.token_bytes(_IV_BYTES), self.now() // NS
        writer.write(iv + struct.pack("!I", sent_s & 0xFFFFFFFF))
        await writer.drain()
        while packet := await read_exactly(reader, _OLD, self._idle_s):
            plain = self._deciphered(packet, iv)
            if not is_whole(plain):
                packet += await read_exactly(reader, _NEW - _OLD, _WHOLE_S)
                plain = self._deciphered(packet, iv)
            if reason := self._wrong(plain):
                self.dropped[reason] += 1
                self.problem = _REMEDIES[reason].format(host=host)
                return
            self.problem = ""
            await self.put(Packet(self.scheme, plain, self.now(), self.source(host), codec=self.codec))

    def _deciphered(self, packet: bytes, iv: bytes) -> bytes:
        if not self._xors:
            return packet
        for key in (iv, self._password):
            packet = _xored(packet, key) if key else packet
        return packet

    def _wrong(self, plain: bytes) -> str:
        """Why a packet is dropped, in a fixed word; empty where it is right."""
        if not is_whole(plain):
            return "bad_crc"
        age_s = self.now() / NS - int.from_bytes(plain[8:12], "big")
        return "stale" if abs(age_s) > self._max_age_s else ""


def _xored(packet: bytes, key: bytes) -> bytes:
    """Each byte with the one of `key`, which begins again at its end."""
    size = len(packet)
    repeated = (key * (size // len(key) + 1))[:size]
    return (int.from_bytes(packet, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


_REMEDIES = {
    "bad_crc": "{host} has another password or encryption method in its send_nsca.cfg",
    "stale": "{host} sent a packet with an old time; was it recorded?",
}


def is_whole(plain: bytes) -> bool:
    """Whether a deciphered packet has a right length and checksum."""
    return len(plain) in (_OLD, _NEW) and zlib.crc32(plain[:4] + b"\0\0\0\0" + plain[8:]) == int.from_bytes(
        plain[4:8], "big"
    )
