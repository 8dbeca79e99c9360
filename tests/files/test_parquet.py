"""Parquet: wide and long tables, every type of time, what is missing, and files that pandas and polars wrote."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.files.reading import Rows, rows_of

from almenara.files import parquet as module
from almenara.files.parquet import Parquet
from almenara.model.errors import DecodeError

S = 10**9
BEGIN = 1_767_225_600


def table(tmp_path: Path, **columns: object) -> Path:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def read(path: Path, **options: object) -> Rows:
    return rows_of(Parquet(**options).batches(path))  # type: ignore[arg-type]


def test_columns_of_numbers_are_series(tmp_path: Path) -> None:
    path = table(tmp_path, time=pa.array([BEGIN, BEGIN + 60]), cpu=[0.5, 0.75], up=[True, False], n=[1, None])
    assert read(path) == {
        "cpu": {BEGIN * S: 0.5, (BEGIN + 60) * S: 0.75},
        "up": {BEGIN * S: 1.0, (BEGIN + 60) * S: 0.0},
        "n": {BEGIN * S: 1.0},
    }


def test_texts_are_labels(tmp_path: Path) -> None:
    path = table(tmp_path, ts=[BEGIN, BEGIN, BEGIN], host=["a", "b", None], cpu=[1.0, 2.0, 3.0], mem=[4.0, None, 6.0])
    assert read(path) == {
        'cpu{host="a"}': {BEGIN * S: 1.0},
        'cpu{host="b"}': {BEGIN * S: 2.0},
        "cpu": {BEGIN * S: 3.0},
        'mem{host="a"}': {BEGIN * S: 4.0},
        "mem": {BEGIN * S: 6.0},
    }


def test_a_column_of_names_makes_the_table_long(tmp_path: Path) -> None:
    path = table(tmp_path, time=[BEGIN] * 3, metric=["cpu", "mem", None], room=["x", "x", "x"], value=[1.0, 2.0, 3.0])
    found: list[tuple[str, str, int]] = []
    assert rows_of(Parquet().batches(path), found) == {
        'cpu{room="x"}': {BEGIN * S: 1.0},
        'mem{room="x"}': {BEGIN * S: 2.0},
    }
    assert found == [("row 3", "no_name", 1)]


def test_series_may_be_written_as_in_promql(tmp_path: Path) -> None:
    path = table(tmp_path, time=[BEGIN], series=['cpu{host="a \\"b\\""}'], value=[1.0])
    assert read(path) == {'cpu{host="a \\"b\\""}': {BEGIN * S: 1.0}}


def test_null_has_no_row_and_nan_is_known_to_be_missing(tmp_path: Path) -> None:
    path = table(tmp_path, time=[1_700_000_000, 1_700_000_001], a=pa.array([math.nan, None], pa.float64()))
    ((time, value),) = read(path)["a"].items()
    assert time == 1_700_000_000 * S
    assert math.isnan(value)


@pytest.mark.parametrize(
    ("times", "kind"),
    [
        ([BEGIN], pa.int64()),
        ([BEGIN * 1000], pa.int64()),
        ([BEGIN * 10**6], pa.int64()),
        ([BEGIN * S], pa.int64()),
        ([float(BEGIN)], pa.float64()),
        ([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("s", "UTC")),
        ([datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("us", "Europe/Berlin")),
        ([datetime(2026, 1, 1)], pa.timestamp("ns")),
        ([date(2026, 1, 1)], pa.date32()),
        (["2026-01-01T00:00:00Z"], pa.string()),
        (["2026-01-01T01:00:00+01:00"], pa.string()),
        (["2026-01-01 00:00:00"], pa.string()),
    ],
)
def test_every_type_of_time_is_read(tmp_path: Path, times: list[object], kind: pa.DataType) -> None:
    assert read(table(tmp_path, when=pa.array(times, kind), x=[1.0]), time_column="when") == {"x": {BEGIN * S: 1.0}}


def test_rows_without_a_time_are_told(tmp_path: Path) -> None:
    path = table(tmp_path, time=pa.array([BEGIN, None], pa.timestamp("s")), x=[1.0, 2.0], y=[3.0, 4.0])
    found: list[tuple[str, str, int]] = []
    assert rows_of(Parquet().batches(path), found) == {"x": {BEGIN * S: 1.0}, "y": {BEGIN * S: 3.0}}
    assert found == [("row 2", "bad_time", 2)]


def test_parts_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 1000
    path = table(tmp_path, time=range(BEGIN, BEGIN + n), host=["a", "b"] * (n // 2), x=range(n), y=range(n))
    whole = read(path)
    monkeypatch.setattr(module, "PART_ROWS", 10)
    assert read(path) == whole
    assert len(whole['x{host="a"}']) == n // 2


def test_frames_of_pandas_and_polars_are_read(tmp_path: Path) -> None:
    index = pd.date_range("2026-01-01", periods=3, freq="min", tz="UTC", name="time")
    frame = pd.DataFrame({"cpu": [1.0, 2.0, 3.0], "host": pd.Categorical(["a", "a", "b"])}, index=index)
    frame.to_parquet(tmp_path / "pandas.parquet")
    polars = pl.DataFrame({"time": index.to_list(), "cpu": [1.0, 2.0, 3.0], "host": ["a", "a", "b"]})
    polars.write_parquet(tmp_path / "polars.parquet")
    wanted = {'cpu{host="a"}': {BEGIN * S: 1.0, (BEGIN + 60) * S: 2.0}, 'cpu{host="b"}': {(BEGIN + 120) * S: 3.0}}
    assert read(tmp_path / "pandas.parquet") == wanted
    assert read(tmp_path / "polars.parquet") == wanted


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = table(tmp_path, when=[BEGIN], sensor=[7], x=[1.0], y=[2.0], z=["t"])
    found = read(path, time_column="when", label_columns=["sensor"], value_columns=["x"], drop_columns=["z"])
    assert found == {'x{sensor="7"}': {BEGIN * S: 1.0}}


def test_what_is_no_table_of_numbers_is_refused(tmp_path: Path) -> None:
    for columns in ({"x": [1.0]}, {"time": [BEGIN]}, {"time": [BEGIN], "x": ["text"]}):
        with pytest.raises(DecodeError, match="found no column"):
            read(table(tmp_path, **columns))
    (tmp_path / "no.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DecodeError):
        read(tmp_path / "no.parquet")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing.parquet")
