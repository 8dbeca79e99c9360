"""`Book`: decides alarms. Every change is on disk, with its incident and its messages, before anyone hears of it."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from almenara.alarm import flapping, incidents, letters, lines, outbox, regroup, restart, telling
from almenara.alarm.answers import Answer
from almenara.alarm.changes import Change, closing
from almenara.alarm.dispatch import BACK_NS, Dispatch
from almenara.alarm.external import Alert, External, is_external
from almenara.alarm.folding import Grouping, History
from almenara.alarm.grouping import Incidents
from almenara.alarm.incidents import Fold
from almenara.alarm.letters import Letter
from almenara.alarm.machines import Machines, Selector
from almenara.alarm.outbox import Message
from almenara.alarm.pace import Pace
from almenara.alarm.plan import Plan
from almenara.alarm.policies import Notifiers, Policies, policies_of
from almenara.alarm.regroup import Regrouped
from almenara.alarm.rules import Rule
from almenara.alarm.shown import Shown
from almenara.alarm.silences import Silences
from almenara.alarm.tables import CHANGE, CHANGE_COLUMNS, Key, change_row, prepare, reading, transaction
from almenara.analysis.runs import starts
from almenara.model.alarm import Acknowledgement, Alarm, State, Transition
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.series import SeriesList
from almenara.model.time import MINUTE_NS, format_time
from almenara.query import Matcher

_SCHEMAS = lines.SCHEMA + outbox.SCHEMA + letters.SCHEMA + telling.SCHEMA + flapping.SCHEMA
#: After so long without a tick the hub itself was away: silence of series counts from then on only.
AWAY_NS = 5 * MINUTE_NS


class Book(Shown):
    """Alarms of all rules. `step`, `tick`, `replace_rules`, `state`, `restore` are one thread's; the rest anybody's."""

    def __init__(
        self, database: Callable[[], sqlite3.Connection], rules: Iterable[Rule], series: SeriesList,
        selector: Callable[[Sequence[Matcher]], Selector], causes: Causes | None = None,
        notifiers: Policies | Notifiers | Iterable[str] = (), silences: Silences | None = None,
        clock: Callable[[], int] | None = None, grouping: Grouping | None = None,
    ):  # fmt: skip
        """series: the hub's index (`find(keys)` gives ids); it may be filled later, but before the first step or tick.
        causes: what `Verdict.cause` points into. notifiers: who is told, and of which alarms. silences: of which alarms
        people are told nothing for a while; the book closes them. clock: ns; without one it is as late as the newest
        row. grouping: what folds alarms into incidents. Raises StoreError.
        """
        self._series, self._selector = series, selector
        self._now = self._ticked = self._heard_from = 0
        self._clock = clock or (lambda: max(self._ticked, self._now))
        self.silences = silences or Silences(database)
        self._dispatch = Dispatch(policies_of(notifiers), self.silences)
        self.on_queued: Callable[[], None] = lambda: None  # called when there is something to send
        self._lock = threading.Lock()  # of the alarms that are open, which other threads read
        self._reading = threading.Lock()  # of the reading connection
        self._writing = threading.Lock()  # of the writing connection
        with reading():
            self._db, self._reader = database(), database()
            prepare(self._db, _SCHEMAS)
            self._open = restart.open_alarms(self._db)
            self._external = External(self._db, self._open)
            self._decided, self._next = restart.numbers(self._db)
            find = getattr(series, "find", None) or series.keys.find  # type: ignore[attr-defined]
            self._history = History(grouping or Grouping(), find)
            self._incidents = Incidents(grouping, self._history, lambda *rule: restart.usual(self._db, *rule))
            self._incidents.load(self._db)
            self._dispatch.load(self._db, self._open)
        self._pace = Pace()
        self._machines = Machines(series, selector, causes or Causes()).replaced(rules)
        self._restored: Mapping[str, np.ndarray] | None = None
        self._heard = restart.Heard()
        self._attached = False
        self._replaying = True  # until the first tick: segments that a former run decided may come again
        self._seq = self._decided  # last segment stepped through
        self._untold: list[Transition] = []

    # --- for the flush thread

    def step(self, seq: int, batch: Batch, verdict: Verdict, fresh_from_ns: int) -> Sequence[Transition]:
        """Decide the rows of a segment, ordered by (id, time). What it returns is on disk.

        Rows from before `fresh_from_ns`, and rows not after their series' last one, are left out. Raises StoreError or
        DiskFull; then nothing has changed, and the same step may be done again.
        """
        if len(batch):
            self._now = max(self._now, int(np.max(batch.time)))
        self._attach()
        self._heard.take_up(self._pace, seq)
        replayed = self._replaying and seq <= self._decided
        id, time, value = np.asarray(batch.id), np.asarray(batch.time), np.asarray(batch.value)
        undo = self._keep(id[starts(id)])
        try:
            live = self._pace.step(id, time, value, fresh_from_ns)
            self._commit(seq, self._machines.step(batch, verdict, live, replayed), self._clock())
        except BaseException:
            undo()
            raise
        self._seq = seq
        self._history.step(batch, verdict)
        return self._tell()

    def tick(self, now_ns: int) -> Sequence[Transition]:
        """What the clock changes: holds that are over, series that fell silent. Raises StoreError or DiskFull."""
        if now_ns - self._ticked > AWAY_NS:
            self._heard_from = now_ns
            self._external.wait(now_ns)
        is_back = now_ns < self._ticked - BACK_NS
        self._now, self._ticked, self._replaying = now_ns, now_ns, False
        self._attach()
        self._heard.take_up(self._pace)
        if is_back:
            self._heard_from = min(self._heard_from, now_ns)
            self._pace.set_back(now_ns)
            self._machines.set_back(now_ns)
        undo = self._keep(None)
        try:
            changes = self._machines.tick(now_ns, self._pace, self._heard_from, self._open.get)
            changes += self._external.tick(now_ns)
            self._commit(self._seq, changes, now_ns)
        except BaseException:
            undo()
            raise
        return self._tell()

    def take(self, answers: Sequence[Answer]) -> Sequence[Transition]:
        """Decide what evaluations of rules say. Raises StoreError or DiskFull; then nothing has changed."""
        self._attach()
        undo = self._machines.keep(None)
        try:
            self._commit(self._seq, self._machines.take(answers))
        except BaseException:
            undo()
            raise
        return self._tell()

    def take_alerts(self, alerts: Iterable[Alert], now_ns: int) -> Sequence[Transition]:
        """Take alerts that another system sends; what they change is on disk. Raises StoreError or DiskFull; then
        nothing has changed, and they may be sent again."""
        self._attach()

        def is_told(change: Transition) -> bool:
            return restart.known(self._db, change) is not None

        try:
            with reading():
                changes = self._external.take(alerts, now_ns, is_told)
            self._commit(self._seq, changes)
        except BaseException:
            self._external.undo()
            raise
        return self._tell()

    def replace_rules(
        self, rules: Iterable[Rule], notifiers: Policies | Notifiers | Iterable[str] | None = None
    ) -> Sequence[Transition]:
        """Go on with other rules, and other notifiers (None: the same). Alarms of rules that are gone, or that no
        longer speak of their series, are resolved. Raises StoreError or DiskFull; then everything stays as it was."""
        self._attach()
        before = self._machines, self._dispatch
        self._machines = self._machines.replaced(rules)
        if notifiers is not None:
            with self._writing:
                self._dispatch = self._dispatch.replace(policies_of(notifiers))
        try:
            self._close_orphans()
        except BaseException:
            self._machines, self._dispatch = before
            raise
        return self._tell()

    def replace_causes(self, causes: Causes) -> None:
        """From the next step on `Verdict.cause` points into these."""
        self._machines.causes = causes

    def split(self, incident: int, alarms: Iterable[Key], who: str) -> Sequence[Transition]:
        """Take alarms, (rule, key of the series), out of an open incident into a new one, of which people are told.
        Raises IncidentError, StoreError or DiskFull; then everything is as it was."""
        return self._regroup(regroup.split, incident, list(alarms), who)

    def join(self, incident: int, other: int, who: str) -> Sequence[Transition]:
        """Put the alarms of an open incident, `other`, into `incident`; nothing more is told of `other`. Raises
        IncidentError, StoreError or DiskFull; then everything is as it was."""
        return self._regroup(regroup.join, incident, other, who)

    def state(self) -> dict[str, np.ndarray]:
        """What hub.db does not hold, for a snapshot: rows seen of each series, and inside of alarms that go on."""
        self._attach()
        return restart.state(self._seq, self._pace, self._machines.of) | self._history.state()

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Go on from what `state` gave; before the first step. Raises ValueError or KeyError where it does not fit."""
        self._restored = restart.checked(arrays)

    # --- for anybody, besides what `Shown` answers

    def acknowledge(self, incident: int, who: str, note: str = "", until: int = 0, now_ns: int | None = None) -> bool:
        """Somebody takes an incident on, until a time (ns; 0: until it is resolved). False: it is not open."""
        at = self._clock() if now_ns is None else now_ns
        end = f" until {format_time(until)}" if until else ""
        text = f"acknowledged{end}" + (f": {note}" if note else "")
        return self._taken_on(incident, Acknowledgement(who, at, note, until), who, text, at)

    def unacknowledge(self, incident: int, who: str, now_ns: int | None = None) -> bool:
        """Nobody has taken this incident on any more: repeats and escalation go on. False: nobody had."""
        return self._taken_on(incident, None, who, "given back", self._clock() if now_ns is None else now_ns)

    def fall_back(self, message: Message, error: str) -> bool:
        """Tell those who stand in for a notifier that cannot deliver this message; False: nobody does. Raises
        StoreError."""
        with self._writing:
            with transaction(self._db):
                plan = self._dispatch.fallback(message, error, outbox.have(self._db, message), self._clock())
                plan.write(self._db)
                outbox.fell_back(self._db, message)
            self._dispatch.take_over(plan)
        if plan.drafts:
            self.on_queued()
        return bool(plan.drafts)

    def post(self, letter: Letter, notifiers: Sequence[str]) -> int:
        """Tell those of these notifiers who have not got this letter; gives how many. Raises StoreError, DiskFull."""
        with self._writing, transaction(self._db):
            queued = letters.queue(self._db, letter, notifiers, self._clock())
        self.on_queued()
        return queued

    def close(self) -> None:
        """Close the database."""
        with self._writing, self._reading:
            self._db.close()
            self._reader.close()
        self.silences.close()

    # --- inside

    def _attach(self) -> None:
        """Once the index is filled: give the alarms that a former run left to their series."""
        if self._attached:
            return
        self._heard = restart.attach(self._db, self._series, self._pace, self._machines.of, self._restored)
        if self._restored is not None:
            self._history.restore(self._restored)
        self._history.fired(restart.fired(self._db))
        self._close_orphans()
        self._attached, self._restored = True, None

    def _close_orphans(self) -> None:
        """Resolve alarms that no rule speaks of any more."""
        known = self._machines.known()
        known |= {key for key, alarm in self._open.items() if is_external(alarm.last)}
        changes = []
        for (rule, _), alarm in ((key, alarm) for key, alarm in self._open.items() if key not in known):
            gone = "its rule no longer speaks of this series" if rule in self._machines.of else "its rule was removed"
            changes.append(closing(alarm, gone, self._now))
        self._commit(self._decided, changes)
        self._machines.drop_others()

    def _keep(self, ids: np.ndarray | None) -> Callable[[], None]:
        """A function that takes back what happens to these series (None: to all) from now on."""
        undo_states = self._machines.keep(ids)
        if ids is not None:
            self._pace.reserve(int(ids.max(initial=-1)) + 1)
            paces = {name: column[ids] for name, column in self._pace.columns.items()}

        def undo() -> None:
            undo_states()
            if ids is not None:
                for name, before in paces.items():
                    self._pace.columns[name][ids] = before

        return undo

    def _tell(self) -> list[Transition]:
        told, self._untold = self._untold, []
        return told

    def _taken_on(self, incident: int, taken: Acknowledgement | None, who: str, text: str, now_ns: int) -> bool:
        with self._writing:
            plan = self._dispatch.acknowledged(incident, taken, now_ns)
            if plan is None:
                return False
            plan.say(incident, "acknowledged" if taken else "unacknowledged", who, text)
            with transaction(self._db):
                if taken is not None:
                    query = "UPDATE incident SET who=?, acknowledged=?, note=?, until=? WHERE id=?"
                    self._db.execute(query, (taken.who, taken.time, taken.note, taken.until, incident))
                plan.write(self._db)
            self._dispatch.take_over(plan)
        return True

    def _commit(self, seq: int, changes: list[Change], now_ns: int | None = None) -> None:
        """Write changes with all that follows from them in one transaction, then let readers see them. now_ns: the
        hub's clock; None: without changes nothing is decided."""
        changes.sort(key=lambda one: (one.transition.time, one.transition.rule))
        with self._writing:
            is_due = now_ns is not None and self._dispatch.is_due(now_ns)
            if not changes and not self._external.moved and not is_due:
                self._external.written()
                return
            new, fold, plan = self._written(seq, changes, self._clock() if now_ns is None else now_ns)
            self._external.written()
            self._decided, self._next = max(seq, self._decided), self._next + len(new)
            self._incidents.take_over(fold)
            self._dispatch.take_over(plan)
        with self._lock:
            for one in changes:
                if one.is_over:
                    self._open.pop(one.key, None)
                else:
                    self._open[one.key] = Alarm(one.transition, self._incidents.of.get(one.key))
        self._untold += [transition for _, transition in new]
        self._history.fired((c.series.key, c.since) for _, c in new if c.state is State.FIRING)
        if plan.drafts:
            self.on_queued()

    def _regroup(self, do: Callable[..., Regrouped], incident: int, what: object, who: str) -> list[Transition]:
        """Write and take over what a person changes, with a line for each incident."""
        self._attach()
        now, last = self._clock(), self._next - 1
        with self._writing:
            with reading():
                made = do(self._db, self._incidents, incident, what, who, last)
            plan = self._dispatch.plan(made.fold, (), last, now)
            try:
                with transaction(self._db):
                    regroup.write(self._db, made, who, now)
                    plan.write(self._db)
            except BaseException:
                self._dispatch.undo(plan)
                raise
            self._incidents.take_over(made.fold)
            self._dispatch.take_over(plan)
        with self._lock:
            for key, id in made.fold.of.items():
                self._open[key] = Alarm(self._open[key].last, id)
        if plan.drafts:
            self.on_queued()
        return self._tell()

    def _written(self, seq: int, changes: list[Change], now_ns: int) -> tuple[list[tuple[int, Transition]], Fold, Plan]:
        """What is new, what it means for incidents, and for who is told: on disk."""
        plan = None
        try:
            with transaction(self._db):
                numbered, new = self._number(changes)
                fold = self._incidents.fold(new)
                plan = self._dispatch.plan(fold, new, self._next + len(new) - 1, now_ns)
                if changes or self._external.moved:
                    self._write(seq, numbered, new, fold)
                    self._external.write(self._db)
                plan.write(self._db)
        except BaseException:
            self._external.undo()
            if plan is not None:
                self._dispatch.undo(plan)
            raise
        return new, fold, plan

    def _number(self, changes: Sequence[Change]) -> tuple[list[tuple[int, Change]], list[tuple[int, Transition]]]:
        """Changes with their numbers, and those that the journal does not have yet."""
        numbered: list[tuple[int, Change]] = []
        new: list[tuple[int, Transition]] = []
        for one in changes:
            number = restart.known(self._db, one.transition)
            if number is None:
                number = self._next + len(new)
                new.append((number, one.transition))
            numbered.append((number, one))
        return numbered, new

    def _write(
        self, seq: int, numbered: Sequence[tuple[int, Change]], new: Sequence[tuple[int, Transition]], fold: Fold
    ) -> None:
        """The rows about alarms and incidents."""
        places = ",".join("?" * (CHANGE_COLUMNS + 1))
        rows = [(number, *change_row(change)) for number, change in new]
        self._db.executemany(f"INSERT INTO alarm_journal (id, {CHANGE}) VALUES ({places})", rows)
        incidents.write(self._db, fold)
        of = self._incidents.of | fold.of
        restart.write_states(self._db, seq, numbered, lambda key: of.get(key, 0), self._columns)
        self._db.execute("INSERT OR REPLACE INTO alarm_decided VALUES (1, ?)", (seq,))

    def _columns(self, key: Key, id: int) -> tuple[Any, ...]:
        """(code, since, last_true, worst, said, last) of an alarm."""
        if key in self._external:
            return self._external.columns(key)
        return self._machines.columns(key, id, self._pace)
