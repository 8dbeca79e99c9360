"""The outbox: what is to be told to whom, on disk before anybody tries, until it is confirmed or given up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from almenara.alarm import incidents
from almenara.alarm.incidents import Fold
from almenara.model.alarm import Incident, State, Transition, labels_of
from almenara.query import Matcher, match_all

#: Routes: the name of each notifier, and the alarms that it is told of (no matchers: all).
Routes = Mapping[str, Sequence[Matcher]]


@dataclass(frozen=True, slots=True)
class Message:
    """One row of the outbox: times in ns."""

    id: int
    notifier: str
    incident: int
    state: State
    upto: int
    queued: int
    due: int
    tries: int


def routes_of(notifiers: Routes | Iterable[str]) -> Routes:
    """Names alone mean: told of everything."""
    return notifiers if isinstance(notifiers, Mapping) else dict.fromkeys(notifiers, ())


def queue(connection: sqlite3.Connection, fold: Fold, routes: Routes, upto: int, now_ns: int) -> int:
    """Messages for what became of incidents, in the transaction that changes them; gives how many.

    A notifier hears of an incident when the first alarm that matches it fires, and when the incident is resolved.
    """
    rows = []
    for id, one in fold.touched.items():
        fired = fold.fired.get(id, ())
        new = [name for name in routes if name not in one.told and any(_matches(routes[name], c) for c in fired)]
        one.told.update(new)
        rows += [(name, id, State.FIRING.value, upto, now_ns) for name in new]
        if id in fold.resolved:
            rows += [(name, id, State.RESOLVED.value, upto, now_ns) for name in routes if name in one.told]
    connection.executemany("INSERT INTO outbox (notifier, incident, state, upto, queued) VALUES (?,?,?,?,?)", rows)
    return len(rows)


def _matches(matchers: Sequence[Matcher], change: Transition) -> bool:
    return not matchers or match_all(matchers, labels_of(change))


def first(connection: sqlite3.Connection, notifier: str) -> Message | None:
    """The message that this notifier is to have next, due or not."""
    row = connection.execute(
        "SELECT id, notifier, incident, state, upto, queued, due, tries FROM outbox "
        "WHERE notifier = ? AND outcome = '' ORDER BY id LIMIT 1",
        (notifier,),
    ).fetchone()
    if row is None:
        return None
    id, name, incident, state, upto, queued, due, tries = row
    return Message(id, name, incident, State(state), upto, queued, due, tries)


def incident_of(connection: sqlite3.Connection, message: Message) -> Incident | None:
    """The incident as it was when the message was queued; who took it on as it is now."""
    for found in incidents.read(connection, [message.incident], message.upto):
        return replace(found, state=message.state, resolved=found.resolved if message.state is State.RESOLVED else 0)
    return None


def put_off(connection: sqlite3.Connection, message: Message, due_ns: int, error: str) -> None:
    """It did not work: try again at `due_ns`."""
    connection.execute("UPDATE outbox SET due=?, tries=tries+1, error=? WHERE id=?", (due_ns, error, message.id))


def close(connection: sqlite3.Connection, message: Message, outcome: str, now_ns: int, error: str = "") -> None:
    """It is over: `sent` or `given up`."""
    connection.execute(
        "UPDATE outbox SET outcome=?, done=?, tries=tries+1, error=? WHERE id=?", (outcome, now_ns, error, message.id)
    )
