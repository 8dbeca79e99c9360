"""From changes in arrays to `Transition`: the only place where alarms become objects, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from almenara.alarm.pace import Pace
from almenara.alarm.rules import Rule
from almenara.alarm.states import TOLD, Changes
from almenara.alarm.tables import Key
from almenara.model.alarm import Alarm, Evidence, State, Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.series import Series, SeriesList
from almenara.model.time import NS, format_duration

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one alarm. id: its series; -1 where the index does not know it."""

    key: Key
    id: int
    transition: Transition

    @property
    def is_over(self) -> bool:
        """Whether the alarm is not open any more."""
        return self.transition.state in (State.INACTIVE, State.RESOLVED)


def from_rows(
    rule: Rule, changes: Changes, batch: Batch, verdict: Verdict, true: np.ndarray, causes: Causes
) -> list[Change]:
    """Changes that rows of `batch` made, with the evidence that stood in the row."""
    if not len(changes):
        return []
    at = changes.row
    value = np.asarray(verdict.judged(batch) if rule.on_score else batch.value)
    nth = np.zeros(len(batch), np.int32) if verdict.nth is None else verdict.nth
    evidence = (value, verdict.score, verdict.yhat, verdict.lower, verdict.upper, verdict.cause, true, nth)
    numbers = zip(*(column[at].tolist() for column in evidence), strict=True)
    times = np.asarray(batch.time)[at].tolist()
    found = []
    for (id, told, since, worst), time, place, row in zip(_each(changes), times, at.tolist(), numbers, strict=True):
        value, score, yhat, lower, upper, cause, holds, nth_of = row
        about = {"time": time, "nth": nth_of if holds else 0, "note": verdict.notes.get(place, "")}
        said = causes.evidence(value, score, yhat, lower, upper, cause if holds else -1, rule.detector, **about)
        found.append(_change(rule, batch.series, id, told, since, time, worst, rule.evidence(said, holds)))
    return found


def from_clock(
    rule: Rule, changes: Changes, now_ns: int, pace: Pace, series: SeriesList, last: Callable[[Key], Alarm | None]
) -> list[Change]:
    """Changes that the clock made; what fires has the evidence that the alarm had before."""
    found = []
    for id, told, since, worst in _each(changes):
        before = last((rule.name, bytes(series.keys[id])))
        silence, gap = (now_ns - pace.last[id]) / NS, pace.gap[id] / NS
        usual = f", usually every {format_duration(gap)}" if gap else ""
        if TOLD[told] is State.NO_DATA:
            evidence = Evidence(_NAN, why=f"no data for {format_duration(silence)}{usual}")
        elif rule.on_silence and TOLD[told] is State.FIRING:
            evidence = Evidence(_NAN, why=f"no row for {format_duration(silence)}{usual}")
        elif rule.on_silence:
            evidence = Evidence(_NAN, why=f"no row for {format_duration(silence)}: taken as gone for good")
        elif TOLD[told] is State.FIRING and before is not None:
            evidence = before.last.evidence
        else:
            evidence = Evidence(_NAN, why="not true any more")
        found.append(_change(rule, series, id, told, since, now_ns, worst, evidence))
    return found


def closing(alarm: Alarm, why: str, now_ns: int) -> Change:
    """The end of an alarm that no rule speaks of any more."""
    last = alarm.last
    fired = alarm.incident is not None or last.state is State.FIRING
    state = State.RESOLVED if fired else State.INACTIVE
    ended = replace(last, state=state, time=max(now_ns, last.time), evidence=Evidence(_NAN, why=why))
    return Change((last.rule, last.series.key), -1, ended)


def _each(changes: Changes) -> Iterator[tuple[int, int, int, float]]:
    """(id, told, since, worst) of each change."""
    columns = (changes.id, changes.told, changes.since, changes.worst)
    return zip(*(column.tolist() for column in columns), strict=True)


def _change(
    rule: Rule, series: SeriesList, id: int, told: int, since: int, time: int, worst: float, evidence: Evidence
) -> Change:
    key = bytes(series.keys[id])
    transition = Transition(
        rule.name, Series.from_key(key), since, TOLD[told], time, rule.severity_of(worst), evidence,
        rule.labels, rule.annotations,
    )  # fmt: skip
    return Change((rule.name, key), id, transition)
