"""Rules of mails, against a real mail server on loopback: TLS, login, refusals, and what arrives."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from almenara.model.alarm import Fact, Notice, NoticeKind, State
from almenara.model.errors import ConfigError, NotifyError
from almenara.notifiers.mail import Mail
from almenara.plugin.options import Secret
from almenara.testing.alarms import incident, notice
from certificates import Authority

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452") + b"not looked at"


class Box:
    """A mailbox behind a server; it answers what it is told to, then takes everything."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.to: list[list[str]] = []
        self.encrypted: list[bool] = []
        self.data_answers: list[str] = []
        self.to_answers: dict[str, str] = {}

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, to: str, options: Any) -> str:
        if to in self.to_answers:
            return self.to_answers[to]
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.data_answers:
            return self.data_answers.pop(0)
        self.mails.append(message_from_bytes(envelope.content, policy=policy.default))  # type: ignore[arg-type]
        self.to.append(list(envelope.rcpt_tos))
        self.encrypted.append(session.ssl is not None)
        return "250 OK"


def _login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    ok = isinstance(data, LoginPassword) and (data.login, data.password) == (b"hub", b"open sesame")
    return AuthResult(success=ok, handled=False)


@contextmanager
def serving(box: Box, ssl_context: ssl.SSLContext | None = None, **options: Any) -> Iterator[int]:
    """A server on loopback; gives its port. `ssl_context`: TLS from the first byte; `tls_context`: STARTTLS."""
    ready: Future[tuple[int, Callable[[], object]]] = Future()

    async def run() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def make() -> SMTP:
            return SMTP(box, hostname="127.0.0.1", loop=loop, **options)

        server = await loop.create_server(make, "127.0.0.1", 0, ssl=ssl_context)
        ready.set_result((server.sockets[0].getsockname()[1], lambda: loop.call_soon_threadsafe(over.set)))
        await over.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    port, end = ready.result(30)
    try:
        yield port
    finally:
        end()
        thread.join()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.load_cert_chain(*authority.sign("server", "127.0.0.1"))
    return found


def mailer(port: int, **more: Any) -> Mail:
    options = {"from_": "Hub <hub@example.com>", "to": ["Ann <ann@example.com>"], "security": "none", "timeout_s": 20.0}
    return Mail(host="127.0.0.1", port=port, **{**options, **more})  # type: ignore[arg-type]


def send(port: int, *notices: Notice, **more: Any) -> None:
    async def run() -> None:
        one = mailer(port, **more)
        for each in notices or (notice(),):
            await one.notify(each)

    asyncio.run(run())


def sent(*notices: Notice, **more: Any) -> list[EmailMessage]:
    with serving(box := Box()) as port:
        send(port, *notices, **more)
    return box.mails


def part(mail: EmailMessage, kind: str) -> str:
    found = mail.get_body((kind,))
    assert found is not None
    return str(found.get_content())


def failure(port: int, *notices: Notice, **more: Any) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        send(port, *notices, **more)
    return caught.value


# --- what arrives


def test_a_mail_has_text_and_html_and_the_graph_inside() -> None:
    (mail,) = sent(notice(graph_png=PNG))
    assert [one.get_content_type() for one in mail.walk()] == [
        "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
    ]  # fmt: skip
    image = next(one for one in mail.walk() if one.get_content_type() == "image/png")
    assert image.get_content() == PNG
    html = part(mail, "html")
    assert f'src="cid:{image["Content-ID"][1:-1]}"' in html
    assert "Since: 03:04, a minute ago" in part(mail, "plain")
    assert "https://hub.example/alarms?incident=7" in part(mail, "plain")
    assert 'href="https://hub.example/alarms?incident=7"' in html


def test_nothing_is_loaded_from_anywhere() -> None:
    html = part(sent(notice(graph_png=PNG))[0], "html")
    assert not [word for word in ("<script", "<link ", 'src="http', "url(", "@import", "$") if word in html]


def test_headers_say_who_how_bad_and_that_no_answer_is_wanted() -> None:
    (mail,) = sent(notice(), cc=["Bob <bob@example.com>"])
    assert mail["From"] == '"Hub: major" <hub@example.com>' or mail["From"] == "Hub: major <hub@example.com>"
    assert (mail["To"], mail["Cc"]) == ("Ann <ann@example.com>", "Bob <bob@example.com>")
    assert mail["Auto-Submitted"] == "auto-generated"
    assert (mail["X-Priority"], mail["Importance"]) == ("2", "High")
    assert (mail["X-Almenara-Kind"], mail["X-Almenara-Incident"]) == ("firing", "7")


def test_all_mails_of_an_incident_are_one_thread() -> None:
    told = [
        replace(notice(), id=1, subject="#7 cpu_usage"),
        replace(notice(incident(State.RESOLVED), NoticeKind.RESOLVED), id=2, subject="#7 cpu_usage"),
        replace(notice(incident(id=8)), id=3, subject="#8 cpu_usage"),
    ]
    first, later, other = sent(*told)
    assert first["References"] == later["References"] == later["In-Reply-To"] != other["References"]
    assert (first["Subject"], later["Subject"]) == ("#7 cpu_usage", "Re: #7 cpu_usage")
    assert "resolved" in later["From"]
    assert later["X-Priority"] == "3"
    assert len({mail["Message-ID"] for mail in (first, later, other)}) == 3


def test_a_notice_that_is_sent_again_is_the_same_mail() -> None:
    first, again = sent(notice(), notice())
    assert first["Message-ID"] == again["Message-ID"]


