"""The answers of rules that are evaluated over stored rows: what an expression, or a trend, says at one time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from almenara.alarm.answers import Answer
from almenara.alarm.rules import Rule
from almenara.analysis.trend import crossings
from almenara.model.alarm import Alarm, State
from almenara.model.batch import Batch
from almenara.model.errors import QueryError, QueryTooLarge
from almenara.model.series import SeriesTable, encode_key
from almenara.model.time import NS, format_duration
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.reading import Replayed, StoredRows
from almenara.plugin.contracts import Selection, StoreReader
from almenara.query import NAME, Limits, Matcher, Matrix, Source, evaluate, match_all
from almenara.query.condition import RULE, RULE_NAME
from almenara.query.expression import Binary, Expr, Selector

#: A rule may take so long and read so much, and so many series of one may alarm.
LONGEST_S = 30.0
LIMITS = Limits(steps=2000, samples=10_000_000, cells=10_000_000)
MOST_ALARMING = 10_000
MOST_SERIES = 100_000
#: A trend is fitted to the means of so many equal parts of its history.
TREND_STEPS = 200


class Deadline:
    """Refuses to read on once a rule has taken too long."""

    def __init__(self, source: Source, longest_s: float = LONGEST_S):
        self._source, self._longest_s, self._began_s = source, longest_s, time.monotonic()

    def check(self) -> None:
        """Raises QueryTooLarge when it is over."""
        if time.monotonic() - self._began_s > self._longest_s:
            raise QueryTooLarge(f"took longer than {format_duration(self._longest_s)}; select fewer series or rows")

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Batch:
        """As the source; before and after it the time is looked at."""
        self.check()
        found = self._source.select(matchers, start_ns, end_ns)
        self.check()
        return found


class WithRules:
    """Stored rows, and `rule("NAME")`: 1 for each set of labels for which that rule is firing."""

    def __init__(self, source: Source, alarms: Iterable[Alarm]):
        self._source = source
        self._firing: dict[str, set[tuple[tuple[str, str], ...]]] = {}
        for alarm in alarms:
            if alarm.last.state is State.FIRING:
                self._firing.setdefault(alarm.last.rule, set()).add(tuple(alarm.last.series.labels))

    def select(self, matchers: Sequence[Matcher], start_ns: int, end_ns: int) -> Batch:
        """Rows with start_ns < time <= end_ns; those of rules are of now."""
        if not any(m.label == NAME and m.value == RULE for m in matchers):
            return self._source.select(matchers, start_ns, end_ns)
        name = next(m.value for m in matchers if m.label == RULE_NAME)
        rest = [m for m in matchers if m.label not in (NAME, RULE_NAME)]
        chosen = sorted(one for one in self._firing.get(name, ()) if match_all(rest, dict(one)))
        table = SeriesTable.of(encode_key("", dict(labels)) for labels in chosen)
        n = len(chosen)
        return Batch(table, np.arange(n, dtype=np.int32), np.full(n, end_ns, np.int64), np.ones(n))


def answer(
    rule: Rule, now_ns: int, source: Source, reader: StoreReader, index: SeriesIndex, alarms: Sequence[Alarm] = ()
) -> Answer:
    """What a rule says of stored rows up to now, in a thread that may wait. alarms: those that are open, for rules that
    speak of others. Raises QueryError."""
    limited = Deadline(WithRules(source, alarms))
    if rule.kind == "trend":
        return _of_trend(rule, now_ns, limited, reader, index)
    condition = rule.condition
    found = evaluate(condition.expr, now_ns, now_ns, 0, limited, limits=LIMITS)
    others = None
    if condition.otherwise is not None:
        others = evaluate(condition.otherwise, now_ns, now_ns, 0, limited, limits=LIMITS)
    limited.check()
    return _of_values(rule, now_ns, found, others)


def stored_answer(
    rule: Rule, now_ns: int, reader: StoreReader, index: SeriesIndex, alarms: Sequence[Alarm] = ()
) -> Answer:
    """The same from a store."""
    return answer(rule, now_ns, StoredRows(index, reader, _not_again, ()), reader, index, alarms)


def _not_again(detector: str, ids: np.ndarray, start: int, end: int) -> Replayed:
    raise QueryError("a rule cannot have stored rows judged again")


def _of_values(rule: Rule, now_ns: int, found: Matrix, others: Matrix | None) -> Answer:
    values: dict[bytes, tuple[float, bool]] = {}
    for matrix, true in ((others, False), (found, True)):  # a key that is in both is alarming
        if matrix is not None:
            for labels, value in zip(matrix.labels, matrix.values[:, -1].tolist(), strict=True):
                values[_key(rule, labels)] = value, true
    return _checked(rule, now_ns, values, others is not None)


def _checked(
    rule: Rule, now_ns: int, values: Mapping[bytes, tuple[float, bool]], knows_all: bool, why: Sequence[str] = ()
) -> Answer:
    alarming = sum(true for _, true in values.values())
    if alarming > MOST_ALARMING or len(values) > MOST_SERIES:
        raise QueryTooLarge(
            f"{alarming:,} series alarm of {len(values):,}; expected at most {MOST_ALARMING:,} of {MOST_SERIES:,}: "
            "bring them together, such as with sum by (host) (...)"
        )
    value = np.array([v for v, _ in values.values()], np.float64)
    true = np.array([t for _, t in values.values()], np.bool_)
    return Answer(rule.name, rule.expr, now_ns, list(values), value, true, knows_all, why)


def _key(rule: Rule, labels: Mapping[str, str]) -> bytes:
    """The series of an alarm: that of the answer, and where it has no name the rule's."""
    return encode_key(labels.get(NAME, "") or rule.name, {k: v for k, v in labels.items() if k != NAME})


