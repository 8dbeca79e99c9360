"""`Dispatch`: decides who is told of which incident now; the rest waits on disk until it is due.

Nothing is changed before it is written: a `Plan` holds all that a moment decides, and is taken over when it is on disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from functools import partial

from almenara.alarm import left, outbox
from almenara.alarm.flapping import Flapping
from almenara.alarm.incidents import Fold
from almenara.alarm.inhibit import Inhibitor, words_of
from almenara.alarm.outbox import Draft
from almenara.alarm.plan import Plan
from almenara.alarm.policies import Policies
from almenara.alarm.saying import text_of
from almenara.alarm.stages import Asked, Held, Lookups, Reason, Silencing, held
from almenara.alarm.tables import Key
from almenara.alarm.telling import FALLBACK, NEVER, Case, Due, Member, Row, about, dues
from almenara.model.alarm import Acknowledgement, Alarm, NoticeKind, Severity, State, Transition, labels_of
from almenara.model.time import NS

#: A message that is held back is looked at again after so long, and after so much for each one that is held back.
LOOK_NS, LOOK_EACH_NS = NS, NS // 1000
#: By so much the clock may go back without anybody minding.
BACK_NS = NS


class Dispatch:
    """What is to be told, in memory as in the database; for whoever holds the book's lock for writing."""

    def __init__(self, policies: Policies, silences: Silencing):
        self.policies = policies
        self.lookups = Lookups(Inhibitor(policies.inhibitions), silences, Flapping())
        self.cases: dict[int, Case] = {}
        self._flaps_told: set[tuple[Key, str]] = set()
        self._next = 0  # when something may be due
        self._now = 0
        self._fresh = True  # the policies have not been looked at yet
        self._targets: dict[tuple[tuple[str, str], ...], frozenset[object]] = {}

    # --- taking up what is on disk, and another configuration

    def load(self, connection: sqlite3.Connection, alarms: Mapping[Key, Alarm]) -> None:
        """Take up what a former run left. alarms: those that are open."""
        self.cases = left.cases(connection, self.policies.notifiers)
        joined = left.joined(connection)
        for key, alarm in alarms.items():
            if alarm.incident in self.cases:
                labels = labels_of(alarm.last)
                number = joined.get((alarm.incident, *key), 0)
                self.cases[alarm.incident].members[key] = Member(labels, number, self._target(labels))
                self.lookups.inhibitor.put(key, labels)
        self.lookups.flapping.load(connection)
        self._flaps_told = left.flaps_told(connection)

    def replace(self, policies: Policies) -> Dispatch:
        """The same incidents under other policies."""
        other = Dispatch(policies, self.lookups.silences)
        other.lookups = replace(other.lookups, flapping=self.lookups.flapping)
        other._flaps_told, other._now = self._flaps_told, self._now
        for id, case in self.cases.items():
            mine = other.cases[id] = case.copy()
            for key, one in case.members.items():
                mine.members[key] = replace(one, targets=other._target(one.labels))
                other.lookups.inhibitor.put(key, one.labels)
        return other

    def _look_again(self, plan: Plan) -> None:
        """Rows for what the policies want of incidents that are open, and none for notifiers that are gone."""
        for id in list(self.cases):
            case = self._case(plan, id)
            for row in list(case.rows.values()):
                if row.notifier not in self.policies.notifiers:
                    plan.put(case, replace(row, done=True))
                else:
                    case.rows[row.key] = replace(row, due=0)
            for one in () if case.resolved else case.members.values():
                self._want(plan, case, one, anew=False)

    # --- deciding

    def is_due(self, now_ns: int) -> bool:
        """Whether there may be something to decide at this time."""
        return now_ns >= self._next or now_ns < self._now - BACK_NS

    def plan(self, fold: Fold, changes: Iterable[tuple[int, Transition]], upto: int, now_ns: int) -> Plan:
        """What changes, and the time, mean for who is told. changes: (number, change), all of them."""
        plan = Plan(now_ns, upto)
        try:
            self._make(plan, fold, changes)
        except BaseException:
            self.undo(plan)
            raise
        return plan

    def _make(self, plan: Plan, fold: Fold, changes: Iterable[tuple[int, Transition]]) -> None:
        if plan.now < self._now - BACK_NS:
            self._set_back(plan)
        if self._fresh:
            self._look_again(plan)
        plan.calm = {(key, name) for key, name in self._flaps_told if not self.lookups.flapping.times(key, plan.now)}
        latest = self._learn(plan, changes)
        for id, incident in fold.touched.items():
            self._fold(plan, fold, id, incident.alarms, incident.severity, latest)
        for id in sorted(self.cases.keys() | plan.cases.keys() if self.is_due(plan.now) else plan.cases.keys()):
            self._decide(plan, id)
        plan.gather()

    def _set_back(self, plan: Plan) -> None:
        """The clock was set back: nothing was told in the future."""
        now = plan.now
        for id in list(self.cases):
            case = self._case(plan, id)
            for row in list(case.rows.values()):
                times = {name: min(getattr(row, name), now) for name in ("began", "first", "told")}
                plan.put(case, replace(row, **times, due=now))

    def _learn(self, plan: Plan, changes: Iterable[tuple[int, Transition]]) -> dict[Key, Transition]:
        """What the stages look up is as after these changes."""
        inhibitor, flaps = self.lookups.inhibitor, self.lookups.flapping
        latest = {}
        for _, change in changes:
            key = (change.rule, change.series.key)
            latest[key] = change
            if change.state is State.FIRING:
                plan.undo.append(partial(inhibitor.put, *inhibitor.put(key, labels_of(change))))
            elif change.state is State.RESOLVED:
                plan.undo.append(partial(inhibitor.put, *inhibitor.put(key, None)))
                plan.undo.append(partial(flaps.put, *flaps.resolved(key, change.time)))
        return latest

    def _case(self, plan: Plan, id: int) -> Case:
        if id not in plan.cases:
            plan.cases[id] = self.cases[id].copy()
        return plan.cases[id]

    def _fold(
        self, plan: Plan, fold: Fold, id: int, alarms: set[Key], severity: Severity, latest: Mapping[Key, Transition]
    ) -> None:
        """What became of one incident."""
        if id not in self.cases and id not in plan.cases:
            plan.cases[id] = Case(id, severity)
        case = self._case(plan, id)
        if id in fold.merged:
            self._merge(plan, case, self._case(plan, fold.merged[id]))
            return
        had_news = {key for key, row in case.rows.items() if row.has_news(case.severity)}
        case.severity = severity
        for change in fold.fired.get(id, ()):
            key = (change.rule, change.series.key)
            labels = labels_of(latest.get(key, change))
            one = Member(labels, plan.upto, self._target(labels))
            self._begin_anew(plan, case, one)
            case.members[key] = one
            self._want(plan, case, one, anew=True)
        if id in fold.resolved:  # what came and went in one segment is told as if it had taken two
            for row in [row for row in case.rows.values() if not row.first and row.step == 0]:
                self._decide_row(plan, case, row)
            case.resolved = min(fold.resolved[id], plan.now)
        for key in [key for key in case.members if key not in alarms]:
            self._ended(plan, case, case.members.pop(key))
        for row in list(case.rows.values()):
            if row.first and row.key not in had_news and row.has_news(severity):
                plan.put(case, replace(row, began=plan.now))

    def _merge(self, plan: Plan, case: Case, into: Case) -> None:
        """Another incident has its alarms: nothing more is told of this one, and who was told hears the other's end."""
        into.members |= case.members
        known = {row.notifier for row in into.rows.values() if row.first}
        for row in list(case.rows.values()):
            if row.first and row.notifier not in known:
                plan.put(into, replace(row, incident=into.id, due=plan.now))
            plan.put(case, replace(row, done=True))
        case.resolved, case.members = plan.now, {}

    def _ended(self, plan: Plan, case: Case, one: Member) -> None:
        for row in list(case.rows.values()):
            if row.policy in one.targets:
                plan.put(case, replace(row, ended=plan.upto))

    def _target(self, labels: Mapping[str, str]) -> frozenset[object]:
        found = tuple(self.policies.targets(labels))
        if found not in self._targets:
            self._targets[found] = frozenset([*found, *(policy for policy, _ in found)])
        return self._targets[found]

    def _want(self, plan: Plan, case: Case, one: Member, *, anew: bool) -> None:
        """Rows for whoever is to hear of this alarm. anew: it joined just now, which is news to those who have one."""
        pairs = [target for target in one.targets if isinstance(target, tuple)]
        if not pairs and anew and len(case.members) == 1 and self.policies.policies:
            plan.say(case.id, "untold", "", f"no policy fits {words_of(one.labels)}")
        for policy, notifier in sorted(pairs):
            if (policy, notifier, 0) not in case.rows:
                plan.put(case, Row(case.id, policy, notifier, 0, plan.now, joined=one.joined))
        for row in list(case.rows.values()) if anew else ():
            if row.policy in one.targets and (row.step > 0 or (row.policy, row.notifier) in one.targets):
                plan.put(case, replace(row, joined=one.joined))

    def _begin_anew(self, plan: Plan, case: Case, one: Member) -> None:
        """Who was not told of those before, which are over, is to hear of this alarm as of the first."""
        for row in list(case.rows.values()):
            is_first = row.step == 0 and not row.first and (row.policy, row.notifier) in one.targets
            if is_first and not any(True for _ in case.alarms(row)):
                plan.put(case, replace(row, began=plan.now))

    # --- one incident at one moment

    def _decide(self, plan: Plan, id: int) -> None:
        case = plan.cases.get(id) or self.cases[id]
        taken = case.acknowledgement
        over = taken is not None and 0 < taken.until <= plan.now and not case.resolved
        if not over and id not in plan.cases and all(row.due > plan.now for row in case.rows.values()):
            return
        case = self._case(plan, id)
        if over and taken is not None:
            plan.say(id, "unacknowledged", "", f"acknowledged by {taken.who} until now")
            self._release(plan, case, remind=True)
        for key in sorted(case.rows, key=lambda key: (key[2] < 0, key[2], key)):
            if not case.rows[key].done:
                self._decide_row(plan, case, case.rows[key])
        if case.resolved and case.rows and all(row.done and not row.first for row in case.rows.values()):
            plan.say(id, "untold", "", "it was resolved before anybody was told")

    def _release(self, plan: Plan, case: Case, *, remind: bool) -> None:
        """Nobody has taken this incident on any more."""
        case.acknowledgement = None
        plan.over.append(case.id)
        for row in list(case.rows.values()):
            if row.first:
                plan.put(case, replace(row, remind=plan.now if remind else 0))
            elif row.step > 0:
                plan.put(case, replace(row, began=plan.now))

    def _decide_row(self, plan: Plan, case: Case, row: Row) -> None:
        policy = self.policies[row.policy]
        found = dues(row, case, policy)
        if not found:
            plan.put(case, replace(row, due=NEVER, done=bool(case.resolved), held="", why=""))
            return
        now_due = [one for one in found if one.at <= plan.now]
        at = min(one.at for one in found)
        if not now_due:
            plan.put(case, replace(row, due=at, held="", why=""))
            return
        if self._is_known(plan, case, row, now_due[0]):
            return
        first: Held | None = None
        for one in now_due:
            reason = held(self._asked(plan, case, row, one), self.lookups, plan.now)
            if reason is None:
                self._tell(plan, case, row, one)
                return
            first = first or reason
        if first is not None:
            self._hold(plan, case, row, first)

    def _asked(self, plan: Plan, case: Case, row: Row, one: Due) -> Asked:
        policy = self.policies[row.policy]
        return Asked(
            one.kind, row.notifier, policy, case.severity, one.news, about(row, case, one), case.acknowledgement,
            self._flaps_told - plan.calm,
        )  # fmt: skip

    def _hold(self, plan: Plan, case: Case, row: Row, why: Held) -> None:
        if row.held != why.reason:
            plan.say(case.id, why.reason, row.notifier, why.text)
        again = plan.now + max(LOOK_NS, LOOK_EACH_NS * len(self.cases))
        if row.held == why.reason and row.why == why.text:
            case.rows[row.key] = replace(row, due=again)  # not worth a write
        else:
            plan.put(case, replace(row, held=why.reason, why=why.text, due=again))

    def _is_known(self, plan: Plan, case: Case, row: Row, one: Due) -> bool:
        """Nothing new: the same notifier was told all this by another policy or step."""
        if row.first or one.kind is not NoticeKind.FIRING:
            return False
        told = [other for other in case.rows.values() if other.notifier == row.notifier and other.first]
        if not told or max(other.upto for other in told) < row.joined or all(o.is_worse(case.severity) for o in told):
            return False
        by = max(told, key=lambda other: other.told)
        plan.say(case.id, "nothing new", row.notifier, f"{row.notifier} was told by policy {by.policy}")
        known = replace(
            by, policy=row.policy, step=row.step, began=row.began, joined=row.joined, ended=row.ended, due=plan.now
        )
        plan.put(case, replace(known, first=plan.now, held="", why=""))
        self._escalations(plan, case, row)
        return True

    # --- telling

    def _tell(self, plan: Plan, case: Case, row: Row, one: Due) -> None:
        policy = self.policies[row.policy]
        text = text_of(case, row, one, self.lookups.flapping, plan.now)
        state = State.RESOLVED if case.resolved else State.FIRING
        gathered = bool(policy.digest) and one.kind is not NoticeKind.ESCALATION
        plan.drafts.append(Draft(row.notifier, case.id, state, one.kind, text, row.policy, row.step, gathered))
        if one.kind is NoticeKind.ESCALATION:
            plan.say(case.id, "escalated", row.notifier, f"nobody took it on: {row.notifier} is told")
        if not row.first and row.step == 0:
            self._escalations(plan, case, row)
        for other in list(case.rows.values()):
            if other.notifier == row.notifier and (other.first or other.key == row.key):
                self._was_told(plan, case, other)
            elif other.notifier == row.notifier and case.resolved:  # it knows all by now
                plan.put(case, replace(other, done=True))
        self._tell_flapping(plan, case, row, one)

    def _was_told(self, plan: Plan, case: Case, row: Row) -> None:
        told = replace(
            row, first=row.first or plan.now, told=plan.now, upto=plan.upto, severity=case.severity.value,
            remind=0, held="", why="", done=bool(case.resolved),
        )  # fmt: skip
        found = () if told.done else dues(told, case, self.policies[row.policy])
        plan.put(case, replace(told, due=min((one.at for one in found), default=NEVER)))

    def _tell_flapping(self, plan: Plan, case: Case, row: Row, one: Due) -> None:
        """Keep in mind who was told that an alarm flaps, until it is calm."""
        if one.kind is not NoticeKind.FIRING:
            return
        for key, _ in case.alarms(row):
            if (key, row.notifier) not in self._flaps_told - plan.calm and self.lookups.flapping.times(key, plan.now):
                plan.flaps.add((key, row.notifier))
                plan.say(
                    case.id, Reason.FLAPPING, row.notifier, "told once more; further messages wait until it is calm"
                )

    def _escalations(self, plan: Plan, case: Case, row: Row) -> None:
        """From now on it counts how long nobody takes it on, unless it is over."""
        if case.resolved:
            return
        for step, escalation in enumerate(self.policies[row.policy].escalate, 1):
            for notifier in escalation.notify:
                if notifier in self.policies.notifiers and (row.policy, notifier, step) not in case.rows:
                    after = Row(case.id, row.policy, notifier, step, plan.now, joined=row.joined)
                    found = dues(after, case, self.policies[row.policy])
                    plan.put(case, replace(after, due=min((one.at for one in found), default=NEVER)))

    # --- when it is written

    def take_over(self, plan: Plan) -> None:
        """It is written: it is so from now on."""
        for id, case in plan.cases.items():
            case.rows = {key: row for key, row in case.rows.items() if not row.done}
            if case.resolved and not case.rows:
                self.cases.pop(id, None)
            else:
                self.cases[id] = case
        self._flaps_told = (self._flaps_told - plan.calm) | plan.flaps
        self._fresh = False
        looked_at = self.cases if self.is_due(plan.now) else plan.cases
        first = min((self.cases[id].next_ns() for id in looked_at if id in self.cases), default=NEVER)
        self._next = first if looked_at is self.cases else min(self._next, first)
        self._now = plan.now

    def undo(self, plan: Plan) -> None:
        """It could not be written: nothing has happened."""
        for back in reversed(plan.undo):
            back()

    # --- what people and the sender say

    def acknowledged(self, incident: int, taken: Acknowledgement | None, now_ns: int) -> Plan | None:
        """Somebody takes an incident on, or gives it back (None). None: it is not open, or nobody had it."""
        if incident not in self.cases or self.cases[incident].resolved:
            return None
        if taken is None and self.cases[incident].acknowledgement is None:
            return None
        plan = Plan(now_ns, 0)
        case = self._case(plan, incident)
        if taken is None:
            self._release(plan, case, remind=False)
        case.acknowledgement = taken
        for row in list(case.rows.values()):
            case.rows[row.key] = replace(row, due=min(row.due, now_ns))
        return plan

    def fallback(self, message: outbox.Message, error: str, known: Container[str], now_ns: int) -> Plan:
        """A notifier cannot deliver this message: those who stand in for it are told. known: who has it anyway."""
        plan = Plan(now_ns, message.upto)
        names = self.policies[message.policy].fallback if message.step != FALLBACK else ()
        others = [name for name in names if name not in known and name in self.policies.notifiers]
        text = f"{message.notifier} could not be told: {error}"
        for name in others:
            said = "; ".join(filter(None, (text, message.reason)))
            plan.drafts.append(
                Draft(name, message.incident, message.state, message.kind, said, message.policy, FALLBACK, False,
                      message.more)
            )  # fmt: skip
            plan.say(message.incident, "fallback", name, text)
            if message.incident in self.cases and not self.cases[message.incident].resolved:
                case = self._case(plan, message.incident)
                row = Row(message.incident, message.policy, name, FALLBACK, now_ns, joined=message.upto)
                self._was_told(plan, case, case.rows.get(row.key, row))
        return plan
