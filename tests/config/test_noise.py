"""`[noise]`: who is told of the week's noise and when, and the mistakes in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from almenara.alarm.times import Weekly
from almenara.config.build import options
from almenara.config.load import load
from almenara.model.errors import ConfigError
from almenara.pipeline.noise_report import NoiseReport

FILE = """\
version = 1
[site]
timezone = "Europe/Madrid"
[notifiers.chat]
plugin = "file"
path = "alarms.log"
[noise]
"""


def options_of(path: Path, text: str) -> NoiseReport | None:
    file = path / "hub.toml"
    file.write_text(FILE + text)
    return options(load(file)).noise


def test_a_report_goes_by_the_clocks_of_the_site(tmp_path: Path) -> None:
    found = options_of(tmp_path, 'notify = ["chat"]\nat = "Fri 17:30"\n')
    assert found == NoiseReport(("chat",), Weekly(4, 17 * 3600 + 1800, "Europe/Madrid"))


def test_nobody_is_told_where_nobody_is_named(tmp_path: Path) -> None:
    assert options_of(tmp_path, "") == NoiseReport((), Weekly(0, 8 * 3600, "Europe/Madrid"))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('notify = ["phone"]', "noise.notify"),
        ('at = "Monday"', "noise.at"),
        ('at = "Mon 25:00"', "noise.at"),
        ('when = "Mon 08:00"', "noise.when"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(ConfigError) as error:
        options_of(tmp_path, text)
    assert [problem.where.rpartition(": ")[2] for problem in error.value.problems] == [where]
