"""`Commands`: what people may ask and order through any notifier that can hear them, and the answers.

The words come from people in a hurry: a series is found by some of its words, an incident by its number, and what
cannot be done is answered with what was expected. Only operators may change anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from difflib import get_close_matches

from almenara.alarm.message import About
from almenara.alarm.wording import one_line
from almenara.model.alarm import Command, Reply
from almenara.model.errors import AlmenaraError
from almenara.pipeline import asking, ordering
from almenara.pipeline.asked import Asked, Wrong
from almenara.pipeline.graphs import Graphs
from almenara.pipeline.hub import Pipeline

log = logging.getLogger(__name__)

#: An answer that takes longer is given up.
ANSWER_S = 45.0
#: Letters of what a person types that are read.
_MOST_LETTERS = 1000


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that people may say. usage: how, with an example; acts: whether it changes anything."""

    do: Callable[[Asked], Awaitable[Reply]]
    usage: str
    says: str
    acts: bool = False


#: What people may say, in the order of HELP.
VERBS = {
    "list": Verb(asking.listed, "LIST", "what is open"),
    "status": Verb(asking.status, "STATUS flow P-101", "the last value, and whether it is as expected"),
    "graph": Verb(asking.graph, "GRAPH flow P-101 6h", "a picture of a series, or of an incident: GRAPH 7"),
    "why": Verb(asking.why, "WHY 7", "what is known of an incident, or of a series: WHY flow P-101"),
    "ack": Verb(ordering.acknowledge, "ACK 7 on my way for 2h", "take an incident on", acts=True),
    "unack": Verb(ordering.give_back, "UNACK 7", "give it back: repeats and escalation go on", acts=True),
    "silence": Verb(ordering.silence, "SILENCE 7 1h new seal", "tell nobody of it: SILENCE flow P-101 2h", acts=True),
    "unsilence": Verb(ordering.unsilence, "UNSILENCE 7", "tell people again; alone: what is silenced", acts=True),
}
#: Other words for them.
_SAME = {
    "acknowledge": "ack", "unacknowledge": "unack", "start": "help", "?": "help", "l": "list", "s": "status",
    "g": "graph", "mute": "silence", "unmute": "unsilence", "incidents": "list", "alarms": "list",
}  # fmt: skip


class Commands:
    """Answers for one hub; safe to use for several notifiers at once."""

    def __init__(self, hub: Pipeline, about: About, graphs: Graphs):
        self._hub, self._about, self._graphs = hub, about, graphs

    async def answer(self, command: Command) -> None:
        """Do what is asked, and tell the person, whatever happens. The person's mistakes raise nothing."""
        reply = await self._reply(command)
        await command.reply(reply)

    async def _reply(self, command: Command) -> Reply:
        verb = _SAME.get(command.verb, command.verb)
        self._hub.counters.add("almenara_commands_total", verb=verb if verb in VERBS or verb == "help" else "unknown")
        if verb == "help" or verb not in VERBS:
            return _help(command, verb)
        if VERBS[verb].acts and not command.may_act:
            return Reply(
                f"{verb.upper()} is for operators, and {command.who} is none. Whoever runs this hub can change that."
            )
        asked = Asked(self._hub, self._about, self._graphs, command, " ".join(command.args[:_MOST_LETTERS].split()))
        if VERBS[verb].acts:
            log.info("%s: %s %s", one_line(command.who, 80), verb, one_line(asked.args, 200))
        try:
            async with asyncio.timeout(ANSWER_S):
                return await VERBS[verb].do(asked)
        except Wrong as error:
            return Reply(str(error), choices=error.choices)
        except TimeoutError:
            return Reply(f"{verb.upper()} took longer than {ANSWER_S:g} s and was given up; ask for less.")
        except AlmenaraError as error:
            return Reply(f"That did not work: {one_line(str(error), 500)}")


def _help(command: Command, verb: str) -> Reply:
    known = [name for name, one in VERBS.items() if command.may_act or not one.acts]
    lines = []
    if verb not in ("", "help"):
        near = get_close_matches(verb, known, 1)
        meant = f" Did you mean {near[0].upper()}?" if near else ""
        lines.append(f'"{one_line(verb, 40)}" is nothing that can be asked here.{meant}')
    lines += [f"{VERBS[name].usage}: {VERBS[name].says}" for name in known]
    if not command.may_act:
        lines.append("You may look; operators may also acknowledge and silence.")
    return Reply("\n".join(lines), choices=("list", "status", "help"))
