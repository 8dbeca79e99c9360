"""Conditions of rules: what alarms, what is known not to, and which other rules they speak of."""

from __future__ import annotations

import pytest
from tests.query.memory_source import MemorySource

from almenara.model.errors import NotSupported, QuerySyntax
from almenara.model.series import Series
from almenara.model.time import NS
from almenara.query import evaluate, parse, parse_condition

NOW = 1_760_000_000 * NS
SOURCE = MemorySource(
    [(Series.of("cpu", host=h), NOW - 10 * NS, v) for h, v in (("a", 95.0), ("b", 20.0), ("c", 90.0))]
    + [(Series.of("limit", host=h), NOW - 10 * NS, v) for h, v in (("a", 50.0), ("b", 50.0), ("d", 50.0))]
)


def hosts(expr: object) -> dict[str, float]:
    found = evaluate(expr, NOW, NOW, 0, SOURCE)  # type: ignore[arg-type]
    return {one["host"]: value for one, value in zip(found.labels, found.values[:, 0].tolist(), strict=True)}


@pytest.mark.parametrize(
    ("text", "alarming", "known"),
    [
        ("cpu > 90", {"a": 95}, {"b": 20, "c": 90}),
        ("90 <= cpu", {"a": 95, "c": 90}, {"b": 20}),
        ("cpu > limit", {"a": 95}, {"b": 20}),
        ("sum by (host) (cpu) != 20", {"a": 95, "c": 90}, {"b": 20}),
    ],
)
def test_of_a_comparison_the_others_are_known_too(text: str, alarming: dict, known: dict) -> None:
    found = parse_condition(text)
    assert (hosts(found.expr), hosts(found.otherwise)) == (alarming, known)


def test_of_anything_else_nobody_can_tell_the_others_from_silence() -> None:
    for text in ("absent(cpu)", "cpu > 90 and limit", "rate(cpu[5m])", "cpu > bool 5"):
        assert parse_condition(text).otherwise is None


def test_only_a_plain_threshold_is_judged_row_by_row() -> None:
    matchers, op, number = parse_condition('cpu{host="a"} > 2 * 45').threshold  # type: ignore[misc]
    assert ([str(m) for m in matchers], op, number) == (['__name__="cpu"', 'host="a"'], ">", 90.0)
    for text in ("rate(cpu[5m]) > 1", "cpu offset 5m > 1", "90 < cpu", "cpu > limit", 'rule("a") > 0'):
        assert parse_condition(text).threshold is None
    assert parse_condition("rate(cpu[5m]) > 1").limit == (">", 1.0)


def test_rules_are_spoken_of_by_name() -> None:
    found = parse_condition("rule(\"disk full\") and on (host) rule( 'b' ) unless cpu > 5")
    assert found.rules == ("disk full", "b")
    assert not found.is_of_rules_alone
    assert parse_condition('rule("a") or rule("b")').is_of_rules_alone
    assert parse_condition("rule > 5").rules == (), "a series may be called so"
    assert parse_condition('cpu{x="rule(\\"a\\")"} > 5').rules == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 > bool 2", "is a number; a rule wants series"),
        ('ALERTS{alertname="a"}', 'rule("NAME") stands for'),
        ('count_over_time(rule("a")[5m]) > 3', "known for now only"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(NotSupported) as caught:
        parse_condition(text)
    assert said in str(caught.value)


def test_mistakes_keep_their_place() -> None:
    with pytest.raises(QuerySyntax, match="column 6"):
        parse_condition("cpu > ")
    with pytest.raises(QuerySyntax):
        parse_condition("rule(a) > 1")
    assert parse("cpu") is not None
