"""Options on what counts as an anomaly, whatever the detector: pure functions of rows and what was said of them.

They do what the options and rules of these names do elsewhere: `detection_direction`, `min_dev_from_expected`,
`min_rel_dev_from_expected`, `data_range` and `anomaly_score_outside_data_range` as in vmanomaly (VictoriaMetrics
Anomaly Detection, docs, "components/models"), `rules` of actions and conditions as Elastic's custom rules of machine
learning. What is not wanted as an anomaly has the score 0. A value is always outside of the band if and only if its
score is 1 or more: the band is widened to hold what is no anomaly, and ends just before what is one.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from almenara.model.batch import Verdict

DIRECTIONS = ("both", "above_expected", "below_expected")
ACTIONS = ("skip_result", "skip_model_update")
APPLIES_TO = ("actual", "typical", "diff_from_typical")
_TESTS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_NAMES = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*([-+]?[0-9.]+(?:[eE][-+]?\d+)?)\s*")

#: What is said of a value outside of its `data_range`, beside the causes of the detector.
OUTSIDE = "outside of the range that it may have"


@dataclass(frozen=True, slots=True)
class Condition:
    """`actual < 5`: what is compared (the value, what was expected, or how far they are apart), how, and with what."""

    applies_to: str
    op: str
    number: float

    @classmethod
    def of(cls, given: Any) -> Condition:
        """From "actual < 5", or a table {applies_to, operator, value} as Elastic has it. Raises ValueError."""
        if isinstance(given, Mapping):
            op = str(given.get("operator"))
            given = f"{given.get('applies_to')} {_NAMES.get(op, op)} {given.get('value')}"
        match = _CONDITION.fullmatch(given) if isinstance(given, str) else None
        if match is None or match[1] not in APPLIES_TO:
            raise ValueError(f"found {given!r}, expected a comparison such as 'actual < 5' of {', '.join(APPLIES_TO)}")
        return cls(match[1], match[2], float(match[3]))

    def holds(self, value: np.ndarray, yhat: np.ndarray) -> np.ndarray:
        """bool[n]; false where what is compared is NaN."""
        compared = {"actual": value, "typical": yhat}.get(self.applies_to)
        return _TESTS[self.op](np.abs(value - yhat) if compared is None else compared, self.number)


@dataclass(frozen=True, slots=True)
class SkipRule:
    """Rows for which all conditions hold are no anomaly (`skip_result`), and are not learned (`skip_model_update`).

    A row that is not to be learned is not shown to the detector, and so has no score: that can be decided by its
    actual value alone.
    """

    conditions: tuple[Condition, ...]
    actions: tuple[str, ...] = ("skip_result",)

    def __post_init__(self) -> None:
        if not self.conditions:
            raise ValueError("found no conditions, expected at least one")
        if not self.actions or (wrong := set(self.actions) - set(ACTIONS)):
            found = sorted(wrong) if self.actions else "none"
            raise ValueError(f"actions: found {found}, expected some of {', '.join(ACTIONS)}")
        if self.skips_learning and any(one.applies_to != "actual" for one in self.conditions):
            raise ValueError("skip_model_update: found a condition on what is expected, expected ones on actual only")

    @classmethod
    def of(cls, given: Any) -> SkipRule:
        """From a table with `conditions` and `actions`. Raises ValueError."""
        if not isinstance(given, Mapping) or (unknown := set(given) - {"conditions", "actions"}):
            told = sorted(unknown) if isinstance(given, Mapping) else given
            raise ValueError(f"found {told!r}, expected a table with conditions and actions")
        conditions, actions = given.get("conditions", ()), given.get("actions", ("skip_result",))
        conditions = [conditions] if isinstance(conditions, str | Mapping) else conditions
        actions = [actions] if isinstance(actions, str) else actions
        return cls(tuple(Condition.of(one) for one in conditions), tuple(actions))

    @property
    def skips_learning(self) -> bool:
        """Whether rows are kept from the detector."""
        return "skip_model_update" in self.actions

    def holds(self, value: np.ndarray, yhat: np.ndarray) -> np.ndarray:
        """bool[n]: whether all conditions hold."""
        return np.logical_and.reduce([one.holds(value, yhat) for one in self.conditions])


@dataclass(frozen=True, slots=True)
class Tuning:
    """All options of one group of series. Pairs are (below, above): for values below and above what is expected.

    min_rel_dev_from_expected: in percent of what is expected. Raises ValueError.
    """

    detection_direction: str = "both"
    min_dev_from_expected: tuple[float, float] = (0.0, 0.0)
    min_rel_dev_from_expected: tuple[float, float] = (0.0, 0.0)
    data_range: tuple[float, float] = (-math.inf, math.inf)
    anomaly_score_outside_data_range: float = 1.01
    rules: tuple[SkipRule, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.detection_direction not in DIRECTIONS:
            expected = ", ".join(DIRECTIONS)
            raise ValueError(f"detection_direction: found {self.detection_direction!r}, expected one of {expected}")
        for name in ("min_dev_from_expected", "min_rel_dev_from_expected"):
            if not all(one >= 0 for one in getattr(self, name)):
                raise ValueError(f"{name}: found {getattr(self, name)}, expected numbers that are not negative")
        if not self.data_range[0] < self.data_range[1]:
            raise ValueError(f"data_range: found {self.data_range}, expected the lower bound first")
        if not 1 <= self.anomaly_score_outside_data_range < math.inf:
            found = self.anomaly_score_outside_data_range
            raise ValueError(f"anomaly_score_outside_data_range: found {found}, expected a number of at least 1")

    @classmethod
    def of(
        cls, detection_direction: str = "both", min_dev_from_expected: Any = 0.0, min_rel_dev_from_expected: Any = 0.0,
        data_range: Sequence[float] | None = None, anomaly_score_outside_data_range: float = 1.01,
        rules: Sequence[Any] = (),
    ) -> Tuning:  # fmt: skip
        """From what users write: one number for both sides or two, rules as tables. Raises ValueError."""
        try:
            skips = tuple(SkipRule.of(one) for one in rules)
        except ValueError as error:
            raise ValueError(f"rules: {error}") from error
        bounds = (-math.inf, math.inf) if data_range is None else _pair("data_range", data_range)
        return cls(
            detection_direction, _pair("min_dev_from_expected", min_dev_from_expected),
            _pair("min_rel_dev_from_expected", min_rel_dev_from_expected), bounds,
            float(anomaly_score_outside_data_range), skips,
        )  # fmt: skip

    @property
    def is_plain(self) -> bool:
        """Whether it changes nothing."""
        return self == Tuning(anomaly_score_outside_data_range=self.anomaly_score_outside_data_range)


def _pair(name: str, given: Any) -> tuple[float, float]:
    pair = (given, given) if isinstance(given, int | float) else tuple(given)
    if len(pair) != 2 or not all(isinstance(one, int | float) and not math.isnan(one) for one in pair):
        raise ValueError(f"{name}: found {given!r}, expected a number or two")
    return float(pair[0]), float(pair[1])


def shown(value: np.ndarray, tuning: Tuning) -> np.ndarray:
    """float64[n]: the values that a detector is to see; NaN, which it neither judges nor learns, for the others."""
    hidden = [rule.holds(value, value) for rule in tuning.rules if rule.skips_learning]
    return np.where(np.logical_or.reduce(hidden), np.nan, value) if hidden else value


def tuned(value: np.ndarray, said: Verdict, tuning: Tuning, outside: int, other: Sequence[int] = ()) -> Verdict:
    """What a detector said of rows, as these options want it.

    value: float64[n]. outside: the number of the cause OUTSIDE. other: causes that are not about how far a value is
    from what is expected, such as that it does not move: directions and least deviations do not speak of those.
    """
    score, yhat, cause = np.array(said.score), np.array(said.yhat), np.array(said.cause, np.int16)
    lower, upper = np.array(said.lower), np.array(said.upper)
    by_deviation = ~np.isin(cause, np.asarray(other, np.int16))
    unwanted = np.zeros(len(score), np.bool_)
    if tuning.detection_direction != "both":
        wrong = value <= yhat if tuning.detection_direction == "above_expected" else value >= yhat
        unwanted |= wrong & by_deviation
    for absolute, relative, side in zip(
        tuning.min_dev_from_expected, tuning.min_rel_dev_from_expected, (-1.0, 1.0), strict=True
    ):
        least = np.maximum(absolute, relative / 100 * np.abs(yhat))
        away = side * (value - yhat)
        unwanted |= (away >= 0) & (away < least) & by_deviation
        if side < 0:
            lower = np.minimum(lower, yhat - least)
        else:
            upper = np.maximum(upper, yhat + least)
    low, high = tuning.data_range
    lower, upper, yhat = np.clip(lower, low, high), np.clip(upper, low, high), np.clip(yhat, low, high)
    score[unwanted & ~np.isnan(score)] = 0.0
    impossible = (value < low) | (value > high)
    if impossible.any():
        score[impossible] = np.fmax(score[impossible], tuning.anomaly_score_outside_data_range)
        cause[impossible] = outside
        unlearned = impossible & np.isnan(yhat)  # the range is known from the first row on
        lower[unlearned], upper[unlearned] = (one if math.isfinite(one) else math.nan for one in (low, high))
    for rule in tuning.rules:
        if "skip_result" in rule.actions:
            score[rule.holds(value, np.asarray(said.yhat)) & ~np.isnan(score)] = 0.0
    cause[score < 1] = -1
    notes = {row: text for row, text in said.notes.items() if cause[row] == said.cause[row]}
    return settled(value, replace(said, score=score, yhat=yhat, lower=lower, upper=upper, cause=cause, notes=notes))


def rescaled(value: np.ndarray, said: Verdict, p_limit: float, other: np.ndarray) -> Verdict:
    """The same on the scale of other limits, float64[n]: a score of log p / log p_limit is log p / log other there.

    The band grows with the limit as if the tail were exponential; NaN leaves a row as it is.
    """
    times = np.where(np.isnan(other), 1.0, math.log(p_limit) / np.log(other))
    score, yhat = said.score * times, np.asarray(said.yhat)
    lower, upper = yhat - (yhat - said.lower) / times, yhat + (said.upper - yhat) / times
    cause = np.where(score >= 1, said.cause, np.int16(-1)).astype(np.int16)
    return settled(value, replace(said, score=score, lower=lower, upper=upper, cause=cause))


def settled(value: np.ndarray, said: Verdict) -> Verdict:
    """The same with a band that holds the value exactly where the score is below 1."""
    score, yhat, lower, upper = (np.array(c) for c in (said.score, said.yhat, said.lower, said.upper))
    calm = score < 1
    lower[calm], upper[calm] = np.fmin(lower[calm], value[calm]), np.fmax(upper[calm], value[calm])
    inside = (score >= 1) & (value >= lower) & (value <= upper)
    high, low = inside & (value >= yhat), inside & (value < yhat)
    upper[high] = np.nextafter(value[high], -np.inf)
    lower[low] = np.nextafter(value[low], np.inf)
    yhat = np.clip(yhat, lower, upper) if inside.any() else yhat
    lower = np.where(high, np.fmin(lower, yhat), lower)
    return replace(said, yhat=yhat, lower=lower, upper=upper)
