"""What senders call series that they name in two parts, measurement and field (line protocol does); a table of hub.db.

The series `cpu_usage_idle` is the field `usage_idle` of `cpu`, which its name alone does not tell. Codecs note it at
their `SeriesTable`; here it is kept for those who ask in these terms.
"""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping

from almenara.model.series import SeriesList
from almenara.pipeline.database import Database

#: Names that are kept; they come from outside. Past it a series is known by its own name only.
MAX_ORIGINS = 100_000
#: Databases that are remembered, and how long a name may be.
MAX_DATABASES, MAX_NAME = 1000, 255

_SCHEMA = """
CREATE TABLE IF NOT EXISTS series_origin (
    name TEXT NOT NULL, measurement TEXT NOT NULL, field TEXT NOT NULL,
    PRIMARY KEY (name, measurement, field)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS database_name (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""

#: (name of the series, measurement, field)
Origin = tuple[str, str, str]


class Origins:
    """Measurement and field by the name of a series; safe from every thread."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]):
        """Read what is known. Raises StoreError or DiskFull."""
        self._db, self._lock = Database(connect, _SCHEMA), threading.Lock()
        with self._db.read() as db:
            rows = db.execute("SELECT name, measurement, field FROM series_origin").fetchall()
            self._databases = {name for (name,) in db.execute("SELECT name FROM database_name")}
        self._known: set[Origin] = set(rows)
        self._by_name: dict[str, tuple[tuple[str, str], ...]] = {}
        self._enter(rows)
        self._seen: weakref.WeakKeyDictionary[SeriesList, int] = weakref.WeakKeyDictionary()

    def by_name(self) -> Mapping[str, Iterable[tuple[str, str]]]:
        """Name of a series -> (measurement, field) pairs it was sent as."""
        return self._by_name

    def fresh(self, tables: Iterable[SeriesList]) -> bool:
        """Whether codecs have noted more at their tables than was kept."""
        return any(len(getattr(one, "origins", ())) > self._seen.get(one, 0) for one in tables)

    def keep(self, tables: Iterable[SeriesList]) -> None:
        """Take in what codecs have noted at their tables; on disk when this returns. Raises StoreError or DiskFull."""
        with self._lock:
            noted = {one: list(getattr(one, "origins", ())) for one in tables}
            told = (origin for one, origins in noted.items() for origin in origins[self._seen.get(one, 0) :])
            new = [origin for origin in dict.fromkeys(told) if origin not in self._known]
            new = new[: max(0, MAX_ORIGINS - len(self._known))]
            if new:
                with self._db.write() as db:
                    db.executemany("INSERT OR IGNORE INTO series_origin VALUES (?, ?, ?)", new)
                self._known.update(new)
                self._enter(new)
            for one, origins in noted.items():
                self._seen[one] = len(origins)

    def databases(self) -> frozenset[str]:
        """The databases that senders have named; all of them are this one store."""
        return frozenset(self._databases)

    def is_new_database(self, name: str) -> bool:
        """Whether `keep_database` would remember this name."""
        return 0 < len(name) <= MAX_NAME and name not in self._databases and len(self._databases) < MAX_DATABASES

    def keep_database(self, name: str) -> None:
        """Remember a database's name; on disk when this returns. Raises StoreError or DiskFull."""
        with self._lock:
            if self.is_new_database(name):
                with self._db.write() as db:
                    db.execute("INSERT OR IGNORE INTO database_name VALUES (?)", (name,))
                self._databases = self._databases | {name}

    def _enter(self, rows: Iterable[Origin]) -> None:
        by_name = dict(self._by_name)  # replaced, not changed: readers may be in it
        for name, measurement, field in rows:
            by_name[name] = (*by_name.get(name, ()), (measurement, field))
        self._by_name = by_name

    def close(self) -> None:
        """Let go of hub.db."""
        self._db.close()
