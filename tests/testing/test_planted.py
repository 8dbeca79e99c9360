"""Planted cases say what is true: an oracle keeps every promise, one who sees nothing and one who cries wolf do not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from almenara.testing.planted import CASES, MERGE, Case, Fault, Planted, alerts, batch_of, outcome, planted_of
from almenara.testing.planted.signals import business_paydays, minutes

BY_NAME = {case.name: case for case in CASES}
EACH = pytest.mark.parametrize("name", BY_NAME)


@cache
def planted(name: str) -> Planted:
    return BY_NAME[name].planted(seed=1)


def oracle(case: Planted) -> np.ndarray:
    """2 within faults, 0 elsewhere."""
    score = np.zeros(len(case.id))
    for fault in case.faults:
        score[(case.id == fault.series) & (case.time >= fault.start_ns) & (case.time < fault.end_ns)] = 2
    return score


@EACH
def test_an_oracle_keeps_every_promise(name: str) -> None:
    assert outcome(BY_NAME[name], planted(name), oracle(planted(name))).broken == ()


@EACH
def test_rows_are_columns_ordered_by_series(name: str) -> None:
    case = planted(name)
    assert case.id.dtype == np.int32
    assert case.time.dtype == np.int64
    assert case.value.dtype == np.float64
    assert len(case.id) == len(case.time) == len(case.value) == len(batch_of(case))
    assert (np.diff(case.id) >= 0).all()
    assert case.kind in ("gauge", "counter")
    assert BY_NAME[name].about


def test_whoever_sees_nothing_breaks_every_case_that_has_a_fault() -> None:
    for name, case in BY_NAME.items():
        seen = outcome(case, planted(name), np.zeros(len(planted(name).id)))
        assert bool(seen.broken) == bool(planted(name).faults), name


def test_the_same_seed_plants_the_same_and_another_one_something_else() -> None:
    case = BY_NAME["season_and_level"]
    assert np.array_equal(case.planted(3).value, case.planted(3).value)
    assert case.planted(3).faults == case.planted(3).faults
    assert not np.array_equal(case.planted(3).value, case.planted(4).value)


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(CASES)


# --- how an outcome is counted ----------------------------------------------------------------------------------------


def flat(rng: np.random.Generator) -> Planted:
    """A hundred rows, a fault from row 40 to row 49."""
    times = minutes(100)
    return planted_of(times, np.ones((100, 1)), [Fault(0, int(times[40]), int(times[50]))], 10)


def seen(*rows: int, within: int = 3) -> tuple[int, int]:
    """Faults found and false alerts where these rows are over the limit."""
    score = np.zeros(100)
    score[list(rows)] = 1
    case = Case(flat, within=within)
    out = outcome(case, case.planted(1), score)
    return out.found, out.false_alerts


def test_a_fault_is_found_by_a_row_near_its_start() -> None:
    assert seen(40) == (1, 0)
    assert seen(43) == (1, 0)
    assert seen(44) == (0, 0)
    assert seen(39) == (0, 1)


def test_rows_of_one_alert_count_once() -> None:
    assert seen(60, 61, 67) == (0, 1)
    assert seen(60, 68) == (0, 2)
    assert alerts(np.array([0, 1, 1, 0, 1], bool)).tolist() == [1]
    assert alerts(np.array([1, *[0] * MERGE, 1], bool)).tolist() == [0, MERGE + 1]


def test_an_alert_may_end_a_little_after_its_fault_and_no_later() -> None:
    assert seen(*range(40, 57)) == (1, 0)
    assert seen(*range(40, 60)) == (1, 1)


def test_nothing_counts_while_a_series_is_learned() -> None:
    assert seen(3, 9, 40) == (1, 0)
    assert seen(10, 40) == (1, 1)


def test_a_row_not_judged_is_not_over_the_limit_and_an_infinite_score_is_a_fault_of_the_detector() -> None:
    case = Case(flat)
    score = np.full(100, np.nan)
    score[40] = np.inf
    assert outcome(case, case.planted(1), score).broken == ("a score is infinite",)


def test_paydays_are_last_business_days() -> None:
    january = np.arange(np.datetime64("2026-01-01"), np.datetime64("2026-03-02")).astype(np.int64)
    days = business_paydays(january).astype("datetime64[D]").astype(str).tolist()
    assert days == ["2026-01-30", "2026-02-27"]
