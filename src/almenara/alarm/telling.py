"""`Row`: what one notifier was told of one incident by one policy, and when it is to be told again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, fields

from almenara.alarm.policies import Policy
from almenara.alarm.stages import Labels
from almenara.alarm.tables import Key
from almenara.model.alarm import Acknowledgement, NoticeKind, Severity
from almenara.model.time import NS

SCHEMA = """
-- One row a notifier, policy and step of an incident: as almenara.alarm.telling.Row.
CREATE TABLE IF NOT EXISTS telling (
    incident INTEGER NOT NULL, policy TEXT NOT NULL, notifier TEXT NOT NULL, step INTEGER NOT NULL,
    began INTEGER NOT NULL, first INTEGER NOT NULL, told INTEGER NOT NULL, upto INTEGER NOT NULL,
    severity TEXT NOT NULL, joined INTEGER NOT NULL, ended INTEGER NOT NULL, remind INTEGER NOT NULL,
    held TEXT NOT NULL, why TEXT NOT NULL, due INTEGER NOT NULL, done INTEGER NOT NULL,
    PRIMARY KEY (incident, policy, notifier, step)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS telling_open ON telling (incident) WHERE done = 0;
"""

#: A policy, a notifier, and a step of escalation (0: told from the beginning; FALLBACK: in place of another).
RowKey = tuple[str, str, int]
FALLBACK = -1
#: Due never, as far as one knows now.
NEVER = 2**62


@dataclass(frozen=True, slots=True)
class Row:
    """Times are ns of the hub's clock, 0: not yet; changes are numbers of the journal.

    began: since when it is to be told; of what was told, since when there is news. first, told: when it was told first
    and last. upto: the change up to which it was told, severity: the worst one told. joined, ended: the newest changes
    with which alarms joined and ended. remind: when an acknowledgement was over, of which it is to be told. held, why:
    the reason that holds a message back now, and its sentence. due: when to look again. done: nothing more will come.
    """

    incident: int
    policy: str
    notifier: str
    step: int
    began: int
    first: int = 0
    told: int = 0
    upto: int = 0
    severity: str = ""
    joined: int = 0
    ended: int = 0
    remind: int = 0
    held: str = ""
    why: str = ""
    due: int = 0
    done: bool = False

    @property
    def key(self) -> RowKey:
        """What tells the rows of an incident apart."""
        return self.policy, self.notifier, self.step

    def is_worse(self, severity: Severity) -> bool:
        """Whether that is worse than what was told."""
        return not self.severity or severity.rank > Severity(self.severity).rank

    def has_news(self, severity: Severity) -> bool:
        """Whether alarms joined or ended since it was told, or that is worse."""
        return max(self.joined, self.ended) > self.upto or self.is_worse(severity)


COLUMNS = ", ".join(one.name for one in fields(Row))
_WRITE = f"INSERT OR REPLACE INTO telling ({COLUMNS}) VALUES ({','.join('?' * len(fields(Row)))})"


@dataclass(frozen=True, slots=True)
class Member:
    """An alarm of an incident that is not resolved. joined: the change with which it came. targets: the names of the
    policies that it goes to, and their (policy, notifier)."""

    labels: Labels
    joined: int
    targets: frozenset[object]


@dataclass(slots=True)
class Case:
    """What is known of an incident of which there is something to tell. resolved: 0 while it is open."""

    id: int
    severity: Severity
    members: dict[Key, Member] = field(default_factory=dict)
    rows: dict[RowKey, Row] = field(default_factory=dict)
    acknowledgement: Acknowledgement | None = None
    resolved: int = 0

    def copy(self) -> Case:
        """A copy that can be changed and thrown away."""
        return Case(self.id, self.severity, dict(self.members), dict(self.rows), self.acknowledgement, self.resolved)

    def next_ns(self) -> int:
        """When something may be due."""
        taken = self.acknowledgement
        until = taken.until if taken is not None and taken.until and not self.resolved else NEVER
        return min(until, min((row.due for row in self.rows.values()), default=NEVER))

    def alarms(self, row: Row) -> Iterable[tuple[Key, Member]]:
        """The alarms that this row is about."""
        target: object = (row.policy, row.notifier) if row.step == 0 else row.policy
        return ((key, one) for key, one in self.members.items() if target in one.targets)


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be told, from when on."""

    at: int
    kind: NoticeKind
    news: bool = False


def dues(row: Row, case: Case, policy: Policy) -> list[Due]:
    """What this row waits for, the most urgent first; of several that are due one message is enough."""
    found = _ended(row, case, policy) if case.resolved else _going_on(row, case, policy)
    if not policy.digest:
        return found
    return [one if one.kind is NoticeKind.ESCALATION else _gathered(one, policy) for one in found]


def _gathered(one: Due, policy: Policy) -> Due:
    return Due(policy.digest.next_ns(one.at), one.kind, one.news)


def _ended(row: Row, case: Case, policy: Policy) -> list[Due]:
    if row.first:
        return [Due(case.resolved, NoticeKind.RESOLVED)]
    if policy.digest and row.step == 0:  # it came and went between two digests
        return [Due(max(row.began, case.resolved), NoticeKind.FIRING, news=True)]
    return []


def _going_on(row: Row, case: Case, policy: Policy) -> list[Due]:
    if row.step == FALLBACK:
        return []
    goes_on = any(True for _ in case.alarms(row))
    if not row.first:
        return _first(row, policy) if goes_on else []
    found = [Due(row.remind, NoticeKind.REMINDER)] if row.remind else []
    taken = case.acknowledgement
    if taken is not None and not taken.until and policy.reminder_s:
        found.append(Due(_after(max(row.told, taken.time), policy.reminder_s), NoticeKind.REMINDER))
    news = row.joined > row.upto or row.is_worse(case.severity)
    if news or row.ended > row.upto:
        found.append(Due(max(row.began, _after(row.told, policy.group_interval_s)), NoticeKind.UPDATE, news))
    if policy.repeat_interval_s and goes_on:
        found.append(Due(max(row.began, _after(row.told, policy.repeat_interval_s)), NoticeKind.REPEAT))
    return found


def _first(row: Row, policy: Policy) -> list[Due]:
    if row.step == 0:
        return [Due(_after(row.began, policy.group_wait_s), NoticeKind.FIRING, news=True)]
    if row.step > len(policy.escalate):  # the configuration has this step no more
        return []
    return [Due(_after(row.began, policy.escalate[row.step - 1].after_s), NoticeKind.ESCALATION)]


def _after(time: int, wait_s: float) -> int:
    return time + round(wait_s * NS)


def about(row: Row, case: Case, due: Due) -> Iterable[tuple[Key, Labels]]:
    """The alarms for whose sake this is to be told: of news, what joined or is worse; else all that go on."""
    if due.kind is NoticeKind.UPDATE and due.news:
        worse = case.severity.value if row.is_worse(case.severity) else ""
        fresh = [
            (key, one.labels)
            for key, one in case.alarms(row)
            if one.joined > row.upto or one.labels.get("severity") == worse
        ]
        if fresh:
            return fresh
    return ((key, one.labels) for key, one in case.alarms(row))


def write(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Bring rows on disk up to date."""
    connection.executemany(_WRITE, [astuple(row) for row in rows])


def read(connection: sqlite3.Connection, where: str = "done = 0", *values: object) -> list[Row]:
    """The rows for which a condition of SQL holds."""
    found = connection.execute(f"SELECT {COLUMNS} FROM telling WHERE {where}", values)
    return [Row(*row) for row in found]
