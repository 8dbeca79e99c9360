"""What is known of series beyond their identity (unit, kind, help), by series number; two small tables of hub.db.

Many series share a text, so a series costs four bytes here. The last one told wins. A change is on disk before the
payload that brought it is acknowledged.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from almenara.model.series import FIELD, Metadata, SeriesList
from almenara.pipeline.database import Database
from almenara.pipeline.index import SeriesIndex

#: Different texts that are remembered; they come from outside. A series whose text is one more keeps none.
MAX_TEXTS = 50_000
#: Characters of a unit or kind, and of a help text.
MAX_WORD, MAX_HELP = 64, 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS metadata_text (
    number INTEGER PRIMARY KEY, unit TEXT NOT NULL, kind TEXT NOT NULL, help TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS metadata_series (series INTEGER PRIMARY KEY, text INTEGER NOT NULL);
"""
_NOTHING = Metadata()

#: (series number, what is known of it now)
Change = tuple[int, Metadata]


class KnownMetadata:
    """Metadata by series; safe from every thread."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]):
        """Read what is known. Raises StoreError or DiskFull."""
        self._db, self._lock = Database(connect, _SCHEMA), threading.Lock()
        with self._db.read() as db:
            texts = db.execute("SELECT unit, kind, help FROM metadata_text ORDER BY number").fetchall()
            pairs = np.array(db.execute("SELECT series, text FROM metadata_series").fetchall(), np.int64)
        self._texts = [Metadata(*text) for text in texts]
        self._numbers = {text: number for number, text in enumerate(self._texts)}
        self._of = np.full(int(pairs[:, 0].max()) + 1 if len(pairs) else 0, -1, np.int32)
        if len(pairs):
            self._of[pairs[:, 0]] = pairs[:, 1]

    def of(self, id: int) -> Metadata:
        """What is known of series `id`; empty where nothing is."""
        number = int(self._of[id]) if 0 <= id < len(self._of) else -1
        return self._texts[number] if number >= 0 else _NOTHING

    def changes(self, index: SeriesIndex, told: Mapping[bytes, Metadata]) -> list[Change]:
        """What of `told`, by series key, is new; series that the hub does not have are left out."""
        ids = index.find(list(told)).tolist()
        found = ((id, _cut(text)) for id, text in zip(ids, told.values(), strict=True) if id >= 0)
        return [(id, text) for id, text in found if text != self.of(id)]

    def keep(self, changes: Sequence[Change]) -> None:
        """Take changes in; on disk when this returns. Raises StoreError or DiskFull."""
        with self._lock:
            fresh = list(dict.fromkeys(text for _, text in changes if text not in self._numbers))
            fresh = fresh[: max(0, MAX_TEXTS - len(self._texts))]
            numbers = self._numbers | {text: len(self._texts) + at for at, text in enumerate(fresh)}
            rows = {id: numbers[text] for id, text in changes if text in numbers}
            with self._db.write() as db:
                some = [(numbers[text], text.unit, text.kind, text.help) for text in fresh]
                db.executemany("INSERT OR REPLACE INTO metadata_text VALUES (?, ?, ?, ?)", some)
                db.executemany("INSERT OR REPLACE INTO metadata_series VALUES (?, ?)", rows.items())
            self._texts += fresh
            self._numbers = numbers
            self._set(rows)

    def _set(self, rows: Mapping[int, int]) -> None:
        if not rows:
            return
        of = self._of
        if max(rows) >= len(of):
            of = np.full(max(max(rows) + 1, len(of) * 3 // 2), -1, np.int32)
            of[: len(self._of)] = self._of
        of[list(rows)] = list(rows.values())
        self._of = of

    def by_name(self, series: SeriesList) -> dict[str, list[Metadata]]:
        """Name of a metric -> what is known of series of that name, each text once."""
        of, found = self._of, dict[str, dict[Metadata, None]]()
        for id in np.flatnonzero(of >= 0).tolist():
            if id < len(series):
                name = series.keys[id].partition(FIELD)[0].decode()
                found.setdefault(name, {})[self._texts[of[id]]] = None
        return {name: list(texts) for name, texts in sorted(found.items())}

    def close(self) -> None:
        """Let go of hub.db."""
        self._db.close()


def _cut(text: Metadata) -> Metadata:
    if len(text.unit) <= MAX_WORD and len(text.kind) <= MAX_WORD and len(text.help) <= MAX_HELP:
        return text
    return Metadata(text.unit[:MAX_WORD], text.kind[:MAX_WORD], text.help[:MAX_HELP])
