"""Reads what MQTT clients sent to the embedded broker: QoS 1 and 2 from its durable stream, QoS 0 as it passes by.

nats-server keeps every QoS 1 and QoS 2 message in the stream `$MQTT_msgs` before it answers PUBACK. We read it with a
consumer without acknowledgements, from the highest committed offset on: the offset is committed with the rows, so each
message counts exactly once over any number of crashes. QoS 0 never enters that stream; it is heard by a second
connection, whose user may not see the stream's own subjects, and which passes over what is marked as QoS 1 or 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from almenara.bus.subjects import Topics
from almenara.bus.wire import ApiError, Message, Wire
from almenara.model.errors import BusError
from almenara.plugin.contracts import Packet

STREAM = "$MQTT_msgs"
PREFIX = b"$MQTT.msgs."
_NOT_FOUND = 10059

_EXPIRES_S = 20.0
#: The server ends a request that stays open this long; one that stays silent longer is a dead connection.
_SILENCE_S = _EXPIRES_S + 10.0
_INACTIVE_S = 300.0
_BATCH = 2000
_BATCH_BYTES = 32 << 20


async def prepare_stream(wire: Wire, resume: int, max_bytes: int, max_age_s: float) -> str:
    """Make or mend the durable stream while no MQTT client can be connected; gives a problem in words, or "".

    A stream that ends before `resume` lost its tail (a power cut, a deleted folder): its next messages would get
    offsets that count as committed. Everything in it is committed, so it is made anew, to go on behind `resume`.
    """
    config = _config(max_bytes, max_age_s)
    try:
        found = await wire.request(f"$JS.API.STREAM.INFO.{STREAM}", {})
    except ApiError as error:
        if error.code != _NOT_FOUND:
            raise
        await wire.request(
            f"$JS.API.STREAM.CREATE.{STREAM}", {**config, "first_seq": resume + 1} if resume > 0 else config
        )
        return ""
    last = int(found["state"]["last_seq"])
    if last >= resume:
        if any(found["config"].get(key) != value for key, value in config.items()):
            await _update(wire, found["config"], config)
        return ""
    await wire.request(f"$JS.API.STREAM.DELETE.{STREAM}", {})
    await wire.request(f"$JS.API.STREAM.CREATE.{STREAM}", {**config, "first_seq": resume + 1})
    return (
        f"the broker's stream ended at offset {last}, before the committed {resume}: "
        "what it had not written to disk is lost (a power cut, or its folder was removed)"
    )


def _config(max_bytes: int, max_age_s: float) -> dict[str, Any]:
    return {
        "name": STREAM,
        "subjects": [PREFIX.decode() + ">"],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "num_replicas": 1,
        "max_bytes": max_bytes,
        "max_age": int(max_age_s * 1e9),
    }


async def _update(wire: Wire, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Give the stream our limits; where the server made it by itself (other retention), start it anew."""
    try:
        await wire.request(f"$JS.API.STREAM.UPDATE.{STREAM}", {**old, **new})
    except ApiError:
        state = await wire.request(f"$JS.API.STREAM.INFO.{STREAM}", {})
        await wire.request(f"$JS.API.STREAM.DELETE.{STREAM}", {})
        await wire.request(f"$JS.API.STREAM.CREATE.{STREAM}", {**new, "first_seq": state["state"]["last_seq"] + 1})


