"""One question or order of a person, with what it takes to answer it, and the mistakes that are told to them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from almenara.alarm.book import Book
from almenara.alarm.message import About
from almenara.alarm.wording import one_line, series_text
from almenara.model.alarm import Command, Incident
from almenara.model.errors import AlmenaraError
from almenara.model.time import NS, parse_duration
from almenara.pipeline.find import MOST, Found, find
from almenara.pipeline.graphs import Graphs
from almenara.pipeline.hub import Pipeline

#: Among so many incidents, the newest, one is looked for by its number.
_RECENT = 1000
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
#: No order and no graph is about a longer time.
LONGEST_S = 366 * 86_400.0


class Wrong(AlmenaraError):
    """What a person typed cannot be done: said to them, with what was expected. choices: what they may have meant."""

    def __init__(self, text: str, choices: Sequence[str] = ()):
        self.choices = tuple(choices)
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Asked:
    """A command to a hub. args: its words, one blank between them."""

    hub: Pipeline
    about: About
    graphs: Graphs
    command: Command
    args: str

    @property
    def book(self) -> Book:
        """The hub's alarms."""
        return cast(Book, self.hub.alarms)

    @property
    def now(self) -> int:
        """The hub's clock, ns."""
        return self.hub.clock()

    async def series(self, text: str) -> int:
        """The id of the series that is meant. Raises Wrong with those that may be."""
        return chosen(self.hub, await asyncio.to_thread(find, self.hub.index, text), text, self.command.verb)

    async def incidents(self, open_only: bool = True) -> list[Incident]:
        """Incidents, newest first."""
        return await asyncio.to_thread(self.book.incidents, _RECENT, open_only)

    async def incident(self, number: int) -> Incident:
        """One incident. Raises Wrong where there is none of this number."""
        one = await asyncio.to_thread(self.book.incident, number)
        if one is not None:
            return one
        raise Wrong(f"There is no incident {number}. LIST shows those that are open.", ["list"])

    async def number(self) -> tuple[int, str]:
        """The incident that an order is about, and what follows its number: as typed, or as the message that is
        answered, or the only one that is open. Raises Wrong."""
        first, _, rest = self.args.partition(" ")
        if is_number(first):
            return int(first.lstrip("#")), rest
        if self.command.incident:
            return self.command.incident, self.args
        found = await self.incidents()
        if not found:
            raise Wrong("No incident is open.")
        if len(found) > 1:
            verb = self.command.verb
            lines = [f"{len(found)} incidents are open. Which one?", *(title(one) for one in found[:MOST])]
            raise Wrong("\n".join(lines), [f"{verb} {one.id} {self.args}".strip() for one in found[:MOST]])
        return found[0].id, self.args


def chosen(hub: Pipeline, found: Found, text: str, verb: str) -> int:
    """The one series that was found. Raises Wrong with a list to choose from."""
    if found.one is not None:
        return found.one
    told = one_line(text, 80)
    if not found.of:
        raise Wrong(
            f'No series has "{told}" in its name or labels. Expected some of its words, such as: {verb} flow P-1'
        )
    names = [str(hub.index[id]) for id in found.ids]
    several = f'{found.of:,} series have "{told}". Which one?'
    head = f'No series has "{told}". Did you mean:' if found.guessed else several
    more = [f"and {found.of - len(names):,} more"] if found.of > len(names) else []
    lines = [series_text(hub.index[id], 100) for id in found.ids]
    raise Wrong("\n".join([head, *lines, *more]), [f"{verb} {name}" for name in names])


def title(one: Incident) -> str:
    """An incident in one line: its number, how bad, what."""
    first = one.members[0].last if one.members else None
    what = f"{series_text(first.series)}: {one_line(first.rule, 40)}" if first is not None else "no alarm"
    more = f" and {len(one.members) - 1:,} more" if len(one.members) > 1 else ""
    return f"#{one.id} {one.severity.value}: {what}{more}"


def is_number(text: str) -> bool:
    """Whether a word is the number of an incident, 7 or #7."""
    digits = text.removeprefix("#")
    return digits.isascii() and digits.isdigit() and len(digits) < 16


def is_span(text: str) -> bool:
    """Whether a word is a span of time, such as 30m or 1h30m."""
    return _SPAN.fullmatch(text.lower()) is not None


def span_ns(text: str) -> int:
    """The span of time that a word is, in ns. Raises Wrong."""
    seconds = parse_duration(text.lower())
    if not 0 < seconds <= LONGEST_S:
        raise Wrong(f"{text} is no time to do that for; expected more than nothing and at most a year, such as 2h")
    return round(seconds * NS)
