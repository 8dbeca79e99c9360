"""Samples in any order to an answer for each of them: sorted, counters made rates, judged and learned row by row."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from almenara.analysis.alerts import Anomalies
from almenara.analysis.tuning import Tuning
from almenara.analysis.when import words_of
from almenara.model.alarm import Severity
from almenara.model.batch import Batch
from almenara.model.causes import Causes
from almenara.model.errors import AlmenaraError, ConfigError, Problem
from almenara.model.series import Metadata, Series, SeriesTable
from almenara.model.time import WEEK_NS
from almenara.notebook.calendars import calendars_from
from almenara.notebook.frames import NO_TIME
from almenara.pipeline.budgets import Budget, Budgets
from almenara.pipeline.kinds import HISTOGRAM, kind_of
from almenara.pipeline.rates import rated, step_in_turns
from almenara.pipeline.tuned import Chosen, Tuned
from almenara.plugin import options, registry

#: Kinds that a user may give series.
KINDS = ("gauge", "counter", "histogram")
SEVERITIES = ("", *(one.value for one in Severity))

_LIMITS = (1.0, 1.25, 1.5, 2.0)  # as Severity.of_score
#: Words for rows that are not judged; the first is for all that are as usual.
_PLAIN = ("", "Not learned yet", "No value", "No time", "Not a finite number", "Part of a histogram: not judged")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which detector, with which options, and what counts. budget_per_week: anomalies of all series; the score is then
    scaled to the p_limit that it comes to."""

    detector: str = "seasonal"
    options: Mapping[str, Any] | None = None
    timezone: str | None = None
    country: str = ""
    p_limit: float | None = None
    budget_per_week: float | None = None
    kinds: Mapping[str, str] | None = None
    tuning: Tuning = field(default_factory=Tuning)
    calendars: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What a detector said of m samples, in their order.

    value: float64[m], what was judged, of counters the rate a second. score, yhat, lower, upper: float64[m], NaN = not
    judged. cause: int16[m]. nth: int32[m], of rows over the limit which one of their anomaly. alert: bool[m], the first
    row of an anomaly. level: int64[m], index into SEVERITIES. plain: int64[m], index into the words for rows without an
    anomaly. time: int64[m]. notes: what the detector adds to causes, by sample. per_week: rows of all series a week.
    """

    value: np.ndarray
    score: np.ndarray
    yhat: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    cause: np.ndarray
    nth: np.ndarray
    time: np.ndarray
    alert: np.ndarray
    level: np.ndarray
    plain: np.ndarray
    causes: Causes
    per_week: float
    p_limit: float | None
    notes: Mapping[int, str]

    def why(self) -> tuple[np.ndarray, list[str]]:
        """(int64[m], texts): a sentence for each anomaly, why others have no score, empty for what is as usual."""
        rows = np.flatnonzero(self.level)
        which, texts = self.plain.copy(), list(_PLAIN)
        which[rows] = np.arange(len(texts), len(texts) + len(rows))
        columns = (self.value, self.score, self.yhat, self.lower, self.upper, self.cause)
        beside = zip(*(c[rows].tolist() for c in (self.time, self.nth)), rows.tolist(), strict=True)
        for row, (time, nth, k) in zip(zip(*(c[rows].tolist() for c in columns), strict=True), beside, strict=True):
            texts.append(self.causes.sentence(*row, time=time, nth=nth, note=self.notes.get(k, "")))
        return which, texts


def judge(keys: Sequence[bytes], id: np.ndarray, time: np.ndarray, value: np.ndarray, choice: Choice) -> Answers:
    """Judge samples of series keys[id[i]] in order of time, as a hub does; of equal times the last one counts.

    id: int[m]; time: int64[m] ns UTC, NO_TIME where there is none; value: float64[m]. Every sample gets an answer: one
    that a later one replaces gets that one's, without an alert. Nothing after a sample has a part in its answer.
    Raises ConfigError for wrong options, PluginError for an unknown detector, AlmenaraError.
    """
    if not len(id) == len(time) == len(value):
        raise ValueError(f"columns differ in length: id {len(id)}, time {len(time)}, value {len(value)}")
    kind = _kinds(keys, choice.kinds or {})
    plain = np.where(np.isnan(value), 2, 0)
    usable = time != NO_TIME
    plain[~usable] = 3
    if (wrong := np.isinf(value) & usable).any():
        plain[wrong], usable = 4, usable & ~wrong
    if (kind == HISTOGRAM).any() and (parts := kind[id] == HISTOGRAM).any():
        plain[parts], usable = 5, usable & ~parts
    rows, at = _in_order(id, time, usable)
    batch = Batch(SeriesTable(list(keys)), _taken(id, rows).astype(np.int32), _taken(time, rows), _taken(value, rows))
    per_week = _rows_a_week(batch)
    p_limit = _p_limit(choice, per_week)
    detector = _detector(choice, p_limit)
    judged, turned, _ = rated(batch, kind)
    said = step_in_turns(detector, partial(_detector, choice, p_limit), judged, turned)
    over = said.score >= 1
    nth = Anomalies().step(judged.id, said.score)
    found = [np.asarray(c) for c in (judged.value, said.score, said.yhat, said.lower, said.upper, said.cause, nth)]
    alert = np.zeros(len(id), np.bool_)
    alert[rows if rows is not None else slice(None)] = nth == 1
    level = np.searchsorted(_LIMITS, np.where(over, said.score, 0), side="right")
    notes = said.notes if rows is None else {int(rows[k]): text for k, text in said.notes.items()}
    if at is not None:
        found = [_spread(column, at, usable) for column in found]
        level = _spread(level, at, usable)
    plain[(plain == 0) & np.isnan(found[1])] = 1
    causes = replace(
        Causes.of([(choice.detector, detector.causes)]), when=words_of(choice.timezone or "UTC", choice.country)
    )
    value, score, yhat, lower, upper, cause, nth = found
    return Answers(
        value, score, yhat, lower, upper, cause, nth, time, alert, level, plain, causes, per_week, p_limit, notes
    )


def tuning_of(*given: Any, **named: Any) -> Tuning:
    """`Tuning.of`; mistakes as AlmenaraError."""
    try:
        return Tuning.of(*given, **named)
    except (ValueError, TypeError) as error:
        raise AlmenaraError(str(error)) from error


def _in_order(id: np.ndarray, time: np.ndarray, usable: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Which rows to judge, ordered by (id, time), of equal times the last; and for each usable row the place of the one
    that answers for it. (None, None) where all rows are in that order already."""
    same = id[1:] == id[:-1]
    rises = np.where(same, time[1:] > time[:-1], id[1:] > id[:-1])
    if rises.all() and usable.all():
        return None, None
    rows = np.flatnonzero(usable)
    mine = time[rows]
    if len(mine) and not (mine[1:] >= mine[:-1]).all():
        rows = rows[np.argsort(mine, kind="stable")]
    ids = id[rows]
    if len(ids) and ids.max() < 1 << 16:
        ids = ids.astype(np.uint16)  # which numpy sorts by counting
    rows = rows[np.argsort(ids, kind="stable")]
    last = np.ones(len(rows), np.bool_)
    last[:-1] = (id[rows[1:]] != id[rows[:-1]]) | (time[rows[1:]] != time[rows[:-1]])
    place = np.empty(len(id), np.int64)
    place[rows] = np.concatenate(([0], np.cumsum(last)[:-1]))
    return rows[last], place[usable]


