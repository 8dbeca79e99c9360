"""`hub.db` as one part of the hub uses it: a connection of its own, one thread at a time, errors under our names."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator

from almenara.model.errors import DiskFull, StoreError


class Database:
    """The tables of one part; safe from every thread."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], schema: str):
        """Open, and make the tables that are not there. Raises StoreError or DiskFull."""
        self._lock = threading.Lock()
        with _named():
            self._connection = connect()
            self._connection.executescript(schema)

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction: on disk when the block ends, and nothing of it where the block raises. Raises StoreError or
        DiskFull."""
        with self._lock, _named():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:  # goes on as it is; whatever ended the block, no transaction stays open
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """For queries. Raises StoreError."""
        with self._lock, _named():
            yield self._connection

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()


@contextlib.contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise DiskFull(f"hub.db: {error}; free some disk", retry_after_s=5) from error
        raise StoreError(f"hub.db: {error}") from error
