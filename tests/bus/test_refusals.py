"""Rules of reading the broker's log. The lines are nats-server 2.15.1's own."""

import os
from pathlib import Path

import pytest

from almenara.bus.refusals import LogTail, Refusals
from almenara.model.time import HOUR_NS, parse_time

AT = parse_time("2026-11-22T03:18:27.5Z")
HEAD = "[9527] 2026/11/22 03:18:27.500000 "


@pytest.mark.parametrize(
    ("line", "name", "problem", "remedy"),
    [
        ('[ERR] 127.0.0.1:5 - mid:36 - "" - unacceptable protocol version of 5', "127.0.0.1", "MQTT 5", "v3.1.1"),
        ('[ERR] 127.0.0.1:5 - mid:3 - "dev" - character not supported for MQTT topics', "dev", "a space", "rename"),
        ('[ERR] [::1]:5 - mid:3 - "dev" - authentication error - User "bad"', "dev", "not right", "user and password"),
        ('[ERR] 1.2.3.4:5 - mid:46 - "big" - maximum payload exceeded: 9 vs 8', "big", "over the limit", "smaller"),
        (
            '[WRN] 1.2.3.4:5 - mid:4 - "twin" - Replacing old client "1.2.3.4:4 - mid:3"',
            "twin",
            "two clients",
            "its own",
        ),
        ('[ERR] 1.2.3.4:5 - mid:4 - "e" - Publish Violation - Subject "$JS.API"', "e", "reserved", "begin with $"),
    ],
)
def test_a_client_turned_away_is_listed_with_a_remedy(line: str, name: str, problem: str, remedy: str) -> None:
    refusals = Refusals()
    refusals.read(HEAD + line)
    (client,) = refusals.now(AT)
    assert client.name == name
    assert problem in client.problem
    assert remedy in client.remedy
    assert client.last_ns == AT


def test_other_lines_say_nothing_of_clients() -> None:
    refusals = Refusals()
    for line in ("", "nonsense", HEAD + "[INF] Server is ready", HEAD + '[ERR] 1.2.3.4:5 - cid:4 - "x" - y'):
        refusals.read(line)
    assert refusals.now(AT) == []


def test_a_problem_goes_when_the_client_is_back_or_after_an_hour() -> None:
    refusals = Refusals()
    line = HEAD + '[ERR] 1.2.3.4:5 - mid:4 - "dev" - authentication error'
    refusals.read(line)
    refusals.connected("dev", AT - 1)
    assert len(refusals.now(AT)) == 1
    refusals.connected("dev", AT + 1)
    assert refusals.now(AT) == []
    refusals.read(line)
    assert refusals.now(AT + HOUR_NS + 1) == []


def test_clients_that_knock_again_and_again_are_one_line_and_the_list_is_bounded() -> None:
    refusals = Refusals()
    for i in range(1000):
        refusals.read(HEAD + f'[ERR] 1.2.3.4:{i + 1} - mid:{i} - "" - unacceptable protocol version of 5')
    assert len(refusals.now(AT)) == 1
    for i in range(1000):
        refusals.read(HEAD + f'[ERR] 1.2.3.4:5 - mid:{i} - "dev{i}" - authentication error')
    assert len(refusals.now(AT)) == 256


def test_the_tail_gives_whole_lines_once_also_over_a_rename(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = LogTail(path)
    assert tail.lines() == []
    path.write_text("one\ntw")
    assert tail.lines() == ["one"]
    with path.open("a") as file:
        file.write("o\n")
    assert tail.lines() == ["two"]
    os.rename(path, tmp_path / "log.1")
    path.write_text("three\n")
    assert tail.lines() == ["three"]
    assert tail.lines() == []


def test_of_a_flood_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("x" * 99 + "\n" + ("y" * 99 + "\n") * 10_000)
    assert 0 < len(LogTail(path).lines()) < 3000
