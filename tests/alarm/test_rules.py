"""Rules of rules: which rows they judge, what they say of them, and in which words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.alarm.book_case import T0, Table, book, rows

from almenara.alarm.rules import Rule
from almenara.model.alarm import Evidence, Severity
from almenara.model.batch import Verdict
from almenara.model.errors import NotSupported, QuerySyntax
from almenara.model.time import NS
from almenara.query import match_all

NAN = float("nan")


def verdict(score: list[float]) -> Verdict:
    n = len(score)
    return Verdict(np.array(score), *np.full((3, n), NAN), np.ones(n), np.full(n, -1, np.int16))


@pytest.mark.parametrize(
    ("op", "true"),
    [(">", [0, 0, 1]), (">=", [0, 1, 1]), ("<", [1, 0, 0]), ("<=", [1, 1, 0]), ("==", [0, 1, 0]), ("!=", [1, 0, 1])],
)
def test_a_threshold_judges_the_value(op: str, true: list[int]) -> None:
    judged, states, found = Rule("r", f"cpu {op} 90").judge(np.array([89.0, 90.0, 91.0]), verdict([0, 0, 0]))
    assert judged.tolist() == [89, 90, 91]
    assert states.all()
    assert found.tolist() == [bool(x) for x in true]


def test_a_missing_value_states_nothing() -> None:
    _, states, _ = Rule("r", "cpu != 90").judge(np.array([NAN, 1.0]), verdict([5, 5]))
    assert states.tolist() == [False, True]


def test_an_anomaly_rule_judges_the_score_and_waits_until_it_is_ready() -> None:
    judged, states, true = Rule("r", "anomaly_score > 1").judge(np.array([90.0] * 3), verdict([NAN, 1.0, 1.1]))
    assert (states.tolist(), true.tolist()) == ([False, True, True], [False, False, True])
    assert judged[2] == 1.1


def test_of_stands_for_the_name_of_the_series_that_is_judged() -> None:
    rule = Rule("r", 'anomaly_score{of=~"cpu.*", host="a", detector="seasonal"} > 1')
    assert match_all(rule.matchers, {"__name__": "cpu_usage", "host": "a"})
    assert not match_all(rule.matchers, {"__name__": "mem", "host": "a"})
    assert not match_all(rule.matchers, {"__name__": "cpu_usage", "host": "b"})
    assert rule.detector == "seasonal"


def test_severity_is_the_rules_own_or_by_score_or_warning() -> None:
    assert Rule("r", "cpu > 1").severity_of(9) is Severity.WARNING
    assert Rule("r", "cpu > 1", severity="major").severity_of(9) is Severity.MAJOR
    assert [Rule("r", "anomaly_score > 1").severity_of(s).value for s in (1.1, 1.3, 1.6, 2.1)] == list(Severity)


def test_words_say_how_the_value_lies_to_the_limit() -> None:
    rule = Rule("r", "cpu >= 90")
    assert rule.evidence(Evidence(93.1), True).why == "93.1 is at or above 90"
    assert rule.evidence(Evidence(80.0), False).why == "80 is not at or above 90"


def test_words_of_an_anomaly_are_the_detectors() -> None:
    rule = Rule("r", "anomaly_score > 1")
    said = Evidence(52.3, 1.5, 34.1, 30.2, 38.0, "seasonal", "Rose suddenly: 52.3, expected 30.2 to 38")
    assert rule.evidence(said, True) == said


def test_a_rule_of_one_detector_hears_that_one_alone(tmp_path: Path) -> None:
    table = Table(1)
    rules = [
        Rule("change", 'anomaly_alert{detector="change"} == 1', keep_firing_for_s=60),
        Rule("any", "anomaly_score > 1"),
    ]
    one = book(tmp_path / "hub.db", table, *rules)
    told = []
    for second, seasonal, change in ((0, 5.0, 0.1), (1, 5.0, 1.2), (2, 0.1, 0.0), (70, 0.1, 0.0)):
        batch, merged = rows(table, [(0, second, max(seasonal, change))], scored=True)
        parts = {}
        for name, score in (("seasonal", seasonal), ("change", change)):
            _, said = rows(table, [(0, second, score)], scored=True)
            parts[name] = lambda said=said, score=score: replace(said, nth=np.array([int(score >= 1)], np.int32))
        told += one.step(second, batch, replace(merged, nth=np.zeros(1, np.int32), parts=parts), 0)
    assert [(c.rule, c.state.value, (c.time - T0) // NS) for c in told] == [
        ("any", "firing", 0), ("change", "firing", 1), ("any", "resolved", 2), ("change", "resolved", 70),
    ]  # fmt: skip


def test_what_is_no_rule_is_refused() -> None:
    with pytest.raises(NotSupported):
        Rule("r", "cpu")
    with pytest.raises(QuerySyntax):
        Rule("r", "cpu >")
    with pytest.raises(ValueError, match="must not be negative"):
        Rule("r", "cpu > 1", -1)
    with pytest.raises(ValueError, match="terrible"):
        Rule("r", "cpu > 1", severity="terrible")
