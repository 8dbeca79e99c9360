"""Events: the newest of a time that a selector holds."""

from __future__ import annotations

from collections.abc import Sequence

from almenara.model.batch import Event
from almenara.plugin.contracts import StoreReader
from almenara.query import Matcher

#: Events read at a time, and at most for one answer: a selector that holds hardly any must not read for ever.
_PAGE, MAX_READ = 5_000, 200_000


def newest_events(
    reader: StoreReader, start: int, end: int, selectors: Sequence[Sequence[Matcher]], limit: int
) -> list[Event]:
    """The newest `limit` events in [start, end), newest first, that any of the selectors holds (none: all of them).

    Labels that an event does not have count as empty. Looks at no more than MAX_READ events.
    """
    if not selectors:
        return reader.read_events(start, end, limit)
    found: list[Event] = []
    seen, page = 0, _PAGE
    while len(found) < limit and seen < MAX_READ and start < end:
        events = reader.read_events(start, end, page)
        full = len(events) == page
        if full:
            oldest = events[-1].time
            whole = [one for one in events if one.time > oldest]  # of the oldest time there may be more
            if not whole:
                page *= 4
                seen += len(events)
                continue
            events, end = whole, oldest + 1
        found += [one for one in events if any(_holds(matchers, one) for matchers in selectors)]
        seen += len(events)
        if not full:
            break
    return found[:limit]


def _holds(matchers: Sequence[Matcher], event: Event) -> bool:
    labels = dict(event.labels)
    return all(matcher.matches(labels.get(matcher.label, "")) for matcher in matchers)
