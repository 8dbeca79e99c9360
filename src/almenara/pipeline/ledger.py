"""What became of every payload: counted by source and by reason; those nobody could read are kept aside for a look."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from almenara.model.batch import Rejected
from almenara.model.errors import DecodeError
from almenara.pipeline.counters import Counters
from almenara.pipeline.sources import Sources
from almenara.plugin.contracts import Packet

#: So many unreadable payloads are kept, each up to so many bytes; the oldest make room.
ASIDE_FILES = 100
ASIDE_BYTES = 64_000


class Ledger:
    """Counts, for the hub's loop."""

    def __init__(self, counters: Counters, clock: Callable[[], int], aside: Path):
        self.sources = Sources()
        self._counters, self._clock, self._aside = counters, clock, aside
        self._kept_aside_ns = 0

    def kept(self, packet: Packet, rows: int, rejected: Sequence[Rejected]) -> None:
        """So many rows of a payload were committed, these were not. The commit counts what admission rejects."""
        for one in rejected:
            if one.where != "admission":
                self._counters.add("almenara_rows_rejected_total", one.rows, reason=one.reason)
        self.sources.count(packet.source, self._clock(), 1, rows, rejected, best_effort=packet.qos == 0)

    def undecodable(self, packet: Packet, error: DecodeError) -> None:
        """Nothing in a payload could be read."""
        self._counters.add("almenara_payloads_undecodable_total")
        found = Rejected("payload", "undecodable", 1, str(error))
        self.sources.count(packet.source, self._clock(), 1, 0, [found], best_effort=packet.qos == 0)
        self._keep_aside(packet, error)

    def _keep_aside(self, packet: Packet, error: DecodeError) -> None:
        now = self._clock()
        if now - self._kept_aside_ns < 1_000_000_000:  # garbage may come fast: one a second is enough to look at
            return
        self._kept_aside_ns = now
        about = {"topic": packet.topic, "source": packet.source, "received_ns": packet.received_ns, "error": str(error)}
        try:
            path = self._aside / f"{now:020d}.payload"
            path.write_bytes(json.dumps(about).encode() + b"\n" + packet.payload[:ASIDE_BYTES])
            for old in sorted(self._aside.glob("*.payload"))[:-ASIDE_FILES]:
                old.unlink()
        except OSError:
            self._counters.add("almenara_aside_failed_total")
