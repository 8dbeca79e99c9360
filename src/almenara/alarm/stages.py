"""Stages: what may hold a message back, one after the other, each with a named reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from almenara.alarm.flapping import Flapping
from almenara.alarm.inhibit import Inhibitor, words_of
from almenara.alarm.policies import Policy
from almenara.alarm.tables import Key
from almenara.model.alarm import Acknowledgement, NoticeKind, Severity
from almenara.model.time import format_time

Labels = Mapping[str, str]


class Reason(StrEnum):
    """Why a message is held back, in the order of the stages. Its word is the kind of the line that it leaves."""

    INHIBITED = "inhibited"
    SILENCED = "silenced"
    FLAPPING = "flapping"
    QUIET = "quiet hours"
    ACKNOWLEDGED = "acknowledged"


@dataclass(frozen=True, slots=True)
class Held:
    """A message is held back: the reason, and a sentence for a person."""

    reason: Reason
    text: str


class Silencing(Protocol):
    """What knows of silences and maintenance windows."""

    def reason_of(self, labels: Labels, now_ns: int) -> str | None:
        """A sentence that names what silences an alarm with these labels; None: nothing does."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A message that is due.

    news: whether it tells of alarms that joined or of a worse severity. alarms: those that it is about, of which one
    that nothing holds back is enough. flaps_told: alarms of which this notifier knows already that they flap.
    """

    kind: NoticeKind
    notifier: str
    policy: Policy
    severity: Severity
    news: bool
    alarms: Iterable[tuple[Key, Labels]]
    acknowledgement: Acknowledgement | None = None
    flaps_told: frozenset[tuple[Key, str]] | set[tuple[Key, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Lookups:
    """What stages look things up in."""

    inhibitor: Inhibitor
    silences: Silencing
    flapping: Flapping


OfAlarm = Callable[[Asked, Key, Labels, Lookups, int], Held | None]
OfMessage = Callable[[Asked, int], Held | None]


def inhibited(asked: Asked, key: Key, labels: Labels, lookups: Lookups, now_ns: int) -> Held | None:
    """Another alarm fires that explains this one."""
    text = lookups.inhibitor.reason_of(key, labels)
    return None if text is None else Held(Reason.INHIBITED, text)


def silenced(asked: Asked, key: Key, labels: Labels, lookups: Lookups, now_ns: int) -> Held | None:
    """Somebody silenced it, or there is a maintenance window."""
    text = lookups.silences.reason_of(labels, now_ns)
    return None if text is None else Held(Reason.SILENCED, text)


def flapping(asked: Asked, key: Key, labels: Labels, lookups: Lookups, now_ns: int) -> Held | None:
    """It came and went often lately, and this notifier was told so."""
    if (key, asked.notifier) not in asked.flaps_told or not (times := lookups.flapping.times(key, now_ns)):
        return None
    return Held(Reason.FLAPPING, flaps_text(labels, times))


def flaps_text(labels: Labels, times: int) -> str:
    """The sentence about an alarm that flaps."""
    return f"flapping: {words_of(labels)} came and went {times} times within an hour"


def quiet(asked: Asked, now_ns: int) -> Held | None:
    """These are hours in which people want to hear of nothing but the worst."""
    window = asked.policy.quiet.within(now_ns)
    if not window or asked.severity.rank >= asked.policy.quiet_severity.rank:
        return None
    return Held(Reason.QUIET, f"quiet hours {window}")


def acknowledged(asked: Asked, now_ns: int) -> Held | None:
    """Somebody looks into it: no repeats, no escalation; updates only of what is new or worse."""
    taken = asked.acknowledgement
    repeats = asked.kind in (NoticeKind.REPEAT, NoticeKind.ESCALATION)
    if taken is None or not (repeats or (asked.kind is NoticeKind.UPDATE and not asked.news)):
        return None
    until = f" until {format_time(taken.until)}" if taken.until else ""
    return Held(Reason.ACKNOWLEDGED, f"acknowledged by {taken.who}{until}")


#: Stages that look at each alarm: a message goes on while one alarm passes all of them.
OF_ALARM: Sequence[OfAlarm] = (inhibited, silenced, flapping)
#: Stages that look at the message as a whole.
OF_MESSAGE: Sequence[OfMessage] = (quiet, acknowledged)


def held(asked: Asked, lookups: Lookups, now_ns: int) -> Held | None:
    """Why a message is held back, by the first stage that does; None: people are told now.

    What is over is told whatever was held back: only quiet hours wait with it.
    """
    if asked.kind is not NoticeKind.RESOLVED:
        found = {}
        for key, labels in asked.alarms:
            reason = _of_alarm(asked, key, labels, lookups, now_ns)
            if reason is None:
                break
            found[list(Reason).index(reason.reason), key] = reason
        else:
            if found:
                return found[min(found)]  # the same one whatever the order of the alarms, which a restart may change
    of_message = (stage(asked, now_ns) for stage in OF_MESSAGE)
    return next((one for one in of_message if one is not None), None)


def _of_alarm(asked: Asked, key: Key, labels: Labels, lookups: Lookups, now_ns: int) -> Held | None:
    found = (stage(asked, key, labels, lookups, now_ns) for stage in OF_ALARM)
    return next((one for one in found if one is not None), None)