def test_nothing_from_outside_becomes_a_header_or_markup() -> None:
    bad = "a\r\nBcc: eve@example.com\r\n\r\n<script>alert('ü\u202e')</script> " + "\U0001f525" * 400
    facts = (Fact(bad, bad, "javascript:alert(1)"), Fact("Runbook", "x", 'https://a.example/"><script>'))
    one = replace(notice(), title=bad, subject=bad, facts=facts, link="javascript:alert(1)", thread=bad)
    (mail,) = sent(one)
    assert "Bcc" not in mail
    assert mail["Subject"].startswith("a Bcc: eve@example.com <script>alert('ü')</script>")
    html = part(mail, "html")
    assert "<script" not in html
    assert "javascript:" not in html
    assert "&lt;script&gt;" in html
    assert all(len(line) <= 998 for line in mail.as_bytes().splitlines())


# --- how it gets there


@pytest.mark.parametrize(("security", "given"), [("starttls", "tls_context"), ("tls", "ssl_context")])
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_it_goes_over_tls_with_login(authority: Authority, context: ssl.SSLContext, security: str, given: str) -> None:
    options = {given: context, "authenticator": _login, "auth_required": True, "require_starttls": given[0] == "t"}
    if given == "ssl_context":
        options |= {"auth_require_tls": False}  # it knows of STARTTLS alone
    with serving(box := Box(), **options) as port:
        secure = {"security": security, "ca_file": str(authority.file), "username": "hub"}
        send(port, password=Secret("open sesame"), **secure)
        error = failure(port, password=Secret("wrong-secret"), **secure)
    assert len(box.mails) == 1
    assert box.encrypted == [True] or security == "tls"
    assert (error.retry, "answered 535" in str(error)) == (False, True)
    assert "wrong-secret" not in str(error)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path, context: ssl.SSLContext, security: str) -> None:
    other = Authority(tmp_path / "other", "other")
    with serving(box := Box(), **{"tls_context" if security == "starttls" else "ssl_context": context}) as port:
        error = failure(port, security=security, ca_file=str(other.file))
    assert (box.mails, error.retry) == ([], True)
    assert "certificate is not to be trusted" in str(error)


def test_a_server_that_offers_no_tls_gets_no_mail() -> None:
    with serving(box := Box()) as port:
        error = failure(port, security="starttls")
    assert (box.mails, error.retry) == ([], True)
    assert "STARTTLS" in str(error)


@pytest.mark.parametrize(
    ("answer", "retry"), [("451 busy", True), ("421 later", True), ("554 spam", False), ("550 no", False)]
)
def test_4xx_is_worth_another_try_and_5xx_is_not(answer: str, retry: bool) -> None:
    box = Box()
    box.data_answers = [answer]
    with serving(box) as port:
        error = failure(port)
    assert (error.retry, answer[:3] in str(error)) == (retry, True)


def test_a_recipient_that_is_refused_is_told_and_the_others_have_it(caplog: pytest.LogCaptureFixture) -> None:
    box = Box()
    box.to_answers = {"bob@example.com": "550 no such user"}
    with serving(box) as port, caplog.at_level(logging.WARNING):
        send(port, to=["ann@example.com", "bob@example.com"])
    assert box.to == [["ann@example.com"]]
    assert "bob@example.com: answered 550 no such user" in caplog.text


def test_only_those_who_do_not_have_it_are_tried_again() -> None:
    box = Box()
    box.to_answers = {"bob@example.com": "450 mailbox busy"}
    one: list[NotifyError] = []

    async def run(port: int) -> None:
        mail = mailer(port, to=["ann@example.com", "bob@example.com"])
        with pytest.raises(NotifyError) as caught:
            await mail.notify(notice())
        one.append(caught.value)
        box.to_answers = {}
        await mail.notify(notice())
        await mail.notify(notice(id=2))

    with serving(box) as port:
        asyncio.run(run(port))
    assert one[0].retry
    assert box.to == [["ann@example.com"], ["bob@example.com"], ["ann@example.com", "bob@example.com"]]


@pytest.mark.parametrize(("answer", "retry"), [("450 busy", True), ("550 no such user", False)])
def test_when_nobody_is_taken_it_failed(answer: str, retry: bool) -> None:
    box = Box()
    box.to_answers = {"ann@example.com": answer}
    with serving(box) as port:
        error = failure(port)
    assert (error.retry, answer in str(error)) == (retry, True)


@contextmanager
def saying(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that says what `talk` says to the first who comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = threading.Event()

        def serve() -> None:
            link, _ = server.accept()
            with link:
                talk(link)
                over.wait(60)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over.set()
            thread.join()


def _mute(link: socket.socket) -> None:
    """Takes the connection and says nothing."""


def _slow(link: socket.socket) -> None:
    """Says a letter now and then, so that no single wait is long."""
    with suppress(OSError):
        for _ in range(600):
            link.sendall(b"2")
            threading.Event().wait(0.1)


@pytest.mark.parametrize("talk", [_mute, _slow])
def test_a_server_that_hangs_is_left_in_time(talk: Callable[[socket.socket], None]) -> None:
    before = threading.active_count()
    with saying(talk) as port:
        error = failure(port, timeout_s=1.0)
    assert error.retry
    assert "no answer within 1 s" in str(error)
    assert threading.active_count() <= before + 1


def test_nobody_there_is_worth_another_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert failure(port).retry


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"security": "tls", "password": Secret("schlüssel")}, "password"),
        ({"to": []}, "to"), ({"username": "hub"}, "username"), ({"ca_file": "/x"}, "ca_file"),
        ({"security": "tls", "ca_file": "/nowhere.pem"}, "ca_file"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_mistakes(options: dict[str, Any], where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        mailer(1, **options)
    assert [problem.where for problem in caught.value.problems] == [where]
