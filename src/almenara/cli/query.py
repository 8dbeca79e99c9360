"""`almenara query`: ask a hub over HTTP, and show what it says as a table, as lines or as JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from almenara.cli.terminal import is_terminal, show_json, show_rows
from almenara.model.errors import AlmenaraError, MissingExtra
from almenara.model.series import Series, encode_key
from almenara.model.time import NS, format_time, ns_from_number, parse_duration, parse_time

if TYPE_CHECKING:
    from almenara.client import Client

#: Beyond this many series a terminal shows one line for each of them, with its last value and its extremes.
WIDE_SERIES = 4
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 604800)

NO_ROWS = "no samples: no series of this name and labels has any in this time; --since reaches further back"
#: Rows of one answer: (series as in PromQL, time in ns, value).
Row = tuple[str, int, float]


def run(expr: str, *, since: str, step: str, raw: bool, as_json: bool, url: str, token: str) -> None:
    """Ask and show. Raises QueryError, AlmenaraError."""
    try:
        from almenara.client import connect
    except ModuleNotFoundError as error:
        raise MissingExtra("almenara query", "notebook") from error
    try:
        with connect(url, token or None) as hub:
            now = hub.now()
            start = start_of(since, now)
            if raw:
                rows, answer = ask_raw(hub, expr, start)
            else:
                step_s = duration(step, "--step") if step else step_for((now - start) / NS)
                rows, answer = ask_range(hub, expr, start, now, step_s)
    except AlmenaraError as error:
        if "connect(url, token=...)" not in str(error):
            raise
        words = str(error).replace("connect(url, token=...)", "--token or ALMENARA_TOKEN")
        raise AlmenaraError(words) from error
    if as_json:
        show_json(answer)
    elif not is_terminal():
        show_rows([], [[format_time(t), series, format_value(v)] for series, t, v in rows])
        if not rows:
            print(NO_ROWS, file=sys.stderr)
    else:
        show(rows)


def start_of(since: str, now: int) -> int:
    """`1h` ago, or an ISO 8601 time, in ns."""
    try:
        return now - round(parse_duration(since) * NS)
    except ValueError:
        pass
    try:
        return parse_time(since)
    except ValueError as error:
        raise AlmenaraError(
            f"--since: {since!r} is neither a duration such as 1h nor a time such as 2026-01-31"
        ) from error


def duration(text: str, option: str) -> float:
    """Seconds, at least a millisecond."""
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise AlmenaraError(f"{option}: {error}") from error
    if seconds < 0.001:
        raise AlmenaraError(f"{option}: {text!r} is too short; expected at least 1ms")
    return seconds


def step_for(span_s: float) -> float:
    """A round step that cuts a span into about sixty."""
    return next((s for s in STEPS_S if span_s / s <= 60), STEPS_S[-1])


def ask_range(hub: Client, expr: str, start: int, end: int, step_s: float) -> tuple[list[Row], Any]:
    """/api/v1/query_range: the rows, and the answer as it came. The last step is `end`, to see what just arrived."""
    end = -(-end // NS) * NS
    start = end - int(max(0, end - start) // (step_s * NS) * (step_s * NS))
    params = {"query": expr, "start": _seconds(start), "end": _seconds(end), "step": f"{step_s:.3f}"}
    data = hub._ask("/api/v1/query_range", params)
    rows = [(_name(one["metric"]), ns_from_number(t), float(v)) for one in data["result"] for t, v in one["values"]]
    return rows, {"status": "success", "data": data}


def ask_raw(hub: Client, selector: str, start: int) -> tuple[list[Row], Any]:
    """/api/v1/export: the rows as they are stored."""
    params = {"match[]": selector, "start": _seconds(start), "format": "json"}
    answer = json.loads(hub._send("POST", "/api/v1/export", data=params))
    rows = [
        (_name(one["metric"]), t, math.nan if v is None else v)
        for one in answer
        for t, v in zip(one["times"], one["values"], strict=True)
    ]
    return rows, answer


def _seconds(ns: int) -> str:
    return f"{ns // NS}.{ns % NS:09d}"


def _name(metric: Mapping[str, str]) -> str:
    labels = {k: v for k, v in metric.items() if k != "__name__"}
    return str(Series.from_key(encode_key(metric.get("__name__", ""), labels))) or "{}"


def format_value(value: float) -> str:
    """A number as people write it: no exponent where it needs none, no trailing zeros."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.10g}"


def show(rows: list[Row]) -> None:
    """A column for each series, or a line for each where they are many."""
    names = list(dict.fromkeys(series for series, _, _ in rows))
    if not rows:
        print(NO_ROWS)
    elif len(names) <= WIDE_SERIES:
        zone = datetime.now().astimezone().tzname() or ""
        cells = {(series, t): format_value(v) for series, t, v in rows}
        table = [[_local(t), *(cells.get((n, t), "") for n in names)] for t in sorted({t for _, t, _ in rows})]
        show_rows([f"time ({zone})", *names], table, right=tuple(range(1, len(names) + 1)))
    else:
        show_rows(["series", "last", "min", "max", "values"], [_summary(n, rows) for n in names], right=(1, 2, 3, 4))


def _summary(name: str, rows: list[Row]) -> list[str]:
    values = [v for series, _, v in rows if series == name]
    known = [v for v in values if not math.isnan(v)] or [math.nan]
    return [name, *map(format_value, (values[-1], min(known), max(known))), str(len(values))]


def _local(ns: int) -> str:
    moment = datetime.fromtimestamp(ns // NS).astimezone()
    millis = ns % NS // 1_000_000
    return moment.strftime("%Y-%m-%d %H:%M:%S") + (f".{millis:03d}" if millis else "")
