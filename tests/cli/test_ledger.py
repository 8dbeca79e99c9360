"""`almenara ledger` and `almenara budgets`, against a server that answers as the hub's API does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from almenara.cli import main

ONE: dict[str, Any] = {
    "name": "mqtt:hall", "received": 12, "stored": 7, "late": 2, "duplicate": 1, "overwritten": 1,
    "rejected": {"future": 2}, "dropped": {"refused": 1}, "last_ms": 1_700_000_000_000,
}  # fmt: skip
BUDGETS: list[dict[str, Any]] = [
    {"name": "load", "per_week": 7, "p_limit": 1e-6, "series": 2, "rows_a_week": 20160, "alerts": 3, "weeks": 0.5,
     "rate": 6, "low": 1.2, "high": 17.6},
    {"name": "new", "per_week": 1, "p_limit": None, "series": 0, "rows_a_week": 0, "alerts": 0, "weeks": 0,
     "rate": None, "low": None, "high": None},
]  # fmt: skip
TOTAL = {k: v for k, v in ONE.items() if k not in ("name", "last_ms")}


class Hub(ThreadingHTTPServer):
    answer: dict[str, Any]

    @property
    def answers(self) -> dict[str, Any]:
        return {"/api/v1/ledger": self.answer, "/api/v1/budgets": BUDGETS}


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        raw = json.dumps(self.server.answers.get(self.path, {})).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub(("127.0.0.1", 0), Handler)
    server.answer = {"total": TOTAL, "sources": [ONE]}
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def asked(hub: Hub, *options: str, verb: str = "ledger") -> int:
    with pytest.raises(SystemExit) as ended:
        main([verb, *options, f"http://127.0.0.1:{hub.server_port}"])
    return int(ended.value.code or 0)


def test_a_line_for_each_source_and_their_sum(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(hub) == 0
    first, total = capsys.readouterr().out.splitlines()
    name, *figures, at, why = first.split("\t")
    assert (name, figures, why) == ("mqtt:hall", ["12", "7", "2", "1", "1", "2", "1"], "future 2, refused 1")
    assert at.startswith("2023-11-1")
    assert total.split("\t")[:3] == ["total", "12", "7"]


def test_json_is_the_answer_as_it_came(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(hub, "--json") == 0
    assert json.loads(capsys.readouterr().out) == hub.answer


def test_a_ledger_that_does_not_add_up_is_an_error(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.answer = {"total": TOTAL, "sources": [ONE | {"received": 13}]}
    assert asked(hub) == 1
    assert "mqtt:hall: 13 rows received, and what became of them is 12" in capsys.readouterr().err


def test_a_line_for_each_budget(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(hub, verb="budgets") == 0
    assert [line.split("\t") for line in capsys.readouterr().out.splitlines()] == [
        ["load", "7", "3", "0.50", "6", "1.2 to 17.6", "2", "1e-06"],
        ["new", "1", "0", "0.00", "", "", "0", ""],
    ]
    assert asked(hub, "--json", verb="budgets") == 0
    assert json.loads(capsys.readouterr().out) == BUDGETS
