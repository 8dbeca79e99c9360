"""What a notice says as plain values: JSON for programs, texts for templates, numbers for what counts and draws."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from almenara.model.alarm import Alarm, Evidence, Incident, Notice, NoticeKind, Severity, State, Transition
from almenara.model.errors import ConfigError, Problem
from almenara.model.text import one_line as plain_line
from almenara.model.time import format_time

#: So many alarms of one incident are told one by one; of the rest only how many there are.
MOST_ALARMS = 1000
#: Longest text of one field, in characters.
MOST_TEXT = 20_000
#: Severities as numbers: 0 is no alarm.
NUMBER_OF = {Severity.WARNING: 1, Severity.MINOR: 2, Severity.MAJOR: 3, Severity.CRITICAL: 4}
#: States as numbers.
STATE_NUMBER = {State.INACTIVE: 0, State.RESOLVED: 0, State.PENDING: 1, State.FIRING: 2, State.NO_DATA: 3}

_LINE_ENDS = re.compile("[\x85\u2028\u2029]")
_PLACE = re.compile(r"\{\{|\}\}|\{(\w+)\}|[{}]")


def has_ended(alarm: Alarm, incident: Incident) -> bool:
    """Is it over, by itself or with its incident?"""
    return alarm.last.state in (State.RESOLVED, State.INACTIVE) or incident.state is State.RESOLVED


def incidents_of(notice: Notice) -> tuple[Incident, ...]:
    """All that a notice tells of; in a digest several. None in a test or a report."""
    return () if is_about_none(notice) else (notice.incident, *notice.more)


def is_about_none(notice: Notice) -> bool:
    """Whether it is about no incident: a test, or a report such as that of the week's noise."""
    return notice.kind is NoticeKind.TEST or not notice.incident.id


def number_of(alarm: Alarm, incident: Incident) -> int:
    """0 once it is over, else its severity from 1, warning, to 4, critical."""
    return 0 if has_ended(alarm, incident) else NUMBER_OF[alarm.last.severity]


def nagios_state(alarm: Alarm, incident: Incident) -> int:
    """As check results say it: 0 OK, 1 warning (minor too), 2 critical (major too), 3 unknown (no data)."""
    if has_ended(alarm, incident):
        return 0
    if alarm.last.state is State.NO_DATA:
        return 3
    return 2 if NUMBER_OF[alarm.last.severity] > 2 else 1


def alarm_json(transition: Transition) -> dict[str, Any]:
    """One alarm; null for what JSON cannot say (NaN, infinities)."""
    series, evidence = transition.series, transition.evidence
    return {
        "rule": transition.rule,
        "name": series.name,
        "labels": dict(series.labels) | dict(transition.labels),
        "state": transition.state.value,
        "severity": transition.severity.value,
        "since": format_time(transition.since),
        "time": format_time(transition.time),
        **numbers_of(evidence),
        "detector": evidence.detector,
        "why": evidence.why,
        "annotations": dict(transition.annotations),
    }


def numbers_of(evidence: Evidence) -> dict[str, float | None]:
    """value, score, yhat, lower, upper; null for what JSON cannot say (NaN, infinities)."""
    numbers = {name: getattr(evidence, name) for name in ("value", "score", "yhat", "lower", "upper")}
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def incident_json(incident: Incident) -> dict[str, Any]:
    """One incident with its alarms, of which at most MOST_ALARMS are told."""
    taken = incident.acknowledgement
    return {
        "id": incident.id,
        "state": incident.state.value,
        "severity": incident.severity.value,
        "since": format_time(incident.since),
        "resolved": format_time(incident.resolved) if incident.resolved else None,
        "acknowledged": taken and {"who": taken.who, "time": format_time(taken.time), "note": taken.note},
        "alarms": [alarm_json(member.last) for member in incident.members[:MOST_ALARMS]],
        "alarms_left_out": max(0, len(incident.members) - MOST_ALARMS),
    }


def notice_json(notice: Notice) -> dict[str, Any]:
    """The whole notice without its graph, for programs."""
    return {
        "id": notice.id,
        "kind": notice.kind.value,
        "title": notice.title,
        "facts": {fact.name: fact.text for fact in notice.facts},
        "link": notice.link,
        "thread": notice.thread,
        "incidents": [incident_json(incident) for incident in incidents_of(notice)],
    }


def to_json(body: Mapping[str, Any]) -> bytes:
    """Compact JSON in UTF-8, in one line for whoever reads it: many take U+2028 and the like for the end of one."""
    text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _LINE_ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode(errors="replace")


