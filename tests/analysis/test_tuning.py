"""Options on what counts: they do what options of these names do elsewhere, and score and band keep to each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import naive
from almenara.analysis.tuning import Condition, SkipRule, Tuning, rescaled, shown, tuned
from almenara.model.batch import Verdict

NAN = float("nan")
OUTSIDE, STUCK = 9, 6


def verdict(*score: float, yhat: float = 100.0, half: float = 10.0, cause: int = 0) -> Verdict:
    n = len(score)
    columns = (np.array(score), np.full(n, yhat), np.full(n, yhat - half), np.full(n, yhat + half))
    return Verdict(*columns, np.ones(n), np.full(n, cause, np.int16))


def scores(value: list[float], score: list[float], cause: int = 0, **options: Any) -> list[float]:
    said = verdict(*score, cause=cause)
    return tuned(np.array(value), said, Tuning.of(**options), OUTSIDE, (STUCK,)).score.tolist()


def test_only_the_asked_side_counts() -> None:
    assert scores([120, 80], [1.5, 1.5]) == [1.5, 1.5]
    assert scores([120, 80], [1.5, 1.5], detection_direction="above_expected") == [1.5, 0]
    assert scores([120, 80], [1.5, 1.5], detection_direction="below_expected") == [0, 1.5]


def test_a_value_that_does_not_move_lies_on_no_side() -> None:
    wanted = {"detection_direction": "above_expected", "min_dev_from_expected": 50}
    assert scores([95], [1.2], cause=STUCK, **wanted) == [1.2]


def test_too_near_to_what_is_expected_is_no_anomaly() -> None:
    assert scores([119, 120, 81, 80], [1.5] * 4, min_dev_from_expected=20) == [0, 1.5, 0, 1.5]
    assert scores([119, 81], [1.5] * 2, min_dev_from_expected=[30, 10]) == [1.5, 0]


def test_the_least_distance_may_be_in_percent_of_what_is_expected() -> None:
    assert scores([114, 115, 84], [1.5] * 3, min_rel_dev_from_expected=15) == [0, 1.5, 1.5]
    both = {"min_rel_dev_from_expected": 15, "min_dev_from_expected": 20}
    assert scores([116, 121], [1.5] * 2, **both) == [0, 1.5]


def test_outside_of_its_range_is_an_anomaly_whatever_the_detector_says() -> None:
    said = tuned(
        np.array([101.0, -1.0, 50.0, NAN]), verdict(0.2, 3.0, 0.2, NAN), Tuning.of(data_range=[0, 100]), OUTSIDE
    )
    np.testing.assert_array_equal(said.score, [1.01, 3.0, 0.2, NAN])
    assert said.cause.tolist() == [OUTSIDE, OUTSIDE, -1, 0]
    assert said.upper[0] <= 100


def test_the_range_counts_from_the_first_row_on() -> None:
    said = tuned(np.array([-3.0]), verdict(NAN, yhat=NAN), Tuning.of(data_range=[0, math.inf]), OUTSIDE)
    assert (said.score[0], said.lower[0]) == (1.01, 0)
    assert np.isnan(said.upper[0])


def test_a_rule_skips_results_where_all_its_conditions_hold() -> None:
    rule = {"conditions": ["actual < 5", "typical >= 1"], "actions": ["skip_result"]}
    assert scores([4, 6], [2.0, 2.0], rules=[rule]) == [0, 2]
    elastic = {"conditions": [{"applies_to": "diff_from_typical", "operator": "lt", "value": 30}]}
    assert scores([75, 125, 60], [2.0] * 3, rules=[elastic]) == [0, 0, 2]


def test_what_is_not_to_be_learned_is_not_shown() -> None:
    rule = {"conditions": "actual < 5", "actions": ["skip_model_update"]}
    np.testing.assert_array_equal(shown(np.array([4.0, 5.0]), Tuning.of(rules=[rule])), [NAN, 5.0])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"detection_direction": "up"}, "detection_direction: found 'up', expected one of both"),
        ({"min_dev_from_expected": -1}, "min_dev_from_expected: found .* not negative"),
        ({"min_dev_from_expected": [1, 2, 3]}, "min_dev_from_expected: .* a number or two"),
        ({"data_range": [5, 1]}, "data_range: .* lower bound first"),
        ({"anomaly_score_outside_data_range": 0.5}, "at least 1"),
        ({"rules": [{"conditions": []}]}, "rules: found no conditions"),
        ({"rules": [{"conditions": ["actual ~ 5"]}]}, "rules: found 'actual ~ 5', expected a comparison"),
        ({"rules": [{"conditions": ["weekday < 5"]}]}, "rules: found 'weekday < 5'"),
        ({"rules": [{"conditions": ["actual < 5"], "actions": ["force"]}]}, "actions: found .*force"),
        ({"rules": [{"conditions": ["typical < 5"], "actions": ["skip_model_update"]}]}, "on actual only"),
        ({"rules": [{"when": "x"}]}, "rules: found .*when.*, expected a table"),
    ],
)
def test_mistakes_say_what_was_found_and_expected(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Tuning.of(**options)


def test_conditions_read_back() -> None:
    assert Condition.of("typical>= -2.5e3") == Condition("typical", ">=", -2500.0)
    assert SkipRule.of({"conditions": "actual < 5"}).actions == ("skip_result",)


def random_rows(seed: int) -> tuple[np.ndarray, Verdict]:
    rng = np.random.default_rng(seed)
    n = 400
    yhat, half = np.round(rng.normal(10, 10, n), 1), rng.choice([0.0, 1.0, 5.0], n)
    value = np.round(yhat + rng.normal(0, 6, n), 1)
    outside = (value < yhat - half) | (value > yhat + half)
    score = np.where(outside, 1 + rng.random(n), 0.999 * rng.random(n))
    missing = rng.random(n) < 0.1
    for column in (score, yhat):
        column[missing] = NAN
    cause = np.where(outside & ~missing, rng.integers(0, 8, n), -1).astype(np.int16)
    return value, Verdict(score, yhat, yhat - half, yhat + half, np.ones(n), cause)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"detection_direction": "above_expected", "min_dev_from_expected": 3},
    {"detection_direction": "below_expected", "data_range": [0, 20]},
    {"min_rel_dev_from_expected": [10, 60], "min_dev_from_expected": [0, 4], "data_range": [-5, math.inf]},
    {"rules": [{"conditions": ["actual < 5", "diff_from_typical <= 6"]}, {"conditions": ["typical > 20"]}]},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_rows_are_those_of_the_naive_twin_and_score_and_band_say_the_same(options: dict[str, Any]) -> None:
    tuning = Tuning.of(**options)
    value, said = random_rows(5)
    found = tuned(value, said, tuning, OUTSIDE, (STUCK,))
    columns = ("score", "yhat", "lower", "upper", "cause")
    before = zip(value.tolist(), *(getattr(said, c).tolist() for c in columns), strict=True)
    expected = [naive.tuned_row(*row, tuning, OUTSIDE, (STUCK,)) for row in before]
    for column, right in zip(columns, zip(*expected, strict=True), strict=True):
        np.testing.assert_array_equal(getattr(found, column), right, err_msg=column)
    ready = ~np.isnan(said.score)
    outside = (value < found.lower) | (value > found.upper)
    assert np.array_equal(found.score[ready] >= 1, outside[ready])
    assert (found.lower <= found.yhat)[ready & (value >= tuning.data_range[0])].all()


def test_another_limit_is_another_scale_of_the_same_score() -> None:
    value, said = random_rows(6)
    found = rescaled(value, said, 1e-4, np.full(len(value), 1e-8))
    np.testing.assert_allclose(found.score, said.score / 2)
    ready = ~np.isnan(said.score)
    outside = (value < found.lower) | (value > found.upper)
    assert np.array_equal(found.score[ready] >= 1, outside[ready])
    same = rescaled(value, said, 1e-4, np.full(len(value), NAN))
    np.testing.assert_array_equal(same.score, said.score)
    np.testing.assert_array_equal(same.upper, said.upper)
