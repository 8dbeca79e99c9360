"""`Hearing`: listens to every notifier through which people can ask, and has each command answered.

A notifier is a plugin: whatever it does wrong, it is listened to again after a while, and the others are not disturbed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any, cast

from almenara.model.alarm import Command
from almenara.pipeline.commands import Commands
from almenara.pipeline.hub import Pipeline
from almenara.plugin.contracts import Notifier

log = logging.getLogger(__name__)

#: The first wait after a failure; each further one is twice as long, up to the longest.
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 300.0
#: How often it is looked whether people can ask.
LOOK_S = 1.0


class Hearing:
    """Runs on the hub's loop. `start` and `stop` may follow each other, with other notifiers each time."""

    def __init__(self, hub: Pipeline):
        self._hub = hub
        self._tasks: list[asyncio.Task[None]] = []
        self._notifiers: dict[str, Notifier] = {}
        self._failures: dict[str, str] = {}
        hub.counters.sample_by(self._sampled)

    def start(self, notifiers: Mapping[str, Notifier], commands: Commands) -> None:
        """Listen to those that can hear."""
        self._failures.clear()
        self._notifiers = {name: one for name, one in notifiers.items() if hasattr(one, "commands")}
        self._tasks = [
            asyncio.create_task(self._listen(name, one, commands), name=f"commands of {name}")
            for name, one in self._notifiers.items()
        ]
        if self._tasks:
            self._tasks.append(asyncio.create_task(self._watch(), name="commands"))

    async def stop(self) -> None:
        """Listen no more. A command that is being answered is heard again, or is answered by whoever hears it next."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name in self._notifiers:
            self._hub.problems.pop(_place(name), None)
        self._tasks, self._notifiers = [], {}

    async def _listen(self, name: str, notifier: Any, commands: Commands) -> None:
        wait = FIRST_WAIT_S
        while True:
            try:
                heard = cast(AsyncGenerator[Command, None], notifier.commands())
                async with aclosing(heard):
                    async for command in heard:
                        await commands.answer(command)
                        wait = FIRST_WAIT_S
                        self._failures.pop(name, None)
                return  # it has been told to hear nobody
            except Exception as error:  # a plugin's own mistake must not end the hub, nor silence it for good
                log.exception("notifier %s failed at hearing commands; trying again in %g s", name, wait)
                self._failures[name] = f"hears no commands: {type(error).__name__}: {error}"
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_S)

    async def _watch(self) -> None:
        """Say in the hub's problems why nobody can ask."""
        while True:
            for name, notifier in self._notifiers.items():
                if why := self._failures.get(name) or str(getattr(notifier, "problem", "")):
                    self._hub.problems[_place(name)] = why
                else:
                    self._hub.problems.pop(_place(name), None)
            await asyncio.sleep(LOOK_S)

    def _sampled(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for name, notifier in self._notifiers.items():
            for reason, count in dict(getattr(notifier, "dropped", {})).items():
                yield "almenara_commands_dropped_total", {"notifier": name, "reason": reason}, count


def _place(name: str) -> str:
    return f"notifiers.{name}"
