"""Sends notices by mail: SMTP with TLS that is verified, plain text and HTML, the graph inside, one thread an incident.

Source: RFC 5321 (SMTP), RFC 3207 (STARTTLS), RFC 5322 (headers), RFC 3834 (Auto-Submitted).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Annotated, Literal, NamedTuple

from almenara.model.alarm import Notice
from almenara.model.errors import ConfigError, NotifyError, Problem
from almenara.model.text import one_line
from almenara.model.tls import client_context
from almenara.notifiers._mail_text import mail_of
from almenara.plugin.options import Must, Range, Secret

log = logging.getLogger(__name__)

_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
#: (code, what the server said) of each recipient that it did not take.
Refused = Mapping[str, tuple[int, bytes]]


def _is_mailbox(text: str) -> bool:
    return text.isprintable() and bool(_ADDRESS.fullmatch(parseaddr(text)[1]))


Mailbox = Annotated[str, Must('an address such as "ann@example.com" or "Ann <ann@example.com>"', _is_mailbox)]


class Mail:
    """Sends each notice as a mail; all mails of one incident are one thread.

    Options:
        host: The mail server that takes mails to be sent.
        port: Its port; 0: 587 with STARTTLS, 465 with TLS, 25 with none.
        security: "starttls": TLS after a greeting in the clear; "tls": TLS from the first byte; "none": for a server on
            this machine or a relay of your own network. TLS is always verified.
        username: Login at the server; empty: none.
        password: The password that goes with it.
        from: Who the mail is from, "Hub <hub@example.com>"; how bad it is stands behind the name.
        to: To whom.
        cc: To whom else.
        ca_file: PEM file of the authority that signed the server's certificate; empty: those of the system.
        timeout_s: Longest time for one mail.
    """

    shows_graph = True
    example = {"host": "127.0.0.1", "from": "hub@example.com", "to": ["ann@example.com"]}  # noqa: RUF012 - for checks

    def __init__(
        self,
        *,
        host: str,
        from_: Mailbox,
        to: list[Mailbox],
        cc: list[Mailbox] | None = None,
        port: Annotated[int, Range(0, 65535)] = 0,
        security: Literal["starttls", "tls", "none"] = "starttls",
        username: str = "",
        password: Secret = Secret(""),
        ca_file: str = "",
        timeout_s: Annotated[float, Range(1, 55)] = 30.0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        problems = [Problem("to", "must name somebody")] if not to else []
        if security == "none" and username:
            problems.append(Problem("username", "would be sent in the clear", 'set security to "starttls" or "tls"'))
        if security == "none" and ca_file:
            problems.append(Problem("ca_file", "is of no use without TLS"))
        named = {"username": username, "password": password}
        problems += [Problem(one, "must be ASCII") for one, text in named.items() if not text.isascii()]
        if problems:
            raise ConfigError(problems)
        self._host, self._port, self._security = host, port or _PORTS[security], security
        self._login = (username, str(password))
        self._from = _address(from_)
        self._to, self._cc = [_address(one) for one in to], [_address(one) for one in cc or ()]
        self._context = client_context("smtp" if security == "none" else "smtps://", ca_file=ca_file)
        self._timeout_s, self._clock = timeout_s, clock
        self._left = _NOBODY

    async def notify(self, notice: Notice) -> None:
        """Send it; returns when the server has taken it for every recipient. Raises NotifyError: worth another try
        after time-outs, lost connections and answers 4xx, not after 5xx. Another try is for those alone who do not have
        it yet; after a restart all have it again, with the same Message-ID."""
        everybody = tuple(dict.fromkeys(one.addr_spec for one in (*self._to, *self._cc)))
        before = self._left if self._left.id == notice.id else _Left(notice.id, everybody, False)
        mail = mail_of(notice, self._from, self._to, self._cc, self._clock())
        talk = _Talk(self._host, self._port, self._security, self._context, self._login, self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                refused = await asyncio.to_thread(talk.send, mail, self._from.addr_spec, before.to)
        except TimeoutError as error:
            raise NotifyError(f"{self._where}: no answer within {self._timeout_s:g} s", retry=True) from error
        except smtplib.SMTPResponseException as error:
            said = _said(error.smtp_code, error.smtp_error)
            raise NotifyError(f"{self._where}: {said}", retry=_for_now(error.smtp_code)) from error
        except (smtplib.SMTPException, OSError) as error:  # TLS errors are OSErrors
            raise NotifyError(f"{self._where}: {_reason(error)}", retry=True) from error
        finally:
            talk.hang_up()
        self._tell_refused(before, refused)

    @property
    def _where(self) -> str:
        return f"mail server {self._host}:{self._port}"

    def _tell_refused(self, before: _Left, refused: Refused) -> None:
        """Recipients that the server did not take. Raises NotifyError where nobody has the mail, or some may have it
        later."""
        later = tuple(to for to, (code, _) in refused.items() if _for_now(code))
        somebody = before.somebody or len(refused) < len(before.to)
        self._left = _Left(before.id, later, somebody) if later else _NOBODY
        if not refused:
            return
        said = "; ".join(f"{to}: {_said(*answer)}" for to, answer in list(refused.items())[:5])
        text = f"{self._where}: refused for {one_line(said, 600)}"
        log.warning("%s", text)
        if later or not somebody:
            raise NotifyError(text, retry=bool(later))


class _Left(NamedTuple):
    """What a try left over: a notice, who does not have it yet, and whether somebody has."""

    id: int
    to: tuple[str, ...]
    somebody: bool


_NOBODY = _Left(-1, (), False)


class _Talk:
    """One talk with a mail server, held in a thread, that another thread can end."""

    def __init__(
        self, host: str, port: int, security: str, context: ssl.SSLContext | None, login: tuple[str, str],
        timeout_s: float,
    ) -> None:  # fmt: skip
        name = socket.gethostname()
        self._host, self._port, self._security, self._context, self._login = host, port, security, context, login
        name = name if "." in name else "[127.0.0.1]"  # smtplib would ask a name server
        self._smtp: smtplib.SMTP = (
            smtplib.SMTP_SSL(local_hostname=name, timeout=timeout_s, context=context)
            if security == "tls"
            else smtplib.SMTP(local_hostname=name, timeout=timeout_s)
        )

    def send(self, mail: EmailMessage, sender: str, to: Sequence[str]) -> Refused:
        """Gives whom the server refused. Raises what smtplib does."""
        try:
            return self._send(self._smtp, mail, sender, to)
        finally:
            self._smtp.close()

    def _send(self, smtp: smtplib.SMTP, mail: EmailMessage, sender: str, to: Sequence[str]) -> Refused:
        try:
            # What the certificate must be for. smtplib sets it only where its constructor connects, and that could not
            # be ended from outside.
            smtp._host = self._host  # type: ignore[attr-defined]
            code, said = smtp.connect(self._host, self._port)
            if code != 220:
                raise smtplib.SMTPConnectError(code, said)
            if self._security == "starttls":
                smtp.starttls(context=self._context)
            if self._login[0]:
                smtp.login(*self._login)
            refused = dict(smtp.sendmail(sender, to, mail.as_bytes(policy=mail.policy)))
        except smtplib.SMTPRecipientsRefused as error:
            refused = dict(error.recipients)
        with contextlib.suppress(smtplib.SMTPException, OSError):  # it has the mail, or has refused it
            smtp.quit()
        return refused

    def hang_up(self) -> None:
        """End it at once, whatever it waits for; from any thread. Its own thread closes it."""
        if (link := self._smtp.sock) is not None:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)


def _address(text: str) -> Address:
    name, spec = parseaddr(text)
    return Address(name, addr_spec=spec)


def _for_now(code: int) -> bool:
    """Is this an answer that may be another one later?"""
    return not 500 <= code < 600


def _said(code: int, said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return f"answered {code} {one_line(text, 200)}".rstrip()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {error.verify_message}"
    return one_line(str(error), 200) or type(error).__name__
