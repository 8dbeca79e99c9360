"""What became of each row: the answer is that of looking at rows one by one, however they are cut into segments."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.naive import became as naive_became

from almenara.model.errors import StoreError
from almenara.pipeline.account import NEVER, Became, became

Row = tuple[int, int, float]
Stored = dict[tuple[int, int], float]


def looked_at(rows: list[Row], stored: Stored) -> Became:
    """`became`, with a store of a dict."""
    id, time = np.array([r[0] for r in rows], np.int32), np.array([r[1] for r in rows], np.int64)
    value = np.array([r[2] for r in rows])
    ids, kept = np.unique(np.array([i for i, _ in {row[:2] for row in rows}], np.int32), return_counts=True)
    last = np.array([max((t for i, t in stored if i == one), default=NEVER) for one in ids.tolist()], np.int64)

    def find(id: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        asked = list(zip(id.tolist(), time.tolist(), strict=True))
        assert asked == sorted(set(asked)), "asked in order, each once"
        found = [(i, t, stored[i, t]) for i, t in asked if (i, t) in stored]
        columns = zip(*found, strict=True) if found else ((), (), ())
        i, t, v = (np.array(c, d) for c, d in zip(columns, (np.int32, np.int64, np.float64), strict=True))
        return i, t, v

    return became(id, time, value, ids, kept, last, find)


def told(found: Became) -> tuple[list[int], list[int], list[int]]:
    return tuple(sorted(c.tolist()) for c in (found.duplicate, found.overwritten, found.late))  # type: ignore[return-value]


@pytest.mark.parametrize("seed", range(40))
def test_rows_become_what_they_become_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    stored: Stored = {}
    for _ in range(4):
        n, series, times = int(rng.integers(1, 60)), int(rng.integers(1, 6)), int(rng.integers(1, 40))
        values = rng.choice([0.0, -0.0, 1.0, math.nan], n)
        columns = rng.integers(3, 3 + series, n).tolist(), rng.integers(0, times, n).tolist(), values.tolist()
        rows = list(zip(*columns, strict=True))
        assert told(looked_at(rows, stored)) == naive_became(rows, stored)
        stored |= {(i, t): v for i, t, v in rows}


@pytest.mark.parametrize("seed", range(10))
def test_where_a_segment_is_cut_changes_nothing_but_what_is_late(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [(int(rng.integers(0, 3)), int(rng.integers(0, 20)), float(rng.integers(0, 2))) for _ in range(80)]
    whole, cut = told(looked_at(rows, {})), ([], [])  # type: ignore[var-annotated]
    stored: Stored = {}
    for at in range(0, 80, 7):
        part = rows[at : at + 7]
        duplicate, overwritten, _ = told(looked_at(part, stored))
        cut[0].extend(at + k for k in duplicate)
        cut[1].extend(at + k for k in overwritten)
        stored |= {(i, t): v for i, t, v in part}
    assert (cut[0], cut[1]) == whole[:2]


def test_a_store_that_answers_what_nobody_asked_is_named() -> None:
    one = np.array([1], np.int32), np.array([5], np.int64), np.array([1.0])
    for wrong in (np.array([4], np.int64), np.array([6], np.int64)):
        with pytest.raises(StoreError, match="not asked for"):
            became(*one, one[0], np.ones(1, np.int64), np.array([9]), lambda id, time, t=wrong: (id, t, np.ones(1)))


def test_unequal_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        became(
            *(np.zeros(k, d) for k, d in ((2, np.int32), (1, np.int64), (2, np.float64))), *[np.zeros(1, int)] * 3, None
        )  # type: ignore[arg-type]
