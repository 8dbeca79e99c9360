"""The trapper port of a Zabbix server: `zabbix_sender` and active agents send here, and are told what was kept.

Protocol: https://www.zabbix.com/documentation/6.0/en/manual/appendix/protocols/header_datalen
"""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from almenara.plugin.contracts import Outcome, Packet
from almenara.plugin.options import Range
from almenara.transports._listen import Address, Listener, ask, read_exactly

_COMPRESSED, _LARGE = 2, 4
_TIMEOUT_S = 30.0


class _Bad(ValueError):
    """What was sent is no request; args: reason, words for the sender."""


class Zabbix(Listener):
    """Takes values of `zabbix_sender` and active agents, and answers after they are on disk.

    Active agents ask which items to measure; they are told none, so give them theirs otherwise, for example by
    `zabbix_sender` from a timer. Encrypted connections (TLS with keys or certificates) are not taken.

    Options:
        max_request_mb: A larger request, sent or unpacked, is dropped with its connection.
        max_connections: Connections at a time; more are hung up.
    """

    scheme = codec = "zabbix"
    answers = True

    def __init__(
        self,
        *,
        listen: Address = "127.0.0.1:10051",
        allow: Sequence[str] = (),
        max_request_mb: Annotated[float, Range(0.001, 64)] = 4.0,
        max_connections: Annotated[int, Range(1, 1000)] = 50,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(listen, allow, clock)
        self._most_bytes, self._most = int(max_request_mb * (1 << 20)), max_connections

    async def _open(self) -> None:
        await self._serve_tcp(self._read, self._most)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                payload = await self._request(reader)
        except _Bad as bad:
            reason, words = bad.args
            self.dropped[reason] += 1
            await _write(writer, {"response": "failed", "info": words})
            return
        except TimeoutError:
            self.dropped["too_slow"] += 1
            return
        if payload:
            await _write(writer, await self._answer(payload, host))

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        """The JSON of one request, without its header; empty where the sender hung up. Raises _Bad."""
        head = await read_exactly(reader, 5, _TIMEOUT_S)
        if not head:
            return b""
        if head[:4] != b"ZBXD" or not head[4] & 1 or head[4] > 7:
            raise _Bad("bad_header", "expected the header ZBXD of protocol version 1")
        width = 8 if head[4] & _LARGE else 4
        sizes = await read_exactly(reader, 2 * width, _TIMEOUT_S)
        size, inflated = int.from_bytes(sizes[:width], "little"), int.from_bytes(sizes[width:], "little")
        if max(size, inflated if head[4] & _COMPRESSED else 0) > self._most_bytes:
            raise _Bad("too_large", f"at most {self._most_bytes} bytes are taken")
        payload = await read_exactly(reader, size, _TIMEOUT_S)
        if len(payload) != size:
            raise _Bad("unfinished_request", "the request ended before its length")
        return _inflated(payload, inflated) if head[4] & _COMPRESSED else payload

    async def _answer(self, payload: bytes, host: str) -> dict[str, Any]:
        began_s = time.monotonic()
        if _asks_for_items(payload):
            return {"response": "success", "data": []}
        answer, done = ask(asyncio.get_running_loop())
        await self.put(Packet(self.scheme, payload, self.now(), self.source(host), codec=self.codec, done=done))
        outcome: Outcome = await answer
        if outcome.error is not None:
            return {"response": "failed", "info": str(outcome.error)[:500]}
        failed = sum(one.rows for one in outcome.rejected)
        seconds, total = time.monotonic() - began_s, outcome.rows + failed
        info = f"processed: {outcome.rows}; failed: {failed}; total: {total}; seconds spent: {seconds:.6f}"
        return {"response": "success", "info": info}


def _inflated(payload: bytes, size: int) -> bytes:
    """At most `size` bytes, so that a small request cannot become a huge one. Raises _Bad."""
    inflate = zlib.decompressobj()
    try:
        found = inflate.decompress(payload, size) if size else b""
    except zlib.error as error:
        raise _Bad("bad_compression", str(error)) from error
    if len(found) != size or inflate.unconsumed_tail:
        raise _Bad("bad_compression", "the request is not as long as its header says")
    return found


def _asks_for_items(payload: bytes) -> bool:
    """Whether an active agent asks what to measure, or only says that it lives."""
    if len(payload) > 4096:
        return False
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("request") in ("active checks", "active check heartbeat")


async def _write(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    body = json.dumps(answer).encode()
    writer.write(b"ZBXD\x01" + len(body).to_bytes(4, "little") + b"\0\0\0\0" + body)
    async with asyncio.timeout(_TIMEOUT_S):
        await writer.drain()
