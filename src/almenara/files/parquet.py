"""Parquet files, wide (a column a series) or long (a column of names and one of values).

Format: https://parquet.apache.org/docs/file-format/, read with pyarrow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from almenara.files import PART_ROWS
from almenara.files._table import UNIT_NS, Choice, Keys, Roles, roles_of, scaled, wide
from almenara.model.batch import Batch, Decoded, Rejected
from almenara.model.errors import DecodeError, MissingExtra
from almenara.model.time import NS

if TYPE_CHECKING:
    import pyarrow


class Parquet:
    """Parquet as pandas, polars, Spark or `almenara export` write it. A missing cell (null) has no row, NaN is a value
    known to be missing.

    Wide: columns of numbers (also booleans and decimals) are series of these names, columns of text labels. Long: with
    a column `value` and one called `series`, `metric` or `name` that one names the series. The time is the column
    called time, timestamp, ts, date or datetime, or the first of a time's type: a timestamp (without a zone it is UTC),
    a date, a number of any unit, or a text in ISO 8601.

    Options:
        time_column: The column of the time; empty: by its title or type.
        time_unit: Unit of numeric times; auto tells s, ms, us and ns by their size.
        name_column: The column that names the series; empty: by its title.
        value_columns: If given, only these are values.
        label_columns: Columns that are labels even where they hold numbers.
        drop_columns: Columns to leave out.
    """

    suffixes = (".parquet", ".pq")

    def __init__(
        self,
        *,
        time_column: str = "",
        time_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto",
        name_column: str = "",
        value_columns: Sequence[str] = (),
        label_columns: Sequence[str] = (),
        drop_columns: Sequence[str] = (),
    ):
        self._choice = Choice(time_column, name_column, value_columns, label_columns, drop_columns)
        self._unit = time_unit

    def batches(self, path: Path) -> Iterator[tuple[Decoded, float]]:
        """Rows in the order of the file, those of a part by column; see `Reader`."""
        try:
            import pyarrow
            import pyarrow.parquet as pq
        except ImportError as error:
            raise MissingExtra("reading Parquet", "files") from error
        try:
            with path.open("rb"), pq.ParquetFile(str(path), memory_map=True) as file:
                schema, total, done = file.schema_arrow, file.metadata.num_rows, 0
                roles = roles_of({one.name: _kind(one.type) for one in schema}, self._choice, str(path))
                keys = Keys(roles)
                wanted = list(
                    dict.fromkeys([roles.time, *([roles.name] if roles.name else ()), *roles.labels, *roles.values])
                )
                rows = max(64, PART_ROWS // len(roles.values))
                for part in file.iter_batches(rows, columns=wanted):
                    decoded = self._part(part, roles, keys, f"{path}: row {done + 1} on", done)
                    done += len(part)
                    yield decoded, done / total
        except (pyarrow.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DecodeError(f"{path}: {str(error)[:300]}") from error

    def _part(self, part: pyarrow.RecordBatch, roles: Roles, keys: Keys, where: str, before: int) -> Decoded:
        columns = {name: part.column(at) for at, name in enumerate(part.schema.names)}
        time, known = self._times(columns[roles.time], where)
        rejected = []
        if known is not None and not known.all():
            bad = np.flatnonzero(~known)
            first = f"row {before + int(bad[0]) + 1}"
            rejected.append(Rejected(first, "bad_time", len(bad) * len(roles.values), "found no time"))
        values, there = _values([columns[name] for name in roles.values], len(part))
        if rejected:
            time, values = time[known], values[:, known]
            there = None if there is None else there[:, known]
        if not roles.name and not roles.labels:
            return Decoded(wide(keys.table, keys.wide, time, values, there), rejected=rejected)
        texts = [columns[name] for name in ([roles.name] if roles.name else []) + list(roles.labels)]
        ids = _ids(texts, keys)
        ids = ids if not rejected else ids[:, known]
        if nameless := int(np.count_nonzero(ids[0] < 0)):
            first = f"row {before + int(np.argmax(ids[0] < 0)) + 1}"
            rejected.append(Rejected(first, "no_name", nameless * len(roles.values), "found no name of a series"))
        keep = ids >= 0 if there is None else (ids >= 0) & there
        times = np.broadcast_to(time, ids.shape)
        return Decoded(Batch(keys.table, ids[keep], times[keep], values[keep]), rejected=rejected)

    def _times(self, column: Any, where: str) -> tuple[np.ndarray, np.ndarray | None]:
        """int64[n] in ns, and bool[n], which are there; None for all."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
            texts = column.cast(pa.string())
            try:
                column = pc.cast(texts, pa.timestamp("ns", "UTC"))
            except pa.ArrowInvalid:
                column = pc.cast(texts, pa.timestamp("ns"))
            kind = column.type
        known = None if not column.null_count else np.asarray(column.is_valid())
        if pa.types.is_timestamp(kind):
            return _filled(column.cast(pa.int64())) * UNIT_NS[kind.unit], known
        if pa.types.is_date(kind):
            return _filled(column.cast(pa.timestamp("ms")).cast(pa.int64())) * (NS // 1000), known
        if pa.types.is_decimal(kind):
            column = column.cast(pa.float64(), safe=False)
        number = np.asarray(column.fill_null(0).to_numpy(zero_copy_only=False)) if column.null_count else (
            column.to_numpy(zero_copy_only=False)
        )  # fmt: skip
        return scaled(number, self._unit, where), known


def _kind(kind: Any) -> str:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_timestamp(kind) or types.is_date(kind):
        return "time"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind):
        return "number"
    return "text" if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) else ""


def _filled(column: Any) -> np.ndarray:
    column = column.fill_null(0) if column.null_count else column
    return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)


def _values(columns: Sequence[Any], rows: int) -> tuple[np.ndarray, np.ndarray | None]:
    """float64[c, n], and bool[c, n], which cells hold something; None for all."""
    import pyarrow as pa

    values, there = np.empty((len(columns), rows)), None
    for at, column in enumerate(columns):
        if column.type != pa.float64():
            column = column.cast(pa.float64(), safe=False)
        values[at] = column.to_numpy(zero_copy_only=False)
        if column.null_count:
            there = np.ones(values.shape, np.bool_) if there is None else there
            there[at] = np.asarray(column.is_valid())
    return values, there


def _ids(texts: Sequence[Any], keys: Keys) -> np.ndarray:
    """int32[values, n]: the series of each cell, by the texts beside it."""
    import pyarrow as pa

    code, seen = np.zeros(len(texts[0]), np.int64), [()]
    for column in texts:
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        words = ["" if word is None else str(word) for word in column.dictionary.to_pylist()] + [""]
        own = column.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False).astype(np.int64)
        pairs, code = _dense(code * len(words) + own, len(seen) * len(words))
        seen = [(*seen[pair // len(words)], words[pair % len(words)]) for pair in pairs.tolist()]
    by_code = np.array([keys.ids_of(one) for one in seen], np.int32)
    return by_code[code].T


def _dense(code: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """(the codes that occur, rising; int64[n]: the position of each row's among them). All are below `limit`."""
    if limit > 1 << 22:
        return np.unique(code, return_inverse=True)
    is_used = np.zeros(limit, np.bool_)
    is_used[code] = True
    return np.flatnonzero(is_used), (np.cumsum(is_used) - 1)[code]
