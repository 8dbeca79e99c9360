"""The state tables of all rules, and what rows, the clock and answers change in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from almenara.alarm.answers import Answer, AnswerMachine, machine_of
from almenara.alarm.changes import Change, from_answer, from_clock, from_rows
from almenara.alarm.pace import Pace
from almenara.alarm.rules import Rule
from almenara.alarm.states import INACTIVE, Machine
from almenara.alarm.tables import Key
from almenara.model.alarm import Alarm
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.series import SeriesList
from almenara.query import Matcher

CLOSED = "outside of the times at which its rule holds"


class Selector(Protocol):
    """Which series a rule is about."""

    def mask(self) -> np.ndarray: ...


class Machines:
    """One state table a rule; for the flush thread. causes: what `Verdict.cause` points into."""

    def __init__(self, series: SeriesList, selector: Callable[[Sequence[Matcher]], Selector], causes: Causes):
        self._series, self._selector, self.causes = series, selector, causes
        self.of: dict[str, Machine] = {}
        self._selectors: dict[str, Selector] = {}

    def replaced(self, rules: Iterable[Rule]) -> Machines:
        """The same alarms under these rules."""
        new = Machines(self._series, self._selector, self.causes)
        for rule in rules:
            old = self.of.get(rule.name)
            new.of[rule.name] = machine_of(rule, old)
            if rule.is_evaluated:
                continue
            same = old is not None and not old.rule.is_evaluated and old.rule.expr == rule.expr
            new._selectors[rule.name] = self._selectors[rule.name] if same else self._selector(rule.matchers)
        return new

    def rules(self) -> list[Rule]:
        """All rules, in their order."""
        return [machine.rule for machine in self.of.values()]

    def evaluated(self) -> list[Rule]:
        """The rules that want answers."""
        return [machine.rule for machine in self.of.values() if machine.rule.is_evaluated]

    def _by_rows(self) -> Iterator[tuple[Machine, Selector]]:
        return ((self.of[name], selector) for name, selector in self._selectors.items())

    def step(self, batch: Batch, verdict: Verdict, live: np.ndarray, replayed: bool) -> list[Change]:
        """What rows change, ordered by (id, time). live: bool[n], which of them count."""
        id, time, value = np.asarray(batch.id), np.asarray(batch.time), np.asarray(batch.value)
        changes: list[Change] = []
        by = {"": verdict}  # what each detector said that a rule asks for
        for machine, selector in self._by_rows():
            rule = machine.rule
            if rule.detector not in by:
                by[rule.detector] = verdict.by(rule.detector)
            said = by[rule.detector]
            judged, states, true = rule.judge(value, said)
            if not true.any() and not machine.state.any():
                continue  # the usual case: nothing is wrong, and nothing was
            if not rule.schedule.is_always:
                states = states & rule.schedule.holds(time)
            found = machine.step(id, time, judged, live & states, true, selector.mask(), replayed=replayed)
            changes += from_rows(rule, found, batch, said, true, self.causes)
        return changes

    def tick(self, now_ns: int, pace: Pace, heard_from_ns: int, last: Callable[[Key], Alarm | None]) -> list[Change]:
        """What the clock changes. last: an open alarm as it is."""
        changes: list[Change] = []
        for machine, selector in self._by_rows():
            if machine.rule.schedule.holds_at(now_ns):
                found = machine.tick(now_ns, pace, heard_from_ns, selector.mask())
                changes += from_clock(machine.rule, found, now_ns, pace, self._series, last)
            else:
                changes += from_clock(machine.rule, machine.close(), now_ns, pace, self._series, last, CLOSED)
        for machine in self._by_answers():
            if not machine.rule.schedule.holds_at(now_ns):
                changes += from_clock(machine.rule, machine.close(), now_ns, pace, machine.series, last, CLOSED)
        return changes

    def set_back(self, now_ns: int) -> None:
        """The clock was set back."""
        for machine in self.of.values():
            machine.set_back(now_ns)

    def _by_answers(self) -> Iterator[AnswerMachine]:
        return (machine for machine in self.of.values() if isinstance(machine, AnswerMachine))

    def take(self, answers: Iterable[Answer]) -> list[Change]:
        """What answers change; those of rules that have changed meanwhile, and those outside of schedules, nothing."""
        changes: list[Change] = []
        for answer in answers:
            machine = self.of.get(answer.rule)
            if not isinstance(machine, AnswerMachine) or machine.rule.expr != answer.expr:
                continue
            if machine.rule.schedule.holds_at(answer.time):
                changes += from_answer(machine.rule, machine.take(answer), answer, machine.series)
        return changes

    def holds(self, name: str, id: int) -> bool:
        """Does a rule speak of the series with this id?"""
        if name not in self._selectors:
            return name in self.of
        mask = self._selectors[name].mask()
        return id < len(mask) and bool(mask[id])

    def known(self) -> set[Key]:
        """The open alarms of which rules still speak."""
        return {
            (name, self._key(machine, id))
            for name, machine in self.of.items()
            for id in machine.open().tolist()
            if self.holds(name, id)
        }

    def drop_others(self) -> None:
        """Make inactive what rules no longer speak of."""
        for name, machine in self.of.items():
            for id in machine.open().tolist():
                if not self.holds(name, id):
                    machine.state[id] = INACTIVE

    def _key(self, machine: Machine, id: int) -> bytes:
        series = machine.series if isinstance(machine, AnswerMachine) else self._series
        return bytes(series.keys[id])

    def columns(self, key: Key, id: int, pace: Pace) -> tuple[Any, ...]:
        """(code, since, last_true, worst, said, last) of an alarm."""
        machine = self.of[key[0]]
        if isinstance(machine, AnswerMachine):
            id = machine.place(key[1])
            last = machine.last[id].item()
        else:
            last = pace.last[id].item()
        return (*(column[id].item() for column in machine.columns), last)

    def keep(self, ids: np.ndarray | None) -> Callable[[], None]:
        """A function that takes back what happens from now on to these series of the index (None: to all)."""
        kept = [
            (machine, machine.keep(None if isinstance(machine, AnswerMachine) else ids))
            for machine in self.of.values()
            if ids is None or not isinstance(machine, AnswerMachine)
        ]

        def undo() -> None:
            for machine, before in kept:
                machine.undo(before)

        return undo
