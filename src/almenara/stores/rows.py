"""What every store does with rows before and after the disk: check them, keep the last write, sum them into buckets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from almenara._compiled import njit
from almenara.model.batch import Batch
from almenara.model.errors import StoreError
from almenara.plugin.contracts import Selection

#: What `StoreReader.read` may be asked to make of a bucket.
HOW = ("avg", "min", "max", "sum", "count", "last", "first")

Rows = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]


def checked_rows(batch: Batch) -> Rows:
    """The columns of `batch` as id int32[n], time int64[n] and value float64[n], each contiguous.

    Raises StoreError unless ids are 0 or more and rows are sorted by (id, time), each (id, time) once.
    """
    id = np.ascontiguousarray(batch.id, np.int32)
    time = np.ascontiguousarray(batch.time, np.int64)
    value = np.ascontiguousarray(batch.value, np.float64)
    if len(id) and id[0] < 0:
        raise StoreError(f"append: row 0 has id {id[0]}; expected 0 or more")
    if not len(id) == len(time) == len(value):
        raise StoreError(f"append: columns differ in length: id {len(id)}, time {len(time)}, value {len(value)}")
    if row := _first_unsorted(id, time):
        raise StoreError(
            f"append: row {row} (id {id[row]}, time {time[row]}) does not come after row {row - 1} "
            f"(id {id[row - 1]}, time {time[row - 1]}); expected rows sorted by (id, time), each once"
        )
    return id, time, value


@njit(cache=True, nogil=True)
def _first_unsorted(id, time):  # type: ignore[no-untyped-def]
    """The first row that does not come after the one before it, 0 none."""
    for k in range(1, len(id)):
        if id[k] < id[k - 1] or (id[k] == id[k - 1] and time[k] <= time[k - 1]):
            return k
    return 0


def checked_ids(selection: Selection) -> NDArray[np.int32]:
    """The ids of `selection`, int32[k]. Raises StoreError unless they rise."""
    id = np.ascontiguousarray(selection.id, np.int32)
    if not (id[1:] > id[:-1]).all():
        raise StoreError("selection: ids must be sorted, each once")
    return id


def check_buckets(every_ns: int, how: str) -> None:
    """Raises StoreError where a bucket's width or function makes no sense."""
    if how not in HOW:
        raise StoreError(f"read: how must be one of {', '.join(HOW)}; got {how!r}")
    if every_ns <= 0:
        raise StoreError(f"read: every_ns must be above 0; got {every_ns}")


def check_series(first_id: int, keys: Sequence[bytes], known: Sequence[bytes], total: int) -> Sequence[bytes]:
    """Those of `keys` that are new; `known` is what the store has at first_id and after, `total` how many in all.

    Raises StoreError where an id has another key already, or where ids would be left out.
    """
    if first_id < 0 or first_id > total:
        raise StoreError(f"add_series: first id {first_id}; the store has {total} series, expected 0 to {total}")
    for i, (new, old) in enumerate(zip(keys, known, strict=False)):
        if new != old:
            raise StoreError(f"add_series: id {first_id + i} is {old!r} already; got {new!r}")
    return keys[total - first_id :]


def last_of_each(id: NDArray[np.int32]) -> NDArray[np.intp]:
    """Where the last row of each id is, in rows sorted by id."""
    id = np.ascontiguousarray(id, np.int32)
    found = np.empty(len(id), np.intp)
    return found[: _last_of_each(id, found)].copy()


@njit(cache=True, nogil=True)
def _last_of_each(id, found):  # type: ignore[no-untyped-def]
    count = 0
    for k in range(len(id)):
        if k + 1 == len(id) or id[k + 1] != id[k]:
            found[count] = k
            count += 1
    return count


def reduce_buckets(rows: Rows, every_ns: int, how: str) -> Rows:
    """One row a non-empty bucket [k * every_ns, (k + 1) * every_ns) of each id, from rows sorted by (id, time).

    NaN values are left out, and a bucket that holds nothing else is empty.
    """
    number = ~np.isnan(rows[2])
    id, time, value = rows[0][number], rows[1][number], rows[2][number]
    start = time // every_ns * every_ns
    new = np.ones(len(id), bool)
    new[1:] = (id[1:] != id[:-1]) | (start[1:] != start[:-1])
    first = np.flatnonzero(new)
    if not len(first):
        return id, time, value
    count = np.diff(first, append=len(id))
    if how == "first":
        reduced = value[first]
    elif how == "last":
        reduced = value[first + count - 1]
    elif how == "count":
        reduced = count.astype(np.float64)
    elif how in ("min", "max"):
        reduced = (np.minimum if how == "min" else np.maximum).reduceat(value, first)
    else:
        reduced = np.add.reduceat(value, first)
        reduced = reduced / count if how == "avg" else reduced
    return id[first], start[first], reduced
