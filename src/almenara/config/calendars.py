"""A table of `[calendars]`: read, and all its days worked out, so that mistakes are told before the hub runs."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

from almenara.analysis.calendar_sources import Sources, mistakes
from almenara.model.errors import Problem
from almenara.plugin import options

#: It stands in sentences, before the colon that ends the cause of an anomaly.
_NAME = re.compile(r"[\w .-]{1,60}")


def read(name: str, table: dict[str, Any], where: str) -> tuple[Sources | None, list[Problem]]:
    """A calendar, its dates written as TOML dates or as texts, or None; and what is wrong with it."""
    wrong = []
    if not _NAME.fullmatch(name):
        wrong.append(Problem(where, f"must be a name of letters, digits, spaces and . _ -; got {options.show(name)}"))
    if isinstance(dates := table.get("dates"), list):
        table = table | {"dates": [day.isoformat() if isinstance(day, date) else day for day in dates]}
    values, problems = options.read(Sources, table, where, given=())
    if problems:
        return None, wrong + problems
    found = Sources(**values)
    return found, wrong + [Problem(f"{where}.{key}" if key else where, text) for key, text in mistakes(found)]
