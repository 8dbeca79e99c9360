"""Tests of rules, as promtool reads them, and with the messages that people would have got beside the alarms.

    rule_files: [hub.toml, alerts.yml]
    evaluation_interval: 1m
    tests:
      - interval: 1m
        input_series:
          - {series: 'cpu{host="a"}', values: '50+10x5 _x3'}
        alert_rule_test:
          - {eval_time: 5m, alertname: hot, exp_alerts: [{exp_labels: {host: a}}]}
        notice_test:
          - {eval_time: 10m, notifier: phone, exp_notices: [{kind: firing, at: 5m, alarms: 1}]}

As TOML the same keys stand in a file of their own or in `hub.toml` itself, whose rules they are then about. Source:
prometheus.io/docs/prometheus/latest/configuration/unit_testing_rules
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from almenara.alarm.policies import Policies
from almenara.alarm.rules import Rule
from almenara.config import rule_files
from almenara.config.build import rules
from almenara.config.load import MAX_BYTES, load
from almenara.config.rules import made
from almenara.config.series_values import series_values
from almenara.config.telling import told
from almenara.model.errors import ConfigError, MissingExtra, Problem, QueryError
from almenara.model.time import NS, parse_duration
from almenara.query import parse_selector

#: Keys of a file, and of a test.
_FILE = ("rule_files", "evaluation_interval", "group_eval_order", "tests", "fuzzy_compare")
_TEST = (
    "name", "interval", "input_series", "alert_rule_test", "promql_expr_test", "notice_test", "external_labels",
    "external_url", "start_timestamp",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Input:
    """One series of a test: labels, its name among them; float64[n] values, bool[n] which of them are there."""

    labels: Mapping[str, str]
    value: np.ndarray
    there: np.ndarray


@dataclass(frozen=True, slots=True)
class Expected:
    """What is to be so at a time, in ns after the begin. name: a rule, notifier or expression; rows: its tables."""

    at_ns: int
    name: str
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class RuleTest:
    """One test. interval_ns: between two values of a series."""

    name: str
    interval_ns: int
    inputs: Sequence[Input]
    alerts: Sequence[Expected]
    notices: Sequence[Expected]
    answers: Sequence[Expected]


@dataclass(slots=True)
class RuleTests:
    """A file of tests, with the rules that it is about and who would be told."""

    rules: list[Rule] = field(default_factory=list)
    told: Policies | None = None  # None: everybody is told of everything
    every_ns: int = 60 * NS
    tests: list[RuleTest] = field(default_factory=list)


def is_test_file(path: Path) -> bool:
    """Whether a file holds tests rather than a configuration: YAML does, and TOML with tests and no version."""
    if path.suffix in (".yml", ".yaml"):
        return True
    try:
        found = tomllib.loads(path.read_text("utf-8")) if path.stat().st_size <= MAX_BYTES else {}
    except (OSError, ValueError):  # told by whoever reads it
        return False
    return "tests" in found and "version" not in found


def read_tests(path: Path) -> RuleTests:
    """The tests of a file; none where a configuration has none. Raises ConfigError with every mistake."""
    table = _table(path)
    own = is_test_file(path)
    read = _Reading(path)
    found = RuleTests()
    if own:
        read.unknown("", table, _FILE)
        for i, name in enumerate(read.list("rule_files", table.get("rule_files", []))):
            _add_rules(found, read, path.parent / str(name), f"rule_files[{i}]")
    elif table.get("tests"):
        _add_rules(found, read, path, "rules")
    if "evaluation_interval" in table:
        found.every_ns = read.duration("evaluation_interval", table["evaluation_interval"])
    for i, one in enumerate(read.list("tests", table.get("tests", []))):
        found.tests.append(read.test(f"tests[{i}]", one, found.every_ns))
    if read.problems:
        raise ConfigError(read.problems)
    return found


def _table(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError([Problem(str(path), f"is larger than {MAX_BYTES} bytes")])
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(path), f"cannot be read: {error}")]) from error
    if path.suffix not in (".yml", ".yaml"):
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError([Problem(str(path), f"is no TOML: {error}")]) from error
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{path.name}: YAML", "hub") from error
    try:
        found = yaml.load(text, Loader=_texts(yaml))  # noqa: S506 - it makes texts, lists and mappings only
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError([Problem(str(path), f"is no YAML: {error}")]) from error
    if not isinstance(found, dict):
        raise ConfigError([Problem(str(path), "expected a mapping")])
    return found


def _texts(yaml: Any) -> Any:
    """A safe loader that leaves every scalar a text, as Go reads it into one: `values: 1`, `severity: yes`. Anchors
    are refused: a small file could hold a giant."""

    class Loader(yaml.BaseLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("aliases (*name) are not read")
            return super().compose_node(parent, index)

    return Loader


def _add_rules(found: RuleTests, read: _Reading, path: Path, where: str) -> None:
    try:
        if path.suffix in (".yml", ".yaml"):
            found.rules += list(_prometheus_rules(path, read))
        else:
            config = load(path)
            found.rules += rules(config)
            found.told = told(config)
    except ConfigError as error:
        read.problems += [Problem(f"{read.file}: {where}", str(problem)) for problem in error.problems]


def _prometheus_rules(path: Path, read: _Reading) -> Sequence[Rule]:
    """The alerting rules of a rule file of Prometheus."""
    found, problems = rule_files.read([path.name], path.parent)
    read.problems += problems
    return [made(name, one, "UTC", []) for name, one in found.items()]


class _Reading:
    """Reads the tables of one file; what is wrong gathers in `problems`."""

    def __init__(self, file: Path):
        self.file, self.problems = file, list[Problem]()

    def say(self, where: str, message: str) -> None:
        self.problems.append(Problem(f"{self.file}: {where}" if where else str(self.file), message))

    def unknown(self, where: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in table:
            if key not in known:
                self.say(f"{where}.{key}" if where else key, f"unknown key; there are {', '.join(known)}")

    def list(self, where: str, found: Any) -> Sequence[Any]:
        if isinstance(found, list):
            return found
        self.say(where, f"must be a list; got {type(found).__name__}")
        return ()

    def duration(self, where: str, text: Any) -> int:
        try:
            return max(1, round(parse_duration(str(text)) * NS)) if str(text) not in ("0", "0s", "0m") else 0
        except ValueError as error:
            self.say(where, str(error))
            return NS

    def test(self, where: str, table: Any, every_ns: int) -> RuleTest:
        if not isinstance(table, dict):
            self.say(where, f"must be a table; got {type(table).__name__}")
            table = {}
        self.unknown(where, table, _TEST)
        interval = self.duration(f"{where}.interval", table.get("interval", f"{every_ns // NS}s"))
        series = self.list(f"{where}.input_series", table.get("input_series", []))
        inputs = [self.series(f"{where}.input_series[{i}]", one) for i, one in enumerate(series)]
        alerts, notices, answers = (
            [
                self.expected(f"{where}.{key}[{i}]", one, name, rows)
                for i, one in enumerate(self.list(f"{where}.{key}", table.get(key, [])))
            ]
            for key, name, rows in (
                ("alert_rule_test", "alertname", "exp_alerts"),
                ("notice_test", "notifier", "exp_notices"),
                ("promql_expr_test", "expr", "exp_samples"),
            )
        )
        name = str(table.get("name", "")) or where
        return RuleTest(name, interval, [one for one in inputs if one is not None], alerts, notices, answers)

    def series(self, where: str, table: Any) -> Input | None:
        try:
            labels = {m.label: m.value for m in parse_selector(str(table["series"]))}
            return Input(labels, *series_values(str(table["values"])))
        except (KeyError, TypeError) as error:
            self.say(where, f"expected series and values; {error} is not there")
        except (QueryError, ValueError) as error:
            self.say(where, str(error))
        return None

    def expected(self, where: str, table: Any, name: str, rows: str) -> Expected:
        if not isinstance(table, dict) or name not in table:
            self.say(where, f"expected eval_time, {name} and {rows}")
            return Expected(0, "", ())
        self.unknown(where, table, ("eval_time", name, rows))
        found = self.list(f"{where}.{rows}", table.get(rows) or [])
        kept = [one for one in found if isinstance(one, dict)]
        if len(kept) < len(found):
            self.say(f"{where}.{rows}", "must be a list of tables")
        return Expected(self.duration(f"{where}.eval_time", table.get("eval_time", "0s")), str(table[name]), kept)
