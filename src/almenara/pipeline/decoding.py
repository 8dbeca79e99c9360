"""Decoding: payloads to batches in a few threads, each with codecs of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from almenara.model.batch import Batch, Decoded
from almenara.model.errors import DecodeError
from almenara.plugin.contracts import Codec, Context, Packet


@dataclass(frozen=True, slots=True)
class Decoding:
    """A configured codec: how to make one (each decoder thread has its own), and the topics it reads ("" = by name)."""

    make: Callable[[], Codec]
    topic: str = ""


def topic_matches(pattern: str, topic: str) -> bool:
    """Whether an MQTT topic filter (`+` one level, `#` the rest) holds a topic (MQTT 3.1.1, 4.7)."""
    wanted, found = pattern.split("/"), topic.split("/")
    for at, level in enumerate(wanted):
        if level == "#":
            return not topic.startswith("$") or pattern.startswith("$")
        if at >= len(found) or level not in ("+", found[at]):
            return False
    return len(wanted) == len(found)


class Decoders:
    """All configured codecs. `decode` is called from any thread; a codec instance stays with its thread."""

    def __init__(self, codecs: Mapping[str, Decoding]):
        self._codecs = dict(codecs)
        self._local = threading.local()
        self._topics = [(d.topic, name) for name, d in codecs.items() if d.topic]

    def for_topic(self, topic: str) -> str:
        """The name of the first codec whose topic filter holds this topic; `json` where none does."""
        return next((name for pattern, name in self._topics if topic_matches(pattern, topic)), "json")

    def names(self) -> list[str]:
        """The codecs there are."""
        return list(self._codecs)

    def decode(self, name: str, packet: Packet) -> Decoded:
        """The rows of one payload. Raises DecodeError."""
        if name not in self._codecs:
            raise DecodeError(f"{name!r} is no format known here; there are {', '.join(sorted(self._codecs))}")
        mine: dict[str, Codec] = self._local.__dict__
        if name not in mine:
            mine[name] = self._codecs[name].make()
        context = Context(packet.topic, packet.parameters, packet.content_type, packet.received_ns)
        return mine[name].decode(packet.payload, context)


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A payload of which nothing could be read."""

    packet: Packet
    error: DecodeError


def decode_all(decoders: Decoders, packets: Sequence[Packet]) -> tuple[list[tuple[Packet, Decoded]], list[Undecodable]]:
    """Decode many packets, each with the codec of its topic."""
    decoded, undecodable = [], []
    for packet in packets:
        try:
            decoded.append((packet, decoders.decode(decoders.for_topic(packet.topic), packet)))
        except DecodeError as error:
            undecodable.append(Undecodable(packet, error))
    return decoded, undecodable


def joined(decoded: Sequence[Decoded]) -> list[tuple[Batch, np.ndarray]]:
    """The batches of many small payloads as few: those that share a table of series become one, in their order.

    With each comes int64[n], the position in `decoded` that each row is from.
    """
    groups: dict[int, list[int]] = {}
    for at, one in enumerate(decoded):
        if len(one.batch):
            groups.setdefault(id(one.batch.series), []).append(at)
    return [_concatenated([decoded[at].batch for at in members], members) for members in groups.values()]


def _concatenated(batches: Sequence[Batch], members: Sequence[int]) -> tuple[Batch, np.ndarray]:
    columns = (np.concatenate([np.asarray(getattr(b, name)) for b in batches]) for name in ("id", "time", "value"))
    return Batch(batches[0].series, *columns), np.repeat(np.asarray(members, np.int64), [len(b) for b in batches])
