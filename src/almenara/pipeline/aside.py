"""Payloads that nobody could read are kept aside for a look: a hundred of them, one a second at most."""

from __future__ import annotations

import json
from pathlib import Path

from almenara.model.errors import DecodeError
from almenara.model.time import NS
from almenara.plugin.contracts import Packet

#: So many are kept, each up to so many bytes; the oldest make room.
FILES = 100
BYTES = 64_000


class Aside:
    """The folder `aside`; for the hub's loop."""

    def __init__(self, folder: Path):
        self._folder, self._kept_ns = folder, 0

    def keep(self, packet: Packet, error: DecodeError, now_ns: int) -> None:
        """Keep a payload unless one was kept within this second: garbage may come fast. Raises OSError."""
        if now_ns - self._kept_ns < NS:
            return
        self._kept_ns = now_ns
        about = {"topic": packet.topic, "source": packet.source, "received_ns": packet.received_ns, "error": str(error)}
        path = self._folder / f"{now_ns:020d}.payload"
        path.write_bytes(json.dumps(about).encode() + b"\n" + packet.payload[:BYTES])
        for old in sorted(self._folder.glob("*.payload"))[:-FILES]:
            old.unlink()
