"""Who sends what: one line a source (a client, a topic, a peer), with what was kept and what was not, and why."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from almenara.model.batch import Rejected

#: More sources than this share one line: names come from outside, and a ledger must not grow without limit.
MAX_SOURCES = 10_000
OTHERS = "others"


@dataclass(slots=True)
class SourceStatus:
    """What one source sent since the hub started. Times in ns; problem and remedy are empty when all is well."""

    name: str
    first_ns: int = 0
    last_ns: int = 0
    payloads: int = 0
    rows: int = 0
    best_effort_rows: int = 0  # of those, rows that came without a promise to deliver (MQTT QoS 0, UDP)
    rejected: Counter[str] = field(default_factory=Counter)
    last_rejected: str = ""
    problem: str = ""
    remedy: str = ""

    @property
    def transport(self) -> str:
        """The link, the first part of the name."""
        return self.name.partition(":")[0]


class Sources:
    """All sources of one hub; safe from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, SourceStatus] = {}

    def count(
        self,
        name: str,
        now_ns: int,
        payloads: int,
        rows: int,
        rejected: Iterable[Rejected],
        *,
        best_effort: bool = False,
    ) -> None:
        """Add what became of payloads of one source."""
        with self._lock:
            status = self._get(name)
            status.first_ns = status.first_ns or now_ns
            status.last_ns = now_ns
            status.payloads += payloads
            status.rows += rows
            status.best_effort_rows += rows if best_effort else 0
            for one in rejected:
                status.rejected[one.reason] += one.rows
                status.last_rejected = f"{one.where}: {one.detail or one.reason}"[:200]

    def report(self, name: str, now_ns: int, problem: str, remedy: str) -> None:
        """Note what is wrong with a source and what its owner can do."""
        with self._lock:
            status = self._get(name)
            status.first_ns = status.first_ns or now_ns
            status.last_ns, status.problem, status.remedy = now_ns, problem, remedy

    def _get(self, name: str) -> SourceStatus:
        if name not in self._by_name and len(self._by_name) >= MAX_SOURCES:
            name = OTHERS
        return self._by_name.setdefault(name, SourceStatus(name))

    def snapshot(self) -> list[SourceStatus]:
        """Every source as it stands, the latest first."""
        with self._lock:
            copies = [replace(s, rejected=Counter(s.rejected)) for s in self._by_name.values()]
        return sorted(copies, key=lambda s: (not s.problem, -s.last_ns))
