"""Rules of the webhook, against a real HTTP server on loopback."""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from almenara.alarm.letters import Letter
from almenara.model.alarm import Alarm, Evidence, Fact, Incident, NoticeKind, Severity, State, Transition
from almenara.model.errors import ConfigError, NotifyError
from almenara.model.series import Series
from almenara.model.time import NS
from almenara.notifiers._http import retry_after_s
from almenara.notifiers.webhook import Webhook, webhook_body
from almenara.plugin.options import Secret
from almenara.testing.alarms import BEGAN_NS, notice
from receivers import http_server


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


def test_members_that_ended_are_told_as_such_and_the_group_stays_the_same() -> None:
    first, second = incident().members
    ended = Alarm(dataclasses.replace(first.last, state=State.RESOLVED, time=25 * NS), 7)
    mixed = dataclasses.replace(incident(), members=(ended, second))
    body = webhook_body(mixed, link="https://hub.example/i/7")
    assert (body["status"], [a["status"] for a in body["alerts"]]) == ("firing", ["firing", "resolved"])
    assert body["alerts"][1]["endsAt"] == "1970-01-01T00:00:25Z"
    assert body["alerts"][0]["generatorURL"] == "https://hub.example/i/7"
    assert body["groupKey"] == webhook_body(incident(State.RESOLVED))["groupKey"] == '{}:{incident="7"}'


def test_of_a_long_list_those_that_ended_are_left_out_first() -> None:
    first = incident().members[0]
    ended = Alarm(dataclasses.replace(first.last, state=State.RESOLVED), 7)
    body = webhook_body(dataclasses.replace(incident(), members=(ended,) * 500 + (first,) * 700))
    assert (len(body["alerts"]), body["truncatedAlerts"]) == (1000, 200)
    assert [a["status"] for a in body["alerts"]] == ["firing"] * 700 + ["resolved"] * 300


def test_a_digest_is_a_post_for_each_incident_and_a_test_says_so() -> None:
    async def run() -> None:
        async with http_server() as here:
            webhook = Webhook(url=Secret(here.url))
            other = dataclasses.replace(incident(), id=8)
            await webhook.notify(dataclasses.replace(notice(incident(), NoticeKind.DIGEST), more=(other,)))
            await webhook.notify(notice(incident(), NoticeKind.TEST))
            await webhook.close()
        bodies = [json.loads(body) for _, body in here.requests]
        assert [body["groupLabels"] for body in bodies] == [
            {"incident": "7"}, {"incident": "8"}, {"alertname": "AlmenaraTest"},
        ]  # fmt: skip
        assert len({head.split(b"Idempotency-Key: ")[1].split()[0] for head, _ in here.requests}) == 3

    asyncio.run(run())


def test_a_report_about_no_incident_is_one_alert_that_says_all_of_it() -> None:
    facts = (Fact("Week", "Monday to Monday"), Fact("Rule hot", "nobody ever acted on it"))

    async def run() -> None:
        async with http_server() as here:
            webhook = Webhook(url=Secret(here.url))
            await webhook.notify(Letter("noise", BEGAN_NS, "Noise of the week", facts).notice(5, ""))
            await webhook.close()
        (alert,) = json.loads(here.requests[0][1])["alerts"]
        assert alert["labels"] == {"alertname": "AlmenaraReport", "severity": "none"}
        assert alert["annotations"] == {
            "summary": "Noise of the week",
            "description": "Week: Monday to Monday\nRule hot: nobody ever acted on it",
        }

    asyncio.run(run())


def test_a_template_is_filled_in_and_signed() -> None:
    template = {
        "text": "{title} {{x}}", "n": "{severity_number}", "score": "{score}", "links": [{"href": "{link}"}],
        "on": True, "image": "{graph_png}",
    }  # fmt: skip

    async def run() -> None:
        async with http_server() as here:
            webhook = Webhook(url=Secret(here.url), template=template, secret=Secret("key"), graph=True)
            await webhook.notify(notice(incident(), graph_png=b"png"))
            await webhook.close()
        ((head, body),) = here.requests
        assert json.loads(body) == {
            "text": "Major: processors of 2 hosts are busier than usual {x}", "n": 3, "score": 1.6,
            "links": [{"href": "https://hub.example/alarms?incident=7"}], "on": True, "image": "cG5n",
        }  # fmt: skip
        assert f"X-Hub-Signature-256: sha256={hmac.digest(b'key', body, 'sha256').hex()}".encode() in head

    asyncio.run(run())


def test_the_graph_is_sent_only_where_it_is_wanted() -> None:
    async def run() -> None:
        async with http_server() as here:
            for wanted in (False, True):
                webhook = Webhook(url=Secret(here.url), graph=wanted)
                await webhook.notify(notice(incident(), graph_png=b"png"))
                await webhook.close()
        assert [json.loads(body).get("graph_png") for _, body in here.requests] == [None, "cG5n"]

    asyncio.run(run())


def test_how_long_a_receiver_wants_to_be_left_alone_is_passed_on() -> None:
    async def run() -> None:
        async with http_server(b"429 Slow down\r\nRetry-After: 17") as here:
            webhook = Webhook(url=Secret(here.url))
            with pytest.raises(NotifyError) as caught:
                await webhook.notify(notice(incident()))
            await webhook.close()
        assert (caught.value.retry, caught.value.retry_after_s) == (True, 17.0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("17", 17), ("", 0), ("soon", 0), ("-5", 0), ("99999999", 3600), ("Thu, 01 Jan 1970 00:01:40 GMT", 40)],
)
def test_retry_after_is_seconds_or_a_date_and_has_bounds(header: str, seconds: float) -> None:
    assert retry_after_s(header, 60.0) == seconds


def test_a_receiver_that_drips_is_left_in_time() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not reader.at_eof() and not writer.is_closing():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def run() -> None:
        async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            webhook = Webhook(url=Secret(f"http://127.0.0.1:{port}"), timeout_s=0.3)
            with pytest.raises(NotifyError, match=r"no answer within 0\.3 s|RemoteProtocolError") as caught:
                await webhook.notify(notice(incident()))
            assert caught.value.retry
            await webhook.close()

    asyncio.run(run())


def test_nothing_secret_gets_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run_against(b"500 Broken", lambda port: _failing(port))
    assert "hidden" not in caplog.text


async def _failing(port: int) -> None:
    with pytest.raises(NotifyError):
        await post(port)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"template": {"a": ["{nothing}"]}}, r"template\.a\[0\]"), ({"template": {"a": "}"}}, r"template\.a"),
        ({"template": {"a": float("nan")}}, "template"), ({"headers": {"A": "b\r\nC: d"}}, r"headers\.A"),
        ({"headers": {"A b": "c"}}, "headers"), ({"token": Secret("a\nb")}, r"token|headers"),
        ({"signature_header": "A\r\n"}, "headers"), ({"url": Secret("http://h:x/")}, "url"),
        ({"url": Secret("http://h/\r\nX")}, "url"),
    ],
)  # fmt: skip
def test_mistakes_in_options_are_named(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError, match=where):
        Webhook(**({"url": Secret("http://127.0.0.1")} | options))
