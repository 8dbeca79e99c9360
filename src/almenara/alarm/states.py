"""The state table of alarms: one rule over all its series, in arrays by series id, advanced by one compiled pass.

    state now   a row where it is true                    a row where it is false                 silence
    inactive    pending; firing when the rule has no for  inactive                                -
    pending     firing once it was true for `for`         inactive                                no-data
    firing      firing                                    resolved once `keep_firing_for` is over  no-data
    no-data     what it was, since this row               resolved or, never having fired, inactive
                                                          (firing on while `keep_firing_for` lasts)

That is silence where `no_data` is "keep". With "alarm" silence is as a row where it is true, with "ok" as one where it
is false, and with "ignore" it is nothing. Outside of the rule's schedule every alarm ends. Resolved is told and then is
inactive. Only changes leave the kernel: an alarm that goes on costs no Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from almenara._compiled import njit
from almenara.alarm.pace import GONE_NS, Pace
from almenara.alarm.rules import Rule
from almenara.model.alarm import State
from almenara.model.time import MINUTE_NS, NS

#: States inside: silence is remembered together with what it broke off.
INACTIVE, PENDING, FIRING, PENDING_SILENT, FIRING_SILENT = range(5)
#: What is told of a change, by its code.
TOLD = (State.INACTIVE, State.PENDING, State.FIRING, State.NO_DATA, State.RESOLVED)
_TELL_NO_DATA, _TELL_RESOLVED = 3, 4
_NONE = np.zeros(0, np.int32)

#: The clock decides in place of a row that is late by one usual gap, and by at most this.
MOST_GRACE_NS = MINUTE_NS


@njit(cache=True, nogil=True)
def _advance(  # type: ignore[no-untyped-def]
    id, time, judged, counts, true, mask, replayed, hold, keep, state, since, last_true, worst, said,
    out_row, out_told, out_since, out_worst,
):  # fmt: skip
    n_out = 0
    for i in range(len(id)):
        k = id[i]
        if not counts[i] or not mask[k]:
            continue
        now, t = state[k], time[i]
        if now == INACTIVE and not true[i]:
            continue
        if replayed:  # decided and written by a former run: only what goes on inside a state is brought up to date
            if now in (PENDING, FIRING) and t >= since[k]:
                said[k] = true[i]
                if true[i] and t > last_true[k]:
                    last_true[k], worst[k] = t, max(worst[k], judged[i])
            continue
        tell = -1
        if true[i]:
            if now == INACTIVE:
                since[k], worst[k] = t, judged[i]
                tell = PENDING if hold > 0 else FIRING
            elif now == PENDING and t - since[k] >= hold:
                tell = FIRING
            elif now == PENDING_SILENT:
                since[k] = t
                tell = PENDING if hold > 0 else FIRING
            elif now == FIRING_SILENT:
                since[k] = t
                tell = FIRING
            last_true[k], worst[k] = t, max(worst[k], judged[i])
        elif now in (PENDING, PENDING_SILENT):
            tell = INACTIVE
        elif t - last_true[k] >= keep:
            tell = _TELL_RESOLVED
        elif now == FIRING_SILENT:
            since[k] = t
            tell = FIRING
        said[k] = true[i]
        if tell < 0:
            continue
        state[k] = INACTIVE if tell == _TELL_RESOLVED else tell
        out_row[n_out], out_told[n_out], out_since[n_out], out_worst[n_out] = i, tell, since[k], worst[k]
        n_out += 1
    return n_out


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """k changes of one rule's alarms: int64[k] row of the batch (-1: by the clock), int32[k] series id, int8[k] code of
    what is told (`TOLD`), int64[k] since, float64[k] worst score."""

    row: np.ndarray
    id: np.ndarray
    told: np.ndarray
    since: np.ndarray
    worst: np.ndarray

    def __len__(self) -> int:
        return len(self.row)


def _nothing() -> Changes:
    return Changes(*(np.zeros(0, kind) for kind in (np.int64, np.int32, np.int8, np.int64, np.float64)))


@dataclass(slots=True, eq=False)
class Kept:
    """What `Machine.undo` needs: the series looked at (None: all), those of them that had an alarm, and its columns."""

    id: np.ndarray | None
    open: np.ndarray
    columns: tuple[np.ndarray, ...]


class Machine:
    """The alarms of one rule. Memory is touched only for series that ever had one."""

    def __init__(self, rule: Rule):
        self.rule = rule
        self.state = np.zeros(0, np.int8)
        self.since = np.zeros(0, np.int64)
        self.last_true = np.zeros(0, np.int64)
        self.worst = np.zeros(0)
        self.said = np.zeros(0, np.bool_)  # what the last row stated

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        """state, since, last_true, worst, said."""
        return self.state, self.since, self.last_true, self.worst, self.said

    def reserve(self, n: int) -> None:
        """Have room for ids below n."""
        if n <= len(self.state):
            return
        open, old = self.open(), self.columns
        new = tuple(np.zeros(max(n, len(self.state) * 3 // 2), column.dtype) for column in old)
        self.state, self.since, self.last_true, self.worst, self.said = new
        for column, before in zip(new, old, strict=True):
            column[open] = before[open]

    def open(self) -> np.ndarray:
        """Ids of series with an alarm that is not inactive."""
        return np.flatnonzero(self.state).astype(np.int32)

    def step(
        self, id: np.ndarray, time: np.ndarray, judged: np.ndarray, counts: np.ndarray, true: np.ndarray,
        mask: np.ndarray, *, replayed: bool = False,
    ) -> Changes:  # fmt: skip
        """Advance by rows ordered by (id, time), and say what changed.

        counts: bool[n], whether a row states anything; true: bool[n], what it states; mask: bool[series], which series
        the rule is about. replayed: a former run decided these rows, so nothing changes state.
        """
        n = len(id)
        lengths = {len(column) for column in (time, judged, counts, true)}
        if lengths != {n}:
            raise ValueError(f"columns differ in length: id {n}, others {sorted(lengths)}")
        highest = int(id.max()) if n else -1
        if highest >= len(mask) or (n and id.min() < 0):
            raise ValueError(f"series ids must lie below {len(mask)}; got {id.min()} to {highest}")
        self.reserve(len(mask))
        row, told = np.empty(n, np.int64), np.empty(n, np.int8)
        since, worst = np.empty(n, np.int64), np.empty(n)
        k = _advance(
            np.ascontiguousarray(id, np.int32), np.ascontiguousarray(time, np.int64),
            np.ascontiguousarray(judged, np.float64), np.ascontiguousarray(counts, np.bool_),
            np.ascontiguousarray(true, np.bool_), np.ascontiguousarray(mask, np.bool_),
            replayed, round(self.rule.for_s * NS), round(self.rule.keep_firing_for_s * NS),
            *self.columns, row, told, since, worst,
        )  # fmt: skip
        return Changes(row[:k], np.asarray(id)[row[:k]], told[:k], since[:k], worst[:k])

    def tick(self, now_ns: int, pace: Pace, heard_from_ns: int, mask: np.ndarray) -> Changes:
        """What the clock changes: holds that are over where the next row is overdue, and series that fell silent.

        heard_from_ns: silence counts from then on at the earliest; before, this hub was not listening. mask:
        bool[series], as for `step`.
        """
        began = self._begin(now_ns, pace, heard_from_ns, mask) if self.rule.no_data == "alarm" else _NONE
        id = np.setdiff1d(self.open(), began, assume_unique=True)
        if not len(id) and not len(began):  # the usual case
            return _nothing()
        state, last, grace = self.state[id], pace.last[id], np.minimum(pace.gap[id], MOST_GRACE_NS)
        silent = now_ns - np.maximum(last, heard_from_ns) > pace.limit(id)
        self._take_silence(id[silent], pace, now_ns)
        told = np.full(len(id), -1, np.int8)
        if self.rule.no_data == "keep":
            told[silent & ((state == PENDING) | (state == FIRING))] = _TELL_NO_DATA
        elif self.rule.no_data == "ok":
            told[silent & ((state == PENDING) | (state == PENDING_SILENT))] = INACTIVE
        held = now_ns - self.since[id] >= self.rule.for_s * NS + grace
        told[(state == PENDING) & (told < 0) & self.said[id] & held] = FIRING
        over = now_ns - self.last_true[id] >= self.rule.keep_firing_for_s * NS + grace
        ending = (state == FIRING) | ((state == FIRING_SILENT) & (self.rule.no_data == "ok"))
        told[ending & ~self.said[id] & over] = _TELL_RESOLVED
        told[silent & (state == PENDING) & ~self.said[id] & (told < 0)] = INACTIVE
        at = np.flatnonzero(told >= 0)
        return self._told(np.concatenate((began, id[at])), np.concatenate((self.state[began], told[at])))

    def set_back(self, now_ns: int) -> None:
        """The clock was set back: nothing was true in the future, and holds are counted from now at the latest."""
        np.minimum(self.last_true, now_ns, out=self.last_true)
        pending = (self.state == PENDING) & (self.since > now_ns)
        self.since[pending] = now_ns

    def _begin(self, now_ns: int, pace: Pace, heard_from_ns: int, mask: np.ndarray) -> np.ndarray:
        """Begin the alarms of series that fell silent and are not gone for good: pending or firing; their ids."""
        n = min(len(mask), len(pace.last))
        self.reserve(n)
        id = np.flatnonzero(mask[:n] & (self.state[:n] == INACTIVE) & (pace.gap[:n] > 0)).astype(np.int32)
        since = np.maximum(pace.last[id], heard_from_ns) + pace.limit(id)
        began = (now_ns > since) & (now_ns - pace.last[id] < GONE_NS)
        id, since = id[began], since[began]
        self.since[id], self.last_true[id], self.said[id], self.worst[id] = since, now_ns, True, 0.0
        self.state[id] = np.where(now_ns - since >= self.rule.for_s * NS, FIRING, PENDING)
        return id

    def _take_silence(self, id: np.ndarray, pace: Pace, now_ns: int) -> None:
        """What silence of series with an alarm states."""
        if self.rule.no_data == "ok":
            self.said[id] = False
        elif self.rule.no_data == "alarm":
            gone = now_ns - pace.last[id] >= GONE_NS
            self.said[id], self.last_true[id[~gone]] = ~gone, now_ns

    def _told(self, id: np.ndarray, told: np.ndarray) -> Changes:
        """Take on what is told by the clock, and give it as changes."""
        pending = (self.state[id] == PENDING) | (self.state[id] == PENDING_SILENT)
        silent = np.where(pending, PENDING_SILENT, FIRING_SILENT)
        self.state[id] = np.select([told == _TELL_NO_DATA, told == _TELL_RESOLVED], [silent, INACTIVE], told)
        return Changes(np.full(len(id), -1), id, told, self.since[id], self.worst[id])

    def close(self) -> Changes:
        """End every alarm: the schedule of its rule is over."""
        id = self.open()
        pending = (self.state[id] == PENDING) | (self.state[id] == PENDING_SILENT)
        return self._told(id, np.where(pending, INACTIVE, _TELL_RESOLVED).astype(np.int8))

    def with_rule(self, rule: Rule) -> Machine:
        """The same alarms under a changed rule of the same kind; its arrays are this one's."""
        other = type(self)(rule)
        other.state, other.since, other.last_true, other.worst, other.said = self.columns
        return other

    def put(self, id: int, columns: tuple[int, int, int, float, bool]) -> None:
        """Set the columns of one series."""
        self.reserve(id + 1)
        for column, value in zip(self.columns, columns, strict=True):
            column[id] = value

    def keep(self, id: np.ndarray | None) -> Kept:
        """What `undo` needs to take back changes of these series (None: of all)."""
        if id is None:
            open = self.open()
        else:
            self.reserve(int(id.max(initial=-1)) + 1)
            open = id[self.state[id] != INACTIVE]
        return Kept(id, open, tuple(column[open] for column in self.columns))

    def undo(self, kept: Kept) -> None:
        """Be again as when `kept` was taken."""
        self.state[slice(None) if kept.id is None else kept.id] = INACTIVE
        for column, before in zip(self.columns, kept.columns, strict=True):
            column[kept.open] = before


