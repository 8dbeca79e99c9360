"""Rule files of Prometheus, vmalert and Mimir as rules of ours: groups of alerting rules, in YAML.

Source: https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/. Recording rules make series, which
is nothing that an alarm does: they are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from almenara.config import rules, schema
from almenara.model.errors import MissingExtra, Problem
from almenara.model.time import parse_duration
from almenara.plugin import options

MAX_BYTES, MOST_FILES = 4_000_000, 1000
_GROUP = ("name", "interval", "rules", "labels", "limit", "query_offset", "partial_response_strategy")
_RULE = ("alert", "expr", "for", "keep_firing_for", "labels", "annotations")
_SEVERITIES = {
    "critical": "critical", "page": "critical", "fatal": "critical", "emergency": "critical", "major": "major",
    "error": "major", "high": "major", "minor": "minor", "warning": "warning", "warn": "warning",
}  # fmt: skip


def read(patterns: Sequence[str], folder: Path) -> tuple[dict[str, schema.Rule], list[Problem]]:
    """The rules of files that match the patterns, relative to a folder, by name, and what is wrong with any."""
    found: dict[str, schema.Rule] = {}
    problems: list[Problem] = []
    for at, pattern in enumerate(patterns):
        where = f"rule_files[{at}]"
        paths = _matching(pattern, folder)
        if not paths:
            problems.append(Problem(where, f"no file is called {options.show(pattern)} in {folder}"))
        for path in paths[:MOST_FILES]:
            problems += [Problem(where, f"{path}: {text}") for text in _take(path, found)]
    return found, problems


def _matching(pattern: str, folder: Path) -> list[Path]:
    if Path(pattern).is_absolute():
        folder, pattern = Path(Path(pattern).anchor), str(Path(pattern).relative_to(Path(pattern).anchor))
    return sorted(path for path in folder.glob(pattern) if path.is_file()) if pattern else []


def _take(path: Path, found: dict[str, schema.Rule]) -> Iterator[str]:
    """Put the rules of a file among those that were found; gives what is wrong with it."""
    try:
        import yaml
    except ImportError as error:
        raise MissingExtra("rule_files", "hub") from error
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            yield f"is larger than {MAX_BYTES} bytes"
            return
        document = yaml.safe_load(raw)
    except OSError as error:
        yield f"cannot be read: {error.strerror}"
        return
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        yield f"is no YAML: {' '.join(str(error).split())[:300]}"
        return
    groups = document.get("groups") if isinstance(document, dict) else None
    if not isinstance(groups, list):
        yield "has no groups; expected groups, each with a name and rules"
        return
    for group in groups:
        yield from _take_group(group, found)


def _take_group(group: Any, found: dict[str, schema.Rule]) -> Iterator[str]:
    if not isinstance(group, dict) or not isinstance(group.get("rules"), list):
        yield f"a group must have a name and rules; got {options.show(group)[:100]}"
        return
    name = str(group.get("name", ""))
    yield from (f"group {name}: unknown key {key}" for key in group if key not in _GROUP)
    for at, rule in enumerate(group["rules"]):
        where = f"group {name}: rule {at + 1}"
        if not isinstance(rule, dict):
            yield f"{where}: must be a table; got {options.show(rule)[:100]}"
        elif "record" in rule:
            yield (
                f"{where}: {rule['record']} is a recording rule, which makes a series; only alerting rules are taken: "
                "write its expression into the rules that use it"
            )
        elif not isinstance(rule.get("alert"), str) or not rule["alert"]:
            yield f"{where}: has no alert; expected its name"
        else:
            yield from _take_rule(group, rule, f"group {name}: alert {rule['alert']}", found)


def _take_rule(
    group: Mapping[str, Any], rule: Mapping[str, Any], where: str, found: dict[str, schema.Rule]
) -> Iterator[str]:
    yield from (f"{where}: unknown key {key}; expected one of {', '.join(_RULE)}" for key in rule if key not in _RULE)
    table: dict[str, Any] = {"expr": str(rule.get("expr", ""))}
    for key, given, source in (
        ("for", rule.get("for"), "for"), ("keep_firing_for", rule.get("keep_firing_for"), "keep_firing_for"),
        ("every", group.get("interval"), "interval"),
    ):  # fmt: skip
        if given is not None:
            try:
                table[key] = parse_duration(given) if given != 0 and given != "0" else 0.0
            except (ValueError, TypeError):
                yield f"{where}: {source}: {options.show(given)} is no duration; expected one such as 5m"
    labels = _texts(group.get("labels")) | _texts(rule.get("labels"))
    severity = _SEVERITIES.get(labels.get("severity", "").lower())
    if severity is not None:
        table["severity"] = severity
        if severity == labels["severity"]:
            del labels["severity"]
    table |= {"labels": labels, "annotations": _texts(rule.get("annotations"))}
    name = _free_name(str(rule["alert"]), str(group.get("name", "")), found)
    made, problems = rules.read(name, table, "")
    yield from (f"{where}: {one.where.lstrip('.')}: {one.message}" for one in problems)
    if made is not None:
        found[name] = made


def _texts(table: Any) -> dict[str, str]:
    return {str(k): str(v) for k, v in table.items()} if isinstance(table, dict) else {}


def _free_name(name: str, group: str, taken: Mapping[str, Any]) -> str:
    """Rules are told apart by their names; in a Prometheus file several may have one."""
    if name not in taken:
        return name
    named = f"{name} ({group})"
    return next(one for one in (named, *(f"{named} {n}" for n in range(2, 10**6))) if one not in taken)
