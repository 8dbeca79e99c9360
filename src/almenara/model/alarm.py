"""What people read: alarms, their transitions, and incidents. Everything before them is columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from almenara.model.series import Series


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


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm as it stands now: its last transition, and the number of its incident once it fired."""

    last: Transition
    incident: int | None = None


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Who took an incident on, when (ns), and until when (ns, 0 = until it is resolved)."""

    who: str
    time: int
    note: str = ""
    until: int = 0


@dataclass(frozen=True, slots=True)
class Incident:
    """At least one alarm; what people are told about, acknowledge and close."""

    id: int
    since: int
    state: State  # firing or resolved
    severity: Severity  # the worst of its members so far
    members: tuple[Alarm, ...]
    acknowledgement: Acknowledgement | None = None
    resolved: int = 0
