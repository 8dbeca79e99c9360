"""Rules that are evaluated over stored rows: what an evaluation says, and the state table of their alarms.

The series of their alarms are those of the answers, with labels of their own; the hub's index does not know them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from almenara.alarm.pace import GONE_NS, Pace
from almenara.alarm.rules import Rule
from almenara.alarm.states import FIRING, INACTIVE, PENDING, Changes, Machine, StaleMachine
from almenara.model.series import SeriesTable

_TELL_NO_DATA = 3
#: With more series than these that no answer has any more, what is known of them is dropped.
_FORGOTTEN = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What a rule's expression gave at one time.

    rule, expr: whose, and as it was then. time: ns. keys: of k series, each once and each with a name: those
    without one are alerts that others decide. value: float64[k]. true: bool[k],
    which of them are alarming. knows_all: a series that is not in it has no data; else it is just not alarming. why: a
    sentence for each series; none: the rule's own.
    """

    rule: str
    expr: str
    time: int
    keys: Sequence[bytes]
    value: np.ndarray
    true: np.ndarray
    knows_all: bool = False
    why: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not len(self.keys) == len(self.value) == len(self.true) or len(self.why) not in (0, len(self.keys)):
            raise ValueError(f"{self.rule}: {len(self.keys)} series, {len(self.value)} values, {len(self.true)} true")


class AnswerMachine(Machine):
    """The alarms of one rule that is evaluated: only its answers change them, not the clock."""

    def __init__(self, rule: Rule):
        super().__init__(rule)
        self.series = SeriesTable()
        self.last = np.zeros(0, np.int64)  # time of the last answer that a series was in

    def place(self, key: bytes) -> int:
        """The id of a series here, given now if it is new."""
        id = self.series.intern(key)
        self.reserve(id + 1)
        return id

    def reserve(self, n: int) -> None:
        """Have room for ids below n."""
        super().reserve(n)
        if len(self.last) < len(self.state):
            self.last = np.concatenate((self.last, np.zeros(len(self.state) - len(self.last), np.int64)))

    def tick(self, now_ns: int, pace: Pace, heard_from_ns: int, mask: np.ndarray) -> Changes:
        """Nothing."""
        return Changes(*(np.zeros(0, kind) for kind in (np.int64, np.int32, np.int8, np.int64, np.float64)))

    def take(self, answer: Answer) -> Changes:
        """Advance by an answer, and say what changed; `Changes.row` points into the answer, -1 where it is silent."""
        self._forget(len(answer.keys))
        id = np.array([self.place(key) for key in answer.keys], np.int32)
        missing = np.setdiff1d(self._known(answer), id)
        self.last[id] = answer.time
        states, true = self._of_missing(missing, answer)
        order = np.argsort(all_ids := np.concatenate((id, missing[states])))
        judged = np.concatenate((answer.value, np.full(states.sum(), np.nan)))[order]
        said = np.concatenate((answer.true, true[states]))[order]
        n = len(all_ids)
        every, mask = np.ones(n, np.bool_), np.ones(len(self.state), np.bool_)
        found = self.step(all_ids[order], np.full(n, answer.time), judged, every, said, mask)
        row = order[found.row]
        found = Changes(np.where(row < len(id), row, -1), found.id, found.told, found.since, found.worst)
        if self.rule.no_data != "keep" or not answer.knows_all:
            return found
        ongoing = missing[(self.state[missing] == PENDING) | (self.state[missing] == FIRING)]
        return _joined(found, self._told(ongoing, np.full(len(ongoing), _TELL_NO_DATA, np.int8)))

    def _known(self, answer: Answer) -> np.ndarray:
        """Ids of series that an answer without them says something of."""
        known = self.state[: len(self.series)] != INACTIVE
        if answer.knows_all and self.rule.no_data == "alarm":
            known = known | (self.last[: len(self.series)] > 0)
        return np.flatnonzero(known).astype(np.int32)

    def _of_missing(self, missing: np.ndarray, answer: Answer) -> tuple[np.ndarray, np.ndarray]:
        """(which of them state something, and what) by the rule's `no_data`."""
        every, none = np.ones(len(missing), np.bool_), np.zeros(len(missing), np.bool_)
        if not answer.knows_all or self.rule.no_data == "ok":
            return every, none
        if self.rule.no_data == "alarm":
            return every, answer.time - self.last[missing] < GONE_NS
        return none, none

    def _forget(self, n: int) -> None:
        """Series that come and go, each with labels of its own, must not gather for ever."""
        if len(self.series) <= _FORGOTTEN + 4 * n:
            return
        open, keys, last, columns = self.open(), self.series.keys, self.last, self.columns
        self.series = SeriesTable.of(keys[id] for id in open.tolist())
        size = max(1, len(open))
        self.state, self.since, self.last_true, self.worst, self.said = (np.zeros(size, c.dtype) for c in columns)
        self.last = np.zeros(size, np.int64)
        self.last[: len(open)] = last[open]
        for column, before in zip(self.columns, columns, strict=True):
            column[: len(open)] = before[open]

    def with_rule(self, rule: Rule) -> Machine:
        """The same alarms under a changed rule."""
        other = AnswerMachine(rule)
        other.series, other.last = self.series, self.last
        other.state, other.since, other.last_true, other.worst, other.said = self.columns
        return other


def machine_of(rule: Rule, old: Machine | None = None) -> Machine:
    """The machine that a rule wants, with the alarms of `old` where it is one of the same kind."""
    kind = AnswerMachine if rule.is_evaluated else StaleMachine if rule.on_silence else Machine
    return old.with_rule(rule) if type(old) is kind else kind(rule)


def _joined(a: Changes, b: Changes) -> Changes:
    columns = ("row", "id", "told", "since", "worst")
    return Changes(*(np.concatenate((getattr(a, name), getattr(b, name))) for name in columns))
