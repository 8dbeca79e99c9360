"""Rules of listening to notifiers: what a plugin does wrong ends neither the hub nor the listening."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from almenara.alarm.message import About
from almenara.model.alarm import Command, Notice, Reply
from almenara.pipeline import hearing
from almenara.pipeline.commands import Commands
from almenara.pipeline.graphs import Graphs
from almenara.pipeline.hearing import Hearing
from almenara.pipeline.hub import Pipeline
from almenara.testing.hub import Clock, pipeline

DEADLINE_S = 60.0


class Telephone:
    """A notifier that people call; with `failures`, it breaks so often first."""

    def __init__(self, *asked: str, failures: int = 0):
        self.asked, self.failures = list(asked), failures
        self.answers: list[str] = []
        self.problem = ""
        self.dropped = Counter({"stranger": 3})

    async def notify(self, notice: Notice) -> None:
        """Nobody is told here."""

    async def commands(self) -> AsyncIterator[Command]:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the line is dead")

        async def reply(answer: Reply) -> None:
            self.answers.append(answer.text)

        while self.asked:
            yield Command("@anna", self.asked[0], "", False, reply, 0)
            self.asked.pop(0)
        await asyncio.Event().wait()


class Letter:
    """A notifier that nobody can answer."""

    async def notify(self, notice: Notice) -> None:
        """Nobody is told here."""


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():
            await asyncio.sleep(0.01)


def run(path: Path, story: Callable[[Pipeline, Hearing, Commands], Awaitable[None]]) -> None:
    async def main() -> None:
        hub = pipeline(path, clock=Clock(1_800_000_000 * 10**9))
        await hub.start()
        listening = Hearing(hub)
        try:
            await story(hub, listening, Commands(hub, About(), Graphs(hub)))
        finally:
            await listening.stop()
            await hub.stop()

    asyncio.run(main())


def test_each_command_is_answered_before_the_next_one_is_taken(tmp_path: Path) -> None:
    async def story(hub: Pipeline, listening: Hearing, commands: Commands) -> None:
        one = Telephone("help", "nonsense")
        listening.start({"phone": one, "post": Letter()}, commands)
        await until(lambda: not one.asked)
        assert ["LIST: what is open" in text for text in one.answers] == [True, True]
        assert hub.counters.value("almenara_commands_total", verb="unknown") == 1

    run(tmp_path, story)


def test_a_notifier_that_breaks_is_listened_to_again_and_its_problem_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "FIRST_WAIT_S", 0.2)
    monkeypatch.setattr(hearing, "LOOK_S", 0.01)

    async def story(hub: Pipeline, listening: Hearing, commands: Commands) -> None:
        one, other = Telephone("help", failures=2), Telephone("help")
        listening.start({"phone": one, "other": other}, commands)
        await until(lambda: hub.problems)
        assert hub.problems == {"notifiers.phone": "hears no commands: RuntimeError: the line is dead"}
        await until(lambda: not one.asked and not other.asked)
        await until(lambda: not hub.problems)
        other.problem = "the token is wrong"
        await until(lambda: hub.problems == {"notifiers.other": "the token is wrong"})

    run(tmp_path, story)


def test_what_is_said_after_another_start_is_heard_from_the_new_notifier(tmp_path: Path) -> None:
    async def story(hub: Pipeline, listening: Hearing, commands: Commands) -> None:
        listening.start({"phone": (one := Telephone("help"))}, commands)
        await until(lambda: not one.asked)
        await listening.stop()
        one.asked.append("help")
        listening.start({"phone": (two := Telephone("help"))}, commands)
        await until(lambda: not two.asked)
        assert (len(one.answers), len(two.answers)) == (1, 1)

    run(tmp_path, story)
