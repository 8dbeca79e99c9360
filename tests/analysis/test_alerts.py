"""Where anomalies begin: once each, however they come and go and however rows are cut into batches."""

from __future__ import annotations

import numpy as np
import pytest

import naive
from almenara.analysis.alerts import QUIET_ROWS, Anomalies
from almenara.analysis.rates import weekly

NAN = float("nan")


def nth(*score: float) -> list[int]:
    return Anomalies().step(np.zeros(len(score), np.int32), np.array(score)).tolist()


def test_an_anomaly_begins_once() -> None:
    assert nth(0.2, 1.0, 3.0, 1.1, 0.5) == [0, 1, 2, 3, 0]


def test_short_drops_below_the_limit_begin_no_new_one() -> None:
    drop = [0.9] * (QUIET_ROWS - 1)
    assert nth(2, *drop, 2, *drop, 2) == [1, *[0] * len(drop), 2, *[0] * len(drop), 3]


def test_after_seven_quiet_rows_the_next_one_is_new() -> None:
    assert nth(2, *[0.9] * QUIET_ROWS, 2)[-1] == 1


def test_rows_that_were_not_judged_count_for_nothing() -> None:
    assert nth(2, *[NAN] * 20, 2)[-1] == 2
    assert nth(NAN, NAN, 2) == [0, 0, 1]


def test_series_do_not_know_each_other() -> None:
    found = Anomalies().step(np.array([0, 0, 1, 1], np.int32), np.array([1.0, 1.0, 1.0, 0.0]))
    assert found.tolist() == [1, 2, 1, 0]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_it_equals_its_naive_twin_however_rows_are_cut(size: int) -> None:
    rng = np.random.default_rng(3)
    id = rng.integers(0, 3, 600).astype(np.int32)
    score = rng.choice([0.1, 0.99, 1.0, 2.5, NAN], 600, p=[0.4, 0.3, 0.08, 0.07, 0.15])
    state = Anomalies()
    parts = [state.step(id[a : a + size], score[a : a + size]) for a in range(0, 600, size)]
    assert np.concatenate(parts).tolist() == naive.nth_of_anomaly(id.tolist(), score.tolist())


def test_it_goes_on_from_its_state() -> None:
    one, other = Anomalies(), Anomalies()
    one.step(np.zeros(3, np.int32), np.array([1.0, 1.0, 0.0]))
    other.restore(**one.state())
    assert other.step(np.zeros(1, np.int32), np.ones(1)).tolist() == [3]
    with pytest.raises(ValueError, match="length"):
        other.restore(np.zeros(2), np.zeros(3))


def test_a_series_judged_again_is_in_the_anomaly_of_its_new_past() -> None:
    live, again = Anomalies(), Anomalies()
    live.step(np.array([0, 1], np.int32), np.ones(2))
    again.step(np.array([1, 1], np.int32), np.ones(2))
    live.adopt(np.array([1], np.int32), again)
    assert live.step(np.array([0, 1], np.int32), np.ones(2)).tolist() == [2, 3]


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        Anomalies().step(np.zeros(2, np.int32), np.zeros(1))
    with pytest.raises(ValueError, match="negative"):
        Anomalies().step(np.full(1, -1, np.int32), np.zeros(1))


def test_a_rate_has_the_interval_of_its_count() -> None:
    rate, low, high = weekly(10, 2)
    assert rate == 5
    assert (low, high) == (pytest.approx(2.40, abs=0.01), pytest.approx(9.19, abs=0.01))  # exact: 2.398, 9.195
    assert weekly(0, 1)[1] == 0
    assert weekly(1, 0) == (float("inf"), 0.0, float("inf"))
