"""`Policies`: who is told of which alarms, how soon and how often: a tree whose first fitting branch counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from almenara.model.alarm import Severity
from almenara.query import Matcher, match_all

#: Notifiers by name, and which alarms each may be told of (no matchers: all).
Notifiers = Mapping[str, Sequence[Matcher]]


@dataclass(frozen=True, slots=True)
class Escalation:
    """Whom to tell where nobody has acknowledged an incident so long after people were first told of it."""

    after_s: float
    notify: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy, with what it has from its parent filled in. Durations in seconds; repeat_interval_s and reminder_s:
    0 = never.

    matchers: of the labels of an alarm (`almenara.model.alarm.labels_of`); none: every alarm. goes_on: whether what
    it fits is offered to the policies after it too. digest_s: gather what is due, and tell of it so often; or
    digest_at: at these seconds of the day. fallback: who is told what a notifier could not deliver.
    """

    name: str
    matchers: tuple[Matcher, ...] = ()
    notify: tuple[str, ...] = ()
    parent: str = ""
    goes_on: bool = False
    group_wait_s: float = 0.0
    group_interval_s: float = 300.0
    repeat_interval_s: float = 4 * 3600.0
    reminder_s: float = 0.0
    quiet: tuple[str, ...] = ()
    quiet_severity: Severity = Severity.CRITICAL
    digest_s: float = 0.0
    digest_at: tuple[int, ...] = ()
    escalate: tuple[Escalation, ...] = ()
    fallback: tuple[str, ...] = ()
    fallback_after_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Policies:
    """All policies, in the order of the configuration, and the notifiers that they name.

    Without any policy each notifier is told of what its own matchers select.
    """

    policies: tuple[Policy, ...] = ()
    notifiers: Notifiers = field(default_factory=dict)

    def of(self, labels: Mapping[str, str]) -> list[Policy]:
        """The policies that an alarm with these labels goes to, as Alertmanager walks its tree: the deepest that fit;
        of those beside each other the first, and where that one goes on the next ones too."""
        return list(self._walk("", labels))

    def _walk(self, parent: str, labels: Mapping[str, str]) -> Iterator[Policy]:
        for policy in self.policies:
            if policy.parent != parent or not match_all(policy.matchers, labels):
                continue
            below = list(self._walk(policy.name, labels))
            yield from below or [policy]
            if not policy.goes_on:
                return
