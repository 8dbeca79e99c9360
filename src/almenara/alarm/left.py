"""What a former run left of who is to be told of what, also one of a version that knew no policies."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from almenara.alarm import telling
from almenara.alarm.tables import Key
from almenara.alarm.telling import Case, Row
from almenara.model.alarm import Acknowledgement, Severity


def cases(connection: sqlite3.Connection, notifiers: Collection[str]) -> dict[int, Case]:
    """The incidents of which there is something to tell, without their alarms."""
    found = {}
    query = "SELECT id, severity, who, acknowledged, note, until FROM incident WHERE state = 'firing'"
    for id, severity, who, time, note, until in connection.execute(query):
        taken = None if who is None else Acknowledgement(who, time, note, until)
        found[id] = Case(id, Severity(severity), acknowledgement=taken)
    rows = telling.read(connection)
    for id in {row.incident for row in rows} - found.keys():
        severity, at = connection.execute("SELECT severity, resolved FROM incident WHERE id=?", (id,)).fetchone()
        found[id] = Case(id, Severity(severity), resolved=at)
    for row in rows:
        found[row.incident].rows[row.key] = row
    for case in found.values():
        if not case.resolved and not case.rows:
            told = _of_former_version(connection, case)
            case.rows = {row.key: row for row in told if row.notifier in notifiers}
    return found


def _of_former_version(connection: sqlite3.Connection, case: Case) -> list[Row]:
    """Who was told of an incident before there were policies: as by a policy of the notifier's own name."""
    query = """SELECT notifier, min(queued), max(queued), max(upto) FROM outbox
        WHERE incident = ? AND state = 'firing' GROUP BY notifier"""
    return [
        Row(case.id, name, name, 0, first, first, last, upto, case.severity.value)
        for name, first, last, upto in connection.execute(query, (case.id,))
    ]


def joined(connection: sqlite3.Connection) -> dict[tuple[int, str, bytes], int]:
    """With which change each alarm of an open incident joined it, where it was over in between: joined it anew."""
    query = """SELECT m.incident, m.rule, m.series, max(m.joined, coalesce((SELECT min(id) FROM alarm_journal j
            WHERE j.rule = m.rule AND j.series = m.series AND j.state = 'firing' AND j.id > coalesce((
                SELECT max(id) FROM alarm_journal WHERE rule = m.rule AND series = m.series AND state = 'resolved'), 0)
            ), 0)) FROM incident_member m JOIN incident i ON i.id = m.incident WHERE i.state = 'firing'"""
    return {(incident, rule, series): number for incident, rule, series, number in connection.execute(query)}


def flaps_told(connection: sqlite3.Connection) -> set[tuple[Key, str]]:
    """Which notifiers know that an alarm flaps."""
    found = connection.execute("SELECT rule, series, notifier FROM flapping_told")
    return {((rule, series), notifier) for rule, series, notifier in found}
