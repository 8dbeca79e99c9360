"""What a message says besides the incident: why it comes, and why only now."""

from __future__ import annotations

from almenara.alarm.flapping import Flapping
from almenara.alarm.stages import flaps_text
from almenara.alarm.telling import Case, Due, Row
from almenara.model.alarm import NoticeKind


def text_of(case: Case, row: Row, one: Due, flapping: Flapping, now_ns: int) -> str:
    """Sentences for a person; empty where there is nothing to say."""
    said = []
    if one.kind is NoticeKind.ESCALATION:
        said.append("nobody has acknowledged it")
    if one.kind is NoticeKind.REMINDER:
        taken = case.acknowledgement
        said.append(f"acknowledged by {taken.who}, and it goes on" if taken else "the acknowledgement is over")
    if row.held and one.kind is not NoticeKind.RESOLVED:
        said.append(f"held back until now: {row.why}")
    if flaps := _flaps(case, row, one, flapping, now_ns):
        said.append(f"{flaps}; it is told again when it is calm")
    return "; ".join(said)


def _flaps(case: Case, row: Row, one: Due, flapping: Flapping, now_ns: int) -> str:
    if one.kind is not NoticeKind.FIRING or case.resolved:
        return ""
    for key, member in case.alarms(row):
        if times := flapping.times(key, now_ns):
            return flaps_text(member.labels, times)
    return ""
