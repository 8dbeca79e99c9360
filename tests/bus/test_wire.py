"""Rules of the parser of the NATS protocol."""

import random

import pytest

from almenara.bus.wire import Message, Parser
from almenara.model.errors import BusError


def stream_of(seed: int) -> tuple[bytes, list[bytes], list[tuple[bytes, Message]]]:
    """A random run of the protocol, its control lines, and its messages with their subscription."""
    rng = random.Random(seed)
    data, controls, messages = b"", [], []
    for i in range(60):
        kind = rng.choice(["control", "msg", "hmsg"])
        subject, sid = b"a.%d" % i, b"%d" % rng.randint(1, 3)
        reply = rng.choice([b"", b"_INBOX.x", b"$JS.ACK.s.c.1.2.3.4.5"])
        payload = rng.randbytes(rng.choice([0, 1, 7, 300])) + rng.choice([b"", b"\r\n", b"\r\nMSG x 1 1\r\n"])
        header = b"NATS/1.0\r\nNmqtt-Pub:1\r\n\r\n"
        middle = b" " + reply + b" " if reply else b" "
        if kind == "control":
            controls.append(line := rng.choice([b"PING", b"+OK", b"-ERR 'no'", b"INFO {}"]))
            data += line + b"\r\n"
        elif kind == "msg":
            messages.append((sid, (subject, reply, b"", payload)))
            data += b"MSG " + subject + b" " + sid + middle + b"%d\r\n" % len(payload) + payload + b"\r\n"
        else:
            messages.append((sid, (subject, reply, header, payload)))
            sizes = b"%d %d\r\n" % (len(header), len(header) + len(payload))
            data += b"HMSG " + subject + b" " + sid + middle + sizes + header + payload + b"\r\n"
    return data, controls, messages


@pytest.mark.parametrize("seed", range(20))
def test_any_cut_of_the_bytes_gives_the_same_messages(seed: int) -> None:
    data, controls, messages = stream_of(seed)
    rng = random.Random(seed)
    heard: list[bytes] = []
    parser, found = Parser(heard.append), dict[bytes, list[Message]]()
    at = 0
    while at < len(data):
        step = rng.choice([1, 2, 13, 500])
        for sid, some in parser.feed(data[at : at + step]).items():
            found.setdefault(sid, []).extend(some)
        at += step
    assert heard == controls
    for sid in (b"1", b"2", b"3"):
        assert found.get(sid, []) == [message for which, message in messages if which == sid]


def test_a_topic_with_a_vertical_tab_is_one_word() -> None:
    found = Parser(lambda line: None).feed(b"MSG a\x0bb 1 2\r\nhi\r\n")
    assert found == {b"1": [(b"a\x0bb", b"", b"", b"hi")]}


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(BusError, match="line"):
        Parser(lambda line: None).feed(b"x" * 70_000)


def test_a_size_that_is_no_number_is_an_error_and_not_a_message() -> None:
    with pytest.raises(ValueError):
        Parser(lambda line: None).feed(b"MSG a 1 many\r\nhi\r\n")
