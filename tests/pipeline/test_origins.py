"""Names in two parts: what line protocol calls series, kept over restarts."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from almenara.codecs.influx import Influx
from almenara.model.series import SeriesTable
from almenara.pipeline.origins import Origins
from almenara.plugin.contracts import Context


def at(path: Path) -> Origins:
    return Origins(lambda: sqlite3.connect(path, isolation_level=None, check_same_thread=False))


def test_line_protocol_notes_measurement_and_field_once() -> None:
    codec = Influx()
    for _ in range(2):
        table = codec.decode(b"disk-io,host=a read\\ bytes=1,value=2\ndisk-io,host=b value=3", Context()).batch.series
    assert isinstance(table, SeriesTable)
    assert table.origins == [
        ("disk_io_read_bytes", "disk-io", "read bytes"),
        ("disk_io", "disk-io", "value"),
    ]


def test_what_is_noted_is_kept_once_and_over_a_restart(tmp_path: Path) -> None:
    table = SeriesTable()
    table.origins += [("cpu_usage", "cpu", "usage"), ("cpu_usage", "cpu_usage", "value")]
    origins = at(tmp_path / "hub.db")
    assert origins.fresh([table])
    origins.keep([table])
    assert not origins.fresh([table])
    other = SeriesTable()
    other.origins += [("cpu_usage", "cpu", "usage"), ("load", "load", "value")]
    origins.keep([other, table])
    told = {name: set(pairs) for name, pairs in origins.by_name().items()}
    assert told == {"cpu_usage": {("cpu", "usage"), ("cpu_usage", "value")}, "load": {("load", "value")}}
    origins.close()
    again = at(tmp_path / "hub.db")
    assert {name: set(pairs) for name, pairs in again.by_name().items()} == told
    again.close()
