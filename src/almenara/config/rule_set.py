"""`RuleSet`: the rules that a hub goes by: those of its file, and those that were made over the API, kept in hub.db."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from almenara.alarm.rules import Rule
from almenara.alarm.tables import reading, transaction
from almenara.analysis.occasions import calendars_of
from almenara.config import rules, schema
from almenara.config.load import Config
from almenara.model.errors import ConfigError, Problem

log = logging.getLogger(__name__)

FILE, API = "file", "api"
#: Characters of a rule's name, and of its table as JSON.
MAX_NAME, MAX_TABLE = 200, 100_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS rule (name TEXT PRIMARY KEY, body TEXT NOT NULL, changed INTEGER NOT NULL) WITHOUT ROWID;
"""


class RuleSet:
    """Rules by name. One that the file has is the file's: over the API it can be neither replaced nor deleted."""

    def __init__(self, database: Callable[[], sqlite3.Connection]):
        """database: gives a connection to hub.db; each call takes one of its own. Raises StoreError."""
        self._database = database
        with self._opened() as db:
            db.executescript(_SCHEMA)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with reading(), contextlib.closing(self._database()) as db:
            yield db

    def tables(self) -> dict[str, dict[str, Any]]:
        """The tables that were given over the API, by name."""
        with self._opened() as db:
            return {name: json.loads(body) for name, body in db.execute("SELECT name, body FROM rule ORDER BY name")}

    def all(self, config: Config) -> list[Rule]:
        """All rules: the file's, and those of the API that the file does not have. One of these that does not fit any
        more, since the file has changed, is left out, with a warning."""
        kept = self._checked(config)
        while problems := rules.among({**config.rules, **kept}, config.detectors, config.calendars, ""):
            wrong = [name for name in kept if any(_is_about(problem, name) for problem in problems)]
            for problem in problems:
                log.warning("rule of the API: %s", problem)
            if not wrong:
                break
            kept = {name: rule for name, rule in kept.items() if name not in wrong}
        return _made({**config.rules, **kept}, config)

    def _checked(self, config: Config) -> dict[str, schema.Rule]:
        kept = {}
        for name, table in self.tables().items():
            rule, problems = rules.read(name, table, name)
            if rule is not None and name not in config.rules:
                kept[name] = rule
            for problem in problems:
                log.warning("rule of the API: %s", problem)
        return kept

    def check(self, name: str, table: Mapping[str, Any], config: Config) -> Rule:
        """The rule that a table would be, with this name. Raises ConfigError with every mistake."""
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise ConfigError([Problem("name", f"must be 1 to {MAX_NAME} printable characters; got {name[:80]!r}")])
        if name in config.rules:
            raise ConfigError([Problem(name, "is a rule of the configuration file; change it there")])
        if len(json.dumps(dict(table), default=str)) > MAX_TABLE:
            raise ConfigError([Problem(name, f"is longer than {MAX_TABLE} characters")])
        rule, problems = rules.read(name, table, "")
        if rule is not None:
            among = {**config.rules, **self._checked(config), name: rule}
            found = rules.among(among, config.detectors, config.calendars, "")
            problems = [problem for problem in found if _is_about(problem, name)]
        if problems or rule is None:
            told = [Problem(p.where.removeprefix(name).lstrip("."), p.message, p.hint) for p in problems]
            raise ConfigError(told or [Problem("expr", "is missing")])
        return _made({name: rule}, config)[0]

    def put(self, name: str, table: Mapping[str, Any], now_ns: int) -> bool:
        """Keep a table that was checked; whether there was none of this name. Raises StoreError or DiskFull."""
        with self._opened() as db, transaction(db):
            new = db.execute("SELECT 1 FROM rule WHERE name = ?", (name,)).fetchone() is None
            db.execute("INSERT OR REPLACE INTO rule VALUES (?, ?, ?)", (name, json.dumps(dict(table)), now_ns))
        return new

    def delete(self, name: str, config: Config) -> bool:
        """Forget a rule of the API; whether there was one. Raises ConfigError for one of the file, or one of which
        another speaks; StoreError or DiskFull."""
        if name in config.rules:
            raise ConfigError([Problem(name, "is a rule of the configuration file; change it there")])
        users = [rule.name for rule in self.all(config) if name in rule.condition.rules]
        if users:
            raise ConfigError([Problem(name, f"is spoken of by {', '.join(users)}; delete or change these first")])
        with self._opened() as db, transaction(db):
            return db.execute("DELETE FROM rule WHERE name = ?", (name,)).rowcount > 0


def _made(given: Mapping[str, schema.Rule], config: Config) -> list[Rule]:
    days = calendars_of(config.calendars, config.site.timezone)
    return [rules.made(name, one, config.site.timezone, days) for name, one in given.items()]


def _is_about(problem: Problem, name: str) -> bool:
    return problem.where == name or problem.where.startswith(name + ".")
