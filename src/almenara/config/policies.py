"""Tables of `[policies]` and `[inhibit]`: who is told of which alarms, and what holds others back; all checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from almenara.analysis.hours import Hours
from almenara.config.lines import join
from almenara.model.errors import Problem
from almenara.model.time import parse_duration
from almenara.plugin import options
from almenara.plugin.options import Duration, Range

#: Keys that a policy does not have from its parent.
OWN = frozenset({"parent", "match", "continue_"})
_LEAST_DIGEST_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Who is told of which alarms, how soon and how often.

    Options:
        parent: The policy that this one refines: of what fits the parent, this one has what fits it too. What is not
            said here is as there.
        match: Which alarms, such as '{severity="critical"}': labels of the series and the rule, alertname, severity.
        notify: Names of [notifiers]; each hears only of what its own match fits.
        continue: What this policy fits is offered to those after it too.
        group_wait: How long to wait for further alarms before people are told of an incident; without: not at all.
        group_interval: How long to wait at least after a message before the next one tells what changed; without: 5m.
        repeat_interval: How often people are told that it goes on; 0: never; without: 4h.
        reminder: So long after an acknowledgement people are reminded that it goes on; 0, or without: never.
        quiet: Hours of the week on the site's clocks, such as ["Mon-Fri 22:00-07:00"], or names of [calendars], in
            which messages wait.
        quiet_severity: From this severity on quiet hours do not count; without: critical.
        digest: All that gathered is told in one message, at times of the day such as ["08:00", "18:00"] or every so
            often, such as "4h".
        escalate: Tables { after = "15m", notify = ["NAME"] }: who is told where nobody has acknowledged an incident so
            long after the first message.
        fallback: Notifiers that are told what one of these could not deliver.
        fallback_after: How long it must have failed for that; what is given up goes there at once; without: 10m.
    """

    parent: str = ""
    match: str = ""
    notify: list[str] | None = None
    continue_: bool = False
    group_wait: Annotated[Duration, Range(0)] | None = None
    group_interval: Annotated[Duration, Range(1)] | None = None
    repeat_interval: Annotated[Duration, Range(0)] | None = None
    reminder: Annotated[Duration, Range(0)] | None = None
    quiet: list[str] | None = None
    quiet_severity: Literal["warning", "minor", "major", "critical"] | None = None
    digest: str | list[str] | None = None
    escalate: list[dict[str, Any]] | None = None
    fallback: list[str] | None = None
    fallback_after: Annotated[Duration, Range(0)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalate:
    """One step of `escalate`."""

    after: Annotated[Duration, Range(0)]
    notify: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inhibit:
    """Alarms that are held back while another one fires, as Alertmanager's inhibit_rules.

    Options:
        source: The alarms that hold others back, such as '{alertname="host_down"}'.
        target: The alarms that are held back.
        equal: Labels that must be the same in both, such as ["host"].
    """

    source: str
    target: str
    equal: list[str] = field(default_factory=list)


def read(
    name: str, table: dict[str, Any], notifiers: Collection[str], calendars: Collection[str]
) -> tuple[Policy | None, list[Problem]]:
    """A policy, and what is wrong with it, but for its selector and its parent."""
    where = join(("policies", name))
    values, problems = options.read(Policy, table, where, given=())
    if problems:
        return None, problems
    found = Policy(**values)
    problems += unknown_notifiers(f"{where}.notify", found.notify, notifiers)
    problems += unknown_notifiers(f"{where}.fallback", found.fallback, notifiers)
    for at, step in enumerate(found.escalate or ()):
        values, wrong = options.read(Escalate, step, f"{where}.escalate[{at}]", given=())
        problems += wrong or unknown_notifiers(f"{where}.escalate[{at}].notify", values["notify"], notifiers)
    for text in found.quiet or ():
        problems += [] if text in calendars else _wrong(f"{where}.quiet", lambda text=text: Hours([text]))
    if found.digest is not None:
        problems += _wrong(f"{where}.digest", lambda: digest_of(found.digest))
    return (None if problems else found), problems


def unknown_notifiers(where: str, names: list[str] | None, known: Collection[str]) -> list[Problem]:
    """One for each name that is no notifier's."""
    hint = f"known: {', '.join(sorted(known))}" if known else "write [notifiers.NAME]"
    return [
        Problem(where, f"no notifier is called {options.show(name)}", hint) for name in names or () if name not in known
    ]


def _wrong(where: str, attempt: Any) -> list[Problem]:
    try:
        attempt()
    except ValueError as error:
        return [Problem(where, str(error))]
    return []


def digest_of(text: str | list[str] | None) -> tuple[tuple[int, ...], float]:
    """(seconds of the day, interval in seconds): one of them is empty or 0. Raises ValueError."""
    texts = [text] if isinstance(text, str) else list(text or ())
    if len(texts) == 1 and ":" not in texts[0]:
        every_s = parse_duration(texts[0])
        if every_s < _LEAST_DIGEST_S:
            raise ValueError(f"must be at least 1m; got {texts[0]!r}")
        return (), every_s
    return tuple(sorted({_second_of_day(one) for one in texts})), 0.0


def _second_of_day(text: str) -> int:
    hour, _, minute = text.partition(":")
    fits = len(text) == 5 and hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60
    if not fits:
        raise ValueError(f'must be times of the day such as "08:00", or a duration such as "4h"; got {text!r}')
    return int(hour) * 3600 + int(minute) * 60


def tree_problems(policies: Mapping[str, Policy | None]) -> list[Problem]:
    """Parents that are not there, and policies that are their own ancestors."""
    problems = []
    for name, policy in policies.items():
        where, parent = f"{join(('policies', name))}.parent", policy.parent if policy else ""
        if parent and parent not in policies:
            problems.append(Problem(where, f"no policy is called {options.show(parent)}"))
        elif name in _ancestors(parent, policies):
            problems.append(Problem(where, "goes round: this policy is its own ancestor"))
    return problems


def _ancestors(name: str, policies: Mapping[str, Policy | None]) -> list[str]:
    found: list[str] = []
    while name and name not in found:
        found.append(name)
        policy = policies.get(name)
        name = policy.parent if policy else ""
    return found


def resolved(name: str, policies: Mapping[str, Policy]) -> dict[str, Any]:
    """The keys of a policy that are said, by it or by an ancestor; the nearest counts."""
    policy = policies[name]
    said = resolved(policy.parent, policies) if policy.parent else {}
    mine = {key: value for key in policy.__slots__ if (value := getattr(policy, key)) is not None}
    return {key: value for key, value in said.items() if key not in OWN} | mine


def read_inhibit(name: str, table: dict[str, Any]) -> tuple[Inhibit | None, list[Problem]]:
    """A table of `[inhibit]`, and what is wrong with it, but for its selectors."""
    where = join(("inhibit", name))
    values, problems = options.read(Inhibit, table, where, given=())
    for key in ("source", "target"):
        if values.get(key) == "":
            problems.append(Problem(f"{where}.{key}", "is empty", "say which alarms, such as '{alertname=\"down\"}'"))
    return (None if problems else Inhibit(**values)), problems
