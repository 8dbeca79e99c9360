"""Some rows of a segment, and what was said of them, however they lie among the others."""

from __future__ import annotations

import numpy as np
import pytest

from almenara.model.batch import Batch, Verdict
from almenara.model.series import SeriesTable
from almenara.pipeline.judge import COLUMNS, empty_verdict
from almenara.pipeline.parts import FEW, rows_of

N = 3000


def masks() -> dict[str, np.ndarray]:
    every, one, some = np.ones(N, np.bool_), np.zeros(N, np.bool_), np.zeros(N, np.bool_)
    one[17:2500] = True
    some[:5] = some[900:2000] = some[2999:] = True
    alternating = np.arange(N) % 2 == 0
    assert len(np.flatnonzero(np.diff(alternating))) > 2 * FEW
    return {"every": every, "one slice": one, "some slices": some, "single rows": alternating}


@pytest.mark.parametrize("name", masks())
@pytest.mark.parametrize("shared", [True, False])
def test_what_is_said_of_some_rows_says_nothing_of_the_others(name: str, shared: bool) -> None:
    mine, rng = masks()[name], np.random.default_rng(3)
    batch = Batch(SeriesTable(), np.arange(N, dtype=np.int32), np.arange(N) * 7, rng.normal(size=N))
    rows = rows_of(mine, k := int(mine.sum()))
    taken = rows.take(batch)
    for column in ("id", "time", "value"):
        assert np.array_equal(getattr(taken, column), getattr(batch, column)[mine])
    assert np.array_equal(rows.positions(), np.flatnonzero(mine))
    share = np.broadcast_to(1.0, k) if shared else rng.random(k)
    said = Verdict(*rng.normal(size=(4, k)), share, rng.integers(0, 9, k).astype(np.int16), notes={7: "since 5"})
    found, expected = rows.spread(said), empty_verdict(N)
    assert found.notes == {int(np.flatnonzero(mine)[7]): "since 5"}
    for column in COLUMNS:
        getattr(expected, column)[mine] = getattr(said, column)
        told, wanted = getattr(found, column), getattr(expected, column)
        assert np.array_equal(told, wanted, equal_nan=True), column
        for at in (0, 5, -1, 17, slice(3, 905), slice(None), [4, 2999, 16, 4], mine, np.empty(0, np.int64)):
            assert np.array_equal(told[at], wanted[at], equal_nan=True), (column, at)
        with pytest.raises(IndexError):
            told[N]


def test_a_verdict_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a verdict of 2 rows for 3 rows to judge"):
        rows_of(np.array([True, True, True, False]), 3).spread(empty_verdict(2))
