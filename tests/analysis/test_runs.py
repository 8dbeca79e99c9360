"""Passes over ordered rows: the same as their slow twins, whatever the rows."""

from __future__ import annotations

import numpy as np
import pytest

import naive
from almenara.analysis.runs import crossings, starts


def test_starts_are_the_first_rows_of_series() -> None:
    assert starts(np.array([3, 3, 5, 9, 9], np.int32)).tolist() == [0, 2, 3]
    assert starts(np.zeros(0, np.int32)).tolist() == []


@pytest.mark.parametrize("keep_unsaid", [False, True])
def test_crossings_equal_their_naive_twin(keep_unsaid: bool) -> None:
    rng = np.random.default_rng(0)
    over = rng.random(20) < 0.3
    expected = over.tolist()
    for _ in range(50):
        id = np.sort(rng.integers(0, 20, rng.integers(0, 60))).astype(np.int32)
        score = rng.choice([0.2, 0.9, 1.0, 1.7, np.nan], len(id))
        rows = naive.crossings(id.tolist(), score.tolist(), expected, keep_unsaid)
        assert starts(id).tolist() == naive.starts(id.tolist())
        assert crossings(id, score, over, keep_unsaid=keep_unsaid).tolist() == rows
        assert over.tolist() == expected


def test_columns_that_do_not_fit_are_refused() -> None:
    over = np.zeros(2, np.bool_)
    with pytest.raises(ValueError, match="length"):
        crossings(np.zeros(2, np.int32), np.zeros(1), over, keep_unsaid=True)
    with pytest.raises(ValueError, match="of 2"):
        crossings(np.full(1, 2, np.int32), np.zeros(1), over, keep_unsaid=True)
