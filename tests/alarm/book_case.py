"""A book in a test: a table of series, a database in a file, and rows given as tuples."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.model.alarm import State, Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.series import Series, encode_key
from almenara.model.time import NS
from almenara.query import NAME, Matcher, match_all

T0 = 1_767_571_200 * NS
CAUSES = Causes.of([("seasonal", ("higher than usual for this time of day and week",))])


class Table:
    """Series by id, with `find`, as the hub's index has it; and which of them matchers select."""

    def __init__(self, n: int, name: str = "cpu"):
        self.keys = [encode_key(name, {"host": str(i)}) for i in range(n)]

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, id: int) -> Series:
        return Series.from_key(self.keys[id])

    def find(self, keys: Sequence[bytes]) -> np.ndarray:
        ids = {key: id for id, key in enumerate(self.keys)}
        return np.array([ids.get(key, -1) for key in keys], np.int32)

    def selector(self, matchers: Sequence[Matcher]) -> Any:
        return _Selected(self, matchers)


class _Selected:
    def __init__(self, table: Table, matchers: Sequence[Matcher]):
        self.table, self.matchers = table, matchers
        self.known = np.zeros(0, np.bool_)

    def mask(self) -> np.ndarray:
        if len(self.known) < len(self.table):
            found = [
                match_all(self.matchers, {NAME: s.name} | dict(s.labels)) for s in map(Series.from_key, self.table.keys)
            ]
            self.known = np.array(found, np.bool_)
        return self.known


def database(path: Path) -> Callable[[], sqlite3.Connection]:
    """As the data folder opens it, but for the wait for the disk."""

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA busy_timeout=5000")
        return connection

    return connect


def book(path: Path, table: Table, *rules: Rule, **more: Any) -> Book:
    return Book(database(path), rules, table, table.selector, CAUSES, **more)


def rows(table: Table, given: Iterable[tuple[int, float, float]], scored: bool = False) -> tuple[Batch, Verdict]:
    """(id, seconds after T0, value or score) as a sorted batch; the score is NaN unless `scored`."""
    given = sorted(given, key=lambda row: row[:2])
    id = np.array([r[0] for r in given], np.int32)
    time = np.array([T0 + round(r[1] * NS) for r in given], np.int64)
    value = np.array([r[2] for r in given], np.float64)
    n = len(id)
    score = value if scored else np.full(n, np.nan)
    verdict = Verdict(score, np.full(n, 10.0), np.full(n, 5.0), np.full(n, 15.0), np.ones(n), np.zeros(n, np.int16))
    return Batch(table, id, time, np.full(n, 20.0) if scored else value), verdict


def brief(changes: Iterable[Transition]) -> list[tuple[str, str, float, float]]:
    """(host, state, since, time) of changes, times in seconds after T0."""
    return [(dict(c.series.labels)["host"], c.state.value, (c.since - T0) / NS, (c.time - T0) / NS) for c in changes]


__all__ = ["CAUSES", "T0", "State", "Table", "book", "brief", "database", "rows"]
