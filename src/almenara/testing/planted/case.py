"""What a planted case is: series made from a seed, the faults put into them, and what a detector must do about each.

An *alert* begins at a row over the limit when none of the MERGE rows before it was over; so one fault that comes and
goes counts once. An alert is false where it begins outside every fault, or goes on for more than MERGE rows after one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from almenara.analysis.alerts import QUIET_ROWS, Anomalies
from almenara.analysis.occasions import Calendar
from almenara.model.time import DAY_NS

#: Rows without one over the limit after which the next is a new alert.
MERGE = QUIET_ROWS


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a series from start_ns until end_ns, when all is usual again."""

    series: int
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """Rows ordered by (id, time) and what is wrong with them.

    id: int32[n]; time: int64[n] ns UTC; value: float64[n], NaN = known to be missing. quiet_from_ns: until then alerts
    are not counted, the series are being learned. kind: gauge or counter; a counter is judged as its rate. timezone:
    of the site; calendars: of what is known beforehand. Nothing else may be told to a detector.
    """

    id: Any
    time: Any
    value: Any
    faults: tuple[Fault, ...]
    quiet_from_ns: int
    kind: str = "gauge"
    timezone: str = "UTC"
    calendars: tuple[Calendar, ...] = ()

    def bounds(self) -> list[slice]:
        """The rows of each series, in order of id."""
        edges = np.flatnonzero(np.diff(self.id)) + 1
        return [slice(a, b) for a, b in zip(np.r_[0, edges], np.r_[edges, len(self.id)], strict=True)]


@dataclass(frozen=True, slots=True)
class Case:
    """What must hold of the series that `make` plants; its docstring says what they are.

    within: rows after a fault's first in which it must be found. found: least share of faults so found. over: least
    share of the rows of all faults over the limit. false_a_week: most false alerts a series and week, on average.
    """

    make: Callable[[np.random.Generator], Planted]
    within: int = 7
    false_a_week: float = 1.0
    found: float = 1.0
    over: float = 0.0

    @property
    def name(self) -> str:
        return self.make.__name__

    @property
    def about(self) -> str:
        return " ".join((self.make.__doc__ or "").split())

    def planted(self, seed: int) -> Planted:
        """The same series for the same seed; of one seed each case has its own."""
        return self.make(np.random.default_rng([seed, *self.name.encode()]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a detector did about one case. delays: rows from each found fault's first to the first over the limit."""

    faults: int
    found: int
    delays: tuple[int, ...]
    over: float
    false_alerts: int
    series_weeks: float
    broken: tuple[str, ...]  # promises not held, in words; empty: all held

    @property
    def false_a_week(self) -> float:
        return self.false_alerts / self.series_weeks if self.series_weeks else 0.0


def alerts(flags: Any) -> Any:
    """Rows at which alerts begin in one series: int64[k] from bool[n]."""
    return np.flatnonzero(Anomalies().step(np.zeros(len(flags), np.int32), np.asarray(flags, float)) == 1)


def outcome(case: Case, planted: Planted, score: Any, limit: float = 1.0) -> Outcome:
    """What scores float64[n] (NaN: not judged) say about a planted case."""
    found, faults, false_alerts, weeks, delays = 0, 0, 0, 0.0, list[int]()
    over = rows_of_faults = 0
    for rows in planted.bounds():
        time, flags = planted.time[rows], score[rows] >= limit
        mine = [f for f in planted.faults if f.series == planted.id[rows.start]]
        excused = time < planted.quiet_from_ns
        for fault in mine:
            inside = np.flatnonzero((time >= fault.start_ns) & (time < fault.end_ns))
            if not len(inside):
                raise ValueError(f"{case.name}: no row of series {fault.series} lies in its fault")
            excused[inside[0] : inside[-1] + 1 + MERGE] = True
            hit = np.flatnonzero(flags[inside])
            faults, rows_of_faults, over = faults + 1, rows_of_faults + len(inside), over + len(hit)
            if len(hit) and hit[0] <= case.within:
                found += 1
                delays.append(int(hit[0]))
        false_alerts += len(alerts(flags & ~excused))
        steps = np.minimum(np.diff(time, append=time[-1]), 2 * DAY_NS)[~excused]
        weeks += float(np.maximum(steps, 0).sum()) / (7 * DAY_NS)
    share = over / rows_of_faults if rows_of_faults else 1.0
    seen = Outcome(faults, found, tuple(delays), share, false_alerts, weeks, ())
    return Outcome(faults, found, tuple(delays), share, false_alerts, weeks, tuple(_broken(case, seen, score)))


def _broken(case: Case, seen: Outcome, score: Any) -> list[str]:
    out = []
    if np.isinf(score).any():
        out.append("a score is infinite")
    if seen.found < case.found * seen.faults:
        out.append(f"{seen.found} of {seen.faults} faults found within {case.within} rows")
    if seen.over < case.over:
        out.append(f"{seen.over:.0%} of the rows of faults over the limit, not {case.over:.0%}")
    if seen.false_alerts > case.false_a_week * seen.series_weeks:
        out.append(f"{seen.false_a_week:.2f} false alerts a series and week, not {case.false_a_week:g}")
    return out


def planted_of(times: Any, values: Any, faults: Sequence[Fault], quiet_from: int, **about: Any) -> Planted:
    """From one time axis int64[n] and columns float64[n, m]; rows that are NaN did not come. quiet_from: a row."""
    n, m = values.shape
    id, time, value = np.repeat(np.arange(m, dtype=np.int32), n), np.tile(times, m), values.T.ravel()
    came = ~np.isnan(value)
    return Planted(id[came], time[came], value[came], tuple(faults), int(times[quiet_from]), **about)


def reported_once(planted: Planted, score: Any, within_s: float) -> list[str]:
    """What is wrong with reports of changes, rows with a score of 1 or more, in words; empty: each fault was reported
    once, within so long of its start, and nothing else was."""
    out = []
    for rows in planted.bounds():
        series, time = int(planted.id[rows.start]), planted.time[rows]
        reports = time[np.asarray(score)[rows] >= 1]
        for fault in (f for f in planted.faults if f.series == series):
            mine = (reports >= fault.start_ns) & (reports < fault.start_ns + within_s * 1e9)
            if mine.sum() != 1:
                out.append(f"series {series}: {mine.sum()} reports within {within_s:g} s of the fault, not 1")
            reports = reports[~mine]
        if len(reports):
            out.append(f"series {series}: {len(reports)} reports of no fault")
    return out
