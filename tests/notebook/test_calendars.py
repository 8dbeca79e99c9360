"""Calendars in a notebook and a terminal; the how-to runs as it is printed."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import almenara as al
from almenara.cli import main
from almenara.config import load
from almenara.model.errors import AlmenaraError, ConfigError

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "calendars.md"
WINDOW = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//EN
BEGIN:VEVENT
UID:1
DTSTART;VALUE=DATE:20260130
RRULE:FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1
END:VEVENT
END:VCALENDAR
"""


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """What is there after the examples of the page have run."""
    found: dict[str, Any] = {}
    for block in re.findall(r"(?ms)^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8")):
        exec(compile(block, str(PAGE), "exec"), found)
    return found


def test_every_example_of_the_page_runs(names: dict[str, Any]) -> None:
    late = names["df"].join(names["out"])[names["out"]["alert"]].query("time > '2026-06-01'")
    assert late["time"].tolist() == [pd.Timestamp("2026-06-30 08:00")]
    assert late["why"].iloc[0].startswith("Lower than usual, as the peak of payday did not come: ")
    assert names["inside"].sum() == 5 * 96
    assert names["columns"].shape == (len(names["time"]), 1)


def test_the_configuration_of_the_page_is_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maintenance.ics").write_text(WINDOW)
    (text,) = re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
    (tmp_path / "hub.toml").write_text(text)
    assert list(load(tmp_path / "hub.toml").calendars) == ["payday", "vacations", "maintenance", "holidays"]


def test_a_calendar_may_be_told_in_several_ways(names: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "payday.ics").write_text(WINDOW)
    days = [date(2026, 1, 30), "2026-02-27", "2026-03-31", "2026-04-30", "2026-05-29", "2026-06-30", "2026-07-31"]
    given = [tmp_path / "payday.ics", str(tmp_path / "payday.ics"), days, {"dates": days}]
    given += [{"rule": "last business day of month", "match": '{__name__="load"}'}]
    for one in given:
        said = al.detect(names["df"], calendars={"payday": one})
        pd.testing.assert_frame_equal(said, names["out"])


def test_mistakes_are_told_at_once(names: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        al.detect(names["df"], calendars={"a": "last day", "b": {"fiel": "x.ics"}, "c": ["soon"], "d": "no.ics"})
    assert [p.where for p in caught.value.problems] == [
        "calendars.a.rule", "calendars.b.fiel", "calendars.c.dates[0]", "calendars.d.file",
    ]  # fmt: skip
    with pytest.raises(AlmenaraError, match=r"expected a file\.ics, a rule"):
        al.detect(names["df"], calendars={"a": 3})


def test_a_terminal_says_the_same(
    names: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "payday.ics").write_text(WINDOW)
    names["df"].to_csv(tmp_path / "load.csv", index=False)
    for calendar in ("payday.ics", "payday=payday.ics", "payday=last business day of month"):
        with pytest.raises(SystemExit) as end:
            main(["detect", "load.csv", "--calendar", calendar, "--top", "100"])
        assert not end.value.code
        assert "as the peak of payday did not come" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["detect", "load.csv", "--calendar", "payday"])
    assert "expected FILE.ics, NAME=FILE.ics or NAME=RULE" in capsys.readouterr().err
