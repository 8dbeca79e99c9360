"""CSV, line protocol and Prometheus text from files: the same as whole payloads, wherever blocks are cut."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from tests.files.reading import Rows, rows_of

from almenara.codecs.csv import Csv
from almenara.codecs.influx import Influx
from almenara.codecs.prometheus import Prometheus
from almenara.files import _lines
from almenara.files.csv import CsvFile
from almenara.files.lines import Lines
from almenara.model.errors import DecodeError

S = 10**9
BEGIN = 1_767_225_600


@pytest.fixture(params=[8 << 20, 64])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual size, and one that cuts a file often."""
    monkeypatch.setattr(_lines, "BLOCK_BYTES", request.param)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    os.utime(path, (BEGIN, BEGIN))
    return path


def read(reader: CsvFile | Lines, path: Path) -> tuple[Rows, list[tuple[str, str, int]]]:
    found: list[tuple[str, str, int]] = []
    return rows_of(reader.batches(path), found), found


@pytest.mark.usefixtures("block")
def test_csv_keeps_its_columns_in_every_block(tmp_path: Path) -> None:
    lines = [f"{BEGIN + n},{n},{'x' if n == 7 else n * 2}\n" for n in range(60)]
    rows, rejected = read(CsvFile(Csv()), written(tmp_path / "a.csv", "time,a,b\n" + "".join(lines)))
    assert rows["a"] == {(BEGIN + n) * S: float(n) for n in range(60)}
    assert rows["b"] == {(BEGIN + n) * S: n * 2.0 for n in range(60) if n != 7}
    assert rejected == [("line 9, column b", "not_a_number", 1)]


@pytest.mark.usefixtures("block")
def test_line_breaks_in_quotes_end_no_row(tmp_path: Path) -> None:
    lines = [f'{BEGIN + n},"one\ntwo",{n}\n' for n in range(40)]
    rows, rejected = read(CsvFile(Csv()), written(tmp_path / "a.csv", "time,text,a\n" + "".join(lines) + "1,bad\n"))
    assert rows == {'a{text="one\\ntwo"}': {(BEGIN + n) * S: float(n) for n in range(40)}}
    assert rejected == [("line 82", "bad_row", 1)]


@pytest.mark.usefixtures("block")
def test_line_protocol_tells_the_line_of_the_file(tmp_path: Path) -> None:
    text = "".join(f"cpu,host=a usage={n} {(BEGIN + n) * S}\n" for n in range(50)) + "oops\ncpu,host=a usage=1"
    rows, rejected = read(Lines(Influx()), written(tmp_path / "a.lp", text))
    assert rows == {'cpu_usage{host="a"}': {(BEGIN + n) * S: float(n) for n in range(1, 50)} | {BEGIN * S: 1.0}}
    assert rejected == [("line 51", "bad_line", 1)]


@pytest.mark.usefixtures("block")
def test_prometheus_text_may_be_compressed(tmp_path: Path) -> None:
    text = "# TYPE up gauge\n" + "".join(f'up{{job="a"}} 1 {(BEGIN + n) * 1000}\n' for n in range(50))
    path = tmp_path / "a.prom.gz"
    path.write_bytes(gzip.compress(text.encode()))
    rows, rejected = read(Lines(Prometheus()), path)
    assert (rows, rejected) == ({'up{job="a"}': {(BEGIN + n) * S: 1.0 for n in range(50)}}, [])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DecodeError, match="damaged"):
        read(Lines(Prometheus()), path)


def test_a_block_of_bad_lines_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lines, "BLOCK_BYTES", 20)
    rows, rejected = read(
        Lines(Influx()), written(tmp_path / "a.lp", "rubbish rubbish\n" * 5 + f"a value=1 {BEGIN * S}\n")
    )
    assert rows == {"a": {BEGIN * S: 1.0}}
    assert sum(n for _, _, n in rejected) == 5
    with pytest.raises(DecodeError):
        read(Lines(Influx()), written(tmp_path / "b.lp", "rubbish rubbish\n" * 5))


def test_a_file_without_an_end_of_line_is_not_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lines, "BLOCK_BYTES", 100)
    monkeypatch.setattr(_lines, "MOST_BYTES", 1000)
    with pytest.raises(DecodeError, match="found no end"):
        read(Lines(Influx()), written(tmp_path / "a.lp", "x" * 5000))


def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    for reader in (CsvFile(Csv()), Lines(Influx()), Lines(Prometheus())):
        assert read(reader, written(tmp_path / "a", "")) == ({}, [])
