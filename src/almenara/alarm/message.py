"""What a message says: an incident put into words for somebody who is woken by it."""

from __future__ import annotations

from almenara.alarm.outbox import Message
from almenara.model.alarm import Alarm, Fact, Incident, Notice, NoticeKind
from almenara.model.time import NS, format_duration, format_time

#: A message names so many alarms of an incident; the page has all of them.
MOST_NAMED = 10


def notice_of(message: Message, incident: Incident, graph_png: bytes | None = None) -> Notice:
    """The message that stands in the outbox, in words."""
    return Notice(
        message.id,
        NoticeKind(message.state.value),
        incident,
        title=title_of(incident),
        facts=tuple(facts_of(incident)),
        thread=f"incident-{incident.id}",
        graph_png=graph_png,
    )


def title_of(incident: Incident) -> str:
    """One line: how bad, what, and how many more."""
    first = incident.members[0].last
    more = f" and {len(incident.members) - 1} more" if len(incident.members) > 1 else ""
    state = "Resolved" if incident.resolved else incident.severity.value.capitalize()
    return f"{state}: {first.series} ({first.rule}){more}"


def facts_of(incident: Incident) -> list[Fact]:
    """What happened, since when, and which alarms belong to it."""
    facts = [Fact("Since", format_time(incident.since))]
    if incident.resolved:
        lasted = format_duration((incident.resolved - incident.since) / NS)
        facts.append(Fact("Resolved", f"{format_time(incident.resolved)}, after {lasted}"))
    facts += [_fact(alarm) for alarm in incident.members[:MOST_NAMED]]
    if (left := len(incident.members) - MOST_NAMED) > 0:
        facts.append(Fact("And", f"{left} more alarms"))
    return facts


def _fact(alarm: Alarm) -> Fact:
    return Fact(str(alarm.last.series), alarm.last.evidence.why)
