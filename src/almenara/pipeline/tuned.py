"""`Tuned`: a detector with the options on what counts as an anomaly, applied to all it says: live, replayed, anywhere.

What it learned is the detector's alone, so options may change without learning anew.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from almenara.analysis.tuning import OUTSIDE, Tuning, rescaled, shown, tuned
from almenara.model.batch import Batch, Verdict
from almenara.model.series import SeriesList
from almenara.pipeline.budgets import Budgets
from almenara.pipeline.index import SeriesIndex
from almenara.plugin.contracts import Detector
from almenara.query import Matcher

#: The limit of a detector that does not say it.
P_LIMIT = 1e-4


@dataclass(frozen=True, slots=True)
class Chosen:
    """Options, and the series that they are for."""

    matchers: tuple[Matcher, ...]
    tuning: Tuning


class Groups:
    """Which of several selectors holds each series first; follows tables of series as they grow. Several threads may
    ask: the worst is that both look at what is new."""

    def __init__(self, matchers: Sequence[tuple[Matcher, ...]]):
        self._matchers = tuple(matchers)
        self._known: WeakKeyDictionary[SeriesList, np.ndarray] = WeakKeyDictionary()

    def of(self, series: SeriesList) -> np.ndarray:
        """int16[series]: the number of the selector, -1 none."""
        known = self._known.get(series, np.zeros(0, np.int16))
        have, n = len(known), len(series)
        if have < n:
            if isinstance(series, SeriesIndex):
                index, first = series, have
            else:
                index, first = SeriesIndex(), 0
                index.add([bytes(series.keys[i]) for i in range(have, n)])
            new = np.full(n - have, -1, np.int16)
            for number in reversed(range(len(self._matchers))):
                ids = index.select(self._matchers[number], first) - first
                new[ids[ids < len(new)]] = number
            known = self._known[series] = np.concatenate((known, new))
        return known


class Tuned:
    """A detector whose verdicts are as the first fitting of `choices`, and the budgets, want them."""

    def __init__(self, detector: Detector, choices: Sequence[Chosen], budgets: Budgets | None = None):
        self._detector, self._choices, self._budgets = detector, tuple(choices), budgets or Budgets(())
        self.causes: Sequence[str] = (*detector.causes, OUTSIDE)
        self.p_limit = float(getattr(detector, "p_limit", P_LIMIT))
        self.p_limit_of_s = float(getattr(detector, "p_limit_of_s", math.nan))
        self._other = tuple(getattr(detector, "other_causes", ()))
        self._group = Groups([one.matchers for one in self._choices])
        self._budget = Groups([one.matchers for one in self._budgets.all])
        if hasattr(detector, "warmup_s"):
            self.warmup_s = detector.warmup_s
        if hasattr(detector, "adopt"):
            self.adopt = self._adopt
        if hasattr(detector, "replace_calendars"):
            self.replace_calendars = self._replace_calendars
        if hasattr(detector, "part"):
            self.part, self.restore_part = detector.part, detector.restore_part  # type: ignore[attr-defined]

    def step(self, batch: Batch) -> Verdict:
        """Judge each row against what came before it, then learn it."""
        return self._ask(batch, self._detector.step)

    def look(self, batch: Batch) -> Verdict:
        """As `step`, but learn nothing."""
        return self._ask(batch, self._detector.look)

    def state(self) -> dict[str, Any]:
        """What the detector learned."""
        return self._detector.state()

    def restore(self, arrays: Mapping[str, Any]) -> None:
        """Go on from what `state` gave. Raises ValueError where it does not fit."""
        self._detector.restore(arrays)

    def _adopt(self, ids: np.ndarray, other: Tuned) -> None:
        self._detector.adopt(ids, other._detector)  # type: ignore[attr-defined]

    def _replace_calendars(self, *given: Any) -> Generator[None, None, None]:
        yield from self._detector.replace_calendars(*given)  # type: ignore[attr-defined]
        self.causes = (*self._detector.causes, OUTSIDE)

    def _ask(self, batch: Batch, judge: Any) -> Verdict:
        value = np.asarray(batch.value, np.float64)
        group = self._group.of(batch.series)[batch.id] if self._choices else None
        parts = (
            [] if group is None else [(n, np.flatnonzero(group == n)) for n in np.unique(group[group >= 0]).tolist()]
        )
        seen = value
        if any(rule.skips_learning for one in self._choices for rule in one.tuning.rules):
            seen = value.copy()
            for n, rows in parts:
                seen[rows] = shown(value[rows], self._choices[n].tuning)
        said = judge(batch if seen is value else Batch(batch.series, batch.id, batch.time, seen))
        if self._budgets.all and not np.isnan(self._budgets.limits).all():
            said = self._on_budget(batch, value, said)
        for n, rows in parts:
            said = _put(
                said, rows, tuned(seen[rows], _rows(said, rows), self._choices[n].tuning, self._outside, self._other)
            )
        return said

    @property
    def _outside(self) -> int:
        return len(self.causes) - 1

    def _on_budget(self, batch: Batch, value: np.ndarray, said: Verdict) -> Verdict:
        group = self._budget.of(batch.series)[batch.id]
        limits = np.append(self._budgets.limits, np.nan)[group]  # of group -1 the last
        return rescaled(value, said, self.p_limit, limits)


_COLUMNS = ("score", "yhat", "lower", "upper", "share", "cause")


def _rows(said: Verdict, rows: np.ndarray) -> Verdict:
    """The verdict of some rows, int64[k] rising."""
    notes = {k: said.notes[row] for k, row in enumerate(rows.tolist()) if row in said.notes} if said.notes else {}
    score, yhat, lower, upper, share, cause = (np.asarray(getattr(said, name))[rows] for name in _COLUMNS)
    return Verdict(score, yhat, lower, upper, share, cause, notes=notes)


def _put(said: Verdict, rows: np.ndarray, part: Verdict) -> Verdict:
    """`said`, with `part` for some of its rows."""
    columns: dict[str, Any] = {name: np.array(getattr(said, name)) for name in _COLUMNS}
    for name, column in columns.items():
        column[rows] = getattr(part, name)
    of = set(rows.tolist()) if said.notes else set()
    notes = {row: text for row, text in said.notes.items() if row not in of}
    return replace(said, **columns, notes=notes | {int(rows[k]): text for k, text in part.notes.items()})
