"""Notes: what the log keeps of a commit besides its rows: who sent them, what was turned away, events, and its key.

Behind the columns of a record (`segment.py`), all integers little-endian:

    u32 payloads k | i64 received | u32 length of the words | int32[k] source of each | int32[k] rows of each | words

`words` is JSON, empty where nothing but rows came: `rejected` [[source, reason, rows]...], `dropped` likewise, `events`
[[source, time, [[label, value]...], text]...], `key` [digest, fingerprint, answer] in base 64. The top bit of a source
says that its payload was sent without a promise to deliver it.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from almenara.model.batch import Event

_HEAD = struct.Struct("<IqI")
#: Set in a source: the payload was best effort (MQTT QoS 0, UDP).
BEST_EFFORT = np.int32(1 << 30)
#: The number of the hub itself among the sources.
HUB = 0

#: (source, reason, rows)
Tally = tuple[int, str, int]

_NO_COUNTS = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True)
class Key:
    """What a client named a body with, to send it again without doubling it: digests of 16 and 8 bytes."""

    digest: bytes
    fingerprint: bytes  # of the body: the same key must not name two
    answer: bytes = b""  # what was answered, see `keys.py`; known once it is committed


@dataclass(frozen=True, slots=True, eq=False)
class Notes:
    """Of one commit. source, rows: int32[k], for each payload in its order whose it is and how many rows of it stay;
    they sum to the rows of the record."""

    source: np.ndarray
    rows: np.ndarray
    received_ns: int = 0
    rejected: tuple[Tally, ...] = ()
    dropped: tuple[Tally, ...] = ()
    events: tuple[tuple[int, Event], ...] = ()  # (source, event)
    key: Key | None = None

    @classmethod
    def of(cls, source: int, rows: int, received_ns: int = 0) -> Notes:
        """Of one payload."""
        return cls(np.array([source], np.int32), np.array([rows], np.int32), received_ns)

    def without(self, turned: Sequence[tuple[str, np.ndarray]]) -> Notes:
        """These notes after rows were turned away: (reason, int64[j], their positions in the batch)."""
        if not turned:
            return self
        if len(self.rows) == 1:
            gone = sum(len(at) for _, at in turned)
            tallies = [(int(self.source[0] & ~BEST_EFFORT), reason, len(at)) for reason, at in turned]
            return replace(self, rows=self.rows - np.int32(gone), rejected=(*self.rejected, *tallies))
        ends = np.cumsum(self.rows)
        left, found = self.rows.copy(), list(self.rejected)
        for reason, at in turned:
            payload = np.searchsorted(ends, at, "right")
            left -= np.bincount(payload, minlength=len(left)).astype(np.int32)
            sources, counts = np.unique(self.source[payload] & ~BEST_EFFORT, return_counts=True)
            found += [(s, reason, n) for s, n in zip(sources.tolist(), counts.tolist(), strict=True)]
        return replace(self, rows=left, rejected=tuple(found))

    @property
    def says_something(self) -> bool:
        """Whether they must be kept also where no row is."""
        return bool(self.rejected or self.dropped or self.events or self.key)

    def buffers(self) -> list[bytes | memoryview]:
        """As they stand in the log."""
        words = _words(self)
        head = _HEAD.pack(len(self.source), self.received_ns, len(words))
        columns = [np.ascontiguousarray(c, np.int32).data.cast("B") for c in (self.source, self.rows) if len(c)]
        return [head, *columns, words]

    @classmethod
    def parse(cls, body: bytes, at: int) -> Notes:
        """Notes of a record's body, from position `at` on."""
        k, received_ns, length = _HEAD.unpack_from(body, at)
        at += _HEAD.size
        source, rows = np.frombuffer(body, np.int32, k, at), np.frombuffer(body, np.int32, k, at + 4 * k)
        if not length:
            return cls(source, rows, received_ns)
        words = json.loads(body[at + 8 * k : at + 8 * k + length])
        key = words.get("key")
        return cls(
            source,
            rows,
            received_ns,
            tuple((s, reason, n) for s, reason, n in words.get("rejected", ())),
            tuple((s, reason, n) for s, reason, n in words.get("dropped", ())),
            tuple((s, Event(t, tuple(map(tuple, labels)), text)) for s, t, labels, text in words.get("events", ())),
            Key(*(base64.b64decode(part) for part in key)) if key else None,
        )


def _words(notes: Notes) -> bytes:
    if not notes.says_something:
        return b""
    said: dict[str, object] = {"rejected": notes.rejected, "dropped": notes.dropped}
    if notes.events:
        said["events"] = [(source, e.time, e.labels, e.text) for source, e in notes.events]
    if (key := notes.key) is not None:
        said["key"] = [base64.b64encode(part).decode() for part in (key.digest, key.fingerprint, key.answer)]
    return json.dumps(said, separators=(",", ":")).encode()
