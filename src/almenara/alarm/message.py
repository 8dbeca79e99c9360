"""What a message says: an incident put into words for somebody who is woken by it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from urllib.parse import urlencode

from almenara.alarm.outbox import Message
from almenara.alarm.wording import (
    cause_text,
    clock,
    count,
    expected_text,
    series_text,
    since,
    span,
    value_text,
)  # fmt: skip
from almenara.model.alarm import Alarm, Fact, Incident, Notice, NoticeKind, Severity, State, Transition
from almenara.model.series import Series
from almenara.model.text import one_line
from almenara.model.time import HOUR_NS, NS
from almenara.model.units import unit_symbol

#: A message names so many alarms of an incident, and a digest so many incidents; the page has all of them.
MOST_NAMED = 10
#: Characters of a title: what a phone shows of a notification, and a mail program of a subject.
TITLE_LETTERS = 100
#: A calibrated score is not taken to say more than this of how rare something is.
RAREST_S = 365 * 86_400.0
_WORST = {severity: rank for rank, severity in enumerate(Severity)}
#: Annotations with a name of their own, in this order.
_ANNOTATIONS = {"summary": "Summary", "description": "Description", "runbook_url": "Runbook", "runbook": "Runbook"}
_ANNOTATION_LETTERS = 600


def _no_unit(series: Series) -> str:
    return ""


def _not_known(change: Transition) -> float:
    return math.nan


@dataclass(frozen=True, slots=True)
class About:
    """What messages say of the hub itself. url: where people reach it; empty: not known, and there are no links.

    unit_of: the unit of a series. rarity_s: how often, once in so many seconds, a usual row is as far from what was
    expected as that of this change; NaN where that is not known.
    """

    name: str = ""
    url: str = ""
    timezone: str = "UTC"
    unit_of: Callable[[Series], str] = _no_unit
    rarity_s: Callable[[Transition], float] = _not_known


def notice_of(
    message: Message, incident: Incident, about: About | None = None, *, now_ns: int | None = None,
    before: Incident | None = None, more: Sequence[Incident] = (), notes: Sequence[Fact] = (),
    graph_png: bytes | None = None,
) -> Notice:  # fmt: skip
    """The message that stands in the outbox, in words; parameters as of `compose`."""
    why = (Fact("Why now", message.reason),) if message.reason else ()
    return compose(
        message.id, message.kind, incident, about or About(), now_ns=time.time_ns() if now_ns is None else now_ns,
        before=before, more=more, notes=(*why, *notes), graph_png=graph_png,
    )  # fmt: skip


def compose(
    id: int, kind: NoticeKind, incident: Incident, about: About, *, now_ns: int, before: Incident | None = None,
    more: Sequence[Incident] = (), notes: Sequence[Fact] = (), graph_png: bytes | None = None,
) -> Notice:  # fmt: skip
    """A message in words. now_ns: when it is written. before: the incident as the last message told of it. more: the
    further incidents of a digest. notes: facts of others, such as which silence ended; they come before the alarms."""
    told = _Told(kind, incident, about, now_ns, before, tuple(more))
    facts = (*told.facts(), *notes, *told.details())
    return Notice(
        id, kind, incident, title=told.title(), facts=facts, link=told.link(), graph_png=graph_png, more=told.more,
        thread="digest" if kind is NoticeKind.DIGEST else f"incident-{incident.id}", subject=told.subject(),
    )  # fmt: skip


def trial_notice(about: About, notifier: str, now_ns: int) -> Notice:
    """What `almenara notify` sends: no incident, only whether it arrives."""
    nothing = Incident(0, now_ns, State.RESOLVED, Severity.WARNING, ())
    hub = f" of {one_line(about.name, 40)}" if about.name else ""
    title = f"Test message{hub}: if you read this, {one_line(notifier, 30)} works"
    facts = (
        Fact("Sent", clock(now_ns, now_ns, about.timezone)),
        Fact("What this is", "somebody asked for it to try the way that alarms take; nothing is wrong"),
    )
    thread = f"test-{now_ns}"
    return Notice(now_ns, NoticeKind.TEST, nothing, title, facts, about.url, thread, subject=title)


@dataclass(frozen=True)
class _Told:
    """One message on its way into words."""

    kind: NoticeKind
    incident: Incident
    about: About
    now: int
    before: Incident | None
    more: tuple[Incident, ...]

    @cached_property
    def lead(self) -> Transition:
        """The alarm that the message is about first: the worst one of those that go on, else the last of the worst."""
        all_of_them = [alarm.last for alarm in self.incident.members]
        if going_on := [one for one in all_of_them if one.state is not State.RESOLVED]:
            return max(going_on, key=_badness)
        return max(all_of_them, key=lambda one: (_WORST[one.severity], one.time))

    # --- in one line

    def title(self) -> str:
        """How bad, what, and how many more."""
        if self.kind is NoticeKind.DIGEST:
            return self._digest_title()
        begin = f"{self._opening()}: "
        others = len(self.incident.members) - 1
        end = f", and {others:,} more" if others else ""
        return begin + self._what(TITLE_LETTERS - len(begin) - len(end)) + end

    def _opening(self) -> str:
        one, worst = self.incident, self.incident.severity.value
        lasted = span(((one.resolved or self.now) - one.since) / NS)
        return {
            NoticeKind.FIRING: worst.capitalize(),
            NoticeKind.UPDATE: f"Update, {self._rise()}",
            NoticeKind.REPEAT: f"Still {worst} after {lasted}",
            NoticeKind.REMINDER: f"Still {worst}, taken on by {one_line(self._taken_by(), 20)}",
            NoticeKind.ESCALATION: f"Not taken on, {worst} for {lasted}",
            NoticeKind.RESOLVED: f"Resolved after {lasted}",
        }.get(self.kind, worst.capitalize())

    def _rise(self) -> str:
        now = self.incident.severity
        return f"now {now.value}" if self.before is not None and self.before.severity is not now else now.value

    def _taken_by(self) -> str:
        taken = self.incident.acknowledgement
        return taken.who if taken is not None else "nobody"

    def _what(self, most: int) -> str:
        """Which series and what of it, in at most so many letters."""
        lead = self.lead
        value, expected = self._numbers(lead)
        rule = f": {one_line(lead.rule, 30)}"
        tails = [rule, ""]
        if value and self.kind is not NoticeKind.RESOLVED:
            tails = [f" {value}, expected {expected}" if expected else f" {value}{rule}", f" {value}", ""]
        whole = series_text(lead.series)
        tail = next((tail for tail in tails if len(whole) + len(tail) <= most), "")
        return series_text(lead.series, most - len(tail)) + tail

    def subject(self) -> str:
        """What all messages of an incident have in common, as mail programs put those with one subject together."""
        if self.kind is NoticeKind.DIGEST:
            return self.title()
        first = self.incident.members[0].last
        begin, end = f"#{self.incident.id} ", f": {one_line(first.rule, 30)}"
        return f"{begin}{series_text(first.series, TITLE_LETTERS - len(begin) - len(end))}{end}"

    # --- facts

    def facts(self) -> Iterator[Fact]:
        """What happened, in the order in which a tired reader wants it."""
        if self.kind is NoticeKind.DIGEST:
            yield from self._digest()
            return
        one, lead = self.incident, self.lead
        value, expected = self._numbers(lead)
        resolved = self.kind is NoticeKind.RESOLVED
        if cause := cause_text(lead.evidence):
            yield Fact("Now" if resolved else "What happened", cause)
        if value:
            yield Fact("Value", f"{value}, expected {expected}{self._usually(lead)}" if expected else value)
        if resolved:
            yield Fact("Lasted", self._lasted())
        else:
            yield Fact("Since", since(one.since, self.now, self.about.timezone))
            if unusual := self._unusual(lead):
                yield Fact("How unusual", unusual)
        yield from self._changed()
        yield from self._taken()

    def details(self) -> Iterator[Fact]:
        """All that can wait: which alarms, what they mean, where to look."""
        if self.kind is NoticeKind.DIGEST:
            return
        yield from self._members()
        yield from self._annotations()
        lead = self.lead
        yield Fact("Series", one_line(str(lead.series), 300), self._chart(lead))
        yield Fact("Rule", one_line(lead.rule, 100))

    def _numbers(self, one: Transition) -> tuple[str, str]:
        """(value, what was expected), each with its unit; empty where not known."""
        unit = unit_symbol(self.about.unit_of(one.series), one.series.name)
        return value_text(one.evidence, unit), expected_text(one.evidence, unit)

    def _usually(self, one: Transition) -> str:
        usual = replace(one.evidence, value=one.evidence.yhat)
        text = value_text(usual, unit_symbol(self.about.unit_of(one.series), one.series.name))
        return f", usually {text}" if text else ""

    def _lasted(self) -> str:
        one = self.incident
        return (
            f"{span(((one.resolved or self.now) - one.since) / NS)}, {self._from_to()}; at worst {one.severity.value}"
        )

    def _from_to(self) -> str:
        one, zone = self.incident, self.about.timezone
        return f"from {clock(one.since, self.now, zone)} to {clock(one.resolved or self.now, self.now, zone)}"

    def _unusual(self, one: Transition) -> str:
        score = one.evidence.score
        if not score >= 1:
            return ""
        rarity = self.about.rarity_s(one)
        said = f"{Severity.of_score(score).value}, score {score:.2g} where 1 is the limit"
        if not math.isfinite(rarity):
            return said
        often = "less than once a year" if rarity > RAREST_S else f"about once in {span(rarity)}"
        return f"{said}; a usual value is so far off {often}"

    def _changed(self) -> Iterator[Fact]:
        """What is different since the last message."""
        if self.before is None or self.kind in (NoticeKind.RESOLVED, NoticeKind.FIRING):
            return
        then = {(a.last.rule, a.last.series): a.last for a in self.before.members}
        now = [alarm.last for alarm in self.incident.members]
        came = [one for one in now if (one.rule, one.series) not in then]
        ended = [one for one in now if _ended_since(one, then.get((one.rule, one.series)))]
        parts = [f"now {self.incident.severity.value}, was {self.before.severity.value}"]
        parts = parts if self.before.severity is not self.incident.severity else []
        parts += [f"{count(len(came), 'more alarm')}: {_names(came)}"] if came else []
        parts += [f"{count(len(ended), 'alarm')} ended: {_names(ended)}"] if ended else []
        yield Fact("Since the last message", "; ".join(parts) or "no change")

    def _taken(self) -> Iterator[Fact]:
        taken = self.incident.acknowledgement
        if taken is None:
            if self.kind is NoticeKind.ESCALATION:
                yield Fact("Acknowledged", "by nobody yet")
            return
        zone = self.about.timezone
        text = f"by {one_line(taken.who, 60)}, {since(taken.time, self.now, zone)}"
        if taken.until:
            over = "was until" if taken.until <= self.now else "until"
            text += f", {over} {clock(taken.until, self.now, zone)}"
        yield Fact("Acknowledged", f"{text}: {one_line(taken.note, 200)}" if taken.note else text)

    def _members(self) -> Iterator[Fact]:
        """Which alarms are in it, the first one, and why each belongs to it; not for a single alarm."""
        alarms = self.incident.members
        if len(alarms) < 2:
            return
        ended = sum(alarm.last.state is State.RESOLVED for alarm in alarms)
        some = f", {ended:,} of them over" if ended and self.kind is not NoticeKind.RESOLVED else ""
        yield Fact("Alarms", f"{len(alarms):,} in this incident{some}")
        first = min(alarms, key=lambda alarm: alarm.last.since).last
        yield Fact("First", f"{series_text(first.series)}, {clock(first.since, self.now, self.about.timezone)}")
        others = [alarm for alarm in alarms if alarm.last is not self.lead]
        for alarm in islice(others, MOST_NAMED):
            reason = f" ({one_line(alarm.reason, 200)})" if alarm.reason else ""
            yield Fact(series_text(alarm.last.series), f"{self._state_of(alarm)}{reason}", self._chart(alarm.last))
        if (left := len(others) - MOST_NAMED) > 0:
            yield Fact("And", count(left, "more alarm"))

    def _state_of(self, alarm: Alarm) -> str:
        one = alarm.last
        value, expected = self._numbers(one)
        if one.state is State.RESOLVED:
            return f"over since {clock(one.time, self.now, self.about.timezone)}{f', {value}' if value else ''}"
        if not value:
            return cause_text(one.evidence) or one.state.value
        return f"{value}, expected {expected}" if expected else f"{value}: {cause_text(one.evidence)}"

    def _annotations(self) -> Iterator[Fact]:
        told = self.lead.annotations
        for key in (*_ANNOTATIONS, *sorted(told.keys() - _ANNOTATIONS.keys())):
            if text := one_line(told.get(key, ""), _ANNOTATION_LETTERS):
                link = text if text.startswith(("https://", "http://")) and " " not in text else ""
                yield Fact(_ANNOTATIONS.get(key) or one_line(key, 40).replace("_", " ").capitalize(), text, link)

    # --- a digest

    def _digest_title(self) -> str:
        all_of_them = (self.incident, *self.more)
        going_on = sum(not one.resolved for one in all_of_them)
        worst = max((one.severity for one in all_of_them), key=_WORST.__getitem__)
        return f"{count(len(all_of_them), 'incident')}, {going_on or 'none'} still open, worst {worst.value}"

    def _digest(self) -> Iterator[Fact]:
        """One fact an incident, what still goes on first, the worst first."""
        order = sorted((self.incident, *self.more), key=lambda one: (bool(one.resolved), -_WORST[one.severity]))
        for one in order[:MOST_NAMED]:
            kind = NoticeKind.RESOLVED if one.resolved else NoticeKind.FIRING
            told = _Told(kind, one, self.about, self.now, None, ())
            when = told._from_to() if one.resolved else f"since {since(one.since, self.now, self.about.timezone)}"
            yield Fact(f"#{one.id}", f"{told.title()}; {when}", told.link())
        if (left := len(order) - MOST_NAMED) > 0:
            yield Fact("And", count(left, "more incident"))

    # --- where to look

    def link(self) -> str:
        """The page of the incident; of a digest the page of all."""
        url = self.about.url.rstrip("/")
        if not url:
            return ""
        return f"{url}/alarms" if self.kind is NoticeKind.DIGEST else f"{url}/alarms?incident={self.incident.id}"

    def _chart(self, one: Transition) -> str:
        """The series in the dashboard, from a while before the incident on."""
        url = self.about.url.rstrip("/")
        if not url:
            return ""
        ended = self.incident.resolved or self.now
        margin = max(HOUR_NS, (ended - self.incident.since) // 4)
        times = {"start": (self.incident.since - margin) // 1_000_000, "end": (ended + margin) // 1_000_000}
        return f"{url}/series?{urlencode({'name': str(one.series), **times})}"


def _badness(one: Transition) -> tuple[int, float, int]:
    score = one.evidence.score
    return _WORST[one.severity], score if math.isfinite(score) else 0.0, -one.since


def _ended_since(now: Transition, then: Transition | None) -> bool:
    return now.state is State.RESOLVED and (then is None or then.state is not State.RESOLVED)


def _names(changes: Sequence[Transition]) -> str:
    shown = ", ".join(series_text(one.series, 40) for one in changes[:3])
    return f"{shown} and {len(changes) - 3:,} more" if len(changes) > 3 else shown
