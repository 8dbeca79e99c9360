"""What a detector said, in words: one sentence that names the cause, the value and what was expected."""

from __future__ import annotations

import math

import pytest

from almenara.detectors.seasonal import Seasonal
from almenara.model.causes import Causes, against, figure, why

NAN = float("nan")
TWO = Causes.of([("seasonal", ("rose suddenly", "fell suddenly")), ("drift", ("drifts",))])


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (20.0, "Higher than usual for this time of day and week: 20, expected 5 to 15"),
        (1.0, "Lower than usual for this time of day and week: 1, expected 5 to 15"),
        (20.0, "Higher than lately (this time of day is not learned yet): 20, expected 5 to 15"),
        (1.0, "Lower than lately (this time of day is not learned yet): 1, expected 5 to 15"),
        (20.0, "Rose suddenly: 20, expected 5 to 15"),
        (1.0, "Fell suddenly: 1, expected 5 to 15"),
        (10.0, "Has not changed for far longer than usual: 10"),
    ],
)
def test_each_cause_makes_one_plain_sentence(value: float, sentence: str) -> None:
    assert sentence in [why(value, 1.5, 5, 15, cause) for cause in Seasonal.causes]


def test_without_a_cause_the_band_and_the_score_say_what_it_is() -> None:
    assert why(20, 1.5, 5, 15) == "Higher than usual: 20, expected 5 to 15"
    assert why(1, 0.9, 5, 15) == "Lower than usual: 1, expected 5 to 15"
    assert why(7, 1.5, 5, 15) == "Unusual: 7"
    assert why(7, 0.2, 5, 15) == "As usual: 7"
    assert why(7, NAN, NAN, NAN) == "Not learned yet: 7"
    assert why(7, 1.5, NAN, NAN, "odd together with its neighbours") == "Odd together with its neighbours: 7"
    assert why(NAN, NAN, 5, 15) == "No value"


def test_a_value_and_the_limit_it_passed_are_never_shown_as_the_same_number() -> None:
    assert why(100.004, 1.5, 5, 100.001, "rose suddenly") == "Rose suddenly: 100.004, expected 5 to 100.001"
    assert why(0.99999, 1.5, 1, 6) == "Lower than usual: 0.99999, expected 1 to 6"


@pytest.mark.parametrize(
    ("value", "yhat", "words"),
    [
        (384, 120, "3.2 times the usual 120"),
        (12_000, 10, "1,200 times the usual 10"),
        (1.2, 1, "20% above the usual 1"),
        (30, 120, "75% below the usual 120"),
        (0, 120, "100% below the usual 120"),
        (5, -5, "10 above the usual -5"),
        (-15, 5, "20 below the usual 5"),
        (5, 0, "5 above the usual 0"),
        (100.1, 100, ""),
        (5, NAN, ""),
    ],
)
def test_a_value_is_told_against_what_is_usual(value: float, yhat: float, words: str) -> None:
    assert against(value, yhat) == words


def test_a_sentence_says_which_season_and_how_many_samples() -> None:
    cause = "higher than usual for this time of day and week"
    said = why(384, 1.5, 100, 140, cause, yhat=120, when="Sunday 03:30, Easter", nth=5)
    assert said == (
        "Higher than usual for this time of day and week (Sunday 03:30, Easter): 384, 3.2 times the usual 120, "
        "expected 100 to 140 (sample 5 of this anomaly)"
    )
    assert why(3, 1.5, 5, 9, "fell suddenly", when="Sunday 03:30", nth=1) == "Fell suddenly: 3, expected 5 to 9"


def test_a_note_of_the_detector_goes_on_from_the_cause() -> None:
    assert why(15, 2, 9, 11, "level rose", note="from about 10 to 15 since 12:30") == (
        "Level rose from about 10 to 15 since 12:30: 15"
    )


def test_a_value_that_does_not_move_has_few_digits_and_no_band() -> None:
    value = 21.437_812_345_678
    assert why(value, 1.2, 20, math.nextafter(value, 0), "has not changed for far longer than usual") == (
        "Has not changed for far longer than usual: 21.44"
    )


def test_a_band_with_one_end_says_only_that() -> None:
    assert why(101, 1.01, NAN, 100, "outside") == "Outside: 101, expected at most 100"
    assert why(-1, 1.01, 0, NAN, "outside") == "Outside: -1, expected at least 0"


def test_large_figures_have_no_exponent() -> None:
    assert [figure(v) for v in (0.0, 0.00403, 52.34567, 9999.6, 12345.0, 6.1432e9, -6.1432e9)] == [
        "0", "0.00403", "52.35", "10,000", "12,340", "6,143,000,000", "-6,143,000,000",
    ]  # fmt: skip


def test_evidence_names_the_detector_whose_cause_it_is() -> None:
    said = [TWO.evidence(20, 1.5, 10, 5, 15, cause) for cause in (0, 1, 2)]
    assert [one.detector for one in said] == ["seasonal", "seasonal", "drift"]
    assert said[2].why == "Drifts: 20, 2 times the usual 10, expected 5 to 15"
    assert [TWO.first(name) for name in ("seasonal", "drift")] == [0, 2]


def test_without_a_cause_the_only_detector_is_named() -> None:
    one = Causes.of([("seasonal", ("rose suddenly",))])
    assert one.evidence(10, 0.1, 10, 5, 15, -1).detector == "seasonal"
    assert TWO.evidence(10, 0.1, 10, 5, 15, -1).detector == ""
    assert TWO.evidence(10, 0.1, 10, 5, 15, -1, "drift").detector == "drift"
