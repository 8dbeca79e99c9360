"""From `[policies]`, `[inhibit]` and `[notifiers]` to who is told of which alarms."""

from __future__ import annotations

from typing import Any

from almenara.alarm.inhibit import Inhibition
from almenara.alarm.policies import Escalation, Policies, Policy
from almenara.alarm.silence import Occasions, Schedule
from almenara.alarm.times import Quiet, Times
from almenara.analysis.hours import Hours
from almenara.analysis.occasions import calendars_of
from almenara.config.load import Config
from almenara.config.policies import Escalate, digest_of, resolved
from almenara.model.alarm import Severity
from almenara.plugin import options
from almenara.query import Matcher, parse_selector

#: Keys that go over as they are, under the name that the alarm room has for them.
_DURATIONS = {
    "group_wait": "group_wait_s", "group_interval": "group_interval_s", "repeat_interval": "repeat_interval_s",
    "reminder": "reminder_s", "fallback_after": "fallback_after_s",
}  # fmt: skip


def told(config: Config) -> Policies:
    """Who is told of which alarms."""
    notifiers = {name: _matchers(one.match) for name, one in config.notifiers.items()}
    inhibitions = [
        Inhibition(name, _matchers(one.source), _matchers(one.target), tuple(one.equal))
        for name, one in config.inhibit.items()
    ]
    return Policies([_policy(config, name) for name in config.policies], notifiers, inhibitions)


def _matchers(match: str) -> tuple[Matcher, ...]:
    return tuple(parse_selector(match)) if match else ()


def _policy(config: Config, name: str) -> Policy:
    said = resolved(name, config.policies)
    values: dict[str, Any] = {to: said[key] for key, to in _DURATIONS.items() if key in said}
    values |= {key: tuple(said[key]) for key in ("notify", "fallback") if key in said}
    if "quiet_severity" in said:
        values["quiet_severity"] = Severity(said["quiet_severity"])
    return Policy(
        name, _matchers(said["match"]), parent=said["parent"], goes_on=said["continue_"],
        quiet=_quiet(config, said.get("quiet", ())), digest=_digest(config, said.get("digest")),
        escalate=_escalate(said.get("escalate", ())), **values,
    )  # fmt: skip


def _quiet(config: Config, texts: list[str]) -> Quiet:
    zone = config.site.timezone
    found: list[tuple[str, Schedule]] = []
    for text in texts:
        if text in config.calendars:
            found.append((text, Occasions(calendars_of({text: config.calendars[text]}, zone)[0])))
        else:
            found.append((text, Hours([text], zone)))
    return Quiet(tuple(found))


def _digest(config: Config, text: str | list[str] | None) -> Times:
    at_s, every_s = digest_of(text)
    return Times(at_s, every_s, config.site.timezone)


def _escalate(tables: list[dict[str, Any]]) -> tuple[Escalation, ...]:
    steps = [Escalate(**options.read(Escalate, table, "", given=())[0]) for table in tables]
    return tuple(Escalation(step.after, tuple(step.notify)) for step in steps)
