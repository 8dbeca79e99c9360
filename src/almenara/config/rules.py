"""Rules as tables of a file, of a Prometheus rule file or of the API: read, checked alone and among each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from almenara.config import schema
from almenara.config.lines import join
from almenara.model.errors import MissingExtra, Problem, QueryError
from almenara.plugin import options

if TYPE_CHECKING:
    from almenara.alarm.rules import Rule
    from almenara.analysis.occasions import Calendar

#: The most rules there may be.
MOST = 10_000


def read(name: str, table: Mapping[str, Any], where: str) -> tuple[schema.Rule | None, list[Problem]]:
    """A table of a rule, and all that is wrong with it; None where it cannot be used."""
    values, problems = options.read(schema.Rule, dict(table), where, given=())
    if not isinstance(values.get("expr"), str):
        return None, list(problems)
    told = {problem.where for problem in problems}
    known = {key: value for key, value in values.items() if f"{where}.{key.rstrip('_')}" not in told}
    problems = [*problems, *_sense(name, schema.Rule(**known), where)]
    return (None if problems else schema.Rule(**values)), problems


def _sense(name: str, rule: schema.Rule, where: str) -> list[Problem]:
    """What a rule must not say; looked at only here: an agent has no rules, and none of what reads them."""
    try:
        from almenara.alarm.rules import RuleMistake
        from almenara.analysis.schedule import weekly
    except ModuleNotFoundError:
        return [
            Problem(f"{where}.expr", "cannot be checked without the expression parser", "pip install 'almenara[hub]'")
        ]
    found = []
    for at, text in enumerate(rule.schedule):
        try:
            weekly(text)
        except ValueError as error:
            found.append(Problem(f"{where}.schedule[{at}]", str(error)))
    try:
        made(name, replace(rule, schedule=[]))
    except RuleMistake as error:
        found.append(Problem(f"{where}.{error.key}", error.message))
    except QueryError as error:
        found.append(Problem(f"{where}.expr", str(error)))
    except MissingExtra:
        found.append(
            Problem(f"{where}.expr", "cannot be checked without the expression parser", "pip install 'almenara[hub]'")
        )
    return found


def made(name: str, rule: schema.Rule, timezone: str = "UTC", calendars: Iterable[Calendar] = ()) -> Rule:
    """The rule as the alarm room knows it; the calendars that it does not name are left out. Raises QueryError,
    RuleMistake, ValueError."""
    from almenara.alarm.rules import Rule
    from almenara.analysis.schedule import Schedule

    by_name = {one.name: one for one in calendars}
    only, never = ([by_name[n] for n in names if n in by_name] for names in (rule.only_on, rule.not_on))
    return Rule(
        name, rule.expr, rule.for_, rule.keep_firing_for, rule.severity or "", dict(rule.labels),
        dict(rule.annotations), rule.every, rule.within, rule.over, rule.no_data,
        Schedule.of(rule.schedule, timezone, only, never),
    )  # fmt: skip


def among(
    rules: Mapping[str, schema.Rule], detectors: Iterable[str], calendars: Iterable[str], where: str = "rules"
) -> list[Problem]:
    """What goes wrong between rules that are right alone: rules, detectors and calendars that are not there, and rules
    that speak of themselves."""
    found = []
    spoken, known, days = {}, sorted(detectors), sorted(calendars)
    for name, rule in rules.items():
        place = join((where, name)) if where else name
        one = made(name, replace(rule, schedule=[]))
        spoken[name] = one.condition.rules
        found += [_not_there(f"{place}.expr", "rule", other, rules) for other in spoken[name] if other not in rules]
        if one.detector and one.detector not in known:
            found.append(_not_there(f"{place}.expr", "detector", one.detector, known))
        for key in ("only_on", "not_on"):
            for at, day in enumerate(getattr(rule, key)):
                if day not in days:
                    found.append(_not_there(f"{place}.{key}[{at}]", "calendar", day, days))
    for circle in _circles(spoken):
        place = join((where, circle[0])) if where else circle[0]
        found.append(Problem(f"{place}.expr", f"speaks of itself: {' -> '.join([*circle, circle[0]])}"))
    if len(rules) > MOST:
        found.append(Problem(where or "rules", f"{len(rules)} rules; expected at most {MOST}"))
    return found


def _not_there(where: str, kind: str, name: str, known: Iterable[str]) -> Problem:
    there = ", ".join(sorted(known)[:20])
    return Problem(where, f"no {kind} is called {options.show(name)}", f"there are: {there}" if there else "")


def _circles(spoken: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Each way on which rules come back to where they began, once."""
    found: list[list[str]] = []
    done: set[str] = set()
    for first in spoken:
        way: list[str] = []
        stack = [(first, iter(spoken[first]))] if first not in done else []
        while stack:
            name, rest = stack[-1]
            if len(way) < len(stack):
                way.append(name)
            after = next(rest, None)
            if after is None:
                done.add(name)
                stack.pop()
                way.pop()
            elif after in way:
                found.append(way[way.index(after) :])
            elif after in spoken and after not in done:
                stack.append((after, iter(spoken[after])))
    return found
