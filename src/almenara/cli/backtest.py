"""`almenara backtest`: what other options would have flagged over the stored history of a hub, beside today's."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from almenara.cli import _backtest_rules
from almenara.cli.terminal import is_terminal, show_json, show_rows
from almenara.model.errors import AlmenaraError, MissingExtra
from almenara.model.time import format_time

if TYPE_CHECKING:
    from almenara.client import Client

_MS = 1_000_000
_HEADS = ["", "anomalies", "a week", "95 % between", "series", "rows over the limit"]
_BY = {"both": "both", "today": "today alone", "asked": "asked alone"}


@dataclass(frozen=True, slots=True)
class Order:
    """What a user asks for. options: name to text, as given."""

    selectors: Sequence[str]
    since: str = "30d"
    detector: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    budget_per_week: float | None = None
    as_json: bool = False
    top: int = 20
    rules: Path | None = None
    out: Path | None = None


def run(order: Order, *, url: str, token: str) -> None:
    """Ask, wait and show. Raises QueryError, AlmenaraError."""
    try:
        from almenara.client import connect
    except ModuleNotFoundError as error:
        raise MissingExtra("almenara backtest", "notebook") from error
    try:
        with connect(url, token or None) as hub:
            if order.rules is not None:
                _backtest_rules.run(hub, order.rules, order.since, order.selectors, order.out, order.top, order.as_json)
                return
            result = _asked(hub, order)
    except AlmenaraError as error:
        if "connect(url, token=...)" not in str(error):
            raise
        words = str(error).replace("connect(url, token=...)", "--token or ALMENARA_TOKEN")
        raise AlmenaraError(words) from error
    if order.as_json:
        show_json(result)
        return
    _show(result, order)


def _asked(hub: Client, order: Order) -> dict[str, Any]:
    console = Console(stderr=True)
    columns = (
        TextColumn("judging history"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("series"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        return hub.backtest(
            order.selectors,
            order.since,
            detector=order.detector,
            options={name: _value(text) for name, text in order.options.items()},
            budget_per_week=order.budget_per_week,
            progress=lambda now: progress.update(bar, completed=now["series"], total=now["of"]),
        )


def _value(text: str) -> Any:
    """A number, a truth value or a list where it reads as one, else the text: `1e-5`, `true`, `30m`."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _show(result: Mapping[str, Any], order: Order) -> None:
    """Two lines of sums, then the anomalies on which both differ, the worst first."""
    show_rows(_HEADS, [_sums(one) for one in result["detectors"]], right=(1, 2, 3, 4, 5))
    compared = len(result["detectors"]) > 1
    shown = [one for one in result["anomalies"] if one["by"] != "both"] if compared else result["anomalies"]
    rows = [_line(one, compared) for one in shown[: order.top]]
    if is_terminal():
        console = Console(highlight=False)
        console.print()
        said = "Flagged by one of them only, the worst first:" if compared else "The worst anomalies:"
        console.print(said if rows else "Both flag the same." if compared else "Nothing was flagged.")
    heads = ["begins (UTC)", *(["flagged by"] if compared else []), "severity", "what"]
    if rows:
        show_rows(heads, rows)
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"{result['rows']:,} rows of {result['series']:,} series, {_day(result['start_ms'])} to "
        f"{_day(result['end_ms'])}, detector {result['detector']}; what was judged before is not changed",
        markup=False,
    )


def _sums(one: Mapping[str, Any]) -> list[str]:
    low, high = one["per_week_interval"]
    return [
        one["name"], f"{one['anomalies']:,}", f"{one['per_week']:.3g}", f"{low:.3g} and {high:.3g}",
        f"{one['series']:,}", f"{one['over']:,}",
    ]  # fmt: skip


def _line(one: Mapping[str, Any], compared: bool) -> list[str]:
    begins = format_time(one["begins_ms"] * _MS)[:16].replace("T", " ")
    by = [_BY[one["by"]]] if compared else []
    return [begins, *by, one["severity"], f"{one['series']}\n{one['why']}" if is_terminal() else one["series"]]


def _day(ms: int) -> str:
    return format_time(ms * _MS)[:10]
