"""Thresholds of checks, as a hub has seen them in perfdata, as rules for its configuration."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable

from almenara.config.lines import join
from almenara.model.series import Series

#: The newest threshold of each figure, of checks that ran within a day.
QUERY = 'last_over_time({__name__=~"nagios_perfdata_(warn|crit)(_low)?"}[1d])'
_SEVERITY = {"warn": "warning", "crit": "critical"}

#: (service, label, warn or crit, whether it is the lower end)
_Figure = tuple[str, str, str, bool]


def rules(thresholds: Iterable[tuple[Series, float]]) -> str:
    """`[rules.NAME]` blocks, one for all hosts where they agree; ranges that are bad inside stand as comments."""
    limits: dict[_Figure, dict[str, float]] = defaultdict(dict)
    left_out = []
    for series, value in thresholds:
        labels = dict(series.labels)
        kind, _, low = series.name.removeprefix("nagios_perfdata_").partition("_")
        if labels.get("range") == "inside":
            left_out.append(f"# left out, since a rule has one limit: {series} = {value:.10g}")
        else:
            figure = (labels.get("service", ""), labels.get("label", ""), kind, low == "low")
            limits[figure][labels.get("host", "")] = value
    parts, names = [], set[str]()
    for figure in sorted(limits):
        of = limits[figure]
        for value in sorted(set(of.values())):
            hosts = [] if len(set(of.values())) == 1 else sorted(host for host in of if of[host] == value)
            name = _name(figure, names)
            parts.append(_rule(name, figure, hosts, value))
    return "\n".join([*parts, *left_out])


def _name(figure: _Figure, taken: set[str]) -> str:
    service, label, kind, low = figure
    words = [service or "host", label, kind, *(["low"] if low else [])]
    plain = "_".join(filter(None, (re.sub(r"\W+", "_", word, flags=re.ASCII).strip("_") for word in words)))
    name, number = plain, 1
    while name in taken:
        number += 1
        name = f"{plain}_{number}"
    taken.add(name)
    return name


def _rule(name: str, figure: _Figure, hosts: list[str], value: float) -> str:
    service, label, kind, low = figure
    matchers = [f"service={_quoted(service)}", f"label={_quoted(label)}"]
    if len(hosts) == 1:
        matchers.insert(0, f"host={_quoted(hosts[0])}")
    elif hosts:
        matchers.insert(0, f"host=~{_quoted('|'.join(map(_literal, hosts)))}")
    expr = f"nagios_perfdata{{{','.join(matchers)}}} {'<' if low else '>'} {value!r}"
    return f'[{join(("rules", name))}]\nexpr = {_toml(expr)}\nseverity = "{_SEVERITY[kind]}"\n'


def _literal(text: str) -> str:
    """A text as a regular expression of PromQL that matches it alone."""
    return re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _toml(text: str) -> str:
    """As a literal string where it can be one, since that is easier to read."""
    return f"'{text}'" if "'" not in text and text.isprintable() else json.dumps(text)
