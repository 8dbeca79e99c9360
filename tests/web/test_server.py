"""The server against clients that lie, stall, shout and never end; and how it starts and stops."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import httpx
import pytest
from tests.web.conftest import Served, Twin

from almenara.model.errors import AlmenaraError
from almenara.web import server
from almenara.web.app import create_app
from almenara.web.body import Limits
from almenara.web.server import bind, serve

Start = Callable[..., Served]


def talk(served: Served, *parts: bytes, until: bytes = b"", timeout_s: float = 5.0) -> bytes:
    """Send raw bytes, and read until the server ends the connection or `until` was heard."""
    heard = b""
    with socket.create_connection((served.host, served.port), timeout_s) as sock:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for part in parts:
                sock.sendall(part)
        with contextlib.suppress(ConnectionResetError):
            while not (until and until in heard):
                got = sock.recv(65536)
                if not got:
                    break
                heard += got
    return heard


def post(headers: bytes, body: bytes = b"") -> bytes:
    return b"POST /write HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n" + body


def test_a_slow_body_is_408(served: Served) -> None:
    began = time.monotonic()
    heard = talk(served, post(b"Content-Length: 100\r\n", b"slow v=1"))
    assert heard.startswith(b"HTTP/1.1 408 ")
    assert b"did not arrive within 0.5 s" in heard
    assert time.monotonic() - began < 4


def test_a_content_length_above_the_limit_is_refused_before_the_body(served: Served) -> None:
    heard = talk(served, post(b"Content-Length: 99999999999\r\n"), until=b"}")
    assert heard.startswith(b"HTTP/1.1 413 ")


def test_expect_100_continue_is_refused_without_the_body(served: Served) -> None:
    heard = talk(served, post(b"Content-Length: 300000\r\nExpect: 100-continue\r\n"), until=b"}")
    assert heard.startswith(b"HTTP/1.1 413 ")


def test_a_content_length_that_is_too_short_leaves_garbage_that_is_400(served: Served) -> None:
    heard = talk(served, post(b"Content-Length: 8\r\n", b"lie v=1\n" + b"and much more\r\n\r\n"))
    assert heard.startswith(b"HTTP/1.1 400 ")


def test_two_lengths_are_refused(served: Served) -> None:
    both = b"Content-Length: 8\r\nTransfer-Encoding: chunked\r\n"
    assert talk(served, post(both, b"lie v=1\n")).startswith(b"HTTP/1.1 400 ")
    assert talk(served, post(b"Content-Length: 8\r\nContent-Length: 4\r\n", b"lie v=1\n")).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("length", [b"-1", b"abc", b"1e3", b"9" * 400, b"0x10"])
def test_a_senseless_length_is_400(served: Served, length: bytes) -> None:
    assert talk(served, post(b"Content-Length: " + length + b"\r\n")).startswith(b"HTTP/1.1 400 ")


def test_a_body_that_breaks_off_writes_nothing(served: Served) -> None:
    before = len(served.hub.packets)
    with socket.create_connection((served.host, served.port)) as sock:
        sock.sendall(post(b"Content-Length: 100\r\n", b"broken v=1\n"))
    assert served.write("after v=1").status_code == 204
    assert len(served.hub.packets) == before + 1


def test_an_endless_chunked_body_is_413(served: Served) -> None:
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    heard = talk(served, post(b"Transfer-Encoding: chunked\r\n"), *[chunk] * 20, until=b"}")
    assert heard.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x01\x02\xff" * 50,
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9,
        b"hello\r\n\r\n",
    ],
)
def test_garbage_is_400_and_the_server_goes_on(served: Served, garbage: bytes) -> None:
    assert talk(served, garbage).startswith(b"HTTP/1.1 400 ")
    assert served.client.get("/-/healthy").status_code == 200


def test_endless_headers_are_431(served: Served) -> None:
    heard = talk(served, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", *[b"y" * 20_000] * 8)
    assert heard == b"" or heard.startswith(b"HTTP/1.1 431 ")  # a reset may overtake the answer
    many = b"".join(b"h%d: v\r\n" % i for i in range(20_000))
    heard = talk(served, b"GET / HTTP/1.1\r\nHost: localhost\r\n", many[:120_000])
    assert heard == b"" or heard.startswith(b"HTTP/1.1 431 ")
    assert served.client.get("/-/healthy").status_code == 200


def test_headers_that_never_end_in_time_are_cut_off(serving: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(server, "_SWEEP_S", 0.1)
    served = serving()
    began = time.monotonic()
    assert talk(served, b"GET / HTTP/1.1\r\nHost: loc") == b""
    assert talk(served) == b""
    assert time.monotonic() - began < 4


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    ping = b"GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    heard = talk(served, ping + ping + last)
    assert heard.count(b"HTTP/1.1 204 ") == 2
    assert heard.endswith(b"alive.\n")


def test_a_bug_is_500_in_json_and_logged_without_parameters(
    serving: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serving()
    monkeypatch.setattr(served.hub, "write", None)
    answer = served.write("x v=1", p="secret")
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("internal error")
    assert "POST /write failed" in caplog.text
    assert "secret" not in caplog.text
    monkeypatch.setattr(served.hub, "account", None)
    assert served.client.get("/api/v1/sources").json()["errorType"] == "internal"


def test_a_taken_port_says_what_to_do() -> None:
    with bind("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(AlmenaraError, match=f"^HTTP on 127.0.0.1:{port}: another program listens") as caught:
            bind("127.0.0.1", port)
    said = str(caught.value)
    option, key = re.search("almenara up --http (\\S+),", said), re.search(r'\[http\] listen = "(\S+)"', said)
    assert option
    assert key
    assert option[1] == key[1]
    bind("127.0.0.1", int(option[1].rpartition(":")[2])).close()  # the port that is proposed is free


def test_an_address_that_is_not_ours_says_so() -> None:
    with pytest.raises(AlmenaraError, match="this machine has no such address"):
        bind("192.0.2.1", 8642)
    with pytest.raises(AlmenaraError, match="no address of this machine"):
        bind("nowhere.invalid", 8642)


def test_off_loopback_it_wants_a_token() -> None:
    async def try_open() -> None:
        await serve(create_app(Twin()), "0.0.0.0", 0, stop=asyncio.Event())

    with pytest.raises(AlmenaraError, match="no token is set"):
        asyncio.run(try_open())


def test_it_stops_at_once_with_open_streams_and_idle_connections(serving: Start) -> None:
    served = serving()
    served.client.get("/-/healthy")
    with httpx.stream("GET", f"{served.url}/api/v1/live", timeout=60) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        assert served.stop() < 2
        assert list(lines)[-1] == ""  # it ended as it should, and was not cut off
    assert served.hub.counters.value("almenara_live_dropped_total") == 0
    assert len(served.hub.feed) == 0


def test_a_write_under_way_is_finished_before_it_stops(serving: Start) -> None:
    served = serving()
    body = b"while v=1\n"
    with socket.create_connection((served.host, served.port), 5) as sock:
        sock.sendall(post(b"Content-Length: %d\r\n" % len(body), body[:4]))
        stopping = threading.Thread(target=served.stop)
        deadline = time.monotonic() + 60
        while not served.app._closing.is_set() and time.monotonic() < deadline:
            if not stopping.is_alive():
                stopping.start()
            time.sleep(0.01)
        sock.sendall(body[4:])
        assert sock.recv(100).startswith(b"HTTP/1.1 204 ")
        stopping.join()
    assert len(served.hub.packets) == 1


def test_a_request_that_hangs_does_not_hold_up_the_stop(serving: Start) -> None:
    served = serving(grace_s=1.0, limits=Limits(body_timeout_s=60))
    with socket.create_connection((served.host, served.port), 5) as sock:
        sock.sendall(post(b"Content-Length: 100\r\n", b"hang"))
        assert served.client.get("/-/healthy").status_code == 200
        assert served.stop() < 4


def test_connections_past_the_limit_are_503(serving: Start) -> None:
    served = serving(max_connections=5)
    held = [socket.create_connection((served.host, served.port), 5) for _ in range(8)]
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if served.client.get("/-/healthy").status_code == 503:
                break
        else:
            pytest.fail("no request was refused")
    finally:
        for sock in held:
            sock.close()


def line_protocol(name: str, lines: int) -> bytes:
    return b"".join(b"%s,n=%d value=%d %d\n" % (name.encode(), k % 50, k, k + 1) for k in range(lines))


@pytest.mark.parametrize("hand_over_s", [2.0, 0.0])
def test_large_bodies_are_whole_however_they_are_cut(
    served: Served, monkeypatch: pytest.MonkeyPatch, hand_over_s: float
) -> None:
    monkeypatch.setattr(server, "HAND_OVER_S", hand_over_s)
    body = line_protocol(f"cut{hand_over_s:g}", 5000)
    assert server.COLLECTED_BYTES[0] < len(body) < 200_000
    request = post(b"Content-Length: %d\r\n" % len(body), body)
    cuts = [0, 3, 90, 70_000, 70_001, len(request) - 1, len(request)]
    parts = [request[a:b] for a, b in pairwise(cuts)]
    ask = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    # Two in a row on one connection, the second right behind the first, and another request behind that.
    heard = talk(served, *parts, request + ask)
    assert heard.count(b"HTTP/1.1 204 ") == 3


def test_a_body_of_many_wakes_is_whole_and_the_next_request_is_heard(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_WAKE_BYTES", 20_000)
    request = post(b"Content-Length: %d\r\n" % len(body := line_protocol("wakes", 5000)), body)
    parts = [request[at : at + 7001] for at in range(0, len(request), 7001)]
    assert len(parts) > 15
    ask = b"GET /ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert talk(served, *parts, ask).count(b"HTTP/1.1 204 ") == 2


def test_a_large_body_that_breaks_off_writes_nothing_and_its_memory_goes(served: Served) -> None:
    body = line_protocol("torn_large", 5000)
    talk(served, post(b"Content-Length: %d\r\nConnection: close\r\n" % (len(body) + 1), body), timeout_s=1.5)
    assert not [key for key in served.hub.index.keys if b"torn_large" in key]
