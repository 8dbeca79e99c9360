"""The record of runs: which job ran when, what came of it and its figures. One table of hub.db, written here alone."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from almenara.model.errors import DiskFull, StoreError

#: So many runs of a job are kept.
KEPT = 1000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS job_run (
    id INTEGER PRIMARY KEY, job TEXT NOT NULL, started_ns INTEGER NOT NULL, ended_ns INTEGER,
    outcome TEXT NOT NULL, message TEXT NOT NULL, figures TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS job_run_job ON job_run (job, id);
"""
_COLUMNS = "job, started_ns, ended_ns, outcome, message, figures, id"


class Outcome(StrEnum):
    """What came of a run."""

    RUNNING = "running"
    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"  # it was due, and the job said why it should not be done now


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a job. ended_ns: None while it runs, and where the hub ended first. id: 0 until it is recorded."""

    job: str
    started_ns: int
    ended_ns: int | None = None
    outcome: Outcome = Outcome.RUNNING
    message: str = ""
    figures: Mapping[str, int | float] = field(default_factory=dict)
    id: int = 0


class Runs:
    """The table; safe from every thread. All methods raise StoreError or DiskFull."""

    def __init__(self, database: Callable[[], sqlite3.Connection]):
        """Open the table. Runs that a former process did not bring to an end are recorded as failed."""
        self._lock = threading.Lock()
        with _named():
            self._db = database()
            self._db.executescript(_SCHEMA)
            self._db.execute(
                "UPDATE job_run SET outcome = ?, message = ? WHERE outcome = ?",
                (Outcome.FAILED, "the hub ended before the job did", Outcome.RUNNING),
            )

    def keep(self, run: Run) -> Run:
        """Record a run, or what became of it since; gives it with its id."""
        figures = json.dumps(dict(run.figures))
        row = (run.job, run.started_ns, run.ended_ns, run.outcome, run.message, figures)
        with self._lock, _named():
            if run.id:
                self._db.execute(
                    "UPDATE job_run SET job=?, started_ns=?, ended_ns=?, outcome=?, message=?, figures=? WHERE id=?",
                    (*row, run.id),
                )
                return run
            added = self._db.execute(f"INSERT INTO job_run ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, NULL)", row)
            self._db.execute(
                "DELETE FROM job_run WHERE job = ?1 AND id <= "
                "(SELECT id FROM job_run WHERE job = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
                (run.job, KEPT),
            )
            return replace(run, id=added.lastrowid or 0)

    def last(self, job: str) -> Run | None:
        """The last run of a job; None where it never ran."""
        found = self._read("WHERE job = ? ORDER BY id DESC LIMIT 1", (job,))
        return found[0] if found else None

    def recent(self, limit: int = 100) -> list[Run]:
        """The latest runs of all jobs, newest first."""
        return self._read("ORDER BY id DESC LIMIT ?", (limit,))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def _read(self, where: str, values: Sequence[str | int]) -> list[Run]:
        with self._lock, _named():
            rows = self._db.execute(f"SELECT {_COLUMNS} FROM job_run {where}", values).fetchall()
        return [
            Run(job, started, ended, Outcome(outcome), message, json.loads(figures), id)
            for job, started, ended, outcome, message, figures, id in rows
        ]


@contextlib.contextmanager
def _named() -> Iterator[None]:
    """Errors of the database under their own name."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise DiskFull(f"hub.db: {error}; free some disk", retry_after_s=5) from error
        raise StoreError(f"hub.db: {error}") from error
