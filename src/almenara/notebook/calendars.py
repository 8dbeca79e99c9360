"""Calendars as notebooks and command lines give them: a file, a rule, dates, or a table with keys of `hub.toml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from almenara.analysis.calendar_sources import Sources, mistakes
from almenara.analysis.occasions import Calendar, calendar_of
from almenara.model.errors import AlmenaraError, ConfigError, Problem
from almenara.plugin import options


def calendars_from(given: Mapping[str, Any], timezone: str) -> tuple[Calendar, ...]:
    """The calendars of a mapping from names to what they are. Raises ConfigError with every mistake."""
    tables = {name: _table(one) for name, one in given.items()}
    problems: list[Problem] = []
    found = []
    for name, table in tables.items():
        where = f"calendars.{name}"
        values, wrong = options.read(Sources, table, where, given=())
        problems += wrong
        sources = Sources(**values)
        more = [] if wrong else [Problem(f"{where}.{key}" if key else where, text) for key, text in mistakes(sources)]
        problems += more
        found += [] if wrong or more else [calendar_of(name, sources, timezone)]
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def _table(given: Any) -> dict[str, Any]:
    """A table of sources: a path or a text that ends in .ics is a file, another text a rule, a list dates."""
    if isinstance(given, Mapping):
        table = dict(given)
    elif isinstance(given, Path) or (isinstance(given, str) and given.lower().endswith(".ics")):
        table = {"file": str(given)}
    elif isinstance(given, str):
        table = {"rule": given}
    elif isinstance(given, Sequence):
        table = {"dates": list(given)}
    else:
        expected = "a file.ics, a rule, a list of dates, or a table of them"
        raise AlmenaraError(f"calendars: found {given!r}, expected {expected}")
    if isinstance(dates := table.get("dates"), list):
        table["dates"] = [day.isoformat() if isinstance(day, date) else day for day in dates]
    if isinstance(table.get("file"), Path):
        table["file"] = str(table["file"])
    return table


def calendars_of_texts(texts: Sequence[str]) -> dict[str, str]:
    """`FILE.ics`, `NAME=FILE.ics` and `NAME=RULE` of a command line, by name: a file's own where none is said."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, what = text.partition("=")
        if not equals and not text.lower().endswith(".ics"):
            raise AlmenaraError(f"--calendar: found {text!r}, expected FILE.ics, NAME=FILE.ics or NAME=RULE")
        found[name if equals else Path(text).stem] = what if equals else text
    return found
