"""Runs tests of rules: their series go through a rehearsal, and what fires then, and is told, is compared."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from almenara.alarm.answers import Answer
from almenara.alarm.book import Book
from almenara.alarm.rules import ALERT, SCORE, Rule
from almenara.analysis.alerts import Anomalies
from almenara.config.rule_tests import Expected, Input, RuleTest, RuleTests
from almenara.model.alarm import State, Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.series import encode_key
from almenara.model.time import NS, format_duration
from almenara.pipeline.conditions import answer
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.rehearsal import Rehearsal, Sent
from almenara.query import NAME, Matcher, evaluate, parse, parse_selector
from almenara.stores.memory import Memory

#: Tests begin here: a Monday at midnight, UTC.
BEGIN_NS = 1_767_571_200 * NS


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that is not as expected: which test, what of it, and both sides as lines of a diff."""

    test: str
    what: str
    diff: tuple[str, ...]


def run_tests(tests: RuleTests) -> list[Failure]:
    """What is not as expected. Raises AlmenaraError where a test cannot be run."""
    return [failure for test in tests.tests for failure in _run(test, tests)]


def _run(test: RuleTest, tests: RuleTests) -> list[Failure]:
    index, batch, verdict = _rows(test)
    failures = [failure for one in test.answers for failure in _answers(test, one, _Rows(index, batch))]
    moments = sorted({one.at_ns for one in (*test.alerts, *test.notices)})
    notifiers = tests.told if tests.told is not None else {"everybody": ()}
    causes = Causes.of([("test", ("anomaly score of the test",))])
    with Rehearsal(
        tests.rules, index, notifiers, causes=causes, ask=_asking(index, batch), step_ns=min(tests.every_ns, 300 * NS)
    ) as rehearsal:
        done = 0
        times = np.asarray(batch.time)
        for moment in moments:
            until = BEGIN_NS + moment
            rows = np.flatnonzero((times > done) & (times <= until))
            rehearsal.step(*_part(batch, verdict, rows))
            rehearsal.advance(max(until, BEGIN_NS))
            done = until
            failures += [f for one in test.alerts if one.at_ns == moment for f in _alerts(test, one, rehearsal.book)]
            failures += [f for one in test.notices if one.at_ns == moment for f in _notices(test, one, rehearsal.sent)]
    return failures


def _rows(test: RuleTest) -> tuple[SeriesIndex, Batch, Verdict]:
    """The rows of all series. Values of `anomaly_score{of="cpu"}` are what detectors say of the series cpu."""
    index = SeriesIndex()
    id, time, value, score = [], [], [], []
    for one in test.inputs:
        labels, is_score = _judged(one)
        number = int(index.add([encode_key(labels.get(NAME, ""), {k: v for k, v in labels.items() if k != NAME})])[0])
        at = np.flatnonzero(one.there)
        id.append(np.full(len(at), number, np.int32))
        time.append(BEGIN_NS + at * test.interval_ns)
        value.append(one.value[at])
        score.append(one.value[at] if is_score else np.full(len(at), np.nan))
    columns = [np.concatenate([np.empty(0, dtype), *parts]) for dtype, parts in (
        (np.int32, id), (np.int64, time), (np.float64, value), (np.float64, score)
    )]  # fmt: skip
    order = np.lexsort((columns[1], columns[0]))
    ids, times, values, scores = (column[order] for column in columns)
    n, nan = len(ids), np.full(len(ids), np.nan)
    nth = Anomalies().step(ids.astype(np.int32), scores)
    verdict = Verdict(scores, nan, nan, nan, np.ones(n), np.full(n, -1, np.int16), nth=nth)
    return index, Batch(index, ids.astype(np.int32), times.astype(np.int64), values), verdict


def _judged(one: Input) -> tuple[Mapping[str, str], bool]:
    if one.labels.get(NAME) not in (SCORE, ALERT):
        return one.labels, False
    labels = {k: v for k, v in one.labels.items() if k not in (NAME, "of", "detector")}
    return labels | {NAME: one.labels.get("of", "")}, True


def _part(batch: Batch, verdict: Verdict, rows: np.ndarray) -> tuple[Batch, Verdict]:
    names = ("score", "yhat", "lower", "upper", "share", "cause", "nth")
    some = {name: np.asarray(getattr(verdict, name))[rows] for name in names}
    return Batch(batch.series, *(np.asarray(c)[rows] for c in (batch.id, batch.time, batch.value))), Verdict(**some)


