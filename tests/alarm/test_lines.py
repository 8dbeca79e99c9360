"""Rules of the lines about an incident."""

from __future__ import annotations

from pathlib import Path

from alarm.book_case import Table, book, database
from almenara.alarm import lines
from almenara.alarm.lines import Line


def test_lines_of_an_incident_come_in_their_order_and_apart_from_others(tmp_path: Path) -> None:
    made = book(tmp_path / "hub.db", Table(1))
    connection = database(tmp_path / "hub.db")()
    lines.write(connection, 7, 30, "acknowledged", "anna", "looks into it")
    lines.write(connection, 8, 31, "silenced", "", "silenced by 3")
    lines.write(connection, 7, 20, "told", "mail", "")  # the clock was set back
    assert made.lines(7) == [
        Line(7, 30, "acknowledged", "anna", "looks into it"),
        Line(7, 20, "told", "mail", ""),
    ]
    assert made.lines(9) == []
    connection.close()
    made.close()
