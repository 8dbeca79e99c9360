"""Whisper files made by the package `whisper`: what `whisper.fetch` tells of them, the finest archive of each time."""

from __future__ import annotations

from pathlib import Path

import pytest
import whisper
from tests.files.reading import rows_of

from almenara.codecs.graphite import Graphite
from almenara.files.whisper import Whisper
from almenara.model.errors import DecodeError

NOW = 1_767_225_600
S = 10**9


def make(path: Path, minutes: int, now: int = NOW) -> Path:
    """An hour of minutes, six of five minutes, two days of hours; a value a minute up to `now`, some left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whisper.create(str(path), [(60, 60), (300, 72), (3600, 48)], xFilesFactor=0.0)
    for at in range(now - 60 * minutes, now, 60):
        if at // 60 % 17:
            whisper.update(str(path), at / 60 % 50, at, now=at)
    return path


def test_each_time_comes_from_the_finest_archive(tmp_path: Path) -> None:
    path = make(tmp_path / "load.wsp", 1500)
    found = rows_of(Whisper().batches(path))["load"]
    fine = {at * S: v for at, v in _fetched(path, NOW - 3660, NOW - 60) if v is not None}
    assert {t: v for t, v in found.items() if t >= min(fine)} == fine
    five = {at * S: v for at, v in _fetched(path, NOW - 6 * 3600, NOW - 60) if v is not None}
    middle = {t: v for t, v in found.items() if min(five) <= t < min(fine)}
    assert len(middle) == 59
    assert all(five[t] == v for t, v in middle.items())
    assert len([t for t in found if t < min(five)]) >= 18


def _fetched(path: Path, start: int, end: int) -> list[tuple[int, float | None]]:
    (begin, stop, step), values = whisper.fetch(str(path), start, end, now=NOW - 60)  # of the last update
    return list(zip(range(begin, stop, step), values, strict=True))


def test_slots_of_an_earlier_round_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "a.wsp"
    whisper.create(str(path), [(60, 60)])
    whisper.update(str(path), 1.0, NOW, now=NOW)
    whisper.update(str(path), 2.0, NOW + 7260, now=NOW + 7260)
    assert rows_of(Whisper().batches(path)) == {"a": {(NOW + 7260) * S: 2.0}}


def test_the_path_names_the_series_as_live_data(tmp_path: Path) -> None:
    path = make(tmp_path / "servers" / "web 1" / "load.wsp", 2)
    assert list(rows_of(Whisper(root=tmp_path).batches(path))) == ["servers_web_1_load"]
    codec = Graphite(templates=["servers.* .host.measurement*"])
    assert list(rows_of(Whisper(codec, tmp_path).batches(path))) == ['load{host="web_1"}']


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    whisper.create(str(tmp_path / "a.wsp"), [(60, 60)])
    assert rows_of(Whisper().batches(tmp_path / "a.wsp")) == {}


def test_what_is_damaged_is_refused(tmp_path: Path) -> None:
    whole = make(tmp_path / "a.wsp", 5).read_bytes()
    for text in (b"", b"x" * 10, b"\xff" * 5000, whole[:300], whole[:-1]):
        (tmp_path / "b.wsp").write_bytes(text)
        with pytest.raises(DecodeError):
            rows_of(Whisper().batches(tmp_path / "b.wsp"))
    with pytest.raises(FileNotFoundError):
        rows_of(Whisper().batches(tmp_path / "missing.wsp"))
