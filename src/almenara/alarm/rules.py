"""`Rule`: what is judged alarming, and for how long. Plain thresholds are judged on all rows of a batch at once."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np

from almenara.alarm.templates import Template, read_all
from almenara.analysis.schedule import ALWAYS, Schedule
from almenara.model.alarm import Evidence, Severity
from almenara.model.batch import Verdict
from almenara.query import NAME, Condition, Matcher, parse_condition
from almenara.query.condition import selectors
from almenara.query.expression import Absent

#: A selector with one of these names judges what detectors said of a row, not the row's value: the score, or 1 where
#: an anomaly begins and 0 elsewhere.
SCORE, ALERT = "anomaly_score", "anomaly_alert"

#: With this name, how long a series has had no row, in times of its own usual gap: `stale_gaps > 10`.
STALE = "stale_gaps"
#: What judging makes, and the figures of hub and agent: no rule about silence means them.
NOT_OURS = Matcher(NAME, "!~", "anomaly(_yhat|_lower|_upper)?|(almenara|puma)_.*")

#: What becomes of an alarm whose series has no data: it is kept and says so; no data is alarming; no data is fine; no
#: data is nothing, and the alarm stays as it is.
NO_DATA = ("keep", "alarm", "ok", "ignore")
#: A trend is fitted over so many times its horizon, unless a rule says otherwise.
OVER = 2.0

#: Names that stand for what is judged as it arrives; expressions over stored rows do not have them.
_AS_IT_ARRIVES = (SCORE, ALERT, STALE, "yhat", "yhat_lower", "yhat_upper")
_TESTS = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_WORDS = {">": "above", "<": "below", ">=": "at or above", "<=": "at or below", "==": "equal to", "!=": "other than"}


class RuleMistake(ValueError):
    """What a rule must not say: the key of its table, such as "expr" or "annotations.summary", and what is wrong."""

    def __init__(self, rule: str, key: str, message: str):
        super().__init__(f"rule {rule}: {key}: {message}")
        self.key, self.message = key, message


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. Its kind follows from what it says:

    threshold   `cpu_usage{host="a"} > 90`: judged row by row, at once.
    anomaly     `anomaly_score > 1` while a series is unusual, `anomaly_alert == 1` once where an anomaly begins; with
                `detector="change"` what one detector says. The label `of` stands for the name of the series.
    silence     `stale_gaps > 10`: no row for more than ten times the series' own usual gap, which is learned.
    absence     `absent(up{job="x"})`, `absent_over_time(...)`.
    trend       with `within_s`, `disk_used_percent > 95`: true now, or by the trend within that time.
    composite   `rule("a") and on (host) rule("b")`.
    expression  any other expression; each series of its answer is alarming.

    The last four are evaluated over stored rows every `every_s` (0: every minute, less often where it costs much).
    for_s: how long it must hold before the alarm fires; keep_firing_for_s: how long the alarm goes on after the last
    time it held. severity: empty = by the worst score for anomaly rules, else warning. over_s: the history that a trend
    is fitted to. no_data: one of NO_DATA. schedule: outside of it nothing is alarming. labels and annotations may have
    `{{ $labels.host }}` in them. Raises QuerySyntax, NotSupported, RuleMistake (a ValueError).
    """

    name: str
    expr: str
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    severity: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    every_s: float = 0.0
    within_s: float = 0.0
    over_s: float = 0.0
    no_data: str = "keep"
    schedule: Schedule = ALWAYS
    condition: Condition = field(init=False, compare=False)
    kind: str = field(init=False, compare=False)
    matchers: tuple[Matcher, ...] = field(init=False, compare=False)  # of the series whose rows are judged
    op: str = field(init=False, compare=False)
    number: float = field(init=False, compare=False)
    detector: str = field(init=False, compare=False)
    label_texts: Mapping[str, Template] = field(init=False, compare=False)
    annotation_texts: Mapping[str, Template] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        for key, seconds in (
            ("for", self.for_s), ("keep_firing_for", self.keep_firing_for_s), ("every", self.every_s),
            ("within", self.within_s), ("over", self.over_s),
        ):  # fmt: skip
            if not seconds >= 0:
                self._wrong(key, f"durations must not be negative; got {seconds}")
        if self.severity:
            Severity(self.severity)  # raises ValueError
        if self.no_data not in NO_DATA:
            self._wrong("no_data", f"must be one of {', '.join(NO_DATA)}; got {self.no_data!r}")
        condition = parse_condition(self.expr)
        threshold = condition.threshold if not (self.every_s or self.within_s) else None
        found: dict[str, Any] = {"condition": condition, "matchers": (), "op": "", "number": np.nan, "detector": ""}
        found["op"], found["number"] = condition.limit or ("", np.nan)
        if threshold is None:
            found["kind"] = self._kind_of(condition)
        else:
            found |= self._judged_by_rows(*threshold)
        for key in ("label", "annotation"):
            found[f"{key}_texts"] = self._texts(f"{key}s")
        for name, value in found.items():
            object.__setattr__(self, name, value)

    def _wrong(self, key: str, message: str) -> NoReturn:
        raise RuleMistake(self.name, key, message)

    def _texts(self, key: str) -> Mapping[str, Template]:
        try:
            return read_all(getattr(self, key))
        except ValueError as error:
            name, _, message = str(error).partition(": ")
            raise RuleMistake(self.name, f"{key}.{name}", message) from error

    def _judged_by_rows(self, matchers: tuple[Matcher, ...], op: str, number: float) -> dict[str, Any]:
        """What a rule is that looks at each row."""
        name = next((m.value for m in matchers if (m.label, m.op) == (NAME, "=")), "")
        kind = {SCORE: "anomaly", ALERT: "anomaly", STALE: "silence"}.get(name, "threshold")
        if kind == "silence" and (op not in (">", ">=") or not number > 0):
            self._wrong("expr", f"{STALE} must be > a number above 0; got {op} {number:g}")
        if kind == "silence" and self.no_data != "keep":
            self._wrong("no_data", f"does not go with {STALE}, which is about silence")
        selected = tuple(matchers) if kind == "threshold" else _series_of(matchers)
        detector = next((m.value for m in matchers if kind == "anomaly" and (m.label, m.op) == ("detector", "=")), "")
        return {
            "kind": kind, "matchers": (*selected, NOT_OURS) if kind == "silence" else selected, "op": op,
            "number": number, "detector": detector,
        }  # fmt: skip

    def _kind_of(self, condition: Condition) -> str:
        """What a rule is that is evaluated over stored rows."""
        for one in selectors(condition.expr):
            used = next((m.value for m in one.matchers if m.label == NAME and m.value in _AS_IT_ARRIVES), "")
            if used:
                hint = f'write a rule such as {used} > 1, and rule("NAME") where others speak of it'
                self._wrong("expr", f"{used} is judged as rows arrive, in a rule of its own without every; {hint}")
        if self.within_s:
            if condition.limit is None or self.op_of(condition) in ("==", "!=") or condition.rules:
                self._wrong("within", "wants an expr that compares with a number, such as disk_used_percent > 95")
            return "trend"
        if self.over_s:
            self._wrong("over", "goes with within")
        if self.no_data != "keep" and condition.otherwise is None:
            hint = "only of a comparison, such as a / b > 0.9, is it known which series have none"
            self._wrong("no_data", f"{self.no_data!r} cannot be told here: {hint}")
        if condition.rules:
            return "composite"
        return "absence" if isinstance(condition.expr, Absent) else "expression"

    @staticmethod
    def op_of(condition: Condition) -> str:
        """The operator of a comparison with a number; empty where it is none."""
        return condition.limit[0] if condition.limit else ""

    @property
    def is_evaluated(self) -> bool:
        """Is it evaluated over stored rows now and then, and not row by row?"""
        return self.kind not in ("threshold", "anomaly", "silence")

    @property
    def on_score(self) -> bool:
        """Does it judge what detectors say?"""
        return self.kind == "anomaly"

    @property
    def on_alert(self) -> bool:
        """Does it hold only where an anomaly begins?"""
        return self.on_score and any(m.value == ALERT for m in self._named)

    @property
    def on_silence(self) -> bool:
        """Is it about series that fell silent?"""
        return self.kind == "silence"

    @property
    def _named(self) -> tuple[Matcher, ...]:
        threshold = self.condition.threshold
        return tuple(m for m in threshold[0] if m.label == NAME) if threshold else ()

    @property
    def history_s(self) -> float:
        """Over how long a trend is fitted."""
        return self.over_s or OVER * self.within_s

    def judge(self, value: np.ndarray, verdict: Verdict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(judged float64[n], states bool[n], true bool[n]): what is compared, which rows state anything, and what.

        A missing value and a score that is not ready (NaN) state nothing.
        """
        if self.on_silence:  # a row ends it; the clock begins it
            return np.zeros(len(value)), np.ones(len(value), np.bool_), np.zeros(len(value), np.bool_)
        judged = np.asarray(verdict.score) if self.on_score else value
        compared = np.asarray(verdict.nth) == 1 if self.on_alert else judged
        return judged, ~np.isnan(judged), _TESTS[self.op](compared, self.number)

    def severity_of(self, worst: float) -> Severity:
        """The severity of an alarm whose highest score was `worst`."""
        if self.severity:
            return Severity(self.severity)
        return Severity.of_score(worst) if self.on_score else Severity.WARNING

    def evidence(self, said: Evidence, true: bool) -> Evidence:
        """What was said of a row, as this rule takes it: a threshold has a sentence of its own, and no detector."""
        if self.on_score:
            return said
        if self.on_silence:
            return replace(said, detector="", why="rows come again")
        return replace(said, detector="", why=self.sentence(said.value, true))

    def sentence(self, value: float, true: bool) -> str:
        """What is so, or is not so any more, in words."""
        if self.op:
            return f"{value:.6g} is {'' if true else 'not '}{_WORDS[self.op]} {self.number:.6g}"
        told = " ".join(self.expr.split())
        return f"{told}: {value:.6g}" if true else f"{told}: not true any more"


def _series_of(matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    """The matchers of `anomaly_score{...}` as matchers of the series that are judged."""
    kept = [m for m in matchers if m.label not in (NAME, "of", "detector")]
    return (*kept, *(Matcher(NAME, m.op, m.value) for m in matchers if m.label == "of"))
