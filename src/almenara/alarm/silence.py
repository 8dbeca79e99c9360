"""`Silence`: of which alarms people are told nothing, from when to when; once, or in windows that come again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

from almenara.analysis.hours import Hours, Span
from almenara.analysis.occasions import Calendar
from almenara.model.errors import NotSupported, QuerySyntax, SilenceError
from almenara.model.time import LATEST_NS, NS
from almenara.query import Matcher, match_all

#: Limits of one silence: its matchers; characters of a label's value or pattern, of its comment, of who made it.
MAX_MATCHERS, MAX_VALUE, MAX_COMMENT, MAX_WHO = 64, 4096, 4096, 200


class Stage(StrEnum):
    """Where a silence stands, in Alertmanager's words."""

    PENDING = "pending"
    ACTIVE = "active"
    EXPIRED = "expired"


class Schedule(Protocol):
    """Spans of time that come again, in ns UTC."""

    def span_at(self, now_ns: int) -> Span | None:
        """The span that holds this moment."""

    def span_from(self, now_ns: int) -> Span | None:
        """The span that holds this moment, or else the next one."""


class Occasions:
    """The occasions of a calendar as a schedule."""

    def __init__(self, calendar: Calendar):
        self._from = np.asarray(calendar.from_s, np.int64) * NS
        self._to = np.asarray(calendar.to_s, np.int64) * NS

    def span_at(self, now_ns: int) -> Span | None:
        """As `Schedule` says."""
        span = self.span_from(now_ns)
        return span if span is not None and span[0] <= now_ns else None

    def span_from(self, now_ns: int) -> Span | None:
        """As `Schedule` says."""
        at = int(np.searchsorted(self._to, now_ns, side="right"))
        return (int(self._from[at]), int(self._to[at])) if at < len(self._to) else None


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence, from `starts` to `ends` (ns UTC, the end does not belong to it).

    windows: hours of the week in which it holds; empty and no schedules: always. schedules: these windows and
    calendars, worked out. name: of a maintenance window of the configuration, which nobody can change elsewhere.
    What had begun or ended when it was made or changed (`updated`) has, also where the clock is set back after that.
    """

    id: str
    matchers: tuple[Matcher, ...]
    starts: int
    ends: int
    who: str
    comment: str = ""
    windows: tuple[str, ...] = ()
    updated: int = 0
    name: str = ""
    schedules: tuple[Schedule, ...] = field(default=(), compare=False, repr=False)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether it is about an alarm of these labels."""
        return match_all(self.matchers, labels)

    def span_at(self, now_ns: int) -> Span | None:
        """From when to when it holds without a break, if it holds now."""
        if not self.starts <= self._latest(now_ns) < self.ends:
            return None
        if not self.schedules:
            return self.starts, self.ends
        spans = [span for one in self.schedules if (span := one.span_at(now_ns)) is not None]
        return self._cut(max(spans, key=lambda span: span[1])) if spans else None

    def span_from(self, now_ns: int) -> Span | None:
        """From when to when it holds, now or the next time; None where it never does again."""
        if self._latest(now_ns) >= self.ends:
            return None
        if not self.schedules:
            return self.starts, self.ends
        spans = [span for one in self.schedules if (span := one.span_from(max(now_ns, self.starts))) is not None]
        span = self._cut(min(spans)) if spans else None
        return span if span is not None and span[0] < span[1] else None

    def stage(self, now_ns: int) -> Stage:
        """Where it stands."""
        if self._latest(now_ns) >= self.ends:
            return Stage.EXPIRED
        return Stage.ACTIVE if self.span_at(now_ns) is not None else Stage.PENDING

    def _latest(self, now_ns: int) -> int:
        return max(now_ns, self.updated)

    def _cut(self, span: Span) -> Span:
        return max(span[0], self.starts), min(span[1], self.ends)


def checked(one: Silence, timezone: str) -> Silence:
    """The same with its windows worked out. Raises SilenceError where it makes no sense; texts as Alertmanager's."""
    if not one.matchers:
        raise SilenceError("silence invalid: at least one matcher required")
    if len(one.matchers) > MAX_MATCHERS:
        raise SilenceError(f"silence invalid: {len(one.matchers)} matchers; expected at most {MAX_MATCHERS}")
    for at, matcher in enumerate(one.matchers):
        if not matcher.label or len(matcher.label) > MAX_VALUE or len(matcher.value) > MAX_VALUE:
            raise SilenceError(
                f"silence invalid: invalid label matcher {at}: expected a label, and texts of at most {MAX_VALUE} "
                "characters"
            )
    if all(matcher.matches("") for matcher in one.matchers):
        raise SilenceError("silence invalid: at least one matcher must not match the empty string")
    if one.ends < one.starts or not 0 <= one.starts <= LATEST_NS:
        raise SilenceError("silence invalid: end time must not be before start time")
    if len(one.who) > MAX_WHO or len(one.comment) > MAX_COMMENT:
        raise SilenceError(f"silence invalid: a name has at most {MAX_WHO} characters, a comment {MAX_COMMENT}")
    return with_windows(replace(one, schedules=()), timezone)


def with_windows(one: Silence, timezone: str) -> Silence:
    """The same with its windows worked out. Raises SilenceError."""
    if not one.windows:
        return one
    try:
        hours = Hours(one.windows, timezone)
    except ValueError as error:
        raise SilenceError(f"silence invalid: windows: {error}") from error
    return replace(one, schedules=(*one.schedules, hours))


def matchers_of(given: Sequence[tuple[str, str, str]]) -> tuple[Matcher, ...]:
    """Matchers of (label, operator, value). Raises SilenceError for one that cannot be."""
    found = []
    for at, (label, op, value) in enumerate(given):
        try:
            found.append(Matcher(label, op, value))
        except (QuerySyntax, NotSupported) as error:
            raise SilenceError(f"silence invalid: invalid label matcher {at}: {error}") from error
    return tuple(found)


SILENCE = "id, matchers, starts, ends, who, comment, windows, updated"


def silence_row(one: Silence) -> tuple[object, ...]:
    """A silence as the columns SILENCE."""
    matchers = json.dumps([(m.label, m.op, m.value) for m in one.matchers])
    windows = json.dumps(one.windows)
    return one.id, matchers, one.starts, one.ends, one.who, one.comment, windows, one.updated


def silence_of(row: Sequence[Any]) -> Silence:
    """The silence that `silence_row` wrote."""
    id, matchers, starts, ends, who, comment, windows, updated = row
    found = matchers_of([tuple(one) for one in json.loads(matchers)])
    return Silence(id, found, starts, ends, who, comment, tuple(json.loads(windows)), updated)
