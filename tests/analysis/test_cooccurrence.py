"""Anomalies that begin together more often than chance has it are found; those that only often begin are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import naive

from almenara.analysis.cooccurrence import EPISODE, cooccur, histories, pairs

WEEK = 7 * 1440


def test_faults_that_share_a_cause_are_found() -> None:
    rng = np.random.default_rng(1)
    shared = [rng.integers(0, 4 * WEEK, 7) for _ in range(3)]
    id, at = [], []
    for series in range(12):
        own = shared[series // 4] + rng.integers(0, 3, 7)
        own = np.concatenate((own[rng.random(7) < 0.9], rng.integers(0, 4 * WEEK, 2)))
        id += [series] * len(own)
        at += own.tolist()
    found = pairs(id, at, 12, 4 * WEEK, 3)
    assert set(zip((found.a // 4).tolist(), (found.b // 4).tolist(), strict=True)) == {(0, 0), (1, 1), (2, 2)}
    assert len(found) == 18
    assert (found.lift > 100).all()
    assert (found.p <= 1e-3).all()


@pytest.mark.parametrize("often", [3, 30, 300])
def test_chance_is_not_found(often: int) -> None:
    rng = np.random.default_rng(often)
    id = np.repeat(np.arange(100), often)
    assert len(pairs(id, rng.integers(0, 4 * WEEK, len(id)), 100, 4 * WEEK, 3)) == 0


def test_two_that_come_on_the_hour_at_other_hours_do_not_begin_together() -> None:
    hours = np.arange(20) * 1440
    assert len(pairs([0] * 20 + [1] * 20, np.concatenate((hours, hours + 30)), 2, 4 * WEEK, 3)) == 0


def test_one_that_never_rests_meets_everybody_and_proves_nothing() -> None:
    at = np.concatenate((np.arange(0, WEEK, 11), [200, 900, 4000]))
    assert len(pairs([0] * (len(at) - 3) + [1] * 3, at, 2, WEEK, 3)) == 0


def test_once_is_no_pattern() -> None:
    assert len(pairs([0, 1], [5000, 5000], 2, 52 * WEEK, 3)) == 0


def test_flapping_is_one_episode() -> None:
    begins, ends = histories([0, 0, 0, 0, 1], [100, 105, 110, 125, 7], 3)
    assert begins.tolist() == [100, 125, 7]
    assert ends.tolist() == [0, 2, 3, 3]


_times = st.lists(st.integers(0, 400), max_size=12)


@settings(max_examples=100, deadline=None)
@given(_times, _times, st.integers(0, 5))
def test_it_is_what_the_slow_twin_says(a: list[int], b: list[int], tolerance: int) -> None:
    x, y = histories([0] * len(a), a, 1), histories([0] * len(b), b, 1)
    found = cooccur(x, y, 400.0, tolerance)
    k, n, p = naive.begun_together(a, b, 400.0, tolerance, EPISODE)
    assert (found.count[0, 0], found.of[0, 0]) == (k, n)
    assert found.p[0, 0] == pytest.approx(p, rel=1e-6, abs=1e-12)


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="histories"):
        histories([0, 3], [1, 2], 2)
    with pytest.raises(ValueError, match="tolerance"):
        cooccur(histories([], [], 1), histories([], [], 1), 1.0, EPISODE)
