"""`almenara noise`: which alarms nobody ever acted on, which flap, and how budgets were kept, as a table or as JSON."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from almenara.cli.ledger import ask
from almenara.cli.terminal import show_json, show_rows
from almenara.plot.lanes import document, figures_html, table_html

HEADS = ("rule", "fired", "incidents", "acknowledged", "ended by themselves", "messages", "")
_FLAP_HEADS = ("alarm", "fired")
_BUDGET_HEADS = ("budget", "a week", "began", "rate")


def run(url: str, since: str, *, out: Path | None, as_json: bool, token: str) -> None:
    """Ask and show. Raises AlmenaraError, OSError."""
    report = ask(url, token, f"/api/v1/noise?since={quote(since)}", "almenara noise")
    if out is not None:
        out.write_text(page(report, since), encoding="utf-8")
    if as_json:
        show_json(report)
        return
    show_rows(list(HEADS), [_rule(one) for one in report["rules"]], right=(1, 2, 3, 4, 5))
    for one in report["flapping"]:
        print(f"flaps: {one['series']} ({one['rule']}), {one['fired']} times")
    if report["held"]:
        print("held back: " + ", ".join(f"{count} {reason}" for reason, count in report["held"].items()))
    if out is not None:
        print(f"wrote {out}")


def _rule(one: dict[str, Any]) -> list[str]:
    figures = [str(one[name]) for name in ("fired", "incidents", "acknowledged", "by_themselves", "messages")]
    return [one["rule"], *figures, "nobody ever acted on it" if one["is_noise"] else ""]


def page(report: dict[str, Any], since: str) -> str:
    """The report as one page that needs no network."""
    noisy = [one for one in report["rules"] if one["is_noise"]]
    sent = sum(report["messages"].values())
    budgets = [
        [one["name"], f"{one['per_week']:g}", str(one["alerts"]), "" if one["rate"] is None else f"{one['rate']:.3g}"]
        for one in report["budgets"]
    ]
    held = [[reason, str(count)] for reason, count in report["held"].items()]
    flapping = [[f"{one['series']} ({one['rule']})", str(one["fired"])] for one in report["flapping"]]
    parts = [
        f"<h1>Noise of the last {escape(since)}</h1>",
        figures_html([
            (f"{sent:,}", "messages"), (f"{len(noisy):,}", "rules nobody ever acted on"),
            (f"{len(flapping):,}", "alarms that flap"), (f"{sum(report['held'].values()):,}", "messages held back"),
        ]),
        "<h2>Rules</h2>", table_html(HEADS, [_rule(one) for one in report["rules"]]),
        "<h2>What flaps</h2>", table_html(_FLAP_HEADS, flapping),
        "<h2>What was held back</h2>", table_html(("reason", "messages"), held),
        "<h2>Budgets</h2>", table_html(_BUDGET_HEADS, budgets),
    ]  # fmt: skip
    return document("Noise report", "\n".join(parts))
