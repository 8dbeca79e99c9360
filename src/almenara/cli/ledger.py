"""`almenara ledger`: what became of every row a hub received, a line a source and their sum, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from almenara.cli.terminal import is_terminal, show_json, show_rows
from almenara.model.errors import AlmenaraError, MissingExtra

#: received = the sum of those from `stored` on, `late` apart, which is a part of `stored`.
COLUMNS = ("received", "stored", "late", "duplicate", "overwritten", "rejected", "dropped")
_PARTS = ("stored", "duplicate", "overwritten", "rejected", "dropped")


def run(url: str, *, as_json: bool, token: str) -> None:
    """Ask and show. Raises AlmenaraError; also where a sum is not what its parts are."""
    answer = ask(url, token, "/api/v1/ledger", "almenara ledger")
    if as_json:
        show_json(answer)
    else:
        rows = [_cells(one) for one in answer["sources"]]
        total = ["total", *_figures(answer["total"]), "", _reasons(answer["total"])]
        show_rows(["source", *COLUMNS, "last seen", "why"], [*rows, total], right=tuple(range(1, len(COLUMNS) + 1)))
    for one in answer["sources"]:
        if (parts := sum(amount(one[name]) for name in _PARTS)) != one["received"]:
            raise AlmenaraError(f"{one['name']}: {one['received']} rows received, and what became of them is {parts}")


def ask(url: str, token: str, path: str, who: str, method: str = "GET", **request: Any) -> Any:
    """What a hub answers, as JSON. request: such as `json`, the body. Raises AlmenaraError; MissingExtra, which names
    `who` asks."""
    try:
        from almenara.client import connect
    except ModuleNotFoundError as error:
        raise MissingExtra(who, "notebook") from error
    try:
        with connect(url, token or None) as hub:
            return json.loads(hub._send(method, path, **request))
    except AlmenaraError as error:
        if "connect(url, token=...)" not in str(error):
            raise
        words = str(error).replace("connect(url, token=...)", "--token or ALMENARA_TOKEN")
        raise AlmenaraError(words) from error


def amount(figure: int | Mapping[str, int]) -> int:
    """A figure, or the sum over its reasons."""
    return figure if isinstance(figure, int) else sum(figure.values())


def _cells(one: Mapping[str, Any]) -> list[str]:
    return [one["name"], *_figures(one), _local(one["last_ms"]), _reasons(one)]


def _figures(one: Mapping[str, Any]) -> list[str]:
    return [str(amount(one[name])) for name in COLUMNS]


def _reasons(one: Mapping[str, Any]) -> str:
    found = [(reason, rows) for name in ("rejected", "dropped") for reason, rows in one[name].items()]
    return ", ".join(f"{reason} {rows}" for reason, rows in sorted(found, key=lambda pair: -pair[1]))


def _local(ms: int) -> str:
    if not ms:
        return ""
    moment = datetime.fromtimestamp(ms / 1000).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S") if is_terminal() else moment.isoformat(timespec="milliseconds")
