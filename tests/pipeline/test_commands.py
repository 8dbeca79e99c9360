"""Rules of what people may ask and order, against a real hub with a rule."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from almenara.alarm.book import Book
from almenara.alarm.message import About
from almenara.alarm.rules import Rule
from almenara.detectors.change import Change
from almenara.model.alarm import Command, Reply, State, labels_of
from almenara.model.batch import Batch
from almenara.model.series import Series
from almenara.model.time import HOUR_NS, NS
from almenara.pipeline.commands import VERBS, Commands
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.graphs import Graphs
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.pipeline.judge import Watch
from almenara.plugin.options import options_of
from almenara.stores.memory import Memory
from almenara.testing.hub import Clock

NOW = 1_800_000_000 * NS
HOT, COLD = Rule("hot", "temp > 90", 0), Rule("cold", "flow < 1", 0)
A, B, C = Series.of("temp", room="a"), Series.of("temp", room="b"), Series.of("flow", pump="P-101")
PNG = b"\x89PNG"


class Person:
    """Somebody at a telephone."""

    def __init__(self, hub: Pipeline, operator: bool = True, who: str = "@anna"):
        self.hub, self.operator, self.who = hub, operator, who
        graphs = Graphs(hub, "Asia/Kolkata")
        self.commands = Commands(hub, About("Brewery", timezone="Asia/Kolkata"), graphs)
        self.answers: list[Reply] = []

    async def says(self, text: str, about: int = 0, time: int = 0) -> Reply:
        verb, _, args = text.partition(" ")
        answers: list[Reply] = []

        async def reply(answer: Reply) -> None:
            answers.append(answer)

        when = time or self.hub.clock()
        await self.commands.answer(Command(self.who, verb.lower(), args, self.operator, reply, when, about))
        (answer,) = answers
        return answer


def run(path: Path, story: Callable[[Pipeline], Awaitable[None]], *watches: Watch) -> None:
    async def main() -> None:
        folder, clock = DataFolder(path), Clock(NOW - 200 * NS)

        def alarms(index: SeriesIndex) -> Book:
            return Book(folder.database, (HOT, COLD), index, lambda matchers: Selector(index, matchers))

        hub = Pipeline(folder, Memory(), Options(watches=watches), alarms=alarms, clock=clock)
        await hub.start()
        try:
            for second in range(-120, 0, 20):
                await measure(hub, second, 20, 21, 5)
            await story(hub)
        finally:
            await hub.stop()
            hub.alarms.close()  # type: ignore[attr-defined]

    asyncio.run(main())


async def measure(hub: Pipeline, second: int, a: float, b: float = 21, c: float = 5) -> None:
    at = NOW + second * NS
    hub.clock.now_ns = at  # type: ignore[attr-defined]
    await hub.commit(Batch.of([(A, at, a), (B, at, b), (C, at, c)]))
    await hub.settle()


def book(hub: Pipeline) -> Book:
    assert isinstance(hub.alarms, Book)
    return hub.alarms


# --- looking


def test_status_says_the_value_when_and_the_alarms(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        await measure(hub, 0, 95)
        hub.clock.now_ns += 60 * NS  # type: ignore[attr-defined]
        told = (await Person(hub).says("STATUS temp a")).text.split("\n")
        assert told[0] == "temp (room=a)"
        assert told[1] == "Value: 95"
        assert told[2].endswith("1 minute ago")
        assert "IST" in told[2]
        assert told[-1].startswith("Alarm: hot: warning since")
        assert told[-1].endswith("incident #1")
        assert "Alarms: none" in (await Person(hub).says("status temp b")).text

    run(tmp_path, story)


def test_several_series_are_offered_to_choose_from(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        person = Person(hub)
        asked = await person.says("status temp")
        assert asked.text.startswith('2 series have "temp". Which one?')
        assert asked.choices == ('status temp{room="a"}', 'status temp{room="b"}')
        assert "Value: 20" in (await person.says(asked.choices[0])).text
        guessed = await person.says("status tmep a")
        assert "Did you mean" in guessed.text
        assert guessed.choices == ('status temp{room="a"}',)
        assert 'No series has "zzz"' in (await person.says("status zzz")).text

    run(tmp_path, story)


def test_status_alone_says_how_the_hub_is_and_what_does_not_work(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        person = Person(hub)
        assert (await person.says("status")).text == "Brewery: all is well\n0 incidents open, 0 alarms\n3 series"
        hub.problems["notifiers.mail"] = "nobody answers"
        assert "! notifiers.mail: nobody answers" in (await person.says("status")).text

    run(tmp_path, story)


def test_a_graph_is_drawn_of_a_series_and_of_an_incident(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        await measure(hub, 0, 95, 96)
        person = Person(hub)
        one = await person.says("GRAPH temp a 30m")
        assert one.text == "temp (room=a): 30 minutes up to now"
        both = await person.says("graph #1")
        assert both.text.startswith("#1 warning: temp (room=a): hot and 1 more")
        for reply in (one, both, await person.says("graph", about=1)):
            assert reply.graph_png is not None
            assert reply.graph_png.startswith(PNG)
        hub.clock.now_ns += HOUR_NS  # type: ignore[attr-defined]
        assert "no row of its series lies in that time" in (await person.says("graph temp a 1m")).text

    run(tmp_path, story)


def test_a_judged_series_is_told_and_drawn_with_what_was_expected(tmp_path: Path) -> None:
    def watch() -> Watch:
        return Watch("change", (), Change, options_of(Change), {})

    async def story(hub: Pipeline) -> None:
        hub.clock.now_ns = NOW + 4000 * NS  # type: ignore[attr-defined]
        await hub.commit(Batch.of([(A, NOW + s * NS, 20 + s % 60 / 100) for s in range(0, 4000, 20)]))
        await measure(hub, 4000, 20.2)
        person = Person(hub)
        assert "Judged: " in (await person.says("status temp a")).text
        assert (await person.says("graph temp a")).graph_png is not None
        assert "Nothing unusual within the last day" in (await person.says("why temp a")).text

    run(tmp_path, story, watch())


def test_list_names_what_is_open_the_worst_first(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        person = Person(hub)
        assert (await person.says("list")).text == "No incident is open."
        await measure(hub, 0, 95)
        await measure(hub, 20, 95, c=0)
        await person.says("ack 2 looking")
        told = await person.says("LIST")
        assert told.text.split("\n")[0] == "2 incidents open"
        assert "#2 warning: flow (pump=P-101): cold, for less than a second, taken on by @anna" in told.text
        assert "#1 warning: temp (room=a): hot, for 20 seconds" in told.text
        assert told.choices == ("why 2", "why 1")

    run(tmp_path, story)


def test_why_tells_of_an_incident_and_what_became_of_it(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        await measure(hub, 0, 95)
        person = Person(hub)
        told = await person.says("why 1")
        assert "temp (room=a)" in told.text
        assert told.graph_png is not None
        assert (await person.says("why")).text == told.text  # the only one that is open
        assert "There is no incident 9" in (await person.says("why 9")).text

    run(tmp_path, story)


# --- ordering


def test_acknowledging_names_who_note_and_until(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        await measure(hub, 0, 95)
        told = await Person(hub).says("ACK 1 on my way, for sure for 2h", time=NOW)
        assert told.text.endswith("Taken on by @anna until 15:30 IST.")
        (incident,) = hub.alarms.incidents()
        taken = incident.acknowledgement
        assert taken is not None
        assert (taken.who, taken.note, taken.until) == ("@anna", "on my way, for sure", NOW + 2 * HOUR_NS)
        assert "It was @anna's" in (await Person(hub, who="@bob").says("ack 1")).text

    run(tmp_path, story)


def test_what_was_taken_on_can_be_given_back(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        await measure(hub, 0, 95)
        await Person(hub).says("ack 1")
        assert "Given back; @anna had taken it on." in (await Person(hub, who="@bob").says("unack 1")).text
        assert hub.alarms.incidents()[0].acknowledgement is None
        assert "Nobody has taken it on" in (await Person(hub).says("unack")).text
        assert [(line.who, line.text) for line in book(hub).lines(1)][-1] == ("@bob", "given back")
        assert "given back by @bob" in (await Person(hub).says("why 1")).text

    run(tmp_path, story)


def test_the_incident_may_be_that_of_the_answered_message_or_the_only_one(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        person = Person(hub)
        assert (await person.says("ack")).text == "No incident is open."
        await measure(hub, 0, 95)
        assert "#1 " in (await person.says("ack")).text
        await measure(hub, 20, 95, c=0)
        asked = await person.says("ack on it")
        assert asked.text.startswith("2 incidents are open. Which one?")
        assert asked.choices == ("ack 2 on it", "ack 1 on it")
        assert "#2 " in (await person.says("ack on it", about=2)).text

    run(tmp_path, story)


def test_an_order_that_comes_again_after_kill_9_changes_nothing(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        await measure(hub, 0, 95)
        person = Person(hub)
        asked = NOW + NS
        await person.says("ack 1 mine for 2h", time=asked)
        await person.says("silence 1 1h seal", time=asked)
        before = [i.acknowledgement for i in hub.alarms.incidents()], book(hub).silences.all(), book(hub).lines(1)
        hub.clock.now_ns += 30 * NS  # type: ignore[attr-defined]
        await person.says("ack 1 mine for 2h", time=asked)
        await person.says("silence 1 1h seal", time=asked)
        after = [i.acknowledgement for i in hub.alarms.incidents()], book(hub).silences.all(), book(hub).lines(1)
        assert before == after

    run(tmp_path, story)


def test_what_is_resolved_cannot_be_taken_on(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        await measure(hub, 0, 95)
        await measure(hub, 20, 20)
        assert [one.state for one in hub.alarms.incidents()] == [State.RESOLVED]
        assert "Incident 1 is resolved, since" in (await Person(hub).says("ack 1")).text

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("order", "silent"),
    [
        ("silence 1 1h", "a"),
        ("silence temp a 1h new seal", "a"),
        ('silence temp{room="a"} 1h', "a"),
        ("silence temp 1h", "ab"),
        ('silence {alertname="hot"} 90m', "ab"),
    ],
)
def test_alarms_are_silenced_by_incident_series_or_selector_and_told_again(
    tmp_path: Path, order: str, silent: str
) -> None:
    async def story(hub: Pipeline) -> None:
        await measure(hub, 0, 95)
        person = Person(hub)
        told = await person.says(order)
        assert told.text.startswith("Silenced until ")
        await measure(hub, 20, 95, 95)
        now = hub.clock()
        labels = [labels_of(alarm.last) for alarm in hub.alarms.open()]
        held = "".join(sorted(of["room"] for of in labels if book(hub).silences.reason_of(of, now)))
        assert held == silent
        assert "@anna" in (await person.says("unsilence")).text
        (end,) = told.choices
        assert "1 silence ended" in (await person.says(end)).text
        assert (await person.says("unsilence")).text == "Nothing is silenced."

    run(tmp_path, story)


def test_what_a_silence_was_made_of_ends_it(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        await measure(hub, 0, 95)
        person = Person(hub)
        for what in ("1", "temp a", 'temp{room="a"}'):
            await person.says(f"silence {what} 1h")
            assert "ended" in (await person.says(f"unsilence {what}")).text
        assert "Nothing is silenced that 1 means" in (await person.says("unsilence 1")).text

    run(tmp_path, story)


# --- mistakes and roles


@pytest.mark.parametrize("verb", [name for name, one in VERBS.items() if one.acts])
def test_only_operators_change_anything(tmp_path: Path, verb: str) -> None:
    async def story(hub: Pipeline) -> None:
        await measure(hub, 0, 95)
        told = await Person(hub, operator=False).says(f"{verb} 1 1h")
        assert told.text.startswith(f"{verb.upper()} is for operators, and @anna is none")
        assert book(hub).silences.all() == []
        assert hub.alarms.incidents()[0].acknowledgement is None

    run(tmp_path, story)


def test_help_says_what_each_may_do(tmp_path: Path) -> None:
    async def story(hub: Pipeline) -> None:
        helped = (await Person(hub).says("help")).text
        assert all(one.usage in helped for one in VERBS.values())
        looking = (await Person(hub, operator=False).says("help")).text
        assert "ACK" not in looking
        assert "STATUS" in looking
        assert '"stauts" is nothing that can be asked here. Did you mean STATUS?' in (
            await Person(hub).says("stauts temp")
        ).text  # fmt: skip

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("graph", "graph flow P-101 6h"),
        ("silence", "silence 7 1h"),
        ("silence temp a", "silence 7 1h"),
        ("silence {bad 1h", "cannot be read"),
        ("silence temp a 900y", "silence 7 1h"),
        ("silence temp a 900w", "at most a year"),
        ("ack 7 for 0s", "expected more than nothing"),
        ("why", "why 7"),
        ("graph temp a 0s", "expected more than nothing"),
    ],
)
def test_what_cannot_be_done_is_answered_with_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    async def story(hub: Pipeline) -> None:
        assert expected in (await Person(hub).says(text)).text

    run(tmp_path, story)
