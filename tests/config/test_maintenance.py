"""[maintenance], from the file to what a hub holds back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from almenara.config.build import build, maintenance
from almenara.config.load import load
from almenara.model.errors import ConfigError
from almenara.model.time import NS

GOOD = """version = 1
[site]
timezone = "Europe/Madrid"
[mqtt]
enabled = false
[calendars.works]
dates = ["2026-12-24"]
[maintenance.night]
match = '{site="madrid", severity=~"warning|minor"}'
windows = ["Sun 02:00-04:00"]
comment = "updates"
[maintenance.belt]
match = '{site="madrid"}'
calendar = "works"
"""


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Madrid")).timestamp()) * NS


def test_windows_and_calendars_hold_on_the_sites_clocks(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(GOOD)
    night, belt = maintenance(load(file))
    assert night.span_at(at("2026-11-22T02:00")) == (at("2026-11-22T02:00"), at("2026-11-22T04:00"))
    assert night.span_at(at("2026-11-22T04:00")) is None
    assert night.matches({"site": "madrid", "severity": "minor"})
    assert not night.matches({"site": "madrid", "severity": "major"})
    assert belt.span_at(at("2026-12-24T23:59")) == (at("2026-12-24T00:00"), at("2026-12-25T00:00"))


def test_a_hub_is_built_with_them(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(GOOD + f'[data]\nstore = "memory"\nfolder = "{tmp_path / "data"}"\n')
    built = build(load(file))
    try:
        reason = built.pipeline.alarms.silences.reason_of(
            {"site": "madrid", "severity": "minor"}, at("2026-11-22T03:00")
        )
        assert reason == "maintenance night until 2026-11-22 04:00: updates"
    finally:
        built.pipeline.alarms.close()
        built.pipeline.store.close()
        built.pipeline.folder.close()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("windows = ['Sun']", "2: maintenance.a.match: is missing"),
        ("match = ''\nwindows = ['Sun']", "3: maintenance.a.match: is empty"),
        ("match = '{'\nwindows = ['Sun']", "3: maintenance.a.match: "),
        ("match = '{a=\"b\"}'", "2: maintenance.a: says no time"),
        ("match = '{a=\"b\"}'\nwindows = ['Sumday']", "4: maintenance.a.windows: must be hours of the week"),
        ("match = '{a=\"b\"}'\ncalendar = 'c'", "4: maintenance.a.calendar: no calendar is called"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, table: str, told: str) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(f"version = 1\n[maintenance.a]\n{table}\n")
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert any(str(problem).startswith(f"{file}:{told}") for problem in caught.value.problems), caught.value
