"""The last documents that senders sent, as they sent them: what `dweet` and `phant` clients read back.

Their numbers are rows of the store as well, and stay there; here the oldest documents give way to new ones. A table of
hub.db, written here alone.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from almenara.pipeline.database import Database

#: What a document costs beside its body, in bytes, about.
OVERHEAD = 128
#: Down to this part of a full room the oldest documents of all owners go at once.
_LEFT = 0.9

_SCHEMA = """
CREATE TABLE IF NOT EXISTS document (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, owner TEXT NOT NULL, time_ns INTEGER NOT NULL,
    body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS document_owner ON document (kind, owner, id);
CREATE INDEX IF NOT EXISTS document_kind ON document (kind, id);
"""
_SIZE = f"length(body) + {OVERHEAD}"


@dataclass(frozen=True, slots=True)
class Room:
    """How much one owner may keep; documents before `since_ns` go in any case."""

    count: int
    bytes: int
    since_ns: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """One document. id: rises with every document that is kept."""

    id: int
    time_ns: int
    body: bytes


class Documents:
    """The documents of one kind of owner; safe from every thread. All methods raise StoreError or DiskFull."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], kind: str, total_bytes: int):
        """total_bytes: what all owners together may keep; past it the oldest documents go, whoever's they are."""
        self._db, self._kind, self._total, self._lock = Database(connect, _SCHEMA), kind, total_bytes, threading.Lock()
        with self._db.read() as db:
            sql = f"SELECT owner, count(*), sum({_SIZE}) FROM document WHERE kind = ? GROUP BY owner"
            self._used: dict[str, tuple[int, int]] = {owner: (n, size) for owner, n, size in db.execute(sql, (kind,))}
        self._bytes = sum(size for _, size in self._used.values())

    def keep(self, owner: str, time_ns: int, body: bytes, room: Room) -> int:
        """Keep a document, in the place of older ones where there is no more room; its id, once it is on disk."""
        with self._lock:
            changed = dict([self._used_with(owner, body)])
            with self._db.write() as db:
                sql = "INSERT INTO document (kind, owner, time_ns, body) VALUES (?, ?, ?, ?)"
                id = db.execute(sql, (self._kind, owner, time_ns, body)).lastrowid
                self._trim(db, owner, changed, room)
                self._trim_all(db, changed)
            self._take_over(changed)
        return id or 0

    def latest(self, owner: str, limit: int, since_ns: int = 0, before_id: int = 1 << 62) -> list[Document]:
        """The newest documents, newest first: not before `since_ns`, and kept before the one called `before_id`."""
        sql = (
            "SELECT id, time_ns, body FROM document WHERE kind = ? AND owner = ? AND id < ? AND time_ns >= ? "
            "ORDER BY id DESC LIMIT ?"
        )
        with self._db.read() as db:
            return [Document(*row) for row in db.execute(sql, (self._kind, owner, before_id, since_ns, limit))]

    def used(self, owner: str) -> tuple[int, int]:
        """(documents, bytes) that an owner has."""
        return self._used.get(owner, (0, 0))

    def clear(self, owner: str) -> int:
        """Remove all documents of an owner; how many they were."""
        with self._lock:
            with self._db.write() as db:
                sql = "DELETE FROM document WHERE kind = ? AND owner = ?"
                gone = db.execute(sql, (self._kind, owner)).rowcount
            self._take_over({owner: (0, 0)})
        return gone

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _used_with(self, owner: str, body: bytes) -> tuple[str, tuple[int, int]]:
        count, size = self.used(owner)
        return owner, (count + 1, size + len(body) + OVERHEAD)

    def _trim(self, db: sqlite3.Connection, owner: str, changed: dict[str, tuple[int, int]], room: Room) -> None:
        """Remove the oldest documents of an owner that has too many."""
        count, size = changed[owner]
        last = 0
        sql = f"SELECT id, time_ns, {_SIZE} FROM document WHERE kind = ? AND owner = ? ORDER BY id"
        for id, time_ns, length in db.execute(sql, (self._kind, owner)):
            if count == 1 or (count <= room.count and size <= room.bytes and time_ns >= room.since_ns):
                break
            last, count, size = id, count - 1, size - length
        if last:
            db.execute("DELETE FROM document WHERE kind = ? AND owner = ? AND id <= ?", (self._kind, owner, last))
            changed[owner] = (count, size)

    def _trim_all(self, db: sqlite3.Connection, changed: dict[str, tuple[int, int]]) -> None:
        """Remove the oldest documents of all where all together are too many."""
        total = self._bytes + sum(size - self.used(owner)[1] for owner, (_, size) in changed.items())
        if total <= self._total:
            return
        last = 0
        sql = f"SELECT id, owner, {_SIZE} FROM document WHERE kind = ? ORDER BY id"
        for id, owner, length in db.execute(sql, (self._kind,)):
            if total <= self._total * _LEFT:
                break
            count, size = changed.get(owner) or self.used(owner)
            changed[owner] = (count - 1, size - length)
            last, total = id, total - length
        db.execute("DELETE FROM document WHERE kind = ? AND id <= ?", (self._kind, last))

    def _take_over(self, changed: dict[str, tuple[int, int]]) -> None:
        for owner, (count, size) in changed.items():
            self._bytes += size - self.used(owner)[1]
            if count:
                self._used[owner] = (count, size)
            else:
                self._used.pop(owner, None)


def joined(documents: Iterable[Document]) -> bytes:
    """JSON documents as one JSON list."""
    return b"[" + b",".join(one.body for one in documents) + b"]"
