"""What people read: alarms, their transitions, incidents, and what they are told of them. All before is columns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from almenara.model.series import Series

#: The label that names the rule of an alarm.
ALERT_NAME = "alertname"


class State(StrEnum):
    """State of an alarm. Silenced, inhibited and flapping are reasons to hold a message back, not states."""

    INACTIVE = "inactive"
    PENDING = "pending"  # true, but not yet for as long as the rule's `for`
    FIRING = "firing"
    NO_DATA = "no-data"
    RESOLVED = "resolved"


class Severity(StrEnum):
    """How bad, in rising order."""

    WARNING = "warning"
    MINOR = "minor"
    MAJOR = "major"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for the least of them, and rising."""
        return list(Severity).index(self)

    @classmethod
    def of_score(cls, score: float) -> Severity:
        """The severity of an anomaly score: warning from 1, minor 1.25, major 1.5, critical 2."""
        for limit, severity in ((2.0, cls.CRITICAL), (1.5, cls.MAJOR), (1.25, cls.MINOR)):
            if score >= limit:
                return severity
        return cls.WARNING


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was measured and what was expected when an alarm changed. NaN where a thing is not known."""

    value: float
    score: float = float("nan")
    yhat: float = float("nan")
    lower: float = float("nan")
    upper: float = float("nan")
    detector: str = ""
    why: str = ""  # one sentence for a person


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of state of one alarm. (rule, series, since, state) is its key: it happens once.

    `since`: when the condition became true, data time in ns. `time`: when this state was entered, data time in ns.
    """

    rule: str
    series: Series
    since: int
    state: State
    time: int
    severity: Severity
    evidence: Evidence
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def labels_of(change: Transition) -> dict[str, str]:
    """The labels of an alarm, which policies, silences and notifiers choose by: those of its series and of its rule,
    and `__name__` (the series), `alertname` (the rule) and `severity`. An alarm that another system sent has just the
    labels that it was sent with."""
    own = {ALERT_NAME: change.rule}
    if change.series.name:
        own |= {"__name__": change.series.name, "severity": change.severity.value}
    return dict(change.series.labels) | dict(change.labels) | own


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm as it stands now: its last transition, and the number of its incident once it fired. reason: why it
    belongs to the incident, "moves together with..."; empty for the one that the incident began with."""

    last: Transition
    incident: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who took an incident on, when (ns), and until when (ns, 0 = until it is resolved)."""

    who: str
    time: int
    note: str = ""
    until: int = 0


@dataclass(frozen=True, slots=True)
class Incident:
    """At least one alarm; what people are told about, acknowledge and close. first: the member that was likely the
    first; strongest: the one with the highest score so far."""

    id: int
    since: int
    state: State  # firing or resolved
    severity: Severity  # the worst of its members so far
    members: tuple[Alarm, ...]
    acknowledgement: Acknowledgement | None = None
    resolved: int = 0
    first: Alarm | None = None
    strongest: Alarm | None = None


class NoticeKind(StrEnum):
    """Why people are told."""

    FIRING = "firing"  # an incident that they did not know
    UPDATE = "update"  # more alarms, or a worse one, or some that ended
    REPEAT = "repeat"  # it still goes on
    REMINDER = "reminder"  # somebody took it on for a time that is over
    ESCALATION = "escalation"  # nobody took it on
    RESOLVED = "resolved"
    DIGEST = "digest"  # all that gathered since the last digest
    TEST = "test"  # asked for by hand; there is no incident


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a message says, such as "Since" and "14:03, 12 minutes ago": plain text in one line, without
    markup. link: where there is more about it; empty: nowhere."""

    name: str
    text: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to people, ready for a notifier. A message that is tried again has the same id.

    title: one line. facts: what happened, in the order in which a tired reader wants it. link: the incident's page,
    empty where the hub does not know its own address. thread, subject: the same for all messages about one incident;
    subject is a line for people. more: further incidents, in a digest.
    """

    id: int
    kind: NoticeKind
    incident: Incident
    title: str = ""
    facts: tuple[Fact, ...] = ()
    link: str = ""
    thread: str = ""
    graph_png: bytes | None = None
    more: tuple[Incident, ...] = ()
    subject: str = ""

    @property
    def text(self) -> str:
        """The whole message in plain lines."""
        lines = [self.title, *(f"{fact.name}: {fact.text}" for fact in self.facts), self.link]
        return "\n".join(line for line in lines if line)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a person is answered who asked through a notifier: plain text, and perhaps a graph.

    choices: what may be asked next, as it would be typed; a notifier that can offers them to be pressed.
    """

    text: str
    graph_png: bytes | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """What a person asks or orders through a notifier.

    who: as the journal shows it. verb: lower case, "ack". args: what follows it. may_act: whether this person may
    change anything, or only look. reply: how to answer; it may be called once. time: when it was asked, ns; the same
    where a command comes a second time, after a restart. incident: that of the message it answers, 0 where there is
    none.
    """

    who: str
    verb: str
    args: str
    may_act: bool
    reply: Callable[[Reply], Awaitable[None]]
    time: int
    incident: int = 0
