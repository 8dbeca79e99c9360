"""What a statement gives: tables of columns, one for each measurement and set of tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One series of an answer.

    columns: their names. data: as many columns: lists, object[n], or float64[n] with NaN = null. tags: what it was
    grouped by; None where it was not. timed: the first column is times, int64[n] in ns.
    """

    name: str
    columns: Sequence[str]
    data: Sequence[Sequence[object] | np.ndarray]
    tags: dict[str, str] | None = None
    timed: bool = False

    def __len__(self) -> int:
        return len(self.data[0])

    def cut(self, limit: int, offset: int) -> Table:
        """The rows that LIMIT and OFFSET leave; 0: no limit."""
        if not limit and not offset:
            return self
        rows = slice(offset, offset + limit if limit else None)
        return Table(self.name, self.columns, [column[rows] for column in self.data], self.tags, self.timed)


def plain(column: Sequence[object] | np.ndarray) -> list[object]:
    """A column as Python's own values: whole numbers are ints, as InfluxDB writes them, and NaN is None."""
    if not isinstance(column, np.ndarray) or column.dtype != np.float64:
        return list(column.tolist() if isinstance(column, np.ndarray) else column)
    found = column.astype(object)
    whole = (np.abs(column) < 2**53) & (column == np.floor(column))
    found[whole] = column[whole].astype(np.int64)
    found[~np.isfinite(column)] = None
    return found.tolist()
