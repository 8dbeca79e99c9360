"""HDF5 files: data sets beside a data set of times, tables of records, and frames that pandas wrote.

Format: https://www.hdfgroup.org/solutions/hdf5/, read with h5py. Nothing pickled is ever read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from almenara.codecs._csv_layout import TIMES
from almenara.files import PART_ROWS
from almenara.files._table import scaled, wide
from almenara.model.batch import Decoded
from almenara.model.errors import DecodeError, MissingExtra
from almenara.model.series import SeriesTable, encode_key, metric_name

_MOST_COLUMNS = 100_000
_INDEX = ("index", "axis1")  # what pandas calls the rows of a frame


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Something in the file with one time a row. read(start, end) gives (numbers of times, float64[columns, rows])."""

    where: str
    names: Sequence[str]
    group: str
    rows: int
    unit: str  # of times, "" where the file does not say
    read: Callable[[int, int], tuple[np.ndarray, np.ndarray]]


class Hdf5:
    """Reads each group that has a one-dimensional data set called time (timestamp, ts, date, datetime, index): the data
    sets of numbers with as many rows are series of their names, the columns of two-dimensional ones `NAME_0`, `NAME_1`
    and so on. Records with such a field are read the same way, a series a field; so are pandas frames (`to_hdf`) in the
    format fixed, and in the format table, where columns have names only if it was written with `data_columns=True`.

    Series in a group carry the label `group`. NaN is a gap, since HDF5 has no other: it gives no row.

    Options:
        time_column: What the data set or field of times is called; empty: one of the names above.
        time_unit: Unit of times; auto takes that of the attribute `units` (s, ms, us, ns) or tells it by their size.
    """

    suffixes = (".h5", ".hdf5", ".hdf")

    def __init__(self, *, time_column: str = "", time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"):
        self._times = (time_column.lower(),) if time_column else (*TIMES, *_INDEX)
        self._unit = time_unit

    def batches(self, path: Path) -> Iterator[tuple[Decoded, float]]:
        """Rows by group, those of a part by column; see `Reader`."""
        try:
            import h5py
        except ImportError as error:
            raise MissingExtra("reading HDF5", "files") from error
        with path.open("rb"):
            pass  # a missing file is an OSError with its number, which h5py's is not
        try:
            with h5py.File(path, "r") as file:
                tables = list(self._tables(file, h5py))
                if not tables:
                    raise DecodeError(
                        f"{path}: found no data set of times with numbers beside it; -o time_column=NAME names it"
                    )
                yield from self._parts(tables, path)
        except (OSError, KeyError, RuntimeError, TypeError) as error:
            raise DecodeError(f"{path}: {str(error)[:300]}") from error

    def _parts(self, tables: Sequence[Table], path: Path) -> Iterator[tuple[Decoded, float]]:
        total, done = sum(one.rows * len(one.names) for one in tables), 0
        for table in tables:
            labels = {"group": table.group} if table.group else {}
            keys = SeriesTable()
            ids = np.array([keys.intern(encode_key(metric_name(name), labels)) for name in table.names], np.int32)
            step = max(64, PART_ROWS // len(table.names))
            for start in range(0, table.rows, step):
                number, values = table.read(start, min(table.rows, start + step))
                unit = self._unit if self._unit != "auto" else table.unit or "auto"
                time = scaled(number, unit, f"{path}: {table.where}: row {start + 1} on")
                done += values.size
                yield Decoded(wide(keys, ids, time, values, ~np.isnan(values))), done / total

    def _tables(self, group: Any, h5py: Any) -> Iterator[Table]:
        """The tables of a group and of those in it."""
        sets = {name: one for name, one in group.items() if isinstance(one, h5py.Dataset)}
        times = next((sets[name] for wanted in self._times for name in sets if name.lower() == wanted), None)
        if "axis0" in sets and "axis1" in sets:
            yield from _frame(group, sets)
        elif times is not None and times.ndim == 1 and times.dtype.kind in "iuf":
            yield from _beside(group, sets, times)
        for one in sets.values():
            if one.dtype.names and one.ndim == 1:
                yield from self._records(one)
        for one in group.values():
            if isinstance(one, h5py.Group):
                yield from self._tables(one, h5py)

    def _records(self, records: Any) -> Iterator[Table]:
        fields = records.dtype.fields
        time = next((name for wanted in self._times for name in fields if name.lower() == wanted), None)
        if time is None:
            return
        columns = [name for name in fields if name != time and fields[name][0].base.kind in "iufb"]
        names = [title for name in columns for title in _titles(name, fields[name][0].shape)]

        def read(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
            rows = records[start:end]
            return rows[time], np.concatenate([rows[name].reshape(len(rows), -1).T for name in columns]).astype(float)

        if columns and len(names) <= _MOST_COLUMNS:
            # A table of pandas lies in a group of its own as the data set `table`.
            own = records.name.strip("/").removesuffix("/table")
            yield Table(records.name, names, own, len(records), _unit(records, f"{time}_kind"), read)


def _beside(group: Any, sets: dict[str, Any], times: Any) -> Iterator[Table]:
    """Data sets of numbers with as many rows as there are times."""
    columns = {
        name: one
        for name, one in sets.items()
        if one is not times and one.dtype.kind in "iufb" and one.ndim in (1, 2) and len(one) == len(times)
    }
    names = [title for name, one in columns.items() for title in _titles(name, one.shape[1:])]

    def read(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        parts = [one[start:end].reshape(end - start, -1).T for one in columns.values()]
        return times[start:end], np.concatenate(parts).astype(float)

    if 0 < len(names) <= _MOST_COLUMNS:
        yield Table(times.name, names, group.name.strip("/"), len(times), _unit(times), read)


def _frame(group: Any, sets: dict[str, Any]) -> Iterator[Table]:
    """A frame of pandas in the format fixed: `axis1` are its times, each block holds the columns of one type."""
    axis, blocks = sets["axis1"], [name for name in sets if name.startswith("block") and name.endswith("_values")]
    blocks = [name for name in sorted(blocks) if sets[name].ndim == 2 and sets[name].dtype.kind in "iufb"]
    items = [sets[name.replace("_values", "_items")][:] for name in blocks]
    names = [one.decode() if isinstance(one, bytes) else str(one) for part in items for one in part.tolist()]
    if not blocks or axis.dtype.kind not in "iuf":
        return

    def read(start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        return axis[start:end], np.concatenate([sets[name][start:end].T for name in blocks]).astype(float)

    yield Table(group.name, names, group.name.strip("/"), len(axis), _unit(axis), read)


def _titles(name: str, shape: Sequence[int]) -> list[str]:
    if not shape:
        return [name]
    return [f"{name}_{at}" for at in range(min(int(np.prod(shape)), _MOST_COLUMNS + 1))]


def _unit(times: Any, own: str = "kind") -> str:
    """The unit that a data set of times says of itself; empty where it says none."""
    for name in ("units", "unit", own):  # pandas writes `kind`: datetime64[us], or datetime64 for ns
        told = times.attrs.get(name, "")
        told = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
        told = told.removeprefix("datetime64").strip("[] ") or ("ns" if told == "datetime64" else "")
        if told in ("s", "ms", "us", "ns"):
            return told
    return ""
