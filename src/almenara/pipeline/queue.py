"""Named queues of messages: whoever asks first takes the oldest. A message is on disk before it is acknowledged.

A message is taken for good, or under a lease: then it is given to nobody else until the lease ends, and comes back to
its old place unless it was acknowledged by then. Tables of hub.db, written here alone.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass

from almenara.model.errors import Overloaded
from almenara.pipeline.database import Database

#: What a message costs beside its body, in bytes, about.
OVERHEAD = 64
#: When a full queue may have room again.
RETRY_S = 5.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS queue_message (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, added_ns INTEGER NOT NULL,
    leased_until_ns INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS queue_message_order ON queue_message (queue, id);
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: messages and bytes of one queue, and how many queues hold any."""

    messages: int = 10_000
    bytes: int = 16 << 20
    queues: int = 100


@dataclass(frozen=True, slots=True)
class Message:
    """One message. id: never given twice. leased_until_ns: 0 where it was taken for good."""

    id: int
    body: bytes
    added_ns: int
    leased_until_ns: int = 0


@dataclass(frozen=True, slots=True)
class Depth:
    """What a queue holds. leased: of its messages, those given out under a lease; oldest_ns: 0 where it is empty."""

    messages: int = 0
    leased: int = 0
    bytes: int = 0
    oldest_ns: int = 0


class Queues:
    """All queues; safe from every thread. All methods raise StoreError or DiskFull."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], bounds: Bounds):
        self._db, self._bounds, self._lock = Database(connect, _SCHEMA), bounds, threading.Lock()
        sizes = f"SELECT queue, count(*), sum(length(body) + {OVERHEAD}) FROM queue_message GROUP BY queue"
        with self._db.read() as db:
            self._used: dict[str, tuple[int, int]] = {name: (n, size) for name, n, size in db.execute(sizes)}

    def room(self, queue: str, size: int) -> None:
        """Raise Overloaded where a message of `size` bytes would be too much."""
        messages, used = self._used.get(queue, (0, 0))
        if messages == 0 and len(self._used) >= self._bounds.queues:
            raise Overloaded(f"{len(self._used)} queues hold messages already; no more may be begun", RETRY_S)
        if messages >= self._bounds.messages:
            raise Overloaded(f"queue {queue!r} is full: it holds {messages} messages", RETRY_S)
        if used + size + OVERHEAD > self._bounds.bytes:
            raise Overloaded(f"queue {queue!r} is full: it holds {used} of {self._bounds.bytes} bytes", RETRY_S)

    def put(self, queue: str, body: bytes, now_ns: int) -> int:
        """Append a message; its id, once it is on disk. Raises Overloaded where the queue is full."""
        with self._lock:
            self.room(queue, len(body))
            with self._db.write() as db:
                sql = "INSERT INTO queue_message (queue, added_ns, body) VALUES (?, ?, ?)"
                id = db.execute(sql, (queue, now_ns, body)).lastrowid
            self._count(queue, 1, len(body) + OVERHEAD)
        return id or 0

    def take(self, queue: str, now_ns: int, lease_ns: int = 0) -> Message | None:
        """The oldest message that nobody has under a lease; None where there is none. lease_ns: 0 takes it for good."""
        find = (
            "SELECT id, body, added_ns FROM queue_message WHERE queue = ? AND leased_until_ns <= ? ORDER BY id LIMIT 1"
        )
        with self._lock:
            if queue not in self._used:
                return None
            with self._db.write() as db:
                found = db.execute(find, (queue, now_ns)).fetchone()
                if found is None:
                    return None
                id, body, added_ns = found
                if lease_ns:
                    until = now_ns + lease_ns
                    db.execute("UPDATE queue_message SET leased_until_ns = ? WHERE id = ?", (until, id))
                    return Message(id, body, added_ns, until)
                db.execute("DELETE FROM queue_message WHERE id = ?", (id,))
            self._count(queue, -1, -len(body) - OVERHEAD)
        return Message(id, body, added_ns)

    def acknowledge(self, queue: str, id: int) -> bool:
        """Remove a message, whoever has it; False where it is gone already."""
        with self._lock:
            with self._db.write() as db:
                sql = "DELETE FROM queue_message WHERE queue = ? AND id = ? RETURNING length(body)"
                found = db.execute(sql, (queue, id)).fetchone()
            if found is None:
                return False
            self._count(queue, -1, -found[0] - OVERHEAD)
        return True

    def depth(self, queue: str, now_ns: int) -> Depth:
        """What a queue holds now."""
        messages, used = self._used.get(queue, (0, 0))
        sums = "coalesce(sum(leased_until_ns > ?), 0), coalesce(min(added_ns), 0)"
        sql = f"SELECT {sums} FROM queue_message WHERE queue = ?"
        with self._db.read() as db:
            leased, oldest = db.execute(sql, (now_ns, queue)).fetchone()
        return Depth(messages, leased, used, oldest)

    def names(self) -> list[str]:
        """The queues that hold messages."""
        return sorted(self._used)

    def sizes(self) -> dict[str, int]:
        """The messages of each queue that holds some."""
        return {name: messages for name, (messages, _) in self._used.copy().items()}

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _count(self, queue: str, messages: int, size: int) -> None:
        before, used = self._used.get(queue, (0, 0))
        self._used[queue] = (before + messages, used + size)
        if before + messages == 0:
            del self._used[queue]
