"""Between decoding and the commit: whose rows they are and what came with them, for the log and for the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from almenara.model.batch import Decoded, Rejected
from almenara.model.errors import DecodeError
from almenara.pipeline.aside import Aside
from almenara.pipeline.counters import Counters
from almenara.pipeline.keys import key_of
from almenara.pipeline.ledger import Ledger
from almenara.pipeline.notes import BEST_EFFORT, Notes, Tally
from almenara.plugin.contracts import Packet

log = logging.getLogger(__name__)

UNDECODABLE = "undecodable"


class Intake:
    """For the hub's loop."""

    def __init__(self, ledger: Ledger, counters: Counters, aside: Path, clock: Callable[[], int]):
        self._ledger, self._counters, self._aside, self._clock = ledger, counters, Aside(aside), clock

    def notes(self, packets: Sequence[Packet], found: Mapping[int, Decoded | DecodeError], rows: np.ndarray) -> Notes:
        """The notes of packets that are committed together, in their order; rows: int[k], the rows of each; found: what
        there is to say of some besides their rows, by position."""
        names = [p.source for p in packets]
        numbers = {name: self._ledger.names.number(name) for name in set(names)}
        source = np.fromiter(map(numbers.__getitem__, names), np.int32, len(names))
        eager = np.fromiter([p.qos == 0 for p in packets], np.bool_, len(names))
        rejected: list[Tally] = []
        events = []
        for at, one in sorted(found.items()):
            if isinstance(one, DecodeError):
                rejected.append((int(source[at]), UNDECODABLE, 1))
            elif one.rejected or one.events:
                rejected += [(int(source[at]), r.reason, r.rows) for r in one.rejected]
                events += [(int(source[at]), event) for event in one.events]
        source[eager] |= BEST_EFFORT
        return Notes(source, rows.astype(np.int32), self._clock(), tuple(rejected), events=tuple(events))

    def note(self, packet: Packet, codec: str, decoded: Decoded) -> Notes:
        """The notes of a packet that is committed alone."""
        number = self._ledger.names.number(packet.source)
        source = np.array([number | int(BEST_EFFORT) if packet.qos == 0 else number], np.int32)
        rejected = tuple((number, r.reason, r.rows) for r in decoded.rejected)
        events, key = tuple((number, event) for event in decoded.events), key_of(packet, codec)
        rows = np.array([len(decoded.batch)], np.int32)
        return Notes(source, rows, self._clock(), rejected, events=events, key=key)

    def kept(self, packet: Packet, rejected: Sequence[Rejected]) -> None:
        """A payload is committed, these rows of it are not. The commit counts what admission rejects."""
        for one in rejected:
            if one.where != "admission":
                self._counters.add("almenara_rows_rejected_total", one.rows, reason=one.reason)
        if rejected:
            last = rejected[-1]
            self._ledger.sources.rejected(packet.source, f"{last.where}: {last.detail or last.reason}")

    def undecodable(self, packet: Packet, error: DecodeError) -> None:
        """Nothing in a payload can be read."""
        self._counters.add("almenara_payloads_undecodable_total")
        self._ledger.sources.rejected(packet.source, f"payload: {error}")
        try:
            self._aside.keep(packet, error, self._clock())
        except OSError:
            self._counters.add("almenara_aside_failed_total")
