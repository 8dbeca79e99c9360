"""A notice as a mail: plain text and HTML side by side, the graph inside, headers that keep an incident in one thread.

HTML of mails: tables and inline styles, as mail programs know no other; one style sheet for those that know dark mode
and narrow screens. Nothing is loaded from anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache
from html import escape
from importlib import resources
from string import Template

from almenara.model.alarm import Fact, Notice, NoticeKind, Severity
from almenara.model.text import one_line
from almenara.model.time import NS

_COLOURS = {
    Severity.WARNING: "#c98a00", Severity.MINOR: "#d9660b", Severity.MAJOR: "#d0342c", Severity.CRITICAL: "#a3136f",
}  # fmt: skip
_CALM = "#2b7a4b"
#: As mail programs sort: 1 highest, 3 as usual.
_PRIORITY = {Severity.CRITICAL: "1", Severity.MAJOR: "2"}
_QUIET = (NoticeKind.RESOLVED, NoticeKind.DIGEST, NoticeKind.TEST)
_WORDS = {
    NoticeKind.UPDATE: "update", NoticeKind.REPEAT: "still {}", NoticeKind.REMINDER: "still {}",
    NoticeKind.ESCALATION: "not taken on", NoticeKind.RESOLVED: "resolved", NoticeKind.DIGEST: "digest",
    NoticeKind.TEST: "test",
}  # fmt: skip
_SUBJECT_LETTERS = 150


def mail_of(notice: Notice, sender: Address, to: Sequence[Address], cc: Sequence[Address], now_ns: int) -> EmailMessage:
    """The whole message. The same notice has the same Message-ID each time, so that one that was sent again after a
    failure is known by mail programs for the same."""
    mail = EmailMessage(policy=SMTP)
    state = _WORDS.get(notice.kind, "{}").format(notice.incident.severity.value)
    name = one_line(sender.display_name, 60) or "Almenara"
    mail["From"] = Address(f"{name}: {state}", addr_spec=sender.addr_spec)
    mail["To"] = to
    if cc:
        mail["Cc"] = cc
    subject = one_line(notice.subject or notice.title, _SUBJECT_LETTERS)
    mail["Subject"] = f"{'' if notice.kind in _FIRST else 'Re: '}{subject}"
    mail["Date"] = format_datetime(datetime.fromtimestamp(now_ns / NS, UTC))
    _thread(mail, notice, subject, sender.domain)
    _about(mail, notice)
    mail.set_content(text_of(notice), cte="quoted-printable")
    cid = f"graph.{notice.id}@{sender.domain}" if notice.graph_png else ""
    mail.add_alternative(html_of(notice, cid), subtype="html", cte="quoted-printable")
    if notice.graph_png:
        html = mail.get_payload()[1]  # type: ignore[index]
        html.add_related(  # type: ignore[union-attr]
            notice.graph_png, "image", "png", cid=f"<{cid}>", disposition="inline", filename="graph.png"
        )
    return mail


#: Kinds that begin a thread; what comes later is an answer to it.
_FIRST = (NoticeKind.FIRING, NoticeKind.DIGEST, NoticeKind.TEST)


def _thread(mail: EmailMessage, notice: Notice, subject: str, domain: str) -> None:
    """All mails of an incident refer to one, which need not exist: mail programs put them together, whichever is first.

    An id of a mail of its own for the first would be taken for the same mail where an incident is told as new twice.
    """
    root = f"<{_digest(notice.thread, subject)}.thread@{domain}>"
    number = f"{notice.id}.{notice.incident.id}.{notice.incident.since // 1_000_000}"
    mail["Message-ID"] = f"<{number}.{_digest(notice.thread, subject, notice.kind.value)}@{domain}>"
    mail["In-Reply-To"] = root
    mail["References"] = root


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:16]


def _about(mail: EmailMessage, notice: Notice) -> None:
    """What mail programs and rules of a mailbox look at."""
    priority = "3" if notice.kind in _QUIET else _PRIORITY.get(notice.incident.severity, "3")
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail["X-Priority"] = priority
    mail["Importance"] = "Normal" if priority == "3" else "High"
    mail["X-Almenara-Kind"] = notice.kind.value
    mail["X-Almenara-Severity"] = notice.incident.severity.value
    mail["X-Almenara-Incident"] = str(notice.incident.id)


def text_of(notice: Notice) -> str:
    """The message in plain lines."""
    lines = [one_line(notice.title), ""]
    for fact in notice.facts:
        lines.append(f"{one_line(fact.name)}: {one_line(fact.text, 1000)}")
        if link := _link(fact):
            lines.append(f"    {link}")
    return "\n".join([*lines, "", notice.link, ""] if notice.link else [*lines, ""])


def _link(fact: Fact) -> str:
    """Where there is more; empty where the text says it already, and for what is no address of a page."""
    return fact.link if fact.link != fact.text and _is_page(fact.link) else ""


def _is_page(link: str) -> bool:
    return link.startswith(("https://", "http://"))


@cache
def _page() -> Template:
    return Template(resources.files(__package__).joinpath("_mail_page.html").read_text(encoding="utf-8"))


def html_of(notice: Notice, cid: str = "") -> str:
    """The message as a page; cid: the graph's content id, empty without."""
    colour = _CALM if notice.kind in _QUIET else _COLOURS[notice.incident.severity]
    picture = (
        f'<tr><td class="pad graph" style="padding:4px 24px 8px"><img src="cid:{escape(cid)}" width="552" '
        'alt="Graph of the series" style="display:block;width:100%;max-width:552px;height:auto;border-radius:6px">'
        "</td></tr>"
        if cid
        else ""
    )
    button = (
        f'<tr><td class="pad" style="padding:8px 24px 24px"><a class="button" href="{escape(notice.link)}" '
        f'style="display:inline-block;padding:12px 20px;border-radius:6px;background:{colour};color:#ffffff;'
        'font-weight:600;text-decoration:none">Open in Almenara</a></td></tr>'
        if _is_page(notice.link)
        else '<tr><td style="padding:0 0 12px"></td></tr>'
    )
    rows = "".join(map(_row, notice.facts))
    page = _page().substitute(
        title=escape(one_line(notice.title)), colour=colour, picture=picture, rows=rows, button=button,
        kind=escape(_badge(notice)),
    )  # fmt: skip
    # As references, for programs that show the page without a word of its encoding.
    return page.encode("ascii", "xmlcharrefreplace").decode()


def _badge(notice: Notice) -> str:
    words = _WORDS.get(notice.kind, "{}").format(notice.incident.severity.value)
    return f"{words} · #{notice.incident.id}" if notice.incident.id and notice.kind is not NoticeKind.DIGEST else words


def _row(fact: Fact) -> str:
    text = escape(one_line(fact.text, 1000))
    if _is_page(fact.link):
        text = f'<a class="link" href="{escape(fact.link)}" style="color:#1c5d99">{text}</a>'
    return (
        '<tr><td class="name" style="padding:5px 16px 5px 0;width:26%;vertical-align:top;color:#596473;'
        f'font-size:14px">{escape(one_line(fact.name))}</td><td class="text" style="padding:5px 0;vertical-align:top;'
        f'color:#1b2430;overflow-wrap:anywhere;word-break:break-word">{text}</td></tr>'
    )
