"""Sources: a durable number for each sender, and what is to be said of it besides its figures."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from almenara.pipeline import sources
from almenara.pipeline.database import Database
from almenara.pipeline.notes import HUB
from almenara.pipeline.sources import MAX_NAME, OTHERS, OWN, Names, Remarks


def database(path: Path) -> Database:
    return Database(lambda: sqlite3.connect(path, isolation_level=None, check_same_thread=False), sources.SCHEMA)


def test_a_source_keeps_its_number_for_ever(tmp_path: Path) -> None:
    names = Names(database(tmp_path / "db"))
    numbers = [names.number(name) for name in ("mqtt:a", "http:b", "mqtt:a")]
    assert numbers[0] == numbers[2] != numbers[1]
    assert names.number(OWN) == HUB
    names.keep()
    again = Names(database(tmp_path / "db"))
    assert [again.name(number) for number in numbers] == ["mqtt:a", "http:b", "mqtt:a"]
    assert again.number("http:c") not in numbers


def test_a_number_that_was_not_kept_is_given_again(tmp_path: Path) -> None:
    Names(database(tmp_path / "db")).number("mqtt:a")
    again = Names(database(tmp_path / "db"))
    assert again.name(again.number("mqtt:b")) == "mqtt:b"
    assert again.name(999) == "unknown:999"


def test_sources_beyond_the_limit_share_a_line_and_known_ones_keep_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_SOURCES", 10)
    names = Names(database(tmp_path / "db"))
    numbers = [names.number(f"udp:{n}") for n in range(20)]
    assert len(set(numbers)) == 9
    assert {names.name(number) for number in numbers[8:]} == {OTHERS}
    assert names.number("udp:0") == numbers[0]


def test_a_name_from_outside_is_cut(tmp_path: Path) -> None:
    names = Names(database(tmp_path / "db"))
    assert names.name(names.number("mqtt:" + "x" * 10_000)) == "mqtt:" + "x" * (MAX_NAME - 5)


def test_threads_give_each_name_one_number(tmp_path: Path) -> None:
    names = Names(database(tmp_path / "db"))
    found: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: found.append([names.number(f"a:{n}") for n in range(500)])) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(one == found[0] for one in found)
    assert len(set(found[0])) == 500


def test_a_problem_stays_until_it_is_over() -> None:
    remarks = Remarks()
    remarks.report("mqtt:a", 5, "it asks for MQTT 5", "choose 3.1.1")
    remarks.rejected("mqtt:a", "line 1: " + "x" * 1000)
    one = remarks.all()["mqtt:a"]
    assert (one.at_ns, one.problem, one.remedy, len(one.last_rejected)) == (
        5,
        "it asks for MQTT 5",
        "choose 3.1.1",
        200,
    )
    remarks.report("mqtt:a", 9, "", "")
    assert (one.problem, one.at_ns) == ("", 9)
