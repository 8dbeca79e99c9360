"""Detectors with options on what counts, and alarm budgets: by selector, the same live and replayed."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from almenara.analysis.tuning import Tuning
from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import Series, SeriesTable
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, WEEK_NS
from almenara.pipeline.budgets import Budget, Budgets, limit_of
from almenara.pipeline.counters import Counters
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.judge import Judge, Watch
from almenara.pipeline.tuned import Chosen, Groups, Tuned
from almenara.query import parse_selector
from almenara.testing.detectors import START, a_score_of_one_and_the_band_say_the_same

KEYS = [Series.of("load", host="a").key, Series.of("load", host="b").key, Series.of("rain").key]
A, LOAD = tuple(parse_selector('{host="a"}')), tuple(parse_selector("load"))
ONLY_UP = Tuning.of(detection_direction="above_expected")


def rows(n: int = 400, series: int = 2, drop: float = -40.0, every_ns: int = MINUTE_NS) -> Batch:
    """Series of noise about 50 that fall at their end."""
    rng = np.random.default_rng(4)
    value = 50 + rng.normal(size=(series, n))
    value[:, -10:] += drop
    time = np.tile(START + np.arange(n) * every_ns, series)
    return Batch(SeriesTable(KEYS[:series]), np.repeat(np.arange(series, dtype=np.int32), n), time, value.ravel())


def test_options_count_for_the_series_that_they_select() -> None:
    batch = rows()
    said = Tuned(Seasonal(), [Chosen(A, ONLY_UP)]).step(batch)
    plain = Seasonal().step(batch)
    host_a = batch.id == 0
    assert (plain.score >= 1).any()
    assert not (said.score[host_a] >= 1).any()
    np.testing.assert_array_equal(said.score[~host_a], plain.score[~host_a])


def test_of_several_options_the_first_that_fits_counts() -> None:
    assert Groups([A, LOAD]).of(SeriesTable(KEYS)).tolist() == [0, 1, -1]
    index = SeriesIndex()
    groups = Groups([LOAD])
    index.add(KEYS[:1])
    assert groups.of(index).tolist() == [0]
    index.add(KEYS)
    assert groups.of(index).tolist() == [0, 0, -1]


def test_what_is_learned_is_the_detectors_own() -> None:
    batch = rows()
    plain, with_options = Seasonal(), Tuned(Seasonal(), [Chosen((), ONLY_UP)])
    plain.step(batch)
    with_options.step(batch)
    assert plain.state()["slots"].tobytes() == with_options.state()["slots"].tobytes()
    other = Tuned(Seasonal(), [Chosen((), ONLY_UP)])
    other.restore(with_options.state())
    other.adopt(np.array([1], np.int32), Tuned(Seasonal(), []))
    assert other.warmup_s == Seasonal().warmup_s


def test_rows_that_are_not_to_be_learned_leave_no_trace() -> None:
    rule = {"conditions": ["actual < 20"], "actions": ["skip_result", "skip_model_update"]}
    detector = Tuned(Seasonal(), [Chosen((), Tuning.of(rules=[rule]))])
    batch = rows()
    said = detector.step(batch)
    assert np.isnan(said.score[batch.value < 20]).all()
    without = Seasonal()
    without.step(Batch(batch.series, batch.id, batch.time, np.where(batch.value < 20, np.nan, batch.value)))
    assert detector.state()["slots"].tobytes() == without.state()["slots"].tobytes()


def test_the_contract_of_score_and_band_holds_with_options() -> None:
    a_score_of_one_and_the_band_say_the_same(lambda: Tuned(Seasonal(), [Chosen((), Tuning.of(data_range=[10, 30]))]))


def judge(budgets: Budgets) -> tuple[Judge, SeriesIndex]:
    index = SeriesIndex()
    index.add(KEYS)
    make = partial(Tuned, Seasonal(), [], budgets)
    return Judge(index, [Watch("seasonal", (), make)], Counters(), budgets=budgets), index


def test_a_budget_sets_the_limit_by_the_rows_of_a_week() -> None:
    budgets = Budgets([Budget("load", LOAD, 7.0)])
    one, index = judge(budgets)
    assert np.isnan(budgets.limits).all()
    batch = rows()
    one.step(Batch(index, batch.id, batch.time, batch.value))
    (kept,) = one.budgets_kept()
    assert kept.series == 2
    assert kept.rows_a_week == pytest.approx(2 * WEEK_NS / MINUTE_NS)
    assert kept.p_limit == limit_of(7.0, kept.rows_a_week) <= 7 / kept.rows_a_week
    assert kept.p_limit > 0.75 * 7 / kept.rows_a_week


def test_the_anomalies_that_began_are_held_against_the_budget_across_a_restart() -> None:
    rain = tuple(parse_selector("rain"))
    budgets = Budgets([Budget("load", LOAD, 7.0), Budget("rain", rain, 1.0)])
    one, index = judge(budgets)
    batch = rows()
    verdict, _ = one.step(Batch(index, batch.id, batch.time, batch.value))
    began = int((verdict.nth == 1).sum())
    assert began == 2
    kept, rest = one.budgets_kept()
    assert (kept.alerts, rest.alerts) == (2, 0)
    assert kept.weeks == pytest.approx(399 * MINUTE_NS / WEEK_NS)
    assert kept.low < kept.rate < kept.high
    other, _ = judge(Budgets([Budget("rain", rain, 1.0), Budget("new", A, 1.0), Budget("load", LOAD, 7.0)]))
    other.restore(one.rest(), [(0, one.part(0, len(index)))])
    again = {one.name: one for one in other.budgets_kept()}
    assert (again["load"].alerts, again["load"].p_limit, again["new"].alerts) == (2, kept.p_limit, 0)
    other.step(Batch(index, batch.id, batch.time + DAY_NS, batch.value))
    assert [one.series for one in other.budgets_kept()] == [0, 1, 1], "of several that fit the first counts"


def test_a_scaled_score_is_that_of_the_limit_live_and_replayed() -> None:
    budgets = Budgets([Budget("load", LOAD, 7.0)])
    budgets.limits = np.array([1e-8])
    batch = rows()
    np.testing.assert_allclose(Tuned(Seasonal(), [], budgets).step(batch).score, Seasonal().step(batch).score / 2)


def test_alerts_older_than_four_weeks_no_longer_count() -> None:
    budgets = Budgets([Budget("all", (), 1.0)])
    id, value = np.zeros(1, np.int32), np.zeros(1)
    for day in range(60):
        time = np.array([START + day * DAY_NS], np.int64)
        budgets.step(
            id, time, value, np.array([0]) if day % 3 == 0 else np.empty(0, np.int64), lambda: np.zeros(1, np.int16)
        )
    (kept,) = budgets.kept(np.zeros(1, np.int16))
    assert kept.weeks == 4
    assert kept.alerts == sum(day % 3 == 0 for day in range(32, 60))


def test_series_that_are_gone_have_no_part_in_a_week() -> None:
    budgets = Budgets([Budget("all", (), 1.0)])
    group = np.zeros(2, np.int16)
    time = START + np.arange(0, 5) * HOUR_NS
    none = np.empty(0, np.int64)
    budgets.step(np.zeros(5, np.int32), time, np.zeros(5), none, lambda: group)
    budgets.step(np.ones(50, np.int32), START + np.arange(50) * 2 * HOUR_NS, np.zeros(50), none, lambda: group)
    (kept,) = budgets.kept(group)
    assert (kept.series, kept.rows_a_week) == (1, 84)