def _taken(column: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return column if rows is None else column[rows]


def _spread(column: np.ndarray, at: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Answers of judged rows over all rows; NaN, 0 or -1 for those that are not usable."""
    nothing = {"f": np.nan, "i": -1 if column.dtype == np.int16 else 0}[column.dtype.kind]
    out = np.full(len(usable), nothing, column.dtype)
    out[usable] = column[at]
    return out


def _kinds(keys: Sequence[bytes], given: Mapping[str, str]) -> np.ndarray:
    """uint8[series]: by what a user says of a name or a whole series, else by the name."""
    if not given:
        return np.array([kind_of(key, Metadata()) for key in keys], np.uint8)
    series = [Series.from_key(key) for key in keys]
    known = {text for one in series for text in (one.name, str(one))}
    for name, kind in given.items():
        if name not in known:
            told = ", ".join(sorted({one.name for one in series}))[:200]
            raise AlmenaraError(f"kinds: found {name!r}, expected the name of a series: {told}")
        if kind not in KINDS:
            raise AlmenaraError(f"kinds: found {kind!r} for {name!r}, expected one of {', '.join(KINDS)}")
    about = [given.get(str(one), given.get(one.name, "")) for one in series]
    return np.array([kind_of(k, Metadata(kind=a)) for k, a in zip(keys, about, strict=True)], np.uint8)


def _rows_a_week(batch: Batch) -> float:
    """Rows of all series a week, by the mean distance of each series' rows; 0 where that cannot be told."""
    if len(batch) < 2:
        return 0.0
    first = np.flatnonzero(np.concatenate(([True], batch.id[1:] != batch.id[:-1])))
    last = np.append(first[1:], len(batch)) - 1
    several = last > first
    spans = (batch.time[last] - batch.time[first])[several]
    return float(((last - first)[several] * (WEEK_NS / spans)).sum())


def _p_limit(choice: Choice, per_week: float) -> float | None:
    """The p_limit asked for: itself, or the part of a week's rows that the budget is."""
    budget = choice.budget_per_week
    if budget is None:
        return choice.p_limit
    if choice.p_limit is not None:
        raise AlmenaraError("budget_per_week: found p_limit too, expected one of both")
    if not budget > 0:
        raise AlmenaraError(f"budget_per_week: found {budget!r}, expected a number of anomalies above 0")
    if per_week == 0:
        raise AlmenaraError("budget_per_week: found no series with two rows, expected some to tell how many a week has")
    p_limit = budget / per_week
    if p_limit > 0.01:
        raise AlmenaraError(
            f"budget_per_week: found {budget:g}, expected at most {0.01 * per_week:.3g}: of {per_week:,.0f} rows a "
            "week no more than one in a hundred can be an anomaly"
        )
    return p_limit


def _detector(choice: Choice, p_limit: float | None) -> Any:
    """The detector, with all that was chosen; a budget is a limit of the answers, not of what is learned."""
    budgeted = choice.budget_per_week is not None
    detector = _plain(choice, None if budgeted else p_limit)
    if choice.tuning.is_plain and not budgeted:
        return detector
    budgets = Budgets([Budget("", (), choice.budget_per_week)] if choice.budget_per_week is not None else [])
    budgets.limits = np.full(len(budgets.all), p_limit if budgeted else np.nan)
    return Tuned(detector, [Chosen((), choice.tuning)], budgets)


def _plain(choice: Choice, p_limit: float | None) -> Any:
    cls = registry.load("detector", choice.detector)
    table = dict(choice.options or {})
    given = {"timezone": choice.timezone, "country": choice.country or None, "p_limit": p_limit}
    for name, value in given.items():
        if value is None:
            continue
        if name in table:
            raise ConfigError([Problem(name, "is given twice", "once by itself, once in options")])
        table[name] = value
    if not choice.calendars:
        return options.build(cls, table, choice.detector)
    if "calendars" not in inspect.signature(cls).parameters:
        raise AlmenaraError(f"calendars: found the detector {choice.detector}, expected one that takes calendars")
    calendars = calendars_from(choice.calendars, str(table.get("timezone", "UTC")))
    return options.build(cls, table, choice.detector, calendars=calendars)