def _of_trend(rule: Rule, now_ns: int, source: Deadline, reader: StoreReader, index: SeriesIndex) -> Answer:
    labels, values, step_s = _history(rule, now_ns, source, reader, index)
    found = crossings(values, step_s, rule.number, rule.op[0] == ">", rule.within_s)
    source.check()
    known = np.flatnonzero(found.known).tolist()
    answers = {_key(rule, labels[i]): (float(found.level[i]), bool(found.crosses[i])) for i in known}
    why = [_sentence(rule, *(float(c[i]) for c in (found.level, found.median_s, found.early_s, found.late_s)),
                     crosses=bool(found.crosses[i])) for i in known]  # fmt: skip
    return _checked(rule, now_ns, answers, True, why)


def _sentence(rule: Rule, level: float, median_s: float, early_s: float, late_s: float, *, crosses: bool) -> str:
    if median_s == 0.0:
        return rule.sentence(level, True)
    way = f"{'above' if rule.op[0] == '>' else 'below'} {rule.number:.6g}"
    if not crosses:
        return f"{level:.6g}: by its trend not {way} within {format_duration(rule.within_s)}"
    late = f"{_rough(late_s)}" if np.isfinite(late_s) else "far later"
    return f"{level:.6g}: by its trend {way} in {_rough(median_s)} (80 % sure: {_rough(early_s)} to {late})"


def _rough(seconds: float) -> str:
    """A duration in two of its units."""
    unit = next(one for one in (3600, 60, 1) if seconds >= 24 * one or one == 1)
    return format_duration(max(1, round(seconds / unit)) * unit)


def _history(
    rule: Rule, now_ns: int, source: Deadline, reader: StoreReader, index: SeriesIndex
) -> tuple[list[dict[str, str]], np.ndarray, float]:
    """(labels, float64[k, TREND_STEPS], seconds of a step) of what a trend is fitted to: means where plain series are
    asked for, else the expression at the end of each step."""
    expr = rule.condition.expr
    left: Expr = expr.left if isinstance(expr, Binary) else expr
    step_ns = max(NS, round(rule.history_s * NS / TREND_STEPS))
    if not isinstance(left, Selector) or left.offset_ns:
        start = now_ns - (TREND_STEPS - 1) * step_ns
        matrix = evaluate(left, start, now_ns, step_ns, source, limits=LIMITS)
        return matrix.labels, np.where(matrix.present, matrix.values, np.nan), step_ns / NS
    ids = index.select(left.matchers)
    if len(ids) > MOST_ALARMING:
        raise QueryTooLarge(f"a trend of {len(ids):,} series; expected at most {MOST_ALARMING:,}: name fewer")
    first = now_ns // step_ns - TREND_STEPS + 1
    source.check()
    rows = reader.read(Selection(index, ids), first * step_ns, now_ns + 1, step_ns, "avg")
    values = np.full((len(ids), TREND_STEPS), np.nan)
    values[np.searchsorted(ids, rows.id), np.asarray(rows.time) // step_ns - first] = rows.value
    return [{NAME: index[i].name} | dict(index[i].labels) for i in ids.tolist()], values, step_ns / NS
