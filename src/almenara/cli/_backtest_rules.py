"""`almenara backtest --rules FILE`: whom the rules of a file would have told of what, beside what was, and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from almenara.cli.terminal import is_terminal, show_json, show_rows
from almenara.config.trial import tables_of
from almenara.model.time import format_duration, format_time
from almenara.plot.lanes import Lane, Span, document, figures_html, lanes_html, table_html

_MS = 1_000_000
_SHOWN = 500


def run(hub: Any, rules: Path, since: str, match: Sequence[str], out: Path | None, top: int, as_json: bool) -> None:
    """Ask a hub, and show. Raises ConfigError, AlmenaraError, OSError."""
    tables = tables_of(rules)
    console = Console(stderr=True)
    columns = (TextColumn("going over history"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        result = hub.backtest_rules(
            tables, since, match, progress=lambda now: bar.update(task, completed=float(now["done"]))
        )
    if out is not None:
        out.write_text(page(result, rules.name), encoding="utf-8")
    if as_json:
        show_json(result)
        return
    _show(result, top)
    if out is not None:
        print(f"wrote {out}")


def _show(result: Mapping[str, Any], top: int) -> None:
    would, was = result["would_have"], result["was"]
    names = sorted({*would["messages"], *was["messages"]})
    rows = [[name, str(would["messages"].get(name, 0)), str(was["messages"].get(name, 0))] for name in names]
    rows.append(["incidents", str(len(would["incidents"])), str(len(was["incidents"]))])
    show_rows(["messages to", "would have", "was"], rows, right=(1, 2))
    if is_terminal():
        print()
    lines = [[_side(side), *_line(one)] for side, one in _merged(result)[:top]]
    if lines:
        show_rows(["", "since (UTC)", "lasted", "severity", "alarms", "what", "told"], lines, right=(4,))
    err = Console(stderr=True, highlight=False, soft_wrap=True)
    for name, why in result["left_out"].items():
        err.print(f"rule {name} is left out: {why}", markup=False)
    days = (result["end_ms"] - result["start_ms"]) / 86_400_000
    err.print(f"{result['rows']:,} rows of {result['series']:,} series, {days:.3g} days; nobody was told", markup=False)


def _merged(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(would_have or was, incident) of both sides, newest first."""
    found = [(side, one) for side in ("would_have", "was") for one in result[side]["incidents"]]
    return sorted(found, key=lambda pair: -pair[1]["since_ms"])


def _side(side: str) -> str:
    return "would have" if side == "would_have" else "was"


def _line(one: Mapping[str, Any]) -> list[str]:
    lasted = format_duration((one["resolved_ms"] - one["since_ms"]) / 1000) if one["resolved_ms"] else "open"
    told = sorted({said["notifier"] for said in one["told"]})
    return [_when(one["since_ms"]), lasted, one["severity"], str(one["alarms"]), _what(one), ", ".join(told)]


def _what(one: Mapping[str, Any]) -> str:
    return one["title"] or f"{one['series'][0] if one['series'] else ''} ({', '.join(one['rules'])})"


def _when(ms: int) -> str:
    return format_time(ms * _MS)[:16].replace("T", " ")


def page(result: Mapping[str, Any], name: str) -> str:
    """One page with the sums, one figure of both sides, and the incidents; it needs no network."""
    would, was = result["would_have"], result["was"]
    start, end = result["start_ms"] * _MS, result["end_ms"] * _MS
    lanes = [
        Lane(f"What {name} would have made of it", _spans(would["incidents"], end), ours=True),
        Lane("What was", _spans(was["incidents"], end)),
    ]
    figures = [
        (f"{len(would['incidents']):,}", "incidents would have been"), (f"{len(was['incidents']):,}", "incidents were"),
        (f"{sum(would['messages'].values()):,}", "messages would have gone out"),
        (f"{sum(was['messages'].values()):,}", "messages went out"),
    ]  # fmt: skip
    heads = ("since", "side", "lasted", "severity", "alarms", "what", "told")
    rows = [
        (line[0], _side(side), *line[1:])
        for side, one in _merged(result)[:_SHOWN]
        for line in [_line(one)]
    ]  # fmt: skip
    left = "".join(
        f"<p>Rule {escape(rule)} is left out: {escape(why)}.</p>" for rule, why in result["left_out"].items()
    )
    return document(
        f"Backtest of {name}",
        f"<h1>Backtest of {escape(name)}</h1><p>{_when(result['start_ms'])} to {_when(result['end_ms'])}, UTC; "
        f"{result['rows']:,} rows of {result['series']:,} series. Nobody was told anything.</p>{left}"
        + figures_html(figures)
        + "<h2>Side by side</h2>"
        + lanes_html(lanes, start, end)
        + "<h2>Incidents</h2>"
        + (table_html(heads, rows) if rows else "<p>None.</p>"),
    )


def _spans(incidents: Sequence[Mapping[str, Any]], end: int) -> list[Span]:
    return [
        Span(one["since_ms"] * _MS, one["resolved_ms"] * _MS if one["resolved_ms"] else end, _what(one))
        for one in incidents
    ]
