"""`almenara query` against a server that answers as the hub's API does."""

from __future__ import annotations

import json
import math
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from almenara.cli import main, query
from almenara.model.errors import AlmenaraError
from almenara.model.time import NS, format_time

NOW_S = 1_700_000_100.5
METRIC = {"__name__": "cpu_usage", "host": "a"}
MATRIX = {"resultType": "matrix", "result": [{"metric": METRIC, "values": [[1700000000, "3.5"], [1700000060, "NaN"]]}]}


class Hub(ThreadingHTTPServer):
    asked: dict[str, Any]


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        form = {k: v[0] for k, v in parse_qs(body).items()}
        self.server.asked = {"path": self.path, "token": self.headers.get("authorization"), **form}
        if self.path.endswith("/query"):
            self.answer(200, {"status": "success", "data": {"resultType": "scalar", "result": [NOW_S, str(NOW_S)]}})
            return
        text = form.get("query", form.get("match[]", ""))
        if text == "secret" and self.headers.get("authorization") != "Bearer t0ken":
            self.answer(401, {})
        elif text == "bad(":
            self.answer(422, {"status": "error", "error": "line 1: not closed"})
        elif self.path.endswith("/export"):
            self.answer(200, [{"metric": METRIC, "times": [1700000000123456789], "values": [None]}])
        else:
            self.answer(200, {"status": "success", "data": MATRIX})

    def answer(self, code: int, value: Any) -> None:
        raw = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("ALMENARA_URL", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


def call(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["query", *args])
    return int(caught.value.code or 0)


def test_lines_with_tabs_when_piped(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert call('cpu_usage{host="a"}', "--since", "1h") == 0
    assert capsys.readouterr().out.splitlines() == [
        '2023-11-14T22:13:20Z\tcpu_usage{host="a"}\t3.5',
        '2023-11-14T22:14:20Z\tcpu_usage{host="a"}\tnan',
    ]
    assert hub.asked["path"] == "/api/v1/query_range"
    assert hub.asked["step"] == "60.000"
    assert float(hub.asked["end"]) == math.ceil(NOW_S), "what arrived just now is seen"
    assert float(hub.asked["start"]) == math.ceil(NOW_S) - 3600


def test_raw_samples_keep_their_nanoseconds(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("cpu_usage", "--raw") == 0
    assert capsys.readouterr().out == '2023-11-14T22:13:20.123456789Z\tcpu_usage{host="a"}\tnan\n'


def test_json_is_the_answer_of_the_hub(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("cpu_usage", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"status": "success", "data": MATRIX}


def test_a_terminal_sees_a_table(hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("almenara.cli.terminal.is_terminal", lambda: True)
    monkeypatch.setattr(query, "is_terminal", lambda: True)
    assert call("cpu_usage") == 0
    head, first, _ = capsys.readouterr().out.splitlines()
    assert 'cpu_usage{host="a"}' in head
    assert first.split()[-1] == "3.5"


def test_many_series_get_a_line_each(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("almenara.cli.terminal.is_terminal", lambda: True)
    query.show([(f"s{i}", t * NS, v) for i in range(9) for t, v in ((1, 2.0), (2, math.nan), (3, 1.25))])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["series", "last", "min", "max", "values"]
    assert lines[1].split() == ["s0", "1.25", "1.25", "2", "3"]
    assert len(lines) == 10


def test_a_token_is_asked_for_and_sent(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("secret") == 1
    assert "--token or ALMENARA_TOKEN" in capsys.readouterr().err
    assert call("secret", "--token", "t0ken") == 0


def test_what_the_hub_refuses_is_told(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bad(") == 1
    assert capsys.readouterr().err == "error: line 1: not closed\n"


def test_no_hub_is_one_clear_line(capsys: pytest.CaptureFixture[str], free_port: Any) -> None:
    assert call("up", "--url", f"http://127.0.0.1:{free_port()}") == 1
    said = capsys.readouterr().err
    assert "error: no hub answers at http://127.0.0.1:" in said
    assert "almenara up" in said


def test_without_the_extra_it_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    assert call("up") == 1
    assert "pip install 'almenara[notebook]'" in capsys.readouterr().err


def test_times_to_ask_from() -> None:
    now = 1_700_000_000 * NS
    assert query.start_of("1h30m", now) == now - 5400 * NS
    assert format_time(query.start_of("2023-01-31", now)) == "2023-01-31T00:00:00Z"
    with pytest.raises(AlmenaraError, match="--since: 'soon' is neither"):
        query.start_of("soon", now)
    with pytest.raises(AlmenaraError, match="--step: 'x' is no duration"):
        query.duration("x", "--step")
    assert [query.step_for(s) for s in (1, 60, 3600, 86400, 7 * 86400, 1e9)] == [1, 1, 60, 1800, 14400, 604800]


@pytest.mark.parametrize(
    ("value", "text"), [(3.0, "3"), (0.1, "0.1"), (1e300, "1e+300"), (math.inf, "inf"), (-0.5, "-0.5")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert query.format_value(value) == text
