"""Syslog messages become events: both standards, what senders make of them, and how several stand in one payload."""

from __future__ import annotations

import pytest

from almenara.codecs.syslog import Syslog, messages
from almenara.model.batch import Event
from almenara.model.errors import DecodeError
from almenara.model.time import ns_from_iso
from almenara.plugin.contracts import Context

NOW = ns_from_iso("2026-01-02T00:00:00Z")


def events(payload: bytes | str, **options: str) -> list[Event]:
    payload = payload.encode() if isinstance(payload, str) else payload
    return list(Syslog(**options).decode(payload, Context(received_ns=NOW)).events)


def one(text: str, **options: str) -> tuple[int, dict[str, str], str]:
    (event,) = events(text, **options)
    return event.time, dict(event.labels), event.text


def test_rfc_5424_with_structured_data() -> None:
    text = (
        "<165>1 2003-10-11T22:14:15.003000001-07:00 mymachine.example.com evntslog 77 ID47 "
        '[exampleSDID@32473 iut="3" eventSource="App \\"l\\" \\\\ \\]"][x@1 iut="4"] \ufeffAn event'
    )
    assert one(text) == (
        ns_from_iso("2003-10-12T05:14:15.003000001Z"),
        {
            "facility": "local4", "severity": "notice", "host": "mymachine.example.com", "app": "evntslog",
            "pid": "77", "msgid": "ID47", "iut": "3", "eventSource": 'App "l" \\ ]', "x_1_iut": "4",
        },
        "An event",
    )  # fmt: skip


def test_rfc_5424_with_nothing_said() -> None:
    assert one("<0>1 - - - - - -") == (NOW, {"facility": "kern", "severity": "emerg"}, "")


@pytest.mark.parametrize(
    ("text", "labels", "said"),
    [
        ("<34>Oct 11 22:14:15 mymachine su: 'su root' failed", {"host": "mymachine", "app": "su"}, "'su root' failed"),
        ("<34>Oct  1 22:14:15 m cron[12]: x", {"host": "m", "app": "cron", "pid": "12"}, "x"),
        ("<34>2026-01-01T10:00:00+01:00 m app: x", {"host": "m", "app": "app"}, "x"),
        ("<34>no header at all", {}, "no header at all"),
        ("<34>", {}, ""),
    ],
)
def test_rfc_3164_and_what_senders_make_of_it(text: str, labels: dict[str, str], said: str) -> None:
    _, found, rest = one(text)
    assert (found, rest) == ({"facility": "auth", "severity": "crit", **labels}, said)


def test_rfc_3164_times_are_those_of_receipt_unless_a_zone_is_given() -> None:
    assert one("<34>Dec 31 23:30:00 m a: x")[0] == NOW
    assert one("<34>Dec 31 23:30:00 m a: x", timezone="Europe/Madrid")[0] == ns_from_iso("2025-12-31T22:30:00Z")
    assert one("<34>Jan  2 00:30:00 m a: x", timezone="Europe/Madrid")[0] == ns_from_iso("2026-01-01T23:30:00Z")
    assert one("<34>Feb 29 00:30:00 m a: x", timezone="UTC")[0] == NOW  # in no year near


def test_messages_are_framed_by_length_or_by_lines() -> None:
    assert list(messages(b"6 <1>a\nb4 <2>c")) == [b"<1>a\nb", b"<2>c"]
    assert list(messages(b"<1>a\r\n\n<2>b")) == [b"<1>a", b"<2>b"]
    assert list(messages(b"99 <1>cut short")) == [b"99 <1>cut short"]


def test_a_bad_message_is_named_and_the_rest_goes_on() -> None:
    decoded = Syslog().decode(b"<999>a\nrubbish\n<1>1 yesterday h a - - - x\n<13>fine", Context(received_ns=NOW))
    assert [e.text for e in decoded.events] == ["fine"]
    assert [(r.where, r.reason) for r in decoded.rejected] == [(f"message {n}", "bad_message") for n in (1, 2, 3)]
    with pytest.raises(DecodeError):
        Syslog().decode(b"rubbish", Context())


def test_a_long_text_is_cut_between_characters() -> None:
    text = Syslog(max_text_bytes=1001).decode(b"<13>" + "é".encode() * 5000, Context()).events[0].text
    assert text == "é" * 500