def fields(notice: Notice) -> dict[str, str | int | float]:
    """The notice flat, for templates, environment variables and MQTT: what of it fits into one line or one number.

    rule, series, why, value and score are those of its worst alarm; severity is "ok" once the incident is resolved.
    """
    incident, about = notice.incident, not is_about_none(notice)
    open_ = about and incident.state is not State.RESOLVED
    lines = [f"{fact.name}: {fact.text}" for fact in notice.facts]
    states = [nagios_state(one, incident) for one in incident.members]
    found: dict[str, str | int | float] = {
        "id": notice.id,
        "kind": notice.kind.value,
        "title": one_line(notice.title),
        "text": notice.text[:MOST_TEXT],
        "body": "\n".join([*lines, notice.link] if notice.link else lines)[:MOST_TEXT],
        "link": notice.link,
        "thread": notice.thread,
        "incident": incident.id if about else 0,
        "state": incident.state.value if about else notice.kind.value,
        "severity": incident.severity.value if open_ else "ok",
        "severity_number": NUMBER_OF[incident.severity] if open_ else 0,
        "nagios_state": max(states, key=_BAD.index, default=0) if open_ else 0,
        "since": format_time(incident.since) if about else "",
        "alarms": len(incident.members),
    }
    return found | _of_worst(incident)


_BAD = (0, 3, 1, 2)  # Nagios states from good to bad


def worst(incident: Incident) -> Alarm | None:
    """The alarm to name where there is room for one: still open, most severe, highest score, first in the list."""

    def rank(alarm: Alarm) -> tuple[int, float]:
        score = alarm.last.evidence.score
        return number_of(alarm, incident), score if math.isfinite(score) else -math.inf

    return max(incident.members, key=rank, default=None)


def _of_worst(incident: Incident) -> dict[str, str | int | float]:
    alarm = worst(incident)
    if alarm is None:
        return {"rule": "", "series": "", "name": "", "why": "", "value": "", "score": ""}
    last, numbers = alarm.last, numbers_of(alarm.last.evidence)
    plain = {name: "" if (number := numbers[name]) is None else number for name in ("value", "score")}
    about = {
        "rule": last.rule,
        "series": str(last.series),
        "name": last.series.name,
        "why": one_line(last.evidence.why),
    }
    return about | plain


#: What a template may name.
FIELDS = frozenset(
    (
        "id", "kind", "title", "text", "body", "link", "thread", "incident", "state", "severity", "severity_number",
        "nagios_state", "since", "alarms", "rule", "series", "name", "why", "value", "score",
    )
)  # fmt: skip


def check_template(template: Any, where: str, more: Iterable[str] = ()) -> None:
    """Raise ConfigError with every `{name}` in the texts of a template that is no field."""
    known = FIELDS | set(more)
    wrong = [(at, name) for at, text in _texts(template, where) for name in _names(text) if name not in known]
    if wrong:
        hint = f"known: {', '.join(sorted(known))}; write {{{{ for a brace"
        raise ConfigError([Problem(at, f"there is no {name!r} to fill in", hint) for at, name in wrong])


def _texts(template: Any, where: str) -> Iterable[tuple[str, str]]:
    if isinstance(template, str):
        yield where, template
    elif isinstance(template, Mapping):
        for name, one in template.items():
            yield from _texts(one, f"{where}.{name}")
    elif isinstance(template, list | tuple):
        for number, one in enumerate(template):
            yield from _texts(one, f"{where}[{number}]")


def _names(text: str) -> list[str]:
    return [match[1] or match[0] for match in _PLACE.finditer(text) if match[0] not in ("{{", "}}")]


def fill(template: Any, values: Mapping[str, str | int | float]) -> Any:
    """The template with its texts filled in. A text that is one `{name}` alone becomes that value, a number too."""
    if isinstance(template, Mapping):
        return {name: fill(one, values) for name, one in template.items()}
    if isinstance(template, list | tuple):
        return [fill(one, values) for one in template]
    if not isinstance(template, str):
        return template
    if (alone := _PLACE.fullmatch(template)) and alone[1]:
        return values[alone[1]]
    return _PLACE.sub(lambda match: str(values[match[1]]) if match[1] else match[0][:1], template)


def one_line(text: str, most: int = MOST_TEXT) -> str:
    """The text in one line without control characters, so that it cannot begin a line of its own."""
    return plain_line(text, most)


def cut(text: str, most: int) -> bytes:
    """The text in UTF-8, in at most so many bytes, whole characters only."""
    return text.encode(errors="replace")[:most].decode(errors="ignore").encode()
