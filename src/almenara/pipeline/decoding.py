"""Decoding: payloads to batches in a few threads, each with codecs of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from almenara.model.batch import Batch, Decoded, DecodedMany
from almenara.model.errors import DecodeError
from almenara.plugin.contracts import Codec, Context, ManyCodec, Packet

log = logging.getLogger(__name__)

_MAX_TOPICS = 200_000


@dataclass(frozen=True, slots=True)
class Decoding:
    """A configured codec: how to make one (each decoder thread has its own), and the topics it reads ("" = by name).

    plugin: the name of the plugin, where it is configured under another one."""

    make: Callable[[], Codec]
    topic: str = ""
    plugin: str = ""


def of_transport(name: str) -> str:
    """Under which name the codec stands that a configuration gives to a link."""
    return f"transport {name}"


def topic_matches(pattern: str, topic: str) -> bool:
    """Whether an MQTT topic filter (`+` one level, `#` the rest) holds a topic (MQTT 3.1.1, 4.7)."""
    wanted, found = pattern.split("/"), topic.split("/")
    if found[0].startswith("$") and wanted[0] in ("+", "#"):
        return False
    for at, level in enumerate(wanted):
        if level == "#":
            return True
        if at >= len(found) or level not in ("+", found[at]):
            return False
    return len(wanted) == len(found)


class _Known:
    """Codecs of one configuration, and the instances that threads have of them."""

    def __init__(self, codecs: Mapping[str, Decoding]):
        self.codecs = dict(codecs)
        self.topics = [(d.topic, name) for name, d in codecs.items() if d.topic]
        self.by_topic: dict[str, str] = {}  # what was found for topics before
        self.local = threading.local()
        self.warm: set[str] = set()  # codecs that have read a payload


class Decoders:
    """All configured codecs. `decode` is called from any thread; a codec instance stays with its thread.

    An instance that has seen more than `max_series` is let go of: it remembers every key, and senders make them up.
    """

    def __init__(self, codecs: Mapping[str, Decoding], max_series: int = 2_000_000):
        self._known, self._max_series = _Known(codecs), max_series

    def replace(self, codecs: Mapping[str, Decoding]) -> None:
        """Use these from the next payload on."""
        self._known = _Known(codecs)

    def for_topic(self, topic: str) -> str:
        """The name of the first codec whose topic filter holds this topic; `json` where none does."""
        known = self._known
        if not known.topics:
            return "json"
        name = known.by_topic.get(topic)
        if name is None:
            name = next((name for pattern, name in known.topics if topic_matches(pattern, topic)), "json")
            if len(known.by_topic) < _MAX_TOPICS:
                known.by_topic[topic] = name
        return name

    def names(self) -> list[str]:
        """The codecs there are."""
        return list(self._known.codecs)

    def decode_many(self, name: str, packets: Sequence[Packet]) -> DecodedMany | None:
        """The rows of packets of one codec; None where it does not read many at once, or failed at it."""
        mine = self._codecs(name) if name in self._known.codecs else {}
        if not isinstance(codec := mine.get(name), ManyCodec):
            return None
        try:
            many = codec.decode_many(packets)
            _check(many.batch)
            owner = np.asarray(many.owner)
            if len(owner) != len(many.batch) or (len(owner) and not 0 <= owner[0] <= owner[-1] < len(packets)):
                raise ValueError(f"{len(many.batch)} rows of {len(packets)} packets, with {len(owner)} owners")
        except Exception:  # a plugin's mistake: one by one, the payload that it fails on is found
            del mine[name]
            log.exception("codec %s failed on %d payloads at once", name, len(packets))
            return None
        if len(many.batch.series) > self._max_series:
            del mine[name]
        return many

    def _codecs(self, name: str) -> dict[str, Codec]:
        """The codecs of this thread, which now has this one. Raises DecodeError."""
        known = self._known
        if name not in known.codecs:
            raise DecodeError(f"{name!r} is no format known here; there are {', '.join(sorted(known.codecs))}")
        mine: dict[str, Codec] = known.local.__dict__
        if name not in mine:
            mine[name] = known.codecs[name].make()
        return mine

    def is_warm(self, name: str) -> bool:
        """Whether a codec has read a payload: the first one may have to wait for its compiler."""
        return name in self._known.warm

    def decode(self, name: str, packet: Packet) -> Decoded:
        """The rows of one payload. Raises DecodeError."""
        mine = self._codecs(name)
        context = Context(packet.topic, packet.parameters, packet.content_type, packet.received_ns)
        try:
            decoded = mine[name].decode(packet.payload, context)
            _check(decoded.batch)
        except DecodeError:
            raise
        except Exception as error:  # a plugin's mistake: one payload must not hold up those behind it for ever
            del mine[name]
            log.exception("codec %s failed on a payload of %d bytes on %r", name, len(packet.payload), packet.topic)
            raise DecodeError(f"codec {name} failed: {type(error).__name__}: {error}") from error
        if len(decoded.batch.series) > self._max_series:
            del mine[name]
        self._known.warm.add(name)
        return decoded


def _check(batch: Batch) -> None:
    id = np.asarray(batch.id)
    if len(id) and not 0 <= id.min() <= id.max() < len(batch.series):
        raise ValueError(f"rows of series {id.min()} to {id.max()} of a table of {len(batch.series)}")