def _asking(index: SeriesIndex, batch: Batch) -> Callable[[Rule, int, Book], Answer]:
    """What works out the answers of rules that are evaluated, over the rows of a test."""
    store, rows = Memory(), _Rows(index, batch)
    store.add_series(0, [index.keys[i] for i in range(len(index))])
    store.append(batch, 1)
    reader = store.reader()
    return lambda rule, now_ns, book: answer(rule, now_ns, rows, reader, index, book.open())


class _Rows:
    """What expressions select from: the rows of a test."""

    def __init__(self, index: SeriesIndex, batch: Batch):
        self._index, self._batch = index, batch

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int, /) -> Batch:
        """As `almenara.query.Source` has it."""
        id, time = np.asarray(self._batch.id), np.asarray(self._batch.time)
        keep = np.isin(id, self._index.select(matchers)) & (time > start_ns) & (time <= end_ns)
        return Batch(self._index, id[keep], time[keep], np.asarray(self._batch.value)[keep])


def _answers(test: RuleTest, expected: Expected, rows: _Rows) -> list[Failure]:
    at = BEGIN_NS + expected.at_ns
    found = evaluate(parse(expected.name), at, at, 0, rows)
    got = sorted(_lines(_sample(labels, value[-1]) for labels, value in zip(found.labels, found.values, strict=True)))
    want = []
    for row in expected.rows:
        text = str(row.get("labels", ""))
        labels = {} if text in ("", "{}") else {m.label: m.value for m in parse_selector(text)}
        want.append(_sample(labels, float(row.get("value", "nan"))))
    return _compared(test, f"{expected.name} after {_after(expected)}", sorted(_lines(want)), got)


def _sample(labels: Mapping[str, str], value: float) -> dict[str, Any]:
    return {"labels": dict(labels), "value": f"{value:.12g}"}


def _after(expected: Expected) -> str:
    return format_duration(expected.at_ns / NS) if expected.at_ns else "0s"


def _alerts(test: RuleTest, expected: Expected, book: Book) -> list[Failure]:
    firing = [a.last for a in book.open() if a.last.rule == expected.name and a.last.state is State.FIRING]
    want = sorted(_lines(_wanted(row) for row in expected.rows))
    names_severity = any("severity" in (row.get("exp_labels") or {}) for row in expected.rows)
    got = sorted(_lines(_of_alarm(one, names_severity) for one in firing))
    return _compared(test, f"alarms of {expected.name} after {_after(expected)}", want, got)


def _wanted(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: {k: str(v) for k, v in (row.get(key) or {}).items()} for key in ("exp_labels", "exp_annotations")}


def _of_alarm(one: Transition, names_severity: bool) -> dict[str, Any]:
    labels = dict(one.series.labels) | dict(one.labels)
    if names_severity and "severity" not in labels:
        labels["severity"] = one.severity.value
    return {"exp_labels": labels, "exp_annotations": dict(one.annotations)}


def _notices(test: RuleTest, expected: Expected, sent: Sequence[Sent]) -> list[Failure]:
    mine = [one for one in sent if one.notifier == expected.name]
    keys = sorted({key for row in expected.rows for key in row} & set(_NOTICE) | {"kind"})
    want = _lines({key: str(row.get(key, "")) for key in keys} for row in expected.rows)
    got = _lines({key: _NOTICE[key](one) for key in keys} for one in mine)
    what = f"messages to {expected.name} until {_after(expected)}"
    unknown = sorted({key for row in expected.rows for key in row} - set(_NOTICE))
    if unknown:
        return [Failure(test.name, what, (f"unknown key {', '.join(unknown)}; there are {', '.join(_NOTICE)}",))]
    return _compared(test, what, want, got)


#: What a test may say of a message, and how it is read.
_NOTICE = {
    "kind": lambda one: one.notice.kind.value,
    "at": lambda one: format_duration((one.time - BEGIN_NS) / NS) if one.time > BEGIN_NS else "0s",
    "incident": lambda one: str(one.notice.incident.id),
    "alarms": lambda one: str(len(one.notice.incident.members)),
    "severity": lambda one: one.notice.incident.severity.value,
    "title": lambda one: one.notice.title,
}


def _lines(tables: Any) -> list[str]:
    return [json.dumps(table, sort_keys=True, ensure_ascii=False) for table in tables]


def _compared(test: RuleTest, what: str, want: list[str], got: list[str]) -> list[Failure]:
    if want == got:
        return []
    diff = [line for line in difflib.ndiff(want, got) if line[:1] in "-+ "]
    return [Failure(test.name, what, tuple(diff) or ("(nothing)",))]
