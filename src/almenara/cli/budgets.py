"""`almenara budgets`: how the alarm budgets of a hub are kept, a line each, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from almenara.cli.ledger import ask
from almenara.cli.terminal import show_json, show_rows

COLUMNS = ("budget", "a week", "began", "in weeks", "rate", "95 %", "series", "p_limit")


def run(url: str, *, as_json: bool, token: str) -> None:
    """Ask and show. Raises AlmenaraError."""
    answer = ask(url, token, "/api/v1/budgets", "almenara budgets")
    if as_json:
        show_json(answer)
    else:
        show_rows(list(COLUMNS), [_cells(one) for one in answer], right=tuple(range(1, len(COLUMNS))))


def _cells(one: Mapping[str, Any]) -> list[str]:
    known = one["rate"] is not None
    return [
        one["name"],
        f"{one['per_week']:g}",
        str(one["alerts"]),
        f"{one['weeks']:.2f}",
        f"{one['rate']:.3g}" if known else "",
        f"{one['low']:.3g} to {one['high']:.3g}" if known else "",
        str(one["series"]),
        "" if one["p_limit"] is None else f"{one['p_limit']:.2g}",
    ]
