"""The OpenAPI 3.1 description of the hub's HTTP interface, from the table of routes and the handlers' docstrings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from almenara._version import __version__

#: Parameter -> what it means. Every parameter in the table stands here.
PARAMETERS = {
    "query": "A PromQL expression",
    "time": "Unix seconds or RFC 3339; now by default",
    "start": "Unix seconds or RFC 3339",
    "end": "Unix seconds or RFC 3339",
    "since": "Only rows of this last while, such as 1h30m",
    "before": "Only what happened before this time",
    "step": "Seconds, or a duration such as 15s",
    "timeout": "How long the query may take, 30s by default",
    "match[]": 'A selector such as temperature{city="Mumbai"}; may be given several times',
    "limit": "At most so many results",
    "limit_per_metric": "At most so many texts of one metric",
    "type": "alert; with record there is nothing to list",
    "rule_name[]": "Only rules of these names",
    "rule_group[]": "Only these groups, of file and api",
    "exclude_alerts": "true: without the alarms of each rule",
    "metric": "The name of one metric; all of them by default",
    "format": "csv, json or jsonl",
    "series": "One series, or a selector of one",
    "width": "Pixels: at most a few rows for each are sent",
    "kinds": "Some of rows, transitions, status, with commas between",
    "open": "true: only incidents that are not resolved",
    "members": "At most so many members of each, the strongest first; all of them by default",
    "incident": "The number of an incident; all by default",
    "outcome": "all, waiting, sent or given up",
    "filter": 'A matcher such as alertname="DiskFull" or site=~"mad.*"; may be given several times',
    "receiver": "Only alerts that a notifier with this name is told of; a regular expression",
    "active": "false: without alerts that people are told of",
    "silenced": "false: without alerts that are silenced",
    "inhibited": "false: without alerts that are inhibited",
    "unprocessed": "Taken, as Alertmanager has it; there is no alert that is not processed",
    "who": "Who asks, for the journal",
    "topic": "What would be the MQTT topic",
    "q": "InfluxQL, several statements with ; between",
    "epoch": "Unit of times in the answer: ns, u, ms, s, m, h; texts by default",
    "pretty": "true: with line breaks",
    "chunked": "Taken, as InfluxDB 1.x has it; the answer is one chunk",
    "params": "Values of $name in q, as a JSON object",
    "verbose": "true: tell the version in the body",
    "db": "Database, as InfluxDB 1.x has it",
    "rp": "Retention policy, as InfluxDB 1.x has it",
    "precision": "Unit of the time stamps: ns, us, ms, s",
    "bucket": "Bucket, as InfluxDB 2.x has it",
    "org": "Organization, as InfluxDB 2.x has it",
    "u": "User, as InfluxDB 1.x has it; any",
    "p": "Password, as InfluxDB 1.x has it: the token",
    "token": "The token",
    "key": "The key of a locked thing",
    "private_key": "The private key of a stream; as the header Phant-Private-Key, too",
    "lease": "How long a document is lent, such as 30s; without it the document is taken for good",
    "page": "Page n of the rows, the first has the newest",
    "offset": "So many of the newest rows are left out",
    "sample": "Only every n-th row",
    "grep[]": "grep[FIELD]=PATTERN: only rows in which the field has the pattern",
    "eq[]": "eq[FIELD]=VALUE: only rows in which they are equal",
    "ne[]": "ne[FIELD]=VALUE: only rows in which they differ",
    "gt[]": "gt[FIELD]=VALUE: only rows above it",
    "gte[]": "gte[FIELD]=VALUE: only rows above it, or equal",
    "lt[]": "lt[FIELD]=VALUE: only rows below it",
    "lte[]": "lte[FIELD]=VALUE: only rows below it, or equal",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path. plain: the handler is an ASGI app, for writes; all others take a Request and give a Response.

    changes: its GET changes something, so it is checked as a POST is (`Guard.check_change`)."""

    path: str
    methods: tuple[str, ...]
    handler: Callable[..., Any]
    parameters: tuple[str, ...] = ()
    plain: bool = False
    answers: str = "application/json"
    changes: bool = False


def describe(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The description of all paths."""
    paths: dict[str, dict[str, Any]] = {}
    for one in endpoints:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", one.path)
        for method in one.methods:
            paths.setdefault(path, {})[method.lower()] = _operation(one, path, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Almenara", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }


def _operation(one: Endpoint, path: str, method: str) -> dict[str, Any]:
    inside = re.findall(r"\{(\w+)\}", path)
    found = [_parameter(name, "path", f"Part of the path: {name}", True) for name in inside]
    found += [_parameter(name, "query", PARAMETERS[name], False) for name in one.parameters]
    ok = {"description": "Done", "content": {one.answers: {}}}
    return {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{path}").strip("_"),
        "summary": (one.handler.__doc__ or "").strip().partition("\n")[0].partition(": ")[2],
        "parameters": found,
        "responses": {"204": {"description": "Kept"}} if one.plain else {"200": ok},
    }


def _parameter(name: str, where: str, text: str, required: bool) -> dict[str, Any]:
    many = name.endswith("[]")
    schema: dict[str, Any] = {"type": "array", "items": {"type": "string"}} if many else {"type": "string"}
    return {"name": name, "in": where, "description": text, "required": required, "schema": schema}
