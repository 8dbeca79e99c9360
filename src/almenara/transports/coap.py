"""CoAP (RFC 7252) over UDP, with the `aiocoap` library: devices POST or PUT to a path, anyone may GET or observe it.

Standards: https://www.rfc-editor.org/rfc/rfc7252, blockwise transfers RFC 7959, Observe RFC 7641. Messages that a
client repeats are answered again by the library and taken once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from almenara.model.errors import BusError, DecodeError, MissingExtra, PluginError, Refused
from almenara.plugin.contracts import Outcome, Packet
from almenara.plugin.options import Must, Range
from almenara.transports._listen import Address, Listener, ask

if TYPE_CHECKING:
    from almenara.transports._coap import Server

log = logging.getLogger(__name__)

_CBOR = 60
#: Codec by content format (https://www.iana.org/assignments/core-parameters); CBOR is put into JSON first.
CODECS: Mapping[int, str] = {0: "influx", 50: "json", 60: "json", 110: "senml", 112: "senml"}
MEDIA = {0: "text/plain", 50: "application/json", 60: "application/json", 110: "application/senml+json"}
MEDIA |= {112: "application/senml+cbor"}


def _is_target(text: str) -> bool:
    return not text or text.startswith(("coap://", "coap+tcp://"))


class Coap(Listener):
    """CoAP: takes POST and PUT, blockwise too, and sends on to another server.

    The path is the topic; `/ingest/CODEC/TOPIC` names the codec, elsewhere the content format does (JSON 50, CBOR 60,
    SenML 110 and 112, text 0), and without one the topic. Answers: 2.04 once the rows are on disk, 4.00 with the reason
    where they cannot be read or not all were kept, 4.13 too large, 4.15 another content format, 5.03 with Max-Age not
    taken now. GET of a path gives what was last sent to it, and with Observe each later one, too.

    Options:
        to: Where to send on, such as "coap://10.0.0.5"; the topic is appended as path.
        max_payload_bytes: A larger payload, put together from blocks, is refused.
        max_paths: Paths whose last payload is kept for GET; the longest unused go first.
        timeout_s: Longest wait for the disk before 5.03 is answered.
    """

    scheme = "coap"
    answers = True

    def __init__(
        self,
        *,
        listen: Address = "127.0.0.1:5683",
        to: Annotated[str, Must('"coap://HOST[:PORT]"', _is_target)] = "",
        max_payload_bytes: Annotated[int, Range(16, 16_000_000)] = 1_000_000,
        max_paths: Annotated[int, Range(0, 100_000)] = 1000,
        timeout_s: Annotated[float, Range(0.1, 60)] = 10.0,
        allow: Sequence[str] = (),
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(listen, allow, clock)
        self._to, self._timeout_s = to.rstrip("/"), timeout_s
        self.most_bytes, self._max_paths = max_payload_bytes, max_paths
        self._last: OrderedDict[tuple[str, ...], tuple[bytes, int | None]] = OrderedDict()
        self._server: Server | None = None
        self._client: Any = None

    async def _open(self) -> None:
        self._server = await _library().Server.start(self)
        self.addresses.append(f"udp {self.host}:{self.port}")

    async def receive(self) -> AsyncIterator[Sequence[Packet]]:
        """Listen, and give what arrives, all that waits at a time. Raises PortTaken, BusError, MissingExtra."""
        try:
            async with contextlib.aclosing(super().receive()) as packets:  # type: ignore[type-var]
                async for some in packets:
                    yield some
        finally:
            server, self._server = self._server, None
            if server is not None:
                await server.stop()

    async def take(self, host: str, path: tuple[str, ...], payload: bytes, content_format: int | None) -> Outcome:
        """What became of a payload. Raises Refused where it was not taken in time, PluginError for its format."""
        codec, topic = _addressed(path, content_format)
        said = payload
        if content_format == _CBOR and codec == "json":
            try:
                said = _json_of_cbor()(payload)
            except DecodeError as error:
                return Outcome(error=error)
        answer, done = ask(asyncio.get_running_loop())
        media = MEDIA.get(content_format, "") if content_format is not None else ""
        if self._inbox.full:
            raise Refused("too much waits already", 5.0)
        self.add(Packet(topic, said, self.now(), self.source(host), content_type=media, codec=codec, done=done))
        try:
            async with asyncio.timeout(self._timeout_s):
                outcome: Outcome = await answer
        except TimeoutError:
            raise Refused("it was not written in time", 5.0) from None
        if isinstance(outcome.error, Refused):
            raise outcome.error
        if not isinstance(outcome.error, DecodeError):
            self._keep(path, payload, content_format)
        return outcome

    def _keep(self, path: tuple[str, ...], payload: bytes, content_format: int | None) -> None:
        if self._max_paths:
            self._last[path] = payload[:65_536], content_format
            self._last.move_to_end(path)
            while len(self._last) > self._max_paths:
                self._last.popitem(last=False)
        if self._server is not None:
            self._server.tell(path)

    def last(self, path: tuple[str, ...]) -> tuple[bytes, int | None] | None:
        """The last payload sent to a path, and its content format."""
        return self._last.get(path)

    def paths(self) -> list[tuple[str, ...]]:
        """Paths whose last payload is kept, the latest last."""
        return list(self._last)

    async def send(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """PUT the payload to `to`, the topic as path.

        Raises BusError where it is not taken, PluginError without `to`."""
        if not self._to:
            raise PluginError('to: is missing; expected "coap://HOST[:PORT]" of the other side')
        library = _library()
        if self._client is None:
            self._client = await library.client()
        url = f"{self._to}/{quote(topic)}"
        problem = await library.put(self._client, url, payload)
        if problem:
            raise BusError(f"{url}: {problem}")

    async def close(self) -> None:
        """Listen no more, hang up."""
        await super().close()
        server, client = self._server, self._client
        self._server = self._client = None
        if server is not None:
            await server.stop()
        if client is not None:
            await client.shutdown()


def _addressed(path: tuple[str, ...], content_format: int | None) -> tuple[str, str]:
    """(codec or empty, topic) of a request. Raises PluginError for a content format that no codec reads."""
    if len(path) >= 2 and path[0] == "ingest":
        return path[1], "/".join(path[2:])
    if content_format is None:
        return "", "/".join(path)
    if content_format not in CODECS:
        raise PluginError(f"content format {content_format}; expected one of {', '.join(map(str, CODECS))}")
    return CODECS[content_format], "/".join(path)


def _json_of_cbor() -> Callable[[bytes], bytes]:
    try:
        from almenara.transports._cbor import json_of_cbor
    except ImportError as error:
        raise MissingExtra("CBOR", "hub") from error
    return json_of_cbor


def _library() -> Any:
    try:
        from almenara.transports import _coap
    except ImportError as error:
        raise MissingExtra("CoAP", "hub") from error
    return _coap
