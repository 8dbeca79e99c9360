"""Alarm budgets: "at most N anomalies a week of these series" as the limit that their scores are scaled to.

The limit of a budget is p_limit = N / (rows a week of its series), by each series' usual gap between rows. It is
looked at once an hour of data time, between two segments, and taken in steps of a tenth of a decade, downwards, so that
it stays as it is while the series stay what they are. A detector learns by its own limit, whatever the budget.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from almenara.alarm.pace import Pace
from almenara.analysis.rates import weekly
from almenara.model.time import DAY_NS, HOUR_NS, WEEK_NS
from almenara.query import Matcher

P_LEAST, P_MOST = 1e-12, 0.01
#: What a budget is held against: the alerts of the last four weeks.
DAYS = 28
_STEPS = 10  # limits per decade


@dataclass(frozen=True, slots=True)
class Budget:
    """At most so many anomalies a week, of all series together that the matchers hold."""

    name: str
    matchers: tuple[Matcher, ...]
    per_week: float


@dataclass(frozen=True, slots=True)
class Kept:
    """How a budget is kept. p_limit: NaN while the series' gaps are not known. alerts: of the last `weeks`; rate: a
    week, between low and high with 95 % (Poisson); None where no time has passed."""

    name: str
    per_week: float
    p_limit: float
    series: int
    rows_a_week: float
    alerts: int
    weeks: float
    rate: float | None
    low: float | None
    high: float | None


def limit_of(per_week: float, rows_a_week: float) -> float:
    """The p_limit of a budget: a part of a week's rows, from P_LEAST to P_MOST; NaN without rows."""
    if not rows_a_week > 0:
        return math.nan
    p = min(max(per_week / rows_a_week, P_LEAST), P_MOST)
    return float(10.0 ** (math.floor(_STEPS * math.log10(p) + 1e-9) / _STEPS))


class Budgets:
    """The budgets of a hub, and what is counted for them; `step` is the flush thread's, `kept` anybody's.

    limits: float64[budgets], NaN = not known yet; replaced, never changed, so that other threads may read it.
    """

    def __init__(self, budgets: Sequence[Budget]):
        self.all = tuple(budgets)
        self.limits = np.full(len(self.all), np.nan)
        self._pace = Pace()
        self._day = np.full(DAYS, -1, np.int64)  # which day each column of `_alerts` is of
        self._alerts = np.zeros((len(self.all), DAYS), np.int64)
        self._first, self._newest, self._looked = 0, 0, -1

    def step(
        self, id: np.ndarray, time: np.ndarray, value: np.ndarray, begins: np.ndarray,
        group_of: Callable[[], np.ndarray],
    ) -> None:  # fmt: skip
        """Take note of judged rows, ordered by (id, time). begins: int64[k], the rows in which anomalies begin;
        group_of gives int16[series], the budget of each, -1 none."""
        if not self.all or not len(id):
            return
        self._pace.step(id, time, value, 0)
        self._newest = max(self._newest, int(time.max()))
        self._first = self._first or int(time.min())
        if len(begins):
            self._count(group_of()[id[begins]], np.asarray(time)[begins] // DAY_NS)
        if self._newest // HOUR_NS != self._looked or np.isnan(self.limits).any():
            self._looked = self._newest // HOUR_NS
            self.limits = np.array(
                [limit_of(b.per_week, self._rows(group_of() == n)[1]) for n, b in enumerate(self.all)]
            )

    def _count(self, group: np.ndarray, day: np.ndarray) -> None:
        day, group = day[group >= 0], group[group >= 0]
        for one in np.unique(day[day > self._newest // DAY_NS - DAYS]).tolist():
            column = one % DAYS
            if self._day[column] != one:
                self._day[column], self._alerts[:, column] = one, 0
            np.add.at(self._alerts[:, column], group[day == one], 1)

    def _rows(self, mine: np.ndarray) -> tuple[int, float]:
        """(series that have rows lately, their rows a week) of series bool[k]."""
        last, gap = self._pace.last, self._pace.gap
        n = min(len(mine), len(last), len(gap))  # they grow one after the other, maybe while somebody else asks
        last, gap = last[:n][mine[:n]], gap[:n][mine[:n]]
        lately = (gap > 0) & (last >= self._newest - np.maximum(10 * gap, DAY_NS))
        return int(np.count_nonzero(lately)), float((WEEK_NS / gap[lately]).sum())

    def kept(self, group: np.ndarray) -> list[Kept]:
        """How each is kept, in their order; group: int16[series], the budget of each."""
        found = []
        weeks = min(self._newest - self._first, DAYS * DAY_NS) / WEEK_NS
        recent = self._day > self._newest // DAY_NS - DAYS
        for n, (budget, p_limit) in enumerate(zip(self.all, self.limits.tolist(), strict=True)):
            series, rows = self._rows(group == n)
            count = int(self._alerts[n, recent].sum())
            rate = weekly(count, weeks) if weeks > 0 else (None, None, None)
            found.append(Kept(budget.name, budget.per_week, p_limit, series, rows, count, weeks, *rate))
        return found

    def state(self) -> dict[str, np.ndarray]:
        """All of it as arrays; names begin with `budget_`."""
        if not self.all:
            return {}
        names = json.dumps([budget.name for budget in self.all]).encode()
        return {
            "budget_names": np.frombuffer(names, np.uint8).copy(),
            "budget_limits": self.limits.copy(),
            "budget_alerts": self._alerts.copy(),
            "budget_day": self._day.copy(),
            "budget_times": np.array([self._first, self._newest, self._looked], np.int64),
            **{f"budget_pace_{name}": column.copy() for name, column in self._pace.columns.items()},
        }

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Go on from what `state` gave; budgets that it does not know begin anew."""
        if not self.all or "budget_names" not in arrays:
            return
        names = json.loads(np.asarray(arrays["budget_names"], np.uint8).tobytes())
        self._day = np.array(arrays["budget_day"], np.int64)
        self._first, self._newest, self._looked = (int(one) for one in arrays["budget_times"])
        kept = {name: arrays.get(f"budget_pace_{name}") for name in self._pace.columns}
        self._pace.restore({name: column for name, column in kept.items() if column is not None})
        limits = self.limits.copy()
        for n, budget in enumerate(self.all):
            if budget.name in names:
                at = names.index(budget.name)
                limits[n], self._alerts[n] = arrays["budget_limits"][at], arrays["budget_alerts"][at]
        self.limits = limits
