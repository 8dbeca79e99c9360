"""Alarms of rules that are evaluated: every cell of the state table by answers, over a restart, and what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.alarm.book_case import T0, Table, book

from almenara.alarm.answers import Answer, AnswerMachine
from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.analysis.schedule import Schedule
from almenara.model.alarm import Transition
from almenara.model.series import encode_key
from almenara.model.time import DAY_NS, NS

EXPR = "sum by (host) (rate(errors[5m])) > 0.05"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


def answer(rule: Rule, second: float, **values: float | None) -> Answer:
    """host=value: alarming where it is over 0.05; None: not alarming, whatever it is."""
    value = np.array([0.0 if v is None else v for v in values.values()])
    keys = [encode_key("errors", {"host": host}) for host in values]
    knows_all = rule.condition.otherwise is not None
    return Answer(rule.name, rule.expr, T0 + round(second * NS), keys, value, value > 0.05, knows_all)


def take(one: Book, rule: Rule, second: float, **values: float | None) -> list[tuple[str, str, float]]:
    """(host, state, since) of what an answer changes."""
    return [brief(c) for c in one.take([answer(rule, second, **values)])]


def brief(change: Transition) -> tuple[str, str, float]:
    return dict(change.series.labels).get("host", ""), change.state.value, (change.since - T0) / NS


def make(path: Path, **options: object) -> tuple[Book, Rule]:
    rule = Rule("errors", EXPR, **options)  # type: ignore[arg-type]
    return book(path, Table(1), rule), rule


def test_a_series_of_an_answer_is_pending_fires_and_is_resolved(path: Path) -> None:
    one, rule = make(path, for_s=120)
    assert take(one, rule, 0, a=0.1, b=0.01) == [("a", "pending", 0)]
    assert take(one, rule, 60, a=0.1, b=0.01) == []
    assert take(one, rule, 120, a=0.1, b=0.2) == [("a", "firing", 0), ("b", "pending", 120)]
    assert take(one, rule, 180, a=0.01, b=0.01) == [("a", "resolved", 0), ("b", "inactive", 120)]


def test_keep_firing_for_outlasts_answers_that_say_otherwise(path: Path) -> None:
    one, rule = make(path, keep_firing_for_s=120)
    take(one, rule, 0, a=0.1)
    assert take(one, rule, 60, a=0.0) == []
    assert take(one, rule, 90, a=0.1) == []
    assert take(one, rule, 200, a=0.0) == []
    assert take(one, rule, 210, a=0.0) == [("a", "resolved", 0)]


def test_it_says_what_was_measured(path: Path) -> None:
    one, rule = make(path)
    (fired,) = one.take([answer(rule, 0, a=0.1)])
    assert (fired.evidence.value, fired.evidence.why) == (0.1, "0.1 is above 0.05")
    (over,) = one.take([answer(rule, 60, a=0.01)])
    assert over.evidence.why == "0.01 is not above 0.05"


@pytest.mark.parametrize(
    ("no_data", "of_pending", "of_firing", "of_inactive"),
    [
        ("keep", "no-data", "no-data", ""),
        ("alarm", "", "", "pending"),
        ("ok", "inactive", "resolved", ""),
        ("ignore", "", "", ""),
    ],
)
def test_a_series_without_data(no_data: str, of_pending: str, of_firing: str, of_inactive: str, path: Path) -> None:
    one, rule = make(path, for_s=60, no_data=no_data)
    take(one, rule, 0, firing=0.1, inactive=0.0)
    take(one, rule, 60, firing=0.1, pending=0.1, inactive=0.0)
    found = take(one, rule, 90)
    expected = [("firing", of_firing, 0), ("pending", of_pending, 60), ("inactive", of_inactive, 90)]
    assert sorted(found) == sorted(e for e in expected if e[1])
    assert all(c[1] == "firing" for c in take(one, rule, 100)), "it is said once; only a hold goes on"


def test_after_silence_it_goes_on_as_it_was_since_now(path: Path) -> None:
    one, rule = make(path, for_s=60)
    take(one, rule, 0, a=0.1)
    take(one, rule, 60, a=0.1, b=0.1)
    take(one, rule, 90)
    assert take(one, rule, 120, a=0.1, b=0.1) == [("a", "firing", 120), ("b", "pending", 120)]
    take(one, rule, 150)
    assert take(one, rule, 180, a=0.0, b=0.0) == [("a", "resolved", 120), ("b", "inactive", 120)]


def test_no_data_is_alarming_for_a_week(path: Path) -> None:
    one, rule = make(path, no_data="alarm")
    take(one, rule, 0, a=0.0)
    assert take(one, rule, 60) == [("a", "firing", 60)]
    (fired,) = one.open()
    assert fired.last.evidence.why == "no data"
    assert take(one, rule, 7 * DAY_NS / NS) == [("a", "resolved", 60)]


def test_what_is_not_in_an_answer_that_cannot_tell_is_over(path: Path) -> None:
    rule = Rule("gone", 'absent(up{job="x"})')
    one = book(path, Table(1), rule)
    key = encode_key("gone", {"job": "x"})
    (fired,) = one.take([Answer("gone", rule.expr, T0, [key], np.ones(1), np.ones(1, np.bool_))])
    assert (fired.state.value, fired.evidence.why) == ("firing", 'absent(up{job="x"}): 1')
    (over,) = one.take([Answer("gone", rule.expr, T0 + NS, [], np.zeros(0), np.zeros(0, np.bool_))])
    assert (over.state.value, over.evidence.why) == ("resolved", 'absent(up{job="x"}): not true any more')


def test_outside_of_its_schedule_an_answer_counts_for_nothing(path: Path) -> None:
    one, rule = make(path, schedule=Schedule.of(["Mon 00:00-01:00"]))
    take(one, rule, 0, a=0.1)
    assert [brief(c) for c in one.tick(T0 + 3600 * NS)] == [("a", "resolved", 0)]
    assert take(one, rule, 3660, a=0.1) == []


def test_an_answer_to_what_the_rule_said_before_counts_for_nothing(path: Path) -> None:
    one, rule = make(path)
    one.replace_rules([Rule("errors", EXPR.replace("0.05", "0.5"))])
    assert take(one, rule, 0, a=0.1) == []
    one.replace_rules([])
    assert take(one, rule, 0, a=0.1) == []


def test_texts_of_labels_and_annotations_are_filled_in(path: Path) -> None:
    texts = {"summary": "{{ $labels.host }}: {{ $value | humanizePercentage }} errors"}
    one, rule = make(path, labels={"team": "{{ $labels.host | toUpper }}"}, annotations=texts)
    (fired,) = one.take([answer(rule, 0, a=0.0712)])
    assert fired.annotations == {"summary": "a: 7.12% errors"}
    assert fired.labels == {"team": "A"}


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_after_a_restart_it_goes_on_and_tells_nothing_twice(path: Path, with_snapshot: bool) -> None:
    one, rule = make(path, for_s=60, keep_firing_for_s=120)
    take(one, rule, 0, a=0.1)
    take(one, rule, 60, a=0.1, b=0.1)
    take(one, rule, 100, a=0.1, b=0.1)
    state = one.state()
    one.close()
    again, _ = make(path, for_s=60, keep_firing_for_s=120)
    if with_snapshot:
        again.restore(state)
    assert take(again, rule, 119, a=0.1, b=0.1) == []
    assert take(again, rule, 125, a=0.0, b=0.1) == [("b", "firing", 60)]
    assert [brief(alarm.last) for alarm in again.open()] == [("a", "firing", 0), ("b", "firing", 60)]


def test_restart_equals_live_with_a_snapshot(path: Path) -> None:
    """keep_firing_for counts from the last time it was true, which only the snapshot knows."""
    one, rule = make(path, keep_firing_for_s=120)
    take(one, rule, 0, a=0.1)
    take(one, rule, 100, a=0.1)
    state = one.state()
    one.close()
    again, _ = make(path, keep_firing_for_s=120)
    again.restore(state)
    assert take(again, rule, 150, a=0.0) == []
    assert take(again, rule, 219, a=0.0) == []
    assert take(again, rule, 220, a=0.0) == [("a", "resolved", 0)]


def test_a_snapshot_of_before_there_were_such_rules_is_taken_up(path: Path) -> None:
    one, rule = make(path)
    take(one, rule, 0, a=0.1)
    state = {name: column for name, column in one.state().items() if name != "own"}
    one.close()
    again, _ = make(path)
    again.restore(state)
    assert take(again, rule, 60, a=0.0) == [("a", "resolved", 0)]


def test_a_removed_rule_resolves_its_alarms_and_a_changed_one_goes_on(path: Path) -> None:
    one, rule = make(path)
    take(one, rule, 0, a=0.1)
    wider = Rule("errors", EXPR, severity="critical")
    assert one.replace_rules([wider]) == []
    assert take(one, wider, 60, a=0.1) == []
    (over,) = one.replace_rules([])
    assert (over.state.value, over.evidence.why) == ("resolved", "its rule was removed")


def test_a_rule_that_is_evaluated_from_now_on_begins_anew(path: Path) -> None:
    one = book(path, Table(1), Rule("r", "cpu > 90"))
    one.replace_rules([rule := Rule("r", "cpu > 90", every_s=60)])
    assert rule.kind == "expression"
    assert take(one, rule, 0, a=0.1) == [("a", "firing", 0)]


def test_series_that_come_and_go_do_not_gather_for_ever() -> None:
    machine = AnswerMachine(rule := Rule("errors", EXPR))
    for n in range(40):
        values = {f"pod{n}x{k}": 0.01 for k in range(500)} | {"stays": 0.1}
        machine.take(answer(rule, n * 60, **values))  # type: ignore[arg-type]
    assert len(machine.series) < 14_000
    (open,) = machine.open()
    assert machine.series[int(open)].labels == (("host", "stays"),)


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="1 series, 2 values"):
        Answer("r", "x > 1", T0, [b"a"], np.zeros(2), np.zeros(1, np.bool_))
