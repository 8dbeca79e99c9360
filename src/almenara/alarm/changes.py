"""From changes in arrays to `Transition`: the only place where alarms become objects, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from almenara.alarm.answers import Answer
from almenara.alarm.pace import GONE_NS, Pace
from almenara.alarm.rules import Rule
from almenara.alarm.states import TOLD, Changes
from almenara.alarm.tables import Key
from almenara.alarm.templates import render_all
from almenara.model.alarm import Alarm, Evidence, State, Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.series import Series, SeriesList
from almenara.model.time import NS, format_duration
from almenara.query import NAME

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one alarm. id: its series in the hub's index; -1 where that does not know it."""

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
        key = bytes(batch.series.keys[id])
        found.append(_change(rule, key, id, told, since, time, worst, rule.evidence(said, holds)))
    return found


def from_clock(
    rule: Rule, changes: Changes, now_ns: int, pace: Pace, series: SeriesList, last: Callable[[Key], Alarm | None],
    why: str = "",
) -> list[Change]:  # fmt: skip
    """Changes that the clock made; what fires has the evidence that the alarm had before. why: said of all of them."""
    found = []
    for id, told, since, worst in _each(changes):
        key = bytes(series.keys[id])
        before = last((rule.name, key))
        said = why or _of_silence(rule, TOLD[told], id, now_ns, pace)
        if not said and TOLD[told] is State.FIRING and before is not None:
            evidence = before.last.evidence
        else:
            evidence = Evidence(_NAN, why=said or "not true any more")
        local = -1 if rule.is_evaluated else id
        found.append(_change(rule, key, local, told, since, now_ns, worst, evidence))
    return found


def _of_silence(rule: Rule, told: State, id: int, now_ns: int, pace: Pace) -> str:
    """What is said where a change comes of silence; empty where it does not."""
    silence, gap = (now_ns - pace.last[id]) / NS, pace.gap[id] / NS
    usual = f", usually every {format_duration(gap)}" if gap else ""
    noun = "row" if rule.on_silence else "data"
    sentence = f"no {noun} for {format_duration(silence)}"
    over = told in (State.INACTIVE, State.RESOLVED)
    silent = silence * NS > pace.limit(np.array([id]))[0]
    if told is State.NO_DATA or (rule.on_silence and not over):
        return sentence + usual
    if rule.on_silence or (rule.no_data == "alarm" and over and now_ns - pace.last[id] >= GONE_NS):
        return f"{sentence}: taken as gone for good"
    if silent and rule.no_data == "alarm":
        return "" if over else sentence + usual
    return f"{sentence}: taken as over" if silent and over and rule.no_data == "ok" else ""


def from_answer(rule: Rule, changes: Changes, answer: Answer, series: SeriesList) -> list[Change]:
    """Changes that an answer made; series of which it says nothing have no data, or are over."""
    found = []
    for row, (id, told, since, worst) in zip(changes.row.tolist(), _each(changes), strict=True):
        if row >= 0:
            value, true = float(answer.value[row]), bool(answer.true[row])
            evidence = Evidence(value, why=answer.why[row] if answer.why else rule.sentence(value, true))
        elif TOLD[told] is State.NO_DATA or (answer.knows_all and rule.no_data == "alarm"):
            evidence = Evidence(_NAN, why="no data")
        else:
            over = "no data: taken as over" if answer.knows_all else rule.sentence(_NAN, False)
            evidence = Evidence(_NAN, why="not true any more" if rule.op and not answer.knows_all else over)
        found.append(_change(rule, bytes(series.keys[id]), -1, told, since, answer.time, worst, evidence))
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
    rule: Rule, key: bytes, id: int, told: int, since: int, time: int, worst: float, evidence: Evidence
) -> Change:
    series = Series.from_key(key)
    given = {NAME: series.name} | dict(series.labels)
    transition = Transition(
        rule.name, series, since, TOLD[told], time, rule.severity_of(worst), evidence,
        render_all(rule.label_texts, given, evidence.value), render_all(rule.annotation_texts, given, evidence.value),
    )  # fmt: skip
    return Change((rule.name, key), id, transition)
