"""Lines: what became of an incident besides its alarms, one sentence each: told, held back, taken on, given up."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

SCHEMA = """
CREATE TABLE IF NOT EXISTS incident_line (
    id INTEGER PRIMARY KEY, incident INTEGER NOT NULL, time INTEGER NOT NULL, kind TEXT NOT NULL, who TEXT NOT NULL,
    text TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS incident_line_incident ON incident_line (incident);
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. time: ns of the hub's clock. kind: one word or two, such as "acknowledged". who: a person or a
    notifier; empty where it was the hub. text: a sentence for a person."""

    incident: int
    time: int
    kind: str
    who: str
    text: str


def write(connection: sqlite3.Connection, incident: int, time_ns: int, kind: str, who: str, text: str) -> None:
    """Add a line, in the transaction that the connection is in."""
    connection.execute(
        "INSERT INTO incident_line (incident, time, kind, who, text) VALUES (?,?,?,?,?)",
        (incident, time_ns, kind, who, text),
    )


def read(connection: sqlite3.Connection, incident: int) -> list[Line]:
    """The lines of an incident, oldest first."""
    query = "SELECT incident, time, kind, who, text FROM incident_line WHERE incident = ? ORDER BY id"
    return [Line(*row) for row in connection.execute(query, (incident,))]
