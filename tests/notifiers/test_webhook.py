"""Rules of the webhook, against a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from almenara.model.alarm import Alarm, Evidence, Incident, Severity, State, Transition
from almenara.model.errors import ConfigError, NotifyError
from almenara.model.series import Series
from almenara.model.time import NS
from almenara.notifiers.webhook import Webhook, webhook_body
from almenara.plugin.options import Secret
from almenara.testing.alarms import notice


def incident(state: State = State.FIRING) -> Incident:
    evidence = Evidence(value=31.5, score=1.6, yhat=20.0, why="It is warm.")
    members = tuple(
        Alarm(
            Transition("hot", Series.of("t", city=city, team="a"), 10 * NS, state, 20 * NS, Severity.MAJOR, evidence), 7
        )
        for city in ("Mumbai", "Delhi")
    )
    return Incident(7, 10 * NS, state, Severity.MAJOR, members, resolved=30 * NS if state is State.RESOLVED else 0)


def run_against(answer: bytes, use: Callable[[int], object]) -> list[bytes]:
    """Run `use(port)` against a server that gives this answer to every request; gives the requests."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length"))
        heard.append(head + await reader.readexactly(size))
        writer.write(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await use(server.sockets[0].getsockname()[1])  # type: ignore[misc]

    asyncio.run(run())
    return heard


async def post(port: int, **options: object) -> None:
    webhook = Webhook(url=Secret(f"http://127.0.0.1:{port}/hook?key=hidden"), **options)  # type: ignore[arg-type]
    try:
        await webhook.notify(notice(incident()))
    finally:
        await webhook.close()


def test_it_posts_alertmanagers_shape_with_the_token() -> None:
    (request,) = run_against(b"200 OK", lambda port: post(port, token=Secret("abc")))
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook?key=hidden HTTP/1.1")
    assert b"Authorization: Bearer abc" in head
    sent = json.loads(body)
    assert (sent["version"], sent["status"], len(sent["alerts"])) == ("4", "firing", 2)
    assert sent["commonLabels"] == {"alertname": "hot", "series": "t", "severity": "major", "team": "a"}
    assert sent["alerts"][0]["labels"]["city"] == "Mumbai"
    assert sent["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
    assert sent["alerts"][0]["annotations"] == {"value": "31.5", "score": "1.6", "yhat": "20", "summary": "It is warm."}


def test_a_resolved_incident_has_an_end() -> None:
    body = webhook_body(incident(State.RESOLVED))
    assert body["status"] == "resolved"
    assert {alert["endsAt"] for alert in body["alerts"]} == {"1970-01-01T00:00:20Z"}
    assert len({alert["fingerprint"] for alert in body["alerts"]}) == 2


@pytest.mark.parametrize(
    ("answer", "retry"),
    [
        (b"500 Broken", True), (b"503 Busy", True), (b"429 Too Many", True),
        (b"400 Bad", False), (b"404 Not Found", False), (b"302 Found\r\nLocation: http://127.0.0.1:1/", False),
    ],
)  # fmt: skip
def test_an_error_says_whether_another_try_may_help(answer: bytes, retry: bool) -> None:
    async def use(port: int) -> None:
        with pytest.raises(NotifyError, match=f"answered {answer[:3].decode()}") as caught:
            await post(port)
        assert caught.value.retry is retry
        assert "hidden" not in str(caught.value)

    assert len(run_against(answer, use)) == 1


def test_nobody_there_is_worth_another_try(free_port: Callable[[], int]) -> None:
    with pytest.raises(NotifyError, match="ConnectError") as caught:
        asyncio.run(post(free_port()))
    assert caught.value.retry
    assert "hidden" not in str(caught.value)


def test_only_http_urls_are_taken() -> None:
    with pytest.raises(ConfigError, match="http"):
        Webhook(url=Secret("file:///etc/passwd"))
