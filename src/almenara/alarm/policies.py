"""`Policies`: who is told of which alarms, how soon and how often: a tree whose first fitting branch counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from almenara.alarm.inhibit import Inhibition
from almenara.alarm.times import Quiet, Times
from almenara.model.alarm import Severity
from almenara.query import Matcher, match_all

#: Notifiers by name, and which alarms each may be told of (no matchers: all).
Notifiers = Mapping[str, Sequence[Matcher]]
NEVER, AT_ONCE = Quiet(), Times()


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
    it fits is offered to the policies after it too. digest: when all that gathered is told at once. fallback: who is
    told what a notifier could not deliver.
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
    quiet: Quiet = NEVER
    quiet_severity: Severity = Severity.CRITICAL
    digest: Times = AT_ONCE
    escalate: tuple[Escalation, ...] = ()
    fallback: tuple[str, ...] = ()
    fallback_after_s: float = 600.0


class Policies:
    """All policies in their order, the notifiers that they name, and what inhibits what. It does not change.

    Without any policy each notifier is told of what its own matchers select, and nothing is repeated.
    """

    def __init__(
        self, policies: Iterable[Policy] = (), notifiers: Notifiers | None = None,
        inhibitions: Iterable[Inhibition] = (),
    ):  # fmt: skip
        self.notifiers = dict(notifiers or {})
        self.inhibitions = tuple(inhibitions)
        own = [Policy(name, notify=(name,), goes_on=True, repeat_interval_s=0.0) for name in self.notifiers]
        self.policies = tuple(policies) or tuple(own)
        self._named = {one.name: one for one in self.policies}
        self._below: dict[str, list[Policy]] = {}
        for one in self.policies:
            self._below.setdefault(one.parent, []).append(one)

    def __getitem__(self, name: str) -> Policy:
        """The policy of this name. Of one that is gone, what people were told is ended and no more."""
        return self._named.get(name) or Policy(name, repeat_interval_s=0.0)

    def of(self, labels: Mapping[str, str]) -> list[Policy]:
        """The policies that an alarm with these labels goes to, as Alertmanager walks its tree: the deepest that fit;
        of those beside each other the first, and where that one goes on the next ones too."""
        return list(self._walk("", labels))

    def _walk(self, parent: str, labels: Mapping[str, str]) -> Iterator[Policy]:
        for policy in self._below.get(parent, ()):
            if not match_all(policy.matchers, labels):
                continue
            below = list(self._walk(policy.name, labels))
            yield from below or [policy]
            if not policy.goes_on:
                return

    def targets(self, labels: Mapping[str, str]) -> list[tuple[str, str]]:
        """(policy, notifier) of an alarm with these labels: a notifier hears only of what its own matchers select."""
        return [
            (policy.name, name)
            for policy in self.of(labels)
            for name in policy.notify
            if name in self.notifiers and match_all(self.notifiers[name], labels)
        ]


def policies_of(given: Policies | Notifiers | Iterable[str]) -> Policies:
    """Notifiers alone mean: each is told of what it selects; names alone: of everything."""
    if isinstance(given, Policies):
        return given
    return Policies(notifiers=given if isinstance(given, Mapping) else dict.fromkeys(given, ()))