class StaleMachine(Machine):
    """The alarms of a rule about silence: the clock begins them, the next row ends them, and so does a series that is
    gone for good."""

    def __init__(self, rule: Rule):
        super().__init__(rule)
        self._begun = 0  # when the clock first came by, since the rule is there and in its hours; 0: not yet

    def close(self) -> Changes:
        """End every alarm. What is silent still when the hours of the rule begin is told again."""
        self._begun = 0
        return super().close()

    def with_rule(self, rule: Rule) -> StaleMachine:
        """The same alarms under a changed rule of the same kind."""
        other = cast(StaleMachine, super().with_rule(rule))
        other._begun = self._begun
        return other

    def tick(self, now_ns: int, pace: Pace, heard_from_ns: int, mask: np.ndarray) -> Changes:
        """Series that are stale by now, and those that are gone for good. `for_s` is added to what is still usual."""
        n, self._begun = min(len(mask), len(pace.last)), self._begun or now_ns
        self.reserve(n)
        state, hold = self.state[:n], round(self.rule.for_s * NS)
        stale = pace.stale(now_ns - hold, heard_from_ns, self.rule.number)[:n] & mask[:n] & (state == INACTIVE)
        gone = (state == FIRING) & (now_ns - pace.last[:n] >= GONE_NS)
        id = np.flatnonzero(stale | gone).astype(np.int32)
        if not len(id):
            return _nothing()
        told = np.where(gone[id], _TELL_RESOLVED, FIRING).astype(np.int8)
        began, ended = id[told == FIRING], id[told == _TELL_RESOLVED]
        limit = pace.stale_limit(self.rule.number)[began]
        since = np.maximum(np.maximum(pace.last[began], heard_from_ns) + limit + hold, self._begun)
        self.state[began], self.since[began], self.last_true[began], self.said[began] = FIRING, since, since, True
        self.worst[began] = (now_ns - pace.last[began]) / pace.gap[began]
        self.state[ended] = INACTIVE
        return Changes(np.full(len(id), -1), id, told, self.since[id], self.worst[id])
