"""A table of `[maintenance]`: when it is, and of which alarms; its hours are tried, so that mistakes are told early."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from almenara.analysis.hours import Hours
from almenara.model.errors import Problem
from almenara.plugin import options


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """When work is done: people are told nothing of these alarms, and of what still goes on when it is over.

    Options:
        match: Which alarms, such as '{site="madrid"}': by labels of the series and of the rule, alertname, severity.
        windows: Hours of the week on the site's clocks, such as ["Sun 02:00-04:00", "Mon-Fri 22:00-06:00"].
        calendar: The name of one of [calendars], whose days and hours count too.
        comment: What is done, for people.
    """

    match: str
    windows: list[str] = field(default_factory=list)
    calendar: str = ""
    comment: str = ""


def read(table: dict[str, Any], where: str, calendars: Collection[str]) -> tuple[Maintenance | None, list[Problem]]:
    """The maintenance of a table, and what is wrong with it, but for its selector."""
    values, problems = options.read(Maintenance, table, where, given=())
    if problems:
        return None, problems
    found = Maintenance(**values)
    if not found.match:
        problems.append(Problem(f"{where}.match", "is empty", "say which alarms, such as '{site=\"madrid\"}'"))
    try:
        Hours(found.windows)
    except ValueError as error:
        problems.append(Problem(f"{where}.windows", str(error)))
    if found.calendar and found.calendar not in calendars:
        problems.append(Problem(f"{where}.calendar", f"no calendar is called {options.show(found.calendar)}"))
    if not found.windows and not found.calendar:
        problems.append(Problem(where, "says no time; expected windows or calendar"))
    return found, problems