class StreamReader:
    """The durable stream from one offset on. `position`: the last offset seen; `lost`: offsets that were gone."""

    def __init__(self, wire: Wire, position: int, topics: Topics, *, name: str):
        self.position = position
        self.lost = 0
        self.ignored = 0
        self.backlog = 0
        self._wire, self._topics, self._name = wire, topics, name
        self._arrived: list[Message] = []
        self._news = asyncio.Event()
        self._open = 0  # messages that the server may still send for the request under way
        self._inbox = f"_INBOX.{name}"
        self._has_consumer = False
        wire.subscribe(self._inbox, self._on_messages)
        wire.closed.add_done_callback(lambda _: self._news.set())

    async def fetch(self) -> list[Packet]:
        """The next packets, in order; empty when nothing came for a while. Raises BusError when the connection is
        gone."""
        if not self._has_consumer:
            await self._create()
        if not self._open and not self._arrived:
            self._ask()
        try:
            async with asyncio.timeout(_SILENCE_S):
                await self._news.wait()
        except TimeoutError as error:
            raise BusError(f"the broker's stream was silent for {_SILENCE_S:g} s") from error
        if self._wire.closed.done():
            raise BusError(f"connection to the broker is gone: {self._wire.closed.result()}")
        self._news.clear()
        messages, self._arrived = self._arrived, []
        return self._packets(messages)

    def _ask(self) -> None:
        self._open = _BATCH
        ask = {"batch": _BATCH, "max_bytes": _BATCH_BYTES, "expires": int(_EXPIRES_S * 1e9)}
        self._wire.publish(f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{self._name}", json.dumps(ask).encode(), self._inbox)

    async def _create(self) -> None:
        """A consumer of this connection alone; the server removes it when we are gone for long."""
        config = {
            "name": self._name,
            "ack_policy": "none",
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": max(self.position + 1, 1),
            "mem_storage": True,
            "inactive_threshold": int(_INACTIVE_S * 1e9),
        }
        ask = {"stream_name": STREAM, "config": config, "action": "create"}
        with contextlib.suppress(ApiError):  # the usual case: there is none of that name
            await self._wire.request(f"$JS.API.CONSUMER.DELETE.{STREAM}.{self._name}", {})
        await self._wire.request(f"$JS.API.CONSUMER.CREATE.{STREAM}.{self._name}", ask)
        self._has_consumer = True

    def _on_messages(self, messages: Sequence[Message]) -> None:
        self._arrived.extend(messages)
        self._news.set()

    def _packets(self, messages: Sequence[Message]) -> list[Packet]:
        packets, topics, last = [], self._topics, self.position
        for subject, reply, header, payload in messages:
            if not reply:
                self._status(header)
                continue
            # $JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<stored ns>.<pending>
            _, sequence, _, stored_ns, self.backlog = reply.rsplit(b".", 4)  # type: ignore[assignment]
            offset = int(sequence)
            if offset != last + 1:
                self._gap(last, offset)
            last = offset
            self._open -= 1
            if (found := topics(subject)) is None:
                self.ignored += 1
                continue
            packets.append(Packet(found[0], payload, int(stored_ns), found[1], offset=offset))
        self.position = last
        self.backlog = int(self.backlog)
        return packets

    def _gap(self, last: int, offset: int) -> None:
        if offset <= last:
            raise BusError(f"the broker's stream went back from offset {last} to {offset}")
        if last >= 0:  # without an offset to go on from, what is gone was never ours
            self.lost += offset - last - 1

    def _status(self, header: bytes) -> None:
        """The server ended the request: it ran out of time (408) or bytes (409), or the consumer is gone (409, 503)."""
        self._open = 0
        if not header.startswith((b"NATS/1.0 408", b"NATS/1.0 404")) and b"MaxBytes" not in header:
            self._has_consumer = False


class Tap:
    """QoS 0 messages as they pass by, in a bounded queue: a slow reader loses the oldest, counted in `lost`."""

    def __init__(
        self, topics: Topics, clock: Callable[[], int], news: Callable[[], None], max_packets: int, max_bytes: int
    ):
        self.lost = 0
        self.ignored = 0
        self._topics, self._clock, self._news = topics, clock, news
        self._packets: deque[Packet] = deque()
        self._bytes = 0
        self._max_packets, self._max_bytes = max_packets, max_bytes

    def attach(self, wire: Wire) -> None:
        """Listen on this connection, which belongs to the user that may not see the stream's subjects."""
        wire.subscribe(">", self._on_messages)

    def take(self) -> list[Packet]:
        """All that waits."""
        packets = list(self._packets)
        self._packets.clear()
        self._bytes = 0
        return packets

    def _on_messages(self, messages: Sequence[Message]) -> None:
        now, topics = self._clock(), self._topics
        for subject, _, header, payload in messages:
            if b"Nmqtt-Pub:0" not in header:
                continue
            if (found := topics(subject)) is None:
                self.ignored += 1
                continue
            self._packets.append(Packet(found[0], payload, now, found[1], qos=0))
            self._bytes += len(payload)
        while len(self._packets) > self._max_packets or self._bytes > self._max_bytes:
            self._bytes -= len(self._packets.popleft().payload)
            self.lost += 1
        if self._packets:
            self._news()
