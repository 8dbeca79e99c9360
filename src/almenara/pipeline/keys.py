"""Keys that clients name a body with (`Idempotency-Key`): sent again under the same key it is answered, not kept twice.

A key stands in the log record of the rows it names, so both are kept or none; when the segment is counted it goes to
hub.db. It is remembered for a day, and at most a million of them are: then the oldest go.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence

from almenara.model.batch import Rejected
from almenara.model.errors import AlmenaraError, KeyReused
from almenara.model.time import DAY_NS
from almenara.pipeline.database import Database
from almenara.pipeline.notes import Key
from almenara.plugin.contracts import Outcome, Packet

KEPT_NS = DAY_NS
MAX_KEYS = 1_000_000
#: A key is at most so long, in characters.
MAX_LENGTH = 255
#: So many of the rejected rows of an answer are told again one by one; of the others only how many there were.
_TOLD = 10

SCHEMA = """
CREATE TABLE IF NOT EXISTS idempotency_key (
    digest BLOB PRIMARY KEY, fingerprint BLOB NOT NULL, answer BLOB NOT NULL, received_ns INTEGER NOT NULL,
    number INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idempotency_key_age ON idempotency_key (number);
"""


class AlreadyKept(AlmenaraError):
    """Not an error to whoever sent it: this was committed before, and `outcome` is what was answered then."""

    def __init__(self, outcome: Outcome):
        self.outcome = outcome
        super().__init__("kept before under the same key")


def key_of(packet: Packet, codec: str) -> Key | None:
    """The key of a packet; None where it has none. One key may be used again on another path or with another codec."""
    if not packet.key:
        return None
    where = b"\x00".join(part.encode() for part in (packet.key, codec, packet.topic))
    body = hashlib.sha256(packet.payload)  # which processors do; blake2b takes 2.4 times as long, and bodies are large
    body.update(json.dumps(sorted(packet.parameters.items())).encode())
    return Key(hashlib.blake2b(where, digest_size=16).digest(), body.digest()[:8])


class Keys:
    """All keys that are remembered. `find` and `put` are the commit thread's, `keep` the flush thread's."""

    def __init__(self, database: Database):
        self._db = database
        self._recent: dict[bytes, Key] = {}  # committed, and not in the table yet
        with database.read() as db:
            self._number = db.execute("SELECT coalesce(max(number), 0) FROM idempotency_key").fetchone()[0]

    def put(self, key: Key) -> None:
        """Rows under this key are committed."""
        self._recent[key.digest] = key

    def find(self, key: Key, now_ns: int) -> AlmenaraError | None:
        """AlreadyKept where this was committed before, KeyReused where the key named something else; or None."""
        known = self._recent.get(key.digest) or self._read(key.digest, now_ns - KEPT_NS)
        if known is None:
            return None
        if known.fingerprint != key.fingerprint:
            return KeyReused("this Idempotency-Key was used for another body; each body needs a key of its own")
        return AlreadyKept(outcome_of(known.answer))

    def _read(self, digest: bytes, since_ns: int) -> Key | None:
        sql = "SELECT fingerprint, answer FROM idempotency_key WHERE digest = ? AND received_ns > ?"
        with self._db.read() as db:
            found = db.execute(sql, (digest, since_ns)).fetchone()
        return Key(digest, *found) if found else None

    def keep(self, db: sqlite3.Connection, keys: Iterable[tuple[Key, int]]) -> None:
        """Write (key, when it was received) in a transaction; afterwards `kept` them."""
        for key, received_ns in keys:
            self._number += 1
            row = (key.digest, key.fingerprint, key.answer, received_ns, self._number)
            db.execute("INSERT OR REPLACE INTO idempotency_key VALUES (?, ?, ?, ?, ?)", row)

    def kept(self, keys: Iterable[tuple[Key, int]]) -> None:
        """They are in the table."""
        for key, _ in keys:
            self._recent.pop(key.digest, None)

    def forget(self, now_ns: int) -> None:
        """Forget keys that are too old or too many. Numbers follow the order in which they came."""
        with self._db.write() as db:
            db.execute("DELETE FROM idempotency_key WHERE number <= ?", (self._number - MAX_KEYS,))
            # The oldest are at the front: look there only.
            oldest = "SELECT digest FROM idempotency_key WHERE received_ns <= ? ORDER BY number LIMIT 10000"
            db.execute(f"DELETE FROM idempotency_key WHERE digest IN ({oldest})", (now_ns - KEPT_NS,))


def answer_of(rows: int, rejected: Sequence[Rejected]) -> bytes:
    """What to answer when it comes again."""
    rest = rejected[_TOLD:]
    told = [(one.where, one.reason, one.rows, one.detail[:500]) for one in rejected[:_TOLD]]
    where = "admission" if any(one.where == "admission" for one in rest) else "further rows"
    return json.dumps([rows, told, [len(rest), where, sum(one.rows for one in rest)]]).encode()


def outcome_of(answer: bytes) -> Outcome:
    """What `answer_of` kept."""
    rows, told, (count, at, lost) = json.loads(answer)
    rejected = [Rejected(where, reason, n, detail) for where, reason, n, detail in told]
    if count:
        rejected += [Rejected(at, "as_before", lost), *[Rejected("", "as_before", 0)] * (count - 1)]
    return Outcome(rows, rejected)
