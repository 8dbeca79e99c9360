"""What operators may order through a notifier: ACK, UNACK, SILENCE, UNSILENCE.

An order that comes a second time, since the hub was killed before it could note that it was done, changes nothing: its
times count from when it was given, so that what it asks for is there already.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from almenara.alarm.silence import Silence
from almenara.alarm.told import common_labels
from almenara.alarm.wording import clock, count, one_line, series_text, span
from almenara.model.alarm import Incident, Reply, State, labels_of
from almenara.model.errors import NoSuchSilence, QueryError, SilenceError
from almenara.model.series import Series
from almenara.model.time import NS
from almenara.pipeline.asked import Asked, Wrong, chosen, is_number, span_ns, title
from almenara.pipeline.find import MOST, find
from almenara.query import NAME, Matcher, match_all, parse_selector

_FOR = re.compile(r"(?:^|\s)for ((?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+)$", re.IGNORECASE)
_SILENCE = re.compile(r"(.+?) ((?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+)(?: (.*))?", re.IGNORECASE | re.DOTALL)
MOST_NOTE = 500
#: Letters of the id of a silence that people are shown.
_ID = 8


async def acknowledge(asked: Asked) -> Reply:
    """ACK: the person takes an incident on, until it is resolved or for a time."""
    number, note = await asked.number()
    until = 0
    if timed := _FOR.search(note):
        note, until = note[: timed.start()].strip(), asked.command.time + span_ns(timed[1])
    note, who = one_line(note, MOST_NOTE), asked.command.who
    one = await asked.incident(number)
    _must_be_open(asked, one)
    before = one.acknowledgement
    done = before is not None and (before.who, before.note, before.until) == (who, note, until)
    if not done and not await asyncio.to_thread(asked.book.acknowledge, one.id, who, note, until):
        raise Wrong(f"Incident {one.id} has just been resolved.")
    if until and until <= asked.now:
        return Reply(f"{title(one)}\nTaken on by {who}; that time is over already.")
    ends = f"until {clock(until, asked.now, asked.about.timezone)}" if until else "until it is resolved"
    instead = f" It was {one_line(before.who, 60)}'s." if before is not None and before.who != who else ""
    return Reply(f"{title(one)}\nTaken on by {who} {ends}.{instead}")


async def give_back(asked: Asked) -> Reply:
    """UNACK: nobody has taken the incident on any more; repeats and escalation go on."""
    number, _ = await asked.number()
    one = await asked.incident(number)
    _must_be_open(asked, one)
    before = one.acknowledgement
    if before is None or not await asyncio.to_thread(asked.book.unacknowledge, one.id, asked.command.who):
        return Reply(f"{title(one)}\nNobody has taken it on.")
    return Reply(f"{title(one)}\nGiven back; {one_line(before.who, 60)} had taken it on.", choices=(f"ack {one.id}",))


def _must_be_open(asked: Asked, one: Incident) -> None:
    if one.state is State.RESOLVED:
        raise Wrong(f"Incident {one.id} is resolved, since {clock(one.resolved, asked.now, asked.about.timezone)}.")


async def silence(asked: Asked) -> Reply:
    """SILENCE: nobody is told of some alarms for a time."""
    found = _SILENCE.fullmatch(asked.args)
    if found is None and asked.command.incident:
        found = _SILENCE.fullmatch(f"{asked.command.incident} {asked.args}")
    if found is None:
        raise Wrong('Expected what to silence and for how long: silence 7 1h, silence flow{pump="P-101"} 2h new seal')
    what, length, comment = found[1], span_ns(found[2]), one_line(found[3] or "", MOST_NOTE)
    matchers = await _meant(asked, what)
    who, starts = asked.command.who, asked.command.time
    wanted = Silence("", matchers, starts, starts + length, who, comment)
    silences = asked.book.silences
    known = [s for s in await asyncio.to_thread(silences.all) if _is_the_same(s, wanted)]
    if wanted.ends <= asked.now:
        raise Wrong(f"{span(length / NS).capitalize()} since you said so is over already; nothing is silenced.")
    one = known[0] if known else await asyncio.to_thread(silences.put, wanted)
    ends = clock(one.ends, asked.now, asked.about.timezone)
    return Reply(f"Silenced until {ends}: {_selector(matchers)}", choices=(f"unsilence {one.id[:_ID]}",))


def _is_the_same(one: Silence, wanted: Silence) -> bool:
    """Whether this order was carried out already."""
    return (one.matchers, one.who, one.comment, one.ends) == (
        wanted.matchers, wanted.who, wanted.comment, wanted.ends
    )  # fmt: skip


async def _meant(asked: Asked, what: str) -> tuple[Matcher, ...]:
    """The alarms that are meant: of an incident, of a selector, or of a series as people type it. Raises Wrong."""
    if is_number(what):
        one = await asked.incident(int(what.lstrip("#")))
        _must_be_open(asked, one)
        return _common(one)
    if "{" in what:
        try:
            return tuple(parse_selector(what))
        except QueryError as error:
            raise Wrong(f"That selector cannot be read: {one_line(str(error), 200)}") from error
    named = Matcher(NAME, "=", what)
    if len(asked.hub.index.select([named])):
        return (named,)
    return _of_series(asked.hub.index[chosen(asked.hub, await asyncio.to_thread(find, asked.hub.index, what), what,
                                             asked.command.verb)])  # fmt: skip


def _of_series(series: Series) -> tuple[Matcher, ...]:
    return tuple(Matcher(label, "=", value) for label, value in ((NAME, series.name), *series.labels))


def _common(one: Incident) -> tuple[Matcher, ...]:
    """What all alarms of an incident have in common, but how bad they are. Raises Wrong where that is nothing."""
    shared = common_labels(one)
    if not shared:
        raise Wrong(f"The alarms of incident {one.id} have no label in common; silence them by a selector, such as "
                    'silence {plant="brewery"} 1h')  # fmt: skip
    return tuple(Matcher(label, "=", value) for label, value in sorted(shared.items()))


async def unsilence(asked: Asked) -> Reply:
    """UNSILENCE: people are told again. What: an incident, a selector, or the number of a silence."""
    now, silences = asked.now, asked.book.silences
    alive = [one for one in await asyncio.to_thread(silences.all) if one.ends > now]
    ours = [one for one in alive if not one.name]
    what = asked.args or (str(asked.command.incident) if asked.command.incident else "")
    if not what:
        return _which(asked, alive)
    found = await _to_end(asked, what, ours)
    if not found:
        raise Wrong(f"Nothing is silenced that {one_line(what, 80)} means. UNSILENCE alone lists all.", ["unsilence"])
    for one in found:
        try:
            await asyncio.to_thread(silences.expire, one.id, asked.command.who)
        except (NoSuchSilence, SilenceError):  # somebody was faster
            continue
    return Reply(
        "\n".join([f"{count(len(found), 'silence')} ended:", *(_selector(one.matchers) for one in found[:MOST])])
    )


async def _to_end(asked: Asked, what: str, ours: Sequence[Silence]) -> list[Silence]:
    by_id = [one for one in ours if len(what) >= 4 and one.id.startswith(what.lower())]
    if by_id:
        return by_id
    if is_number(what):
        one = await asked.incident(int(what.lstrip("#")))
        labels = [labels_of(alarm.last) for alarm in one.members]
        return [s for s in ours if any(match_all(s.matchers, of) for of in labels)]
    matchers = set(await _meant(asked, what))
    return [one for one in ours if set(one.matchers) == matchers]


def _which(asked: Asked, alive: Sequence[Silence]) -> Reply:
    if not alive:
        return Reply("Nothing is silenced.")
    lines = [count(len(alive), "silence")]
    for one in alive[:MOST]:
        ends = clock(one.ends, asked.now, asked.about.timezone)
        name = f"maintenance {one.name}" if one.name else f"{one.id[:_ID]}, {one_line(one.who, 40)}"
        lines.append(f"{_selector(one.matchers)} until {ends} ({name})")
    lines += [f"... and {len(alive) - MOST:,} more"] if len(alive) > MOST else []
    return Reply("\n".join(lines), choices=tuple(f"unsilence {one.id[:_ID]}" for one in alive[:MOST] if not one.name))


def _selector(matchers: Sequence[Matcher]) -> str:
    """Matchers as a person reads them: a series where they name one exactly, else as they are."""
    exact = {one.label: one.value for one in matchers if one.op == "="}
    if len(exact) == len(matchers) and exact.get(NAME):
        rest = {label: value for label, value in exact.items() if label != NAME}
        return series_text(Series(exact[NAME], tuple(sorted(rest.items()))), 100)
    return one_line("{" + ", ".join(map(str, matchers)) + "}", 200)
