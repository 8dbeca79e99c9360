"""Who sends what: sources and their numbers, and what is to be said of one besides its figures."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from almenara.pipeline.database import Database
from almenara.pipeline.notes import HUB

#: More sources than this share one line: names come from outside, and a ledger must not grow without limit.
MAX_SOURCES = 10_000
#: Whose rows those are that the hub makes itself, and what further sources share.
OWN, OTHERS = "hub:judged", "others:all"
#: A name is cut to so many characters.
MAX_NAME = 256

SCHEMA = "CREATE TABLE IF NOT EXISTS source (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"


@dataclass(slots=True)
class SourceStatus:
    """One line of the ledger. Times in ns, 0 where there was nothing; problem and remedy are empty when all is well.

    received = stored + duplicate + overwritten + rejected + dropped, always. Events count as rows that are stored.
    """

    name: str
    first_ns: int = 0
    last_ns: int = 0
    payloads: int = 0
    received: int = 0
    stored: int = 0
    late: int = 0  # of those stored
    duplicate: int = 0
    overwritten: int = 0
    events: int = 0  # of those stored
    best_effort_rows: int = 0  # of those kept, rows that came without a promise to deliver (MQTT QoS 0, UDP)
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    dropped: Counter[str] = field(default_factory=Counter)
    last_rejected: str = ""
    problem: str = ""
    remedy: str = ""

    @property
    def transport(self) -> str:
        """The link, the first part of the name."""
        return self.name.partition(":")[0]

    @property
    def rows(self) -> int:
        """Rows that are kept, and those that are there already."""
        return self.stored + self.duplicate + self.overwritten - self.events

    @property
    def accounted(self) -> int:
        """What `received` must be."""
        lost = sum(self.rejected.values()) + sum(self.dropped.values())
        return self.stored + self.duplicate + self.overwritten + lost


class Names:
    """Sources by number. A number is durable before the first record that uses it; safe from every thread."""

    def __init__(self, database: Database):
        self._db, self._lock = database, threading.Lock()
        with database.read() as db:
            self._names = dict[int, str](db.execute("SELECT number, name FROM source").fetchall())
        self._numbers = {name: number for number, name in self._names.items()}
        self._new: list[tuple[int, str]] = []
        for name in (OWN, OTHERS):
            self.number(name)
        if self._numbers[OWN] != HUB:
            raise ValueError(f"hub.db: source {HUB} is {self._names.get(HUB)!r}; expected {OWN!r}")

    def __len__(self) -> int:
        return max(self._names) + 1

    def number(self, name: str) -> int:
        """The number of a source, given now where it is new."""
        known = self._numbers.get(name := name[:MAX_NAME])
        if known is not None:
            return known
        with self._lock:
            if name not in self._numbers and len(self._numbers) >= MAX_SOURCES:
                return self._numbers[OTHERS]
            number = self._numbers.setdefault(name, len(self._numbers))
            if number not in self._names:
                self._names[number] = name
                self._new.append((number, name))
            return number

    def name(self, number: int) -> str:
        """The name of a source."""
        return self._names.get(number, f"unknown:{number}")

    def keep(self) -> None:
        """Make all numbers given so far durable. Raises StoreError or DiskFull."""
        if not self._new:
            return
        with self._lock:
            new = list(self._new)
        with self._db.write() as db:
            db.executemany("INSERT OR REPLACE INTO source VALUES (?, ?)", new)
        with self._lock:
            del self._new[: len(new)]


@dataclass(slots=True)
class Remark:
    """What is to be said of a source besides its figures, while the hub runs."""

    at_ns: int = 0
    problem: str = ""
    remedy: str = ""
    last_rejected: str = ""


class Remarks:
    """Remarks by source; safe from every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_name: dict[str, Remark] = {}

    def report(self, name: str, now_ns: int, problem: str, remedy: str) -> None:
        """Note what is wrong with a source and what its owner can do."""
        if (one := self._of(name)) is not None:
            one.at_ns, one.problem, one.remedy = now_ns, problem, remedy

    def rejected(self, name: str, what: str) -> None:
        """Note the last thing that was rejected."""
        if (one := self._of(name)) is not None:
            one.last_rejected = what[:200]

    def _of(self, name: str) -> Remark | None:
        with self._lock:
            if name not in self._by_name and len(self._by_name) >= MAX_SOURCES:
                return None
            return self._by_name.setdefault(name[:MAX_NAME], Remark())

    def all(self) -> dict[str, Remark]:
        """As they stand."""
        with self._lock:
            return dict(self._by_name)
