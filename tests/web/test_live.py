"""Live streams: what is pushed, and what happens to readers that stall or leave."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import orjson
import psutil
import pytest
from tests.web.conftest import NOW, S, Served, transition, verdict_of

from almenara.model.alarm import State
from almenara.model.batch import Batch
from almenara.model.series import Series, SeriesTable
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.query import parse_selector
from almenara.web import live, server
from almenara.web.live import compact

Events = Iterator[tuple[str, Any]]


@contextmanager
def listening(served: Served, **params: Any) -> Iterator[Events]:
    def events(lines: Iterator[str]) -> Events:
        name = ""
        for line in lines:
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                yield name, orjson.loads(line[6:])

    query = {k.replace("match", "match[]"): v for k, v in params.items()}
    with httpx.stream("GET", f"{served.url}/api/v1/live", params=query, timeout=60) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        found = events(answer.iter_lines())
        until(lambda: len(served.hub.feed) > 0)
        yield found


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def accepted(served: Served) -> int:
    """Connections that the server holds."""
    found = psutil.Process().net_connections("tcp")
    return sum(1 for one in found if one.laddr.port == served.port and one.raddr)


def put(served: Served, *rows: tuple[Series, int, float], transitions: Any = ()) -> None:
    served.on_loop(lambda: served.hub.put(Batch.of(rows), transitions))


def test_rows_of_the_selected_series_are_pushed_judged(served: Served) -> None:
    one, other = Series.of("live_one", city="Mumbai"), Series.of("live_other")
    with listening(served, match="live_one", kinds="rows") as events:
        put(served, (other, NOW, 1.0))
        put(served, (other, NOW, 1.0), (one, NOW, 25.0), (one, NOW + S, float("nan")))
        name, data = next(events)
    assert name == "rows"
    assert data["series"] == [{"__name__": "live_one", "city": "Mumbai"}]
    ms = NOW // 1_000_000
    assert data["rows"] == [[0, ms, 25, 3, 5, 15, 10], [0, ms + 1000, None, None, 5, 15, 10]]


def test_a_series_that_is_new_is_pushed_too_and_several_selectors_join(served: Served) -> None:
    with listening(served, match=["live_late", "live_later"], kinds="rows") as events:
        put(served, (Series.of("live_late"), NOW, 1.0))
        assert next(events)[1]["series"] == [{"__name__": "live_late"}]
        put(served, (Series.of("live_later"), NOW, 1.0), (Series.of("live_late"), NOW, 1.0))
        assert [s["__name__"] for s in next(events)[1]["series"]] == ["live_late", "live_later"]


def test_transitions_and_status_come_without_a_selector(served: Served) -> None:
    with listening(served) as events:
        name, status = next(events)
        assert (name, status["clock_ms"]) == ("status", NOW // 1_000_000)
        put(served, (Series.of("x"), NOW, 1.0), transitions=[transition(State.FIRING, Series.of("x"))])
        name, changes = next(events)
        assert name == "transitions"
        assert (changes[0]["series"], changes[0]["state"], changes[0]["why"]) == ("x", "firing", "too high")


def test_status_is_pushed_again_and_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "STATUS_EVERY_S", 0.05)
    with listening(served, kinds="status") as events:
        assert [next(events)[0] for _ in range(3)] == ["status"] * 3


def test_a_reader_that_leaves_is_forgotten(serving: Callable[..., Served]) -> None:
    served = serving()
    with listening(served):
        assert served.hub.counters.snapshot()[-1].value == 1  # almenara_live_streams
    until(lambda: len(served.hub.feed) == 0)
    assert served.hub.counters.value("almenara_live_dropped_total") == 0


def test_a_reader_that_takes_nothing_is_dropped_and_counted(
    serving: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "STALLED_S", 0.3)
    monkeypatch.setattr(server, "_SWEEP_S", 0.1)
    served = serving()
    table = SeriesTable.of([Series.of("flood", n=str(i), long="x" * 500) for i in range(1000)])
    n = np.arange(1000)
    with socket.create_connection((served.host, served.port), 5) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(b"GET /api/v1/live?match[]=flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: len(served.hub.feed) > 0)
        batch = Batch(table, n.astype(np.int32), NOW + n * S, np.ones(1000))

        def flooded() -> bool:
            served.on_loop(lambda: served.hub.put(batch))
            return served.hub.counters.value("almenara_live_dropped_total") == 1

        until(flooded)
        assert len(served.hub.feed) == 0
        until(lambda: accepted(served) == 0)  # what it never read is not kept for it


def test_bad_parameters_are_refused_and_streams_are_bounded(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.client.get("/api/v1/live?kinds=rows,nonsense").status_code == 400
    assert served.client.get("/api/v1/live?match[]={").status_code == 400
    assert served.client.head("/api/v1/live").status_code == 200
    monkeypatch.setattr(live, "MAX_STREAMS", 0)
    assert served.client.get("/api/v1/live").status_code == 503


def test_of_too_many_rows_the_newest_are_pushed_and_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_ROWS", 3)
    index = SeriesIndex()
    ids = index.add([Series.of("a").key, Series.of("b").key])
    batch = Batch(index, np.repeat(ids, 4), np.tile(np.arange(4, dtype=np.int64) * 1_000_000, 2), np.arange(8.0))
    found = compact(batch, verdict_of(batch.value), [Selector(index, parse_selector('{__name__=~".+"}'))])
    assert found is not None
    assert found["left_out"] == 5
    assert {row[1] for row in found["rows"]} == {2, 3}
    assert [row[0] for row in found["rows"]] == sorted(row[0] for row in found["rows"])
