"""The alarm room's tables in hub.db: states of open alarms, the journal, incidents and the outbox."""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Sequence

from almenara.model.alarm import Evidence, Severity, State, Transition
from almenara.model.errors import DiskFull, StoreError
from almenara.model.series import Series

#: Alarms are told apart by the name of their rule and the key of their series.
Key = tuple[str, bytes]

SCHEMA = """
CREATE TABLE IF NOT EXISTS alarm_journal (
    id INTEGER PRIMARY KEY, rule TEXT NOT NULL, series BLOB NOT NULL, since INTEGER NOT NULL, state TEXT NOT NULL,
    time INTEGER NOT NULL, severity TEXT NOT NULL, value REAL, score REAL, yhat REAL, lower REAL, upper REAL,
    detector TEXT NOT NULL, why TEXT NOT NULL, labels TEXT NOT NULL, annotations TEXT NOT NULL,
    UNIQUE (rule, series, since, state));
CREATE INDEX IF NOT EXISTS alarm_journal_time ON alarm_journal (time);
CREATE INDEX IF NOT EXISTS alarm_journal_alarm ON alarm_journal (rule, series);

-- One row an alarm that is not inactive: code, since, last_true, worst, said as in almenara.alarm.states; last: time of
-- its last row; journal: its last change; incident: 0 none; seq: the segment at which this row was written.
CREATE TABLE IF NOT EXISTS alarm_state (
    rule TEXT NOT NULL, series BLOB NOT NULL, code INTEGER NOT NULL, since INTEGER NOT NULL,
    last_true INTEGER NOT NULL, worst REAL, said INTEGER NOT NULL, last INTEGER NOT NULL, journal INTEGER NOT NULL,
    incident INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (rule, series)) WITHOUT ROWID;

-- The last segment whose alarms are decided, as far as it changed anything.
CREATE TABLE IF NOT EXISTS alarm_decided (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL);

CREATE TABLE IF NOT EXISTS incident (
    id INTEGER PRIMARY KEY, rule TEXT NOT NULL, since INTEGER NOT NULL, opened INTEGER NOT NULL, state TEXT NOT NULL,
    severity TEXT NOT NULL, resolved INTEGER NOT NULL, who TEXT, acknowledged INTEGER, note TEXT, until INTEGER);
CREATE INDEX IF NOT EXISTS incident_state ON incident (state);

-- joined, last: the changes (alarm_journal.id) with which an alarm came in, and its last one as a member. reason: why
-- it belongs there; lag: by how many ns it follows the first; out: the first change that finds it taken out, or 0.
CREATE TABLE IF NOT EXISTS incident_member (
    incident INTEGER NOT NULL, rule TEXT NOT NULL, series BLOB NOT NULL, joined INTEGER NOT NULL, last INTEGER NOT NULL,
    reason TEXT NOT NULL DEFAULT '', lag INTEGER NOT NULL DEFAULT 0, out INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (incident, rule, series)) WITHOUT ROWID;

-- One row a message. upto: it tells of the incident as it was after this change; outcome: '' until sent or given up.
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY, notifier TEXT NOT NULL, incident INTEGER NOT NULL, state TEXT NOT NULL,
    upto INTEGER NOT NULL, queued INTEGER NOT NULL, due INTEGER NOT NULL DEFAULT 0, tries INTEGER NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL DEFAULT '', done INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (notifier, id) WHERE outcome = '';
CREATE INDEX IF NOT EXISTS outbox_incident ON outbox (incident);

-- When alarms were last decided; see almenara.alarm.vigil.
CREATE TABLE IF NOT EXISTS vigil (one INTEGER PRIMARY KEY CHECK (one = 1), tick INTEGER NOT NULL);
-- Nobody was watching in [since, until).
CREATE TABLE IF NOT EXISTS outage (id INTEGER PRIMARY KEY, since INTEGER NOT NULL, until INTEGER NOT NULL);
-- Up to which outage each notifier was told of them.
CREATE TABLE IF NOT EXISTS outage_told (notifier TEXT PRIMARY KEY, outage INTEGER NOT NULL) WITHOUT ROWID;
"""

#: Columns that tables of earlier versions do not have.
_ADDED = {
    "incident_member": {
        "reason": "TEXT NOT NULL DEFAULT ''", "lag": "INTEGER NOT NULL DEFAULT 0", "out": "INTEGER NOT NULL DEFAULT 0",
    },
}  # fmt: skip

CHANGE = (
    "rule, series, since, state, time, severity, value, score, yhat, lower, upper, detector, why, labels, annotations"
)
CHANGE_COLUMNS = len(CHANGE.split(", "))


def prepare(connection: sqlite3.Connection, more: str = "") -> None:
    """Make the tables that are not there, and those of `more`; bring those of an earlier version up to date. It may be
    killed after any of them."""
    connection.executescript(SCHEMA + more)
    for table, columns in _ADDED.items():
        known = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        for name in columns.keys() - known:
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {name} {columns[name]}")


def store_error(error: sqlite3.Error) -> DiskFull | StoreError:
    """What an error of the database means for the hub."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return DiskFull(f"hub.db: {error}; free some disk, and alarms go on by themselves", retry_after_s=5)
    return StoreError(f"hub.db: {error}")


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Errors of the database under their own name: StoreError or DiskFull."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(error) from error


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """All or nothing, on disk when the block is left; with a plain BEGIN, reads that fit together. Raises StoreError
    or DiskFull."""
    with reading():
        try:
            connection.execute(begin)
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            raise


def change_row(one: Transition) -> tuple[object, ...]:
    """A transition as the columns CHANGE."""
    e = one.evidence
    numbers = (None if math.isnan(x) else x for x in (e.value, e.score, e.yhat, e.lower, e.upper))
    return (
        one.rule, one.series.key, one.since, one.state.value, one.time, one.severity.value, *numbers,
        e.detector, e.why, json.dumps(dict(one.labels)), json.dumps(dict(one.annotations)),
    )  # fmt: skip


def change_of(row: Sequence) -> Transition:
    """The transition that `change_row` wrote."""
    rule, series, since, state, time, severity, *numbers = row[:11]
    detector, text, labels, annotations = row[11:CHANGE_COLUMNS]
    value, score, yhat, lower, upper = (math.nan if x is None else float(x) for x in numbers)
    evidence = Evidence(value, score, yhat, lower, upper, detector, text)
    return Transition(
        rule, Series.from_key(series), since, State(state), time, Severity(severity), evidence,
        json.loads(labels), json.loads(annotations),
    )  # fmt: skip
