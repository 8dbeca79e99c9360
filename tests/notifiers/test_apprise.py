"""Rules of telling the services of apprise, against servers that speak as these services do."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import email
import json
import logging
from collections.abc import Callable
from typing import Any

import apprise
import pytest
from aiosmtpd.controller import Controller

from almenara.model.alarm import NoticeKind, Severity, State
from almenara.model.errors import ConfigError, NotifyError
from almenara.notifiers.apprise import AppriseNotifier, type_of
from almenara.plugin.options import Secret
from almenara.testing.alarms import incident, notice
from receivers import http_server

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=")


def made(*urls: str, **options: Any) -> AppriseNotifier:
    return AppriseNotifier(urls=[Secret(url) for url in urls], **options)


def test_title_body_kind_and_graph_arrive() -> None:
    async def run() -> None:
        async with http_server() as here:
            await made(f"json://127.0.0.1:{here.port}/hook").notify(notice(graph_png=PNG))
            sent = json.loads(here.requests[0][1])
        assert sent["title"] == "Major: processors of 2 hosts are busier than usual"
        assert sent["message"].splitlines()[0] == "Since: 03:04, a minute ago"
        assert sent["message"].splitlines()[-1] == "https://hub.example/alarms?incident=7"
        assert sent["type"] == "failure"
        (graph,) = sent["attachments"]
        assert (graph["filename"], graph["mimetype"]) == ("graph.png", "image/png")
        assert base64.b64decode(graph["base64"]) == PNG

    asyncio.run(run())


def test_ntfy_gets_priority_and_text() -> None:
    async def run() -> None:
        async with http_server(body=b"{}") as here:
            await made(f"ntfy://127.0.0.1:{here.port}/alarms").notify(notice(incident(State.RESOLVED)))
            sent = json.loads(here.requests[0][1])
        assert sent["topic"] == "alarms"
        assert "busier than usual" in sent["title"]

    asyncio.run(run())


class Mailbox:
    """Keeps what an SMTP server hears."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def handle_DATA(self, server: object, session: object, envelope: Any) -> str:
        self.heard.append(envelope.content)
        return "250 taken"


def test_a_real_mail_server_gets_the_graph(free_port: Callable[[], int]) -> None:
    box = Mailbox()
    port = free_port()
    server = Controller(box, hostname="127.0.0.1", port=port)
    server.start()
    try:
        url = f"mailto://127.0.0.1:{port}?from=hub@example.org&to=ops@example.org&mode=insecure"
        asyncio.run(made(url).notify(notice(graph_png=PNG)))
    finally:
        server.stop()
    (mail,) = map(email.message_from_bytes, box.heard)
    assert mail["Subject"] == "Major: processors of 2 hosts are busier than usual"
    assert PNG in [part.get_payload(decode=True) for part in mail.walk() if part.get_content_type() == "image/png"]


@pytest.mark.parametrize(
    ("answer", "retry"),
    [(b"404 Not Found", False), (b"401 No", False), (b"429 Too Many", True), (b"503 Busy", True)],
)
def test_an_answer_says_whether_another_try_may_help(answer: bytes, retry: bool) -> None:
    async def run() -> None:
        async with http_server(answer) as here:
            with pytest.raises(NotifyError, match=answer[:3].decode()) as caught:
                await made(f"json://user:hidden@127.0.0.1:{here.port}/secretpath").notify(notice())
        assert caught.value.retry is retry
        assert "hidden" not in str(caught.value)
        assert "secretpath" not in str(caught.value)

    asyncio.run(run())


def test_after_a_failure_only_those_are_told_that_were_not_reached() -> None:
    async def run() -> None:
        async with http_server() as good, http_server(b"500 Broken") as bad:
            notifier = made(f"json://127.0.0.1:{good.port}/a", f"json://127.0.0.1:{bad.port}/b")
            with pytest.raises(NotifyError, match=r"urls\[1\] .*500"):
                await notifier.notify(notice())
            bad.answer = b"200 OK"
            await notifier.notify(notice())
            assert (len(good.requests), len(bad.requests)) == (1, 2)
            await notifier.notify(notice(id=2))
            assert (len(good.requests), len(bad.requests)) == (2, 3)

    asyncio.run(run())


def test_nobody_there_and_one_who_is_silent_are_worth_another_try(free_port: Callable[[], int]) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def run() -> None:
        with pytest.raises(NotifyError) as caught:
            await made(f"json://127.0.0.1:{free_port()}/x").notify(notice())
        assert caught.value.retry
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(NotifyError, match="no answer within 1 s") as caught:
                await made(f"json://127.0.0.1:{port}/x?rto=3", timeout_s=1.0).notify(notice())
            assert caught.value.retry

    asyncio.run(run())


def test_nothing_secret_gets_into_the_log(caplog: pytest.LogCaptureFixture, free_port: Callable[[], int]) -> None:
    async def run() -> None:
        async with http_server(b"500 Broken") as here:
            for port in (here.port, free_port()):
                url = f"json://user:hidden@127.0.0.1:{port}/secretpath?+X-Token=hiddentoo"
                with pytest.raises(NotifyError):
                    await made(url).notify(notice(graph_png=PNG))

    with caplog.at_level(logging.DEBUG):
        asyncio.run(run())
    said = caplog.text
    assert "hidden" not in said
    assert "secretpath" not in said


def test_what_apprise_does_not_know_is_a_mistake_and_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match=r"urls\[1\]") as caught:
        made("json://127.0.0.1", "nothing://hidden")
    assert "hidden" not in str(caught.value)
    with pytest.raises(ConfigError, match="urls"):
        made()


@pytest.mark.parametrize(
    ("kind", "state", "severity", "type"),
    [
        (None, State.FIRING, Severity.CRITICAL, "failure"), (None, State.FIRING, Severity.MINOR, "warning"),
        (None, State.RESOLVED, Severity.CRITICAL, "success"), (NoticeKind.TEST, State.FIRING, Severity.MAJOR, "info"),
    ],
)  # fmt: skip
def test_severity_is_the_type(kind: NoticeKind | None, state: State, severity: Severity, type: str) -> None:
    of = dataclasses.replace(incident(state), severity=severity)
    assert type_of(notice(of, kind)) is apprise.NotifyType(type)
