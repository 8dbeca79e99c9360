"""What became of the rows of a segment: whether each is new, a duplicate, or took the place of another value.

Rows are looked at in the order in which they came, so the answer does not depend on how they were cut into segments:

    stored       nothing was there under its series and time
    duplicate    the same value was there
    overwritten  another value was there, and this one took its place
    late         of those stored: earlier than a row of its series in an earlier segment

So the rows stored, over all sources, are as many as the store has. Only rows not after the last one of their series,
and series with equal times inside the segment, are looked at one by one; of all others the number is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from almenara._compiled import njit
from almenara.model.errors import StoreError

NEVER = np.iinfo(np.int64).min

#: (id, time) -> (id, time, value) of the rows that are stored under these; both ordered by (id, time), each once.
Find = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True, slots=True, eq=False)
class Became:
    """Positions in the segment, int64, of rows that are not simply stored."""

    duplicate: np.ndarray
    overwritten: np.ndarray
    late: np.ndarray


_NONE = np.empty(0, np.int64)
NOTHING_ODD = Became(_NONE, _NONE, _NONE)


def became(
    id: np.ndarray, time: np.ndarray, value: np.ndarray, ids: np.ndarray, kept: np.ndarray, last: np.ndarray, find: Find
) -> Became:
    """What became of rows (int32[n], int64[n], float64[n], in the order in which they came).

    ids: int32[k], sorted, the series of the segment; kept: int64[k], how many different times each has in it; last:
    int64[k], the time of the last stored row of each, NEVER where there is none.
    """
    if not len(id) == len(time) == len(value) or not len(ids) == len(kept) == len(last):
        raise ValueError(f"columns differ in length: {len(id)}, {len(time)}, {len(value)}; {len(ids)}, {len(kept)}")
    first, width = int(ids[0]), int(ids[-1]) - int(ids[0]) + 1
    latest = np.full(width, NEVER, np.int64)
    latest[ids - first] = last
    has_equals = np.zeros(width, np.bool_)
    if len(id) > int(kept.sum()):
        fewer = np.bincount(id - first, minlength=width)
        fewer[ids - first] -= kept
        has_equals = fewer > 0
    at = np.empty(len(id), np.int64)
    at = at[: _odd(id, time, first, latest, has_equals, at)].copy()
    if not len(at):
        return NOTHING_ODD
    at = at[np.lexsort((time[at], id[at]))]  # stable: rows of equal series and time stay in the order they came in
    some_id, some_time, some_value = id[at], time[at], value[at]
    begins = np.ones(len(at), np.bool_)
    begins[1:] = (some_id[1:] != some_id[:-1]) | (some_time[1:] != some_time[:-1])
    before = np.full(len(at), np.nan)
    before[1:] = some_value[:-1]
    there = ~begins
    asked = np.flatnonzero(begins & (some_time <= latest[some_id - first]))
    if len(asked):
        found_id, found_time, found_value = find(some_id[asked], some_time[asked])
        where = asked[match(some_id[asked], some_time[asked], found_id, found_time)]
        there[where] = True
        before[where] = found_value
    same = (before.view(np.int64) == some_value.view(np.int64)) | (np.isnan(before) & np.isnan(some_value))
    late = ~there & (some_time < latest[some_id - first])
    return Became(at[there & same], at[there & ~same], at[late])


@njit(cache=True, nogil=True)
def _odd(id, time, first, latest, has_equals, found):  # type: ignore[no-untyped-def]
    """Rows not after the last one of their series, and those of series with equal times; how many."""
    count = 0
    for k in range(len(id)):
        i = id[k] - first
        if time[k] <= latest[i] or has_equals[i]:
            found[count] = k
            count += 1
    return count


def match(id: np.ndarray, time: np.ndarray, found_id: np.ndarray, found_time: np.ndarray) -> np.ndarray:
    """int64[j]: where each found row stands among those asked for; both ordered by (id, time)."""
    where = _merge(id, time, np.asarray(found_id, np.int32), np.asarray(found_time, np.int64))
    if len(where) and where[-1] < 0:
        raise StoreError(f"the store answered {len(found_id)} rows, some of which were not asked for")
    return where


@njit(cache=True, nogil=True)
def _merge(id, time, found_id, found_time):  # type: ignore[no-untyped-def]
    where = np.empty(len(found_id), np.int64)
    i = 0
    for j in range(len(found_id)):
        while i < len(id) and (id[i] < found_id[j] or (id[i] == found_id[j] and time[i] < found_time[j])):
            i += 1
        if i == len(id) or id[i] != found_id[j] or time[i] != found_time[j]:
            where[-1] = -1
            return where
        where[j] = i
    return where
