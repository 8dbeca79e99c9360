"""What is known of series beyond their identity (unit, kind, help), by series or metric name; small tables of hub.db.

A key without labels stands for all series of that name, those that come later too; what is told of a series with labels
goes before it. Many series share a text, so a series costs four bytes here. The last one told wins. A change is on disk
before the payload that brought it is acknowledged.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from almenara.model.series import FIELD, Metadata
from almenara.pipeline.database import Database
from almenara.pipeline.index import SeriesIndex

#: Different texts that are remembered; they come from outside. A series whose text is one more keeps none.
MAX_TEXTS = 50_000
#: Characters of a unit or kind, and of a help text.
MAX_WORD, MAX_HELP = 64, 1000
#: Names of metrics that are remembered, and the bytes of one; a name past it keeps none.
MAX_NAMES, MAX_NAME_BYTES = 50_000, 512

_SCHEMA = """
CREATE TABLE IF NOT EXISTS metadata_text (
    number INTEGER PRIMARY KEY, unit TEXT NOT NULL, kind TEXT NOT NULL, help TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS metadata_series (series INTEGER PRIMARY KEY, text INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS metadata_name (name BLOB PRIMARY KEY, text INTEGER NOT NULL) WITHOUT ROWID;
"""
_NOTHING = Metadata()

#: (series number, or the name of all its series; what is known of it now)
Change = tuple[int | bytes, Metadata]


class KnownMetadata:
    """Metadata of the series of an index; safe from every thread."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], index: SeriesIndex):
        """Read what is known. Raises StoreError or DiskFull."""
        self._db, self._lock, self._index = Database(connect, _SCHEMA), threading.Lock(), index
        with self._db.read() as db:
            texts = db.execute("SELECT unit, kind, help FROM metadata_text ORDER BY number").fetchall()
            pairs = np.array(db.execute("SELECT series, text FROM metadata_series").fetchall(), np.int64)
            named = dict(db.execute("SELECT name, text FROM metadata_name").fetchall())
        self._texts = [Metadata(*text) for text in texts]
        self._numbers = {text: number for number, text in enumerate(self._texts)}
        self._of = np.full(int(pairs[:, 0].max()) + 1 if len(pairs) else 0, -1, np.int32)
        if len(pairs):
            self._of[pairs[:, 0]] = pairs[:, 1]
        self._named: dict[bytes, int] = named  # replaced, never changed
        self._by_name = named, np.empty(0, np.int32)  # the same by the index' number

    def of(self, id: int) -> Metadata:
        """What is known of series `id`, else of its name; empty where nothing is."""
        number = int(self.numbers(np.array([id]))[0]) if 0 <= id < len(self._index) else -1
        return self.text(number)

    def numbers(self, ids: np.ndarray) -> np.ndarray:
        """int32[k]: which text is known of each of these series of the index, for `text`; -1 where there is none."""
        names, own = self._index.name_numbers()[ids], self._of
        number = self._text_by_name()[names]
        theirs = np.flatnonzero(ids < len(own))
        told = own[ids[theirs]]
        number[theirs[told >= 0]] = told[told >= 0]
        return number

    def text(self, number: int) -> Metadata:
        """What a number of `numbers` stands for."""
        return self._texts[number] if number >= 0 else _NOTHING

    def _text_by_name(self) -> np.ndarray:
        """int32[names of the index]: the number of the text of each, -1 where there is none."""
        told, column = self._by_name
        names, have = self._index.names, len(column)
        if told is self._named and have >= len(names):
            return column
        if told is not self._named:
            told = self._named
            column, have = np.full(len(names), -1, np.int32), len(names)
            at = names.find(list(told))
            known = (at >= 0) & (at < have)
            column[at[known]] = np.fromiter(told.values(), np.int32, len(told))[known]
        more = [told.get(names[number], -1) for number in range(have, len(names))]
        column = np.concatenate((column, np.array(more, np.int32)))
        self._by_name = told, column
        return column

    def changes(self, told: Mapping[bytes, Metadata]) -> list[Change]:
        """What of `told`, by series key, is new; series with labels that the hub does not have are left out."""
        named = self._named
        found: list[Change] = []
        keys = [key for key in told if FIELD in key]
        ids = self._index.find(keys)
        here = np.flatnonzero(ids >= 0)
        numbers = self.numbers(ids[here]).tolist()
        for at, id, number in zip(here.tolist(), ids[here].tolist(), numbers, strict=True):
            if (text := _cut(told[keys[at]])) != self.text(number):
                found.append((id, text))
        for name in (key for key in told if FIELD not in key):
            text, number = _cut(told[name]), named.get(name, -1)
            if text != self.text(number):
                found.append((name, text))
        return found

    def keep(self, changes: Sequence[Change]) -> np.ndarray:
        """Take changes in; on disk when this returns. int32[k]: series that this tells something of. Raises StoreError
        or DiskFull."""
        with self._lock:
            numbers, fresh = self._numbered(text for _, text in changes)
            rows = {id: numbers[text] for id, text in changes if isinstance(id, int) and text in numbers}
            names = self._within({n: numbers[text] for n, text in changes if isinstance(n, bytes) and text in numbers})
            if not rows and not names:
                return np.empty(0, np.int32)
            with self._db.write() as db:
                some = [(numbers[text], text.unit, text.kind, text.help) for text in fresh]
                db.executemany("INSERT OR REPLACE INTO metadata_text VALUES (?, ?, ?, ?)", some)
                db.executemany("INSERT OR REPLACE INTO metadata_series VALUES (?, ?)", rows.items())
                db.executemany("INSERT OR REPLACE INTO metadata_name VALUES (?, ?)", names.items())
            self._texts += fresh
            self._numbers = numbers
            self._set(rows)
            self._named = self._named | names
        return self._told_of(rows, names)  # last, so that a series added meanwhile is in it or finds the new text

    def _numbered(self, told: Iterable[Metadata]) -> tuple[dict[Metadata, int], list[Metadata]]:
        """The number of every text, and those that are new, as far as there is room."""
        fresh = list(dict.fromkeys(text for text in told if text not in self._numbers))
        fresh = fresh[: max(0, MAX_TEXTS - len(self._texts))]
        return self._numbers | {text: len(self._texts) + at for at, text in enumerate(fresh)}, fresh

    def _within(self, names: dict[bytes, int]) -> dict[bytes, int]:
        fresh = [name for name in names if name not in self._named and len(name) <= MAX_NAME_BYTES]
        taken = set(fresh[: max(0, MAX_NAMES - len(self._named))])
        return {name: number for name, number in names.items() if name in self._named or name in taken}

    def _told_of(self, rows: Mapping[int, int], names: Mapping[bytes, int]) -> np.ndarray:
        ids = np.fromiter(rows, np.int32, len(rows))
        if not names:
            return ids
        numbers = self._index.names.find(list(names))
        told = np.zeros(len(self._index.names), np.bool_)
        told[numbers[numbers >= 0]] = True
        of_name = self._index.name_numbers()
        return np.concatenate((ids, np.flatnonzero(told[of_name]).astype(np.int32)))

    def _set(self, rows: Mapping[int, int]) -> None:
        if not rows:
            return
        of = self._of
        if max(rows) >= len(of):
            of = np.full(max(max(rows) + 1, len(of) * 3 // 2), -1, np.int32)
            of[: len(self._of)] = self._of
        of[list(rows)] = list(rows.values())
        self._of = of

    def by_name(self) -> dict[str, list[Metadata]]:
        """Name of a metric -> what is known of it and of series of that name, each text once."""
        of, texts, names = self._of, self._texts, self._index.name_numbers()
        found = {name: {texts[number]: None} for name, number in self._named.items()}
        ids = np.flatnonzero(of[: len(names)] >= 0)
        for pair in np.unique(names[ids].astype(np.int64) << 32 | of[ids]).tolist():
            found.setdefault(self._index.names[pair >> 32], {})[texts[pair & 0xFFFFFFFF]] = None
        return {name: list(found[key]) for name, key in sorted((key.decode(errors="replace"), key) for key in found)}

    def close(self) -> None:
        """Let go of hub.db."""
        self._db.close()


def _cut(text: Metadata) -> Metadata:
    if len(text.unit) <= MAX_WORD and len(text.kind) <= MAX_WORD and len(text.help) <= MAX_HELP:
        return text
    return Metadata(text.unit[:MAX_WORD], text.kind[:MAX_WORD], text.help[:MAX_HELP])
