"""Tables in columns to rows: which column is the time, which are values, names and labels; for Parquet and HDF5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from almenara.codecs._csv_layout import NAMES, SERIES_NAMES, TIMES, VALUES, parse_series
from almenara.model.batch import Batch
from almenara.model.errors import DecodeError
from almenara.model.series import SeriesTable, encode_key, label_name, metric_name

UNIT_NS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


@dataclass(frozen=True, slots=True)
class Choice:
    """What a user says of columns; empty: told by their titles and types."""

    time_column: str = ""
    name_column: str = ""
    value_columns: Sequence[str] = ()
    label_columns: Sequence[str] = ()
    drop_columns: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Roles:
    """Titles of columns by what they are. name: the column that names the series, "" for the titles of values."""

    time: str
    name: str
    values: Sequence[str]
    labels: Sequence[str]


def roles_of(columns: Mapping[str, str], choice: Choice, where: str) -> Roles:
    """What each column is. columns: title -> "time", "number", "text" or "" for what cannot be read.

    Raises DecodeError where one that was named is missing, or there is no time or no value.
    """
    told = ", ".join(columns)[:200]
    for title in (choice.time_column, choice.name_column, *choice.value_columns, *choice.label_columns):
        if title and title not in columns:
            raise DecodeError(f"{where}: found no column {title!r} among {told}")
    lower = {title.lower(): title for title in reversed(list(columns))}
    time = choice.time_column or next((lower[one] for one in TIMES if one in lower), "")
    time = time or next((title for title, kind in columns.items() if kind == "time"), "")
    if not time:
        raise DecodeError(f"{where}: found no column of times among {told}; name it with -o time_column=NAME")
    rest = [one for one in columns if one != time and one not in choice.drop_columns]
    long = [one for one in rest if one.lower() in VALUES and columns[one] == "number"]
    name = choice.name_column
    if not name and long:
        texts = (lower[one] for one in (*SERIES_NAMES, *NAMES) if one in lower)
        name = next((one for one in texts if columns[one] == "text" and one in rest), "")
    numbers = [one for one in rest if columns[one] == "number" and one != name and one not in choice.label_columns]
    values = list(choice.value_columns) or (long if name and long else numbers)
    texts_too = [one for one in rest if columns[one] == "text" and one != name and one not in values]
    labels = list(dict.fromkeys([*choice.label_columns, *texts_too]))
    if not values:
        raise DecodeError(f"{where}: found no column of numbers among {told}")
    return Roles(time, name, values, labels)


class Keys:
    """Keys of the series of a table, interned once for each combination of texts."""

    def __init__(self, roles: Roles):
        self.table, self._roles = SeriesTable(), roles
        self._ids: dict[tuple[str, ...], np.ndarray] = {}
        self._is_series = roles.name.lower() in SERIES_NAMES
        self.wide = self.ids_of(()) if not roles.name and not roles.labels else np.empty(0, np.int32)

    def ids_of(self, texts: tuple[str, ...]) -> np.ndarray:
        """int32[values]: the series of a row whose columns of name (if there is one) and labels hold these texts; -1
        where no name can be read."""
        if (ids := self._ids.get(texts)) is None:
            ids = self._ids[texts] = self._new(texts)
        return ids

    def _new(self, texts: tuple[str, ...]) -> np.ndarray:
        roles, name = self._roles, ""
        labels: dict[str, str] = {}
        if roles.name:
            name, texts = texts[0], texts[1:]
            if self._is_series:
                try:
                    name, labels = parse_series(name)
                except ValueError:
                    name = ""
            if not name:
                return np.full(len(roles.values), -1, np.int32)
        labels |= {label_name(title): text for title, text in zip(roles.labels, texts, strict=True)}
        several = len(roles.values) > 1
        titles = [f"{name}_{title}" if name and several else name or title for title in roles.values]
        return np.array([self.table.intern(encode_key(metric_name(title), labels)) for title in titles], np.int32)


def wide(table: SeriesTable, ids: np.ndarray, time: np.ndarray, values: np.ndarray, there: np.ndarray | None) -> Batch:
    """Rows of a block, ordered by column. ids: int32[c] a column, time: int64[n], values: float64[c, n]; there:
    bool[c, n], which cells hold something, None for all."""
    id, times, value = np.repeat(ids, len(time)), np.tile(time, len(ids)), values.reshape(-1)
    if there is None:
        return Batch(table, id, times, value)
    keep = there.reshape(-1)
    return Batch(table, id[keep], times[keep], value[keep])


def scaled(number: np.ndarray, unit: str, where: str) -> np.ndarray:
    """int64[n] ns from numbers of a unit; `auto` tells it by the size of the largest. Raises DecodeError."""
    if len(number) == 0:
        return np.empty(0, np.int64)
    if number.dtype.kind == "f" and not np.isfinite(number).all():
        raise DecodeError(f"{where}: found a time that is no number")
    if unit == "auto":
        largest = float(np.abs(number.astype(np.float64)).max())
        unit = next((name for limit, name in ((1e10, "s"), (1e13, "ms"), (1e16, "us")) if largest < limit), "ns")
    factor = UNIT_NS[unit]
    if np.abs(number.astype(np.float64)).max() * factor >= 2.0**63:
        raise DecodeError(f"{where}: found a time past 64 bits of nanoseconds, with unit {unit}")
    if number.dtype.kind in "iu":
        return number.astype(np.int64) * factor
    # To a microsecond, as for times in text: seconds as float64 tell no more.
    return np.round(number * (factor / 1000)).astype(np.int64) * 1000 if factor > 1 else number.astype(np.int64)
