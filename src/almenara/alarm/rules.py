"""`Rule`: what is judged alarming, and for how long; its condition is evaluated on all rows of a batch at once."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from almenara.model.alarm import Evidence, Severity
from almenara.model.batch import Verdict
from almenara.query import NAME, Matcher, parse_comparison

#: A selector with one of these names judges what detectors said of a row, not the row's value: the score, or 1 where
#: an anomaly begins and 0 elsewhere.
SCORE, ALERT = "anomaly_score", "anomaly_alert"

#: With this name, how long a series has had no row, in times of its own usual gap: `stale_gaps > 10`.
STALE = "stale_gaps"
#: What judging makes, and the figures of hub and agent: no rule about silence means them.
NOT_OURS = Matcher(NAME, "!~", "anomaly(_yhat|_lower|_upper)?|(almenara|puma)_.*")

_TESTS = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_WORDS = {">": "above", "<": "below", ">=": "at or above", "<=": "at or below", "==": "equal to", "!=": "other than"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold, `cpu_usage{host="a"} > 90`, or a limit on what detectors say: `anomaly_score > 1` while it is
    unusual, `anomaly_alert == 1` once where an anomaly begins. Or `stale_gaps > 10`: there was no row for more than ten
    times the series' own usual gap, which is learned (`Pace.stale`).

    for_s: how long it must hold before the alarm fires; keep_firing_for_s: how long the alarm goes on after the last
    time it held. severity: empty = by the worst score for anomaly rules, else warning. In an anomaly rule the label
    `of` stands for the name of the series. Raises QuerySyntax, NotSupported,
    ValueError.
    """

    name: str
    expr: str
    for_s: float = 0.0
    keep_firing_for_s: float = 0.0
    severity: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    matchers: tuple[Matcher, ...] = field(init=False, compare=False)  # of the series whose rows are judged
    op: str = field(init=False, compare=False)
    number: float = field(init=False, compare=False)
    on_score: bool = field(init=False, compare=False)
    on_alert: bool = field(init=False, compare=False)
    on_silence: bool = field(init=False, compare=False)
    detector: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.for_s < 0 or self.keep_firing_for_s < 0:
            raise ValueError(
                f"rule {self.name}: durations must not be negative; got for {self.for_s}, "
                f"keep_firing_for {self.keep_firing_for_s}"
            )
        if self.severity:
            Severity(self.severity)  # raises ValueError
        matchers, op, number = parse_comparison(self.expr)
        on_alert = any((m.label, m.op, m.value) == (NAME, "=", ALERT) for m in matchers)
        on_score = on_alert or any((m.label, m.op, m.value) == (NAME, "=", SCORE) for m in matchers)
        on_silence = any((m.label, m.op, m.value) == (NAME, "=", STALE) for m in matchers)
        if on_silence and (op not in (">", ">=") or not number > 0):
            raise ValueError(f"rule {self.name}: {STALE} must be > a number above 0; got {op} {number:g}")
        selected = _series_of(matchers) if on_score or on_silence else tuple(matchers)
        found = {
            "matchers": (*selected, NOT_OURS) if on_silence else selected,
            "on_silence": on_silence,
            "op": op,
            "number": number,
            "on_score": on_score,
            "on_alert": on_alert,
            "detector": next((m.value for m in matchers if on_score and (m.label, m.op) == ("detector", "=")), ""),
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)

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
        text = f"{said.value:.6g} is {'' if true else 'not '}{_WORDS[self.op]} {self.number:.6g}"
        return replace(said, detector="", why=text)


def _series_of(matchers: tuple[Matcher, ...]) -> tuple[Matcher, ...]:
    """The matchers of `anomaly_score{...}` as matchers of the series that are judged."""
    kept = [m for m in matchers if m.label not in (NAME, "of", "detector")]
    return (*kept, *(Matcher(NAME, m.op, m.value) for m in matchers if m.label == "of"))
