"""A slow, obvious twin of who is told what and when: what `almenara.alarm.dispatch` is compared with.

Written from docs/explanation/alarms.md. It is asked at moments, looks at all that there is at each of them, keeps all
in memory and writes nothing; times are seconds. Alarms and incidents are given to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

HOUR, DAY = 3600, 86_400
SEVERITIES = ("warning", "minor", "major", "critical")


@dataclass
class Plain:
    """A policy in plain words. match: labels and the values that an alarm must have. quiet: from, to in seconds of the
    day (to < from: over midnight). digest: seconds of the day. escalate: (after, notifiers)."""

    name: str
    notify: tuple[str, ...]
    match: Mapping[str, str] = field(default_factory=dict)
    parent: str = ""
    goes_on: bool = False
    group_wait: int = 0
    group_interval: int = 300
    repeat: int = 4 * HOUR
    reminder: int = 0
    quiet: tuple[int, int] | None = None
    quiet_severity: str = "critical"
    digest: tuple[int, ...] = ()
    escalate: tuple[tuple[int, tuple[str, ...]], ...] = ()


@dataclass
class Told:
    """What a notifier knows of an incident: since when, and up to which change."""

    time: int
    upto: int
    severity: str
    remind: bool = False


@dataclass
class Case:
    """An incident."""

    id: int
    severity: str = "warning"
    alarms: dict[str, dict[str, Any]] = field(default_factory=dict)  # that fire, by name: labels, number
    wanted: dict[tuple[int, str, str], int] = field(default_factory=dict)  # (step, policy, notifier): since when
    joined: dict[tuple[int, str, str], int] = field(default_factory=dict)  # of which the newest alarm that came
    ended: dict[str, int] = field(default_factory=dict)  # by policy: the newest alarm that ended
    known: dict[str, Told] = field(default_factory=dict)  # by notifier
    in_it: set[tuple[int, str, str]] = field(default_factory=set)  # who was told, by which policy and step
    held: dict[tuple[int, str, str], str] = field(default_factory=dict)
    taken: tuple[str, int, int] | None = None  # who, when, until
    resolved: int | None = None
    over: set[tuple[int, str, str]] = field(default_factory=set)  # who heard of the end, or never will
    closed: bool = False
    since: dict[tuple[int, str, str], dict[str, int]] = field(default_factory=dict)  # when each kind was thought of


class Desk:
    """Who is told what. `notices` are (notifier, kind, incidents), `lines` (incident, kind, who) of the last moment."""

    def __init__(self, policies: Iterable[Plain], explains: Iterable[tuple[str, str]] = ()):
        """explains: (rule, rule): while the first one fires of a host, the second one of it is held back."""
        self.policies = {one.name: one for one in policies}
        self.explains = list(explains)
        self.cases: dict[int, Case] = {}
        self.ends: dict[str, list[float]] = {}  # when each alarm was resolved
        self.flaps_told: dict[tuple[str, str], int] = {}  # (alarm, notifier): when
        self.silences: list[tuple[str, int, int]] = []  # host, from, to
        self.number = 0
        self.now = 0
        self.notices: list[tuple[str, str, tuple[int, ...]]] = []
        self.lines: list[tuple[int, str, str]] = []
        self._gathered: dict[tuple[str, str], set[int]] = {}
        self._gone: set[str] = set()  # alarms that end in this moment

    # --- what happens

    def moment(self, now: int, changes: Iterable[tuple[str, str, dict[str, str], int, float]] = ()) -> None:
        """Changes are (state, alarm, labels, incident, time), all that are decided at this time."""
        self.now, self.notices, self.lines, self._gathered = now, [], [], {}
        changes = list(changes)
        self.number += bool(changes)
        for state, alarm, labels, incident, _ in changes:
            if state == "firing":
                self._fires(incident, alarm, labels)
        for state, alarm, _, _, time in changes:
            if state == "resolved":
                self.ends.setdefault(alarm, []).append(time)
        self._gone = {alarm for state, alarm, *_ in changes if state == "resolved"}
        for incident in sorted({one[3] for one in changes}):
            self._ends(self.cases[incident], [(c[1], c[4]) for c in changes if c[0] == "resolved" and c[3] == incident])
        self._gone = set()
        for case in sorted(self.cases.values(), key=lambda one: one.id):
            self._look(case)
        for (_, notifier), ids in self._gathered.items():
            rank = {id: -SEVERITIES.index(self.cases[id].severity) for id in ids}
            self.notices.append((notifier, "digest", tuple(sorted(ids, key=lambda id: (rank[id], id)))))

    def take_on(self, incident: int, who: str, until: int) -> None:
        self.cases[incident].taken = (who, self.now, until)

    def give_back(self, incident: int) -> None:
        self._released(self.cases[incident], remind=False)

    def is_open(self, incident: int) -> bool:
        return self.cases[incident].resolved is None

    # --- alarms come and go

    def _fires(self, incident: int, alarm: str, labels: dict[str, str]) -> None:
        case = self.cases.setdefault(incident, Case(incident))
        case.severity = max(case.severity, labels["severity"], key=SEVERITIES.index)
        case.alarms[alarm] = {"labels": labels, "number": self.number}
        policies = list(self.walk("", labels))
        if not policies and len(case.alarms) == 1:
            self.lines.append((incident, "untold", ""))
        for policy in policies:
            others = {name for name in self._alarms(case, policy.name) if name != alarm}
            for notifier in policy.notify:
                row = (0, policy.name, notifier)
                if row not in case.wanted or (row not in case.in_it and not others):
                    case.wanted[row] = self.now
            for row in case.wanted:
                if row[1] == policy.name:
                    case.joined[row] = self.number

    def _ends(self, case: Case, ended: list[tuple[str, float]]) -> None:
        if {alarm for alarm, _ in ended} >= set(case.alarms) and ended:
            for row in sorted(case.wanted):  # what came and went at once is told all the same
                if row[0] == 0 and row not in case.in_it:
                    self._decide(case, row)
            case.resolved = min(self.now, int(max(time for _, time in ended)))
        for alarm, _ in ended:
            for policy in self.walk("", case.alarms.pop(alarm)["labels"]):
                case.ended[policy.name] = self.number

    def walk(self, parent: str, labels: Mapping[str, str]) -> Iterator[Plain]:
        """The deepest policies that fit; of those beside each other the first, and the next where it says continue."""
        for policy in self.policies.values():
            if policy.parent == parent and all(labels.get(k) == v for k, v in policy.match.items()):
                deeper = list(self.walk(policy.name, labels))
                yield from deeper or [policy]
                if not policy.goes_on:
                    return

    # --- one incident now

    def _look(self, case: Case) -> None:
        if case.resolved is None and case.taken is not None and 0 < case.taken[2] <= self.now:
            self.lines.append((case.id, "unacknowledged", ""))
            self._released(case, remind=True)
        for row in sorted(case.wanted):
            if row not in case.over:
                self._decide(case, row)
        if case.resolved is not None and not case.closed and case.over >= set(case.wanted):
            case.closed = True
            if case.wanted and not case.in_it:
                self.lines.append((case.id, "untold", ""))

    def _released(self, case: Case, *, remind: bool) -> None:
        case.taken = None
        for told in case.known.values():
            told.remind = remind
        for row in case.wanted:
            if row[0] > 0 and row not in case.in_it:
                case.wanted[row] = self.now

    def _alarms(self, case: Case, policy: str) -> dict[str, dict[str, Any]]:
        return {
            name: one
            for name, one in case.alarms.items()
            if policy in [found.name for found in self.walk("", one["labels"])]
        }

    def _due(self, case: Case, row: tuple[int, str, str]) -> list[tuple[str, int, bool]]:
        """(kind, time, is it news) of all that it may be told, the most urgent first."""
        step, name, notifier = row
        policy, alarms = self.policies[name], self._alarms(case, name)
        told = case.known[notifier] if row in case.in_it else None
        if case.resolved is not None:
            if told:
                return [("resolved", case.resolved, False)]
            return [("firing", case.wanted[row], True)] if policy.digest and step == 0 else []
        if told is None:
            if not alarms:
                return []
            if step == 0:
                return [("firing", case.wanted[row] + policy.group_wait, True)]
            return [("escalation", case.wanted[row] + policy.escalate[step - 1][0], False)]
        found = []
        if told.remind:
            found.append(("reminder", self.now, False))
        if case.taken and not case.taken[2] and policy.reminder:
            found.append(("reminder", max(told.time, case.taken[1]) + policy.reminder, False))
        news = case.joined[row] > told.upto or SEVERITIES.index(case.severity) > SEVERITIES.index(told.severity)
        if news or case.ended.get(name, 0) > told.upto:
            found.append(("update", told.time + policy.group_interval, news))
        if policy.repeat and alarms:
            found.append(("repeat", told.time + policy.repeat, False))
        return found

    def _decide(self, case: Case, row: tuple[int, str, str]) -> None:
        _, name, notifier = row
        policy = self.policies[name]
        found = self._due(case, row)
        before = case.since.get(row, {})
        case.since[row] = {kind: before.get(kind, self.now) for kind, _, _ in found}
        if policy.digest:
            found = [
                (kind, self._digest(policy, max(at, case.since[row][kind])) if kind != "escalation" else at, news)
                for kind, at, news in found
            ]
        if not found and case.resolved is not None:
            case.over.add(row)
        found = [one for one in found if one[1] <= self.now]
        if not found:
            case.held.pop(row, None)
            return
        if found[0][0] == "firing" and notifier in case.known and row not in case.in_it:
            told = case.known[notifier]
            worse = SEVERITIES.index(case.severity) > SEVERITIES.index(told.severity)
            if case.joined[row] <= told.upto and not worse:
                self.lines.append((case.id, "nothing new", notifier))
                case.in_it.add(row)
                case.held.pop(row, None)
                self._escalate(case, policy)
                if case.resolved is not None:
                    self._decide(case, row)
                return
        reasons = [self._held(case, row, kind, news) for kind, _, news in found]
        if "" in reasons:
            self._tell(case, row, found[reasons.index("")][0])
        elif case.held.get(row) != reasons[0]:
            case.held[row] = reasons[0]
            self.lines.append((case.id, reasons[0], notifier))

    def _digest(self, policy: Plain, at: int) -> int:
        return min(day + s for day in range(at // DAY * DAY, at + 2 * DAY, DAY) for s in policy.digest if day + s >= at)

    def _tell(self, case: Case, row: tuple[int, str, str], kind: str) -> None:
        step, name, notifier = row
        policy = self.policies[name]
        if policy.digest and kind != "escalation":
            self._gathered.setdefault((name, notifier), set()).add(case.id)
        else:
            self.notices.append((notifier, kind, (case.id,)))
        if kind == "escalation":
            self.lines.append((case.id, "escalated", notifier))
        first = row not in case.in_it
        case.in_it.add(row)
        case.known[notifier] = Told(self.now, self.number, case.severity)
        for other in case.in_it:
            if other[2] == notifier:
                case.since.pop(other, None)
                case.held.pop(other, None)
        if case.resolved is not None:
            case.over |= {other for other in case.wanted if other[2] == notifier}
        if first and step == 0:
            self._escalate(case, policy)
        if kind == "firing":
            for alarm in self._alarms(case, name):
                if self._flaps(alarm, self.now) and not self._knows_flapping(alarm, notifier):
                    self.flaps_told[alarm, notifier] = self.now
                    self.lines.append((case.id, "flapping", notifier))

    def _escalate(self, case: Case, policy: Plain) -> None:
        for step, (_, notifiers) in enumerate(policy.escalate, 1):
            for notifier in notifiers:
                row = (step, policy.name, notifier)
                if row not in case.wanted:
                    case.wanted[row] = self.now
                    case.joined[row] = 0

    # --- what holds back

    def _held(self, case: Case, row: tuple[int, str, str], kind: str, news: bool) -> str:
        _, name, notifier = row
        policy = self.policies[name]
        if kind != "resolved":
            alarms = self._alarms(case, name)
            if kind == "update" and news:
                told = case.known[notifier]
                worse = case.severity if SEVERITIES.index(case.severity) > SEVERITIES.index(told.severity) else ""
                fresh = {
                    alarm: one
                    for alarm, one in alarms.items()
                    if one["number"] > told.upto or one["labels"]["severity"] == worse
                }
                alarms = fresh or alarms
            order = ("inhibited", "silenced", "flapping")
            of_each = [self._held_alarm(alarm, one["labels"], notifier) for alarm, one in alarms.items()]
            if of_each and all(of_each):
                return min(of_each, key=order.index)
        if self._is_quiet(policy, case.severity):
            return "quiet hours"
        if case.taken and (kind in ("repeat", "escalation") or (kind == "update" and not news)):
            return "acknowledged"
        return ""

    def _held_alarm(self, alarm: str, labels: Mapping[str, str], notifier: str) -> str:
        firing = [
            one["labels"] for case in self.cases.values() for name, one in case.alarms.items() if name not in self._gone
        ]
        for source, target in self.explains:
            if labels["alertname"] == target and any(
                one["alertname"] == source and one["host"] == labels["host"] for one in firing
            ):
                return "inhibited"
        if any(host == labels["host"] and since <= self.now < until for host, since, until in self.silences):
            return "silenced"
        return "flapping" if self._flaps(alarm, self.now) and self._knows_flapping(alarm, notifier) else ""

    def _is_quiet(self, policy: Plain, severity: str) -> bool:
        if policy.quiet is None or SEVERITIES.index(severity) >= SEVERITIES.index(policy.quiet_severity):
            return False
        since, until = policy.quiet
        second = self.now % DAY
        return since <= second < until if since < until else second >= since or second < until

    def _flaps(self, alarm: str, at: float) -> bool:
        return sum(at - HOUR < end <= at for end in self.ends.get(alarm, ())) >= 3

    def _knows_flapping(self, alarm: str, notifier: str) -> bool:
        """It was told so once, and since then the alarm was never calm."""
        told = self.flaps_told.get((alarm, notifier))
        if told is None:
            return False
        calm = [end + HOUR for end in self.ends[alarm] if told < end + HOUR <= self.now]
        return not any(not self._flaps(alarm, at) for at in calm)
