"""Who may talk to the hub, tried from outside over real HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
from tests.web.conftest import Served

from almenara.web.guard import MAX_ADDRESSES, Tries

TOKEN = "s3cret-token-0123456789"


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    one = Served(token=TOKEN)
    yield one
    one.stop()


@pytest.mark.parametrize("host", ["127.0.0.1:9999", "localhost", "LOCALHOST:8642", "[::1]:8642", "127.9.9.9"])
def test_loopback_names_are_answered(served: Served, host: str) -> None:
    assert served.client.get("/-/healthy", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8642",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "0.0.0.0",
        "10.0.0.1",
        "user@localhost",
        "localhost/x",
        "[::1",
        "",
        "localhost:x:y",
        "127.0.0.1@evil.example",
    ],
)
def test_a_rebound_name_is_421(served: Served, host: str) -> None:
    answer = served.client.get("/api/v1/status", headers={"host": host})
    assert answer.status_code in (400, 421), answer.text
    assert served.client.post("/write", content=b"x v=1", headers={"host": host}).status_code in (400, 421)


def test_names_that_were_allowed_are_answered(serving: Callable[..., Served]) -> None:
    served = serving(allowed_hosts=["monitor.example"])
    assert served.client.get("/-/healthy", headers={"host": "monitor.example"}).status_code == 200
    assert served.client.get("/-/healthy", headers={"host": "other.example"}).status_code == 421
    locked = serving(token=TOKEN, allowed_hosts=["monitor.example"])
    for host, status in (("monitor.example", 200), ("localhost", 200), ("other.example", 421)):
        headers = {"host": host, "authorization": f"Bearer {TOKEN}"}
        assert locked.client.get("/api/v1/status", headers=headers).status_code == status
    ours = {"host": "monitor.example", "origin": "https://monitor.example"}
    assert served.client.post("/write", content=b"x v=1", headers=ours).status_code == 204


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://localhost:9", "garbage"]
)
def test_a_foreign_origin_may_change_nothing(served: Served, origin: str) -> None:
    before = len(served.hub.packets)
    for path in ("/write", "/api/v1/demo/break", "/-/reload", "/ingest/number/x"):
        assert served.client.post(path, content=b"1", headers={"origin": origin}).status_code == 403
    assert len(served.hub.packets) == before
    assert (
        served.client.get("/api/v1/status", headers={"origin": origin}).status_code == 200
    )  # it cannot read the answer
    assert "access-control-allow-origin" not in served.client.get("/api/v1/status", headers={"origin": origin}).headers


def test_our_own_origin_may(served: Served) -> None:
    assert served.client.post("/write", content=b"own v=1", headers={"origin": served.url}).status_code == 204


def test_two_hosts_are_400(served: Served) -> None:
    with socket.create_connection((served.host, served.port), 5) as sock:
        sock.sendall(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 400 ")


def test_only_http_1_0_may_leave_the_host_out(served: Served) -> None:
    for version, status in ((b"1.1", b"400"), (b"1.0", b"200")):
        with socket.create_connection((served.host, served.port), 5) as sock:
            sock.sendall(b"GET /-/healthy HTTP/" + version + b"\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 " + status)


def test_refusals_are_counted(serving: Callable[..., Served]) -> None:
    served = serving()
    served.client.get("/", headers={"host": "evil.example"})
    assert served.hub.counters.value("almenara_http_refused_total", status="421") == 1


# --- with a token


def test_everything_but_healthy_wants_the_token(locked: Served) -> None:
    for one in locked.app.endpoints:
        path = (
            one.path.replace("{codec}", "number")
            .replace("{topic:path}", "x")
            .replace("{path:path}", "x")
            .replace("{name}", "x")
        )
        for method in one.methods:
            answer = locked.client.request(method, path)
            opened = path in ("/-/healthy", "/login")
            assert (answer.status_code != 401) == opened, (method, path)
    assert locked.client.get("/nowhere").status_code == 401
    assert locked.hub.packets == []


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer  {TOKEN}"},
        {"authorization": f"Token {TOKEN}"},
        {"authorization": f"Token user:{TOKEN}"},
    ],
)
def test_the_token_opens(locked: Served, headers: dict[str, str]) -> None:
    assert locked.client.get("/api/v1/status", headers=headers).status_code == 200


def test_basic_and_influx_parameters_open(locked: Served) -> None:
    assert locked.client.get("/api/v1/status", auth=("anyone", TOKEN)).status_code == 200
    assert locked.client.post("/write", params={"u": "x", "p": TOKEN}, content=b"x v=1").status_code == 204


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer"},
        {"authorization": "Basic !!!"},
        {"authorization": f"Digest {TOKEN}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"cookie": f"almenara_session={TOKEN}"},
        {"cookie": "almenara_session="},
        {"cookie": ""},
        {"authorization": "Bearer \xff\xfe"},
    ],
)
def test_anything_else_does_not(locked: Served, headers: dict[str, str]) -> None:
    raw = {k: v.encode("latin-1") for k, v in headers.items()}
    answer = locked.client.get("/api/v1/status", headers=raw)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith(
        "Bearer"
    )  # not Basic: browsers would ask in a box of their own


def test_a_browser_is_led_to_the_login_and_stays_signed_in(locked: Served) -> None:
    with httpx.Client(base_url=locked.url) as browser:
        away = browser.get("/alarms", headers={"accept": "text/html,*/*"})
        assert (away.status_code, away.headers["location"]) == (303, "/login")
        form = browser.get("/login")
        assert 'type="password"' in form.text
        assert "<script" not in form.text
        wrong = browser.post("/login", data={"token": "guess"})
        assert wrong.status_code == 401
        signed_in = browser.post("/login", data={"token": TOKEN})
        assert signed_in.status_code == 303
        cookie = signed_in.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert TOKEN not in cookie
        assert browser.get("/api/v1/status").status_code == 200
        assert browser.post("/write", content=b"x v=1", headers={"origin": "http://evil.example"}).status_code == 403


def test_a_link_with_the_token_signs_in(locked: Served) -> None:
    with httpx.Client(base_url=locked.url) as browser:
        answer = browser.get("/login", params={"token": TOKEN})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert browser.get("/api/v1/status").status_code == 200


def test_a_foreign_page_cannot_sign_a_browser_in(locked: Served) -> None:
    answer = locked.client.post("/login", data={"token": TOKEN}, headers={"origin": "http://evil.example"})
    assert answer.status_code == 403


def test_an_address_that_guesses_has_to_wait(serving: Callable[..., Served]) -> None:
    one = serving(token=TOKEN)
    now = [0.0]
    one.on_loop(lambda: setattr(one.app._guard.tries, "_clock", lambda: now[0]))
    guesses = [one.client.post("/login", data={"token": f"guess {n}"}) for n in range(11)]
    assert [answer.status_code for answer in guesses] == [401] * 10 + [429]
    assert guesses[-1].headers["retry-after"] == "60"
    assert "Try again in 60 s" in guesses[-1].text
    assert one.client.post("/login", data={"token": TOKEN}).status_code == 429, "or guessing could go on"
    assert one.client.get("/login").status_code == 200
    assert one.client.get("/-/ready", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    now[0] = 60.0
    assert one.client.post("/login", data={"token": TOKEN}).status_code == 303


def test_wrong_tries_are_counted_by_address_and_within_a_minute() -> None:
    now = [0.0]
    tries = Tries(lambda: now[0])
    for second in range(12):
        now[0] = second * 10.0
        assert tries.wait_s("192.0.2.1") == 0, "ten in two minutes are no guessing"
        tries.wrong("192.0.2.1")
    for _ in range(10):
        tries.wrong("192.0.2.2")
    assert (tries.wait_s("192.0.2.2"), tries.wait_s("192.0.2.3")) == (60, 0)
    tries.right("192.0.2.2")
    assert tries.wait_s("192.0.2.2") == 0


def test_an_ipv6_network_of_one_person_is_one_address() -> None:
    tries = Tries(lambda: 0.0)
    for n in range(10):
        tries.wrong(f"2001:db8::{n:x}")
    assert tries.wait_s("2001:db8::ffff") == 60
    assert tries.wait_s("2001:db8:0:1::1") == 0
    for _ in range(10):
        tries.wrong("::ffff:192.0.2.1")  # as a socket of both families names an IPv4 address
    assert tries.wait_s("::ffff:192.0.2.2") == 0


def test_what_is_remembered_of_guessing_is_bounded() -> None:
    tries = Tries(lambda: 0.0)
    for n in range(MAX_ADDRESSES + 100):
        for _ in range(20):
            tries.wrong(f"10.0.{n // 256}.{n % 256}")
    assert len(tries._wrong) == MAX_ADDRESSES
    assert max(map(len, tries._wrong.values())) == 10


def test_without_a_token_login_leads_home(served: Served) -> None:
    assert served.client.get("/login").headers["location"] == "/"


def test_pages_carry_a_strict_policy(served: Served) -> None:
    headers = served.client.get("/api/v1/status").headers
    policy = headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers
