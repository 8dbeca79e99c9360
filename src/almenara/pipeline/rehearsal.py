"""A rehearsal: rules, states, incidents and the outbox of a hub over rows of the past, whose time is the clock.

It is the book of a hub on a database of its own that nobody keeps. Messages go to nobody; what would have been sent is
noted.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from almenara.alarm import outbox
from almenara.alarm.answers import Answer
from almenara.alarm.book import AWAY_NS, Book
from almenara.alarm.message import About, notice_of
from almenara.alarm.rules import Rule
from almenara.model.alarm import Incident, Notice
from almenara.model.batch import Batch, Verdict
from almenara.model.causes import Causes
from almenara.model.time import MINUTE_NS, NS
from almenara.pipeline.index import Selector, SeriesIndex

#: Rules that are evaluated and do not say how often.
_EVERY_NS = MINUTE_NS
_MOST_INCIDENTS = 100_000


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that would have gone out: when (ns), to whom, and what it would have said."""

    time: int
    notifier: str
    notice: Notice


class Rehearsal:
    """Give it rows with `step`, in the order of time from call to call; the clock follows in steps of `step_ns`.

    notifiers: what a `Book` takes. ask: works out the answers of rules that are evaluated; without it they say nothing.
    """

    def __init__(
        self, rules: Iterable[Rule], index: SeriesIndex, notifiers: Any = ("everybody",), *,
        causes: Causes | None = None, ask: Callable[[Rule, int, Book], Answer] | None = None,
        step_ns: int = MINUTE_NS, about: About | None = None,
    ):  # fmt: skip
        if not 0 < step_ns <= AWAY_NS:
            raise ValueError(f"step_ns: found {step_ns}, expected more than 0 and at most {AWAY_NS}")
        self._folder = tempfile.TemporaryDirectory(prefix="almenara-rehearsal-")
        self._index, self._ask, self._step_ns, self._about = index, ask, step_ns, about or About()
        self._db = self._connect()
        self.rules = list(rules)
        self.book = Book(
            self._connect, self.rules, index, lambda matchers: Selector(index, matchers), causes, notifiers,
            clock=lambda: max(self.now_ns, self._row_ns),
        )  # fmt: skip
        self.book.on_queued = self._queued
        self._waits = False
        self._due = {rule.name: 0 for rule in self.rules if rule.is_evaluated}
        self._seq = self.now_ns = self._row_ns = 0
        self.sent: list[Sent] = []

    def step(self, batch: Batch, verdict: Verdict) -> None:
        """Rows after those given before, ordered by (id, time). Raises StoreError."""
        nth = -(-np.asarray(batch.time) // self._step_ns)  # a row at a tick counts before it
        for number, rows in _slices(nth):
            if number * self._step_ns > self.now_ns:
                self.advance((number - 1) * self._step_ns)
            self._seq += 1
            self._row_ns = int(np.max(np.asarray(batch.time)[rows]))
            part = Batch(batch.series, *(np.asarray(c)[rows] for c in (batch.id, batch.time, batch.value)))
            self.book.step(self._seq, part, taken(verdict, rows), 0)

    def advance(self, to_ns: int) -> None:
        """Nothing more comes before this time: the clock goes on to it."""
        if not self.now_ns:
            self.now_ns = to_ns - self._step_ns
        while self.now_ns < to_ns:
            self.now_ns = min(to_ns, (self.now_ns // self._step_ns + 1) * self._step_ns)
            self._tick()

    def incidents(self) -> list[Incident]:
        """All of them as they are now, oldest first."""
        return self.book.incidents(_MOST_INCIDENTS)[::-1]

    def close(self) -> None:
        """Forget everything."""
        self.book.close()
        self._db.close()
        self._folder.cleanup()

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _connect(self) -> sqlite3.Connection:
        path = Path(self._folder.name) / "hub.db"
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=MEMORY")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA busy_timeout=5000")
        return connection

    def _queued(self) -> None:
        self._waits = True

    def _tick(self) -> None:
        self._evaluate()
        self.book.tick(self.now_ns)
        if self._waits:
            self._note()

    def _evaluate(self) -> None:
        for rule in self.rules:
            if self._ask is None or not rule.is_evaluated or self._due[rule.name] > self.now_ns:
                continue
            self._due[rule.name] = self.now_ns + (round(rule.every_s * NS) or _EVERY_NS)
            if rule.schedule.holds_at(self.now_ns):
                self.book.take([self._ask(rule, self.now_ns, self.book)])

    def _note(self) -> None:
        """Take what is due from the outbox, in its order."""
        names = [name for (name,) in self._db.execute("SELECT DISTINCT notifier FROM outbox WHERE outcome = ''")]
        self._waits = bool(names)
        for name in names:
            while (message := outbox.next_due(self._db, name, self.now_ns)) is not None:
                incident = outbox.incident_of(self._db, message)
                if incident is not None:
                    before, more = outbox.before(self._db, message), outbox.more_of(self._db, message)
                    notice = notice_of(message, incident, self._about, now_ns=self.now_ns, before=before, more=more)
                    self.sent.append(Sent(self.now_ns, name, notice))
                outbox.close(self._db, message, "sent", self.now_ns)


def _slices(nth: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(number, rows in their order) of each slice of time that has rows."""
    if not len(nth):
        return iter(())
    order = np.argsort(nth, kind="stable")
    numbers, first = np.unique(nth[order], return_index=True)
    return zip(numbers.tolist(), np.split(order, first[1:]), strict=True)


def taken(verdict: Verdict, rows: np.ndarray) -> Verdict:
    """The verdict of some rows."""
    names = ("score", "yhat", "lower", "upper", "share", "cause", "value", "nth")
    columns = {name: np.asarray(c)[rows] for name in names if (c := getattr(verdict, name)) is not None}
    place = {row: k for k, row in enumerate(rows.tolist())} if verdict.notes else {}
    notes = {place[row]: text for row, text in verdict.notes.items() if row in place}
    parts = {name: lambda part=part: taken(part(), rows) for name, part in verdict.parts.items()}
    return replace(verdict, **columns, notes=notes, parts=parts)


def spread(sent: Sequence[Sent]) -> dict[str, int]:
    """How many messages each notifier would have had."""
    counts: dict[str, int] = {}
    for one in sent:
        counts[one.notifier] = counts.get(one.notifier, 0) + 1
    return counts
