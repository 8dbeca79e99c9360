"""HDF5: data sets beside one of times, records, and frames that pandas wrote (recorded under tests/cases/files)."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests.files.reading import rows_of

from almenara.files import hdf5 as module
from almenara.files.hdf5 import Hdf5
from almenara.model.errors import DecodeError

S = 10**9
BEGIN = 1_767_225_600
CASES = Path(__file__).parents[1] / "cases" / "files"


def test_data_sets_beside_times_are_series(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("plant/line1")
        group["time"] = np.array([BEGIN, BEGIN + 60])
        group["temperature"] = np.array([20.5, math.nan])
        group["motors"] = np.array([[1, 2], [3, 4]])
        group["notes"] = np.array([b"a", b"b"])
        group["other"] = np.arange(5)
    assert rows_of(Hdf5().batches(tmp_path / "a.h5")) == {
        'temperature{group="plant/line1"}': {BEGIN * S: 20.5},
        'motors_0{group="plant/line1"}': {BEGIN * S: 1.0, (BEGIN + 60) * S: 3.0},
        'motors_1{group="plant/line1"}': {BEGIN * S: 2.0, (BEGIN + 60) * S: 4.0},
    }


def test_units_of_times_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["clock"] = np.array([86_400_000 * 400])
        file["clock"].attrs["units"] = "ms"
        file["x"] = np.array([1.0])
    assert rows_of(Hdf5(time_column="clock").batches(tmp_path / "a.h5")) == {"x": {400 * 86_400 * S: 1.0}}
    with pytest.raises(DecodeError, match="with unit s"):
        rows_of(Hdf5(time_column="clock", time_unit="s").batches(tmp_path / "a.h5"))


def test_records_with_a_time_are_series(tmp_path: Path) -> None:
    kind = [("timestamp", "<f8"), ("speed", "<f4"), ("ok", "?"), ("text", "S4")]
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["runs"] = np.array([(BEGIN + 0.5, 1.5, True, b"a"), (BEGIN + 1.5, 2.5, False, b"b")], kind)
    assert rows_of(Hdf5().batches(tmp_path / "a.hdf5")) == {
        'speed{group="runs"}': {BEGIN * S + S // 2: 1.5, BEGIN * S + 3 * S // 2: 2.5},
        'ok{group="runs"}': {BEGIN * S + S // 2: 1.0, BEGIN * S + 3 * S // 2: 0.0},
    }


@pytest.mark.parametrize(("name", "group"), [("pandas-fixed.h5", "plant/line1"), ("pandas-table.h5", "line1")])
def test_frames_of_pandas_are_read(name: str, group: str) -> None:
    """Written by pandas 3.1 with tables 3.11: 50 rows from 2026-01-01, a minute apart; the fourth has no cpu."""
    found = rows_of(Hdf5().batches(CASES / name))
    times = [(BEGIN + 60 * n) * S for n in range(50)]
    assert found[f'cpu{{group="{group}"}}'] == {t: n / 4 for n, t in enumerate(times) if n != 3}
    assert found[f'memory{{group="{group}"}}'] == {t: n * 2.0 for n, t in enumerate(times)}
    assert found[f'requests{{group="{group}"}}'] == {t: float(n) for n, t in enumerate(times)}
    assert len(found) == 3


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows_of(Hdf5().batches(CASES / "pandas-fixed.h5"))
    monkeypatch.setattr(module, "PART_ROWS", 10)
    assert rows_of(Hdf5().batches(CASES / "pandas-fixed.h5")) == whole


def test_what_has_no_times_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(3.0)
    (tmp_path / "b.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\x00" * 100)
    for name in ("a.h5", "b.h5"):
        with pytest.raises(DecodeError):
            rows_of(Hdf5().batches(tmp_path / name))
    with pytest.raises(FileNotFoundError):
        rows_of(Hdf5().batches(tmp_path / "missing.h5"))
