"""Rules and policies that somebody wants to try: the sections of a configuration that say when whom to tell."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almenara.alarm.policies import Policies
from almenara.alarm.rules import Rule
from almenara.config.build import rules
from almenara.config.load import check_tables, load
from almenara.config.schema import Plugin
from almenara.config.telling import told
from almenara.model.errors import ConfigError, Problem

#: Sections that are tried; nothing else of a configuration leaves the machine that it stands on.
SECTIONS = ("site", "rules", "policies", "inhibit")


@dataclass(frozen=True, slots=True)
class Trial:
    """What is tried. told: with policies, and notifiers by name and match."""

    rules: list[Rule]
    told: Policies


def tables_of(file: Path) -> dict[str, Any]:
    """What a hub is sent of a configuration file: its rules and policies, and of notifiers only the names and `match`.
    Raises ConfigError."""
    load(file)
    found = tomllib.loads(file.read_text("utf-8-sig"))
    tables = {name: found[name] for name in SECTIONS if name in found}
    tables["notifiers"] = {name: {"match": one.get("match", "")} for name, one in found.get("notifiers", {}).items()}
    return tables


def trial_of(tables: Mapping[str, Any]) -> Trial:
    """What such tables mean. Raises ConfigError with every mistake."""
    unknown = sorted(set(tables) - {*SECTIONS, "notifiers"})
    named = tables.get("notifiers", {})
    if unknown or not isinstance(named, dict) or not all(isinstance(one, dict) for one in named.values()):
        words = f"{', '.join((*SECTIONS, 'notifiers'))}, each a table"
        raise ConfigError([Problem(", ".join(unknown) or "notifiers", f"is not tried; expected {words}")])
    matches = {name: str(one.get("match", "")) for name, one in named.items()}
    plugins = {name: Plugin("notifier", name, name, match=match) for name, match in matches.items()}
    config = check_tables({name: tables[name] for name in SECTIONS if name in tables}, plugins)
    return Trial(rules(config), told(config))
