"""Rules over stored rows in a real hub: expressions, absence, trends, rules of rules; what fails; when each is due."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from almenara.alarm.answers import Answer
from almenara.alarm.book import Book
from almenara.alarm.rules import Rule
from almenara.model.batch import Batch
from almenara.model.errors import QueryTooLarge
from almenara.model.series import Series
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS
from almenara.pipeline import conditions
from almenara.pipeline.counters import Counters
from almenara.pipeline.evaluations import EVERY_NS, Evaluations, next_due
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.stores.memory import Memory
from almenara.testing.hub import Clock

NOW = 1_800_000_000 * NS


async def with_hub(
    path: Path, rules: Sequence[Rule], use: Callable[[Pipeline], Awaitable[None]], by_itself: bool
) -> None:
    folder, clock = DataFolder(path), Clock(NOW)

    def alarms(index: SeriesIndex) -> Book:
        return Book(folder.database, rules, index, lambda matchers: Selector(index, matchers))

    hub = Pipeline(folder, Memory(), Options(), alarms=alarms, clock=clock)
    await hub.start()
    if not by_itself:
        hub._evaluating.cancel()  # the test says when
    try:
        await use(hub)
    finally:
        await hub.stop()
        hub.alarms.close()  # type: ignore[attr-defined]


def told(hub: Pipeline) -> dict[str, str]:
    """State of each open alarm."""
    return {f"{a.last.rule} {a.last.series}": a.last.state.value for a in hub.alarms.open()}


async def at(hub: Pipeline, second: float, **values: float) -> None:
    """Rows `metric__host=value` at a second, and then a turn of evaluations."""
    hub.clock.now_ns = NOW + round(second * NS)  # type: ignore[attr-defined]
    rows = [(Series.of(k.split("__")[0], host=k.split("__")[1]), hub.clock(), v) for k, v in values.items()]
    await hub.commit(Batch.of(rows))
    await hub.evaluations.turn()


def run(path: Path, rules: Sequence[Rule], use: Callable[[Pipeline], Awaitable[None]], by_itself: bool = False) -> None:
    asyncio.run(with_hub(path / "data", rules, use, by_itself))


def test_an_expression_alarms_for_each_series_of_its_answer(tmp_path: Path) -> None:
    rule = Rule("ratio", "sum by (host) (errors) / sum by (host) (requests) > 0.05", for_s=60, every_s=30)

    async def use(hub: Pipeline) -> None:
        await at(hub, 0, errors__a=10, requests__a=100, errors__b=1, requests__b=100)
        assert told(hub) == {'ratio ratio{host="a"}': "pending"}
        await at(hub, 120, errors__a=10, requests__a=100, errors__b=10, requests__b=100)
        assert told(hub) == {'ratio ratio{host="a"}': "firing", 'ratio ratio{host="b"}': "pending"}
        (fired,) = [a.last for a in hub.alarms.open() if a.last.state.value == "firing"]
        assert fired.evidence.why == "0.1 is above 0.05"
        await at(hub, 180, errors__a=1, requests__a=100, errors__b=1, requests__b=100)
        assert told(hub) == {}
        assert [one.state.value for one in hub.alarms.incidents()] == ["resolved"]

    run(tmp_path, [rule], use)


def test_series_that_never_came_or_stopped_are_absent(tmp_path: Path) -> None:
    rules = [
        Rule("never", 'absent(up{host="x"})', every_s=30),
        Rule("stopped", 'absent_over_time(up{host="a"}[10m])', every_s=30),
    ]

    async def use(hub: Pipeline) -> None:
        await at(hub, 0, up__a=1)
        assert told(hub) == {'never never{host="x"}': "firing"}
        await at(hub, 599, up__b=1)
        assert 'stopped stopped{host="a"}' not in told(hub)
        await at(hub, 640, up__x=1)
        assert told(hub) == {'stopped stopped{host="a"}': "firing"}

    run(tmp_path, rules, use)


def test_no_data_is_told_apart_from_what_is_fine(tmp_path: Path) -> None:
    rules = [Rule(name, "max by (host) (temp) > 90", every_s=30, no_data=name) for name in ("keep", "alarm", "ok")]

    async def use(hub: Pipeline) -> None:
        await at(hub, 0, temp__hot=95, temp__cool=20, temp__other=1)
        assert told(hub) == {f'{name} {name}{{host="hot"}}': "firing" for name in ("keep", "alarm", "ok")}
        await at(hub, 400, temp__other=1)  # the others are older than 5 minutes
        hot, cool = (
            {name: f'{name} {name}{{host="{host}"}}' for name in ("keep", "alarm")} for host in ("hot", "cool")
        )
        assert told(hub) == {hot["keep"]: "no-data", hot["alarm"]: "firing", cool["alarm"]: "firing"}

    run(tmp_path, rules, use)


def test_rules_of_rules_follow_at_once(tmp_path: Path) -> None:
    rules = [
        Rule("hot", "temp > 90"),
        Rule("busy", "load > 5"),
        Rule("both", 'rule("hot") and rule("busy")'),
        Rule("hot only", 'rule("hot") unless rule("busy")'),
        Rule("above", 'rule("both") or rule("nothing")'),
    ]

    async def use(hub: Pipeline) -> None:
        await at(hub, 0, temp__a=95, load__a=1, temp__b=95, load__b=9, load__c=9)
        await hub.evaluations.turn()
        open = {name for name in told(hub) if not name.startswith(("hot temp", "busy load"))}
        assert open == {'both both{host="b"}', 'hot only hot only{host="a"}', 'above above{host="b"}'}
        await at(hub, 1, load__b=1)
        await hub.evaluations.turn()
        assert {name for name in told(hub) if name.startswith(("both", "above"))} == set()

    run(tmp_path, rules, use)


def test_a_disk_that_fills_up_is_told_with_when(tmp_path: Path) -> None:
    rule = Rule("disk", "disk_used_percent > 95", within_s=3 * 86_400, over_s=7 * 86_400)
    rng = np.random.default_rng(4)

    async def use(hub: Pipeline) -> None:
        time = np.arange(NOW - 7 * DAY_NS, NOW, 10 * MINUTE_NS)
        days = (time - NOW) / DAY_NS
        lines = {"full": 89 + 3 * days, "slow": 60 + 0.5 * days, "flat": 94 + 0 * days, "over": 97 + 0 * days}
        hub.clock.now_ns = NOW  # type: ignore[attr-defined]
        for host, line in lines.items():
            series = Series.of("disk_used_percent", host=host)
            values = line + rng.normal(0, 0.3, len(time))
            await hub.commit(Batch.of([(series, int(t), float(v)) for t, v in zip(time, values, strict=True)]))
        await hub.evaluations.turn()
        found = {dict(a.last.series.labels)["host"]: a.last.evidence.why for a in hub.alarms.open()}
        assert set(found) == {"full", "over"}
        assert re.fullmatch(
            r"88\.\d+: by its trend above 95 in (1d\d+h|2d\w*) \(80 % sure: \w+ to 2d\w*\)", found["full"]
        )
        assert found["over"].endswith("is above 95")

    run(tmp_path, [rule], use)


def test_a_trend_of_an_expression(tmp_path: Path) -> None:
    rule = Rule("room", "free / total < 0.1", within_s=3600, over_s=3600)

    async def use(hub: Pipeline) -> None:
        rows = []
        for minute in range(60):
            time = NOW - HOUR_NS + minute * MINUTE_NS
            rows += [
                (Series.of("free", host="a"), time, 50.0 - 0.6 * minute),
                (Series.of("total", host="a"), time, 100.0),
            ]
        await hub.commit(Batch.of(rows))
        await hub.evaluations.turn()
        (alarm,) = hub.alarms.open()
        assert (str(alarm.last.series), alarm.last.state.value) == ('room{host="a"}', "firing")

    run(tmp_path, [rule], use)


def test_a_rule_that_fails_says_why_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [
        Rule("many to many", "temp * on (site) load > 1", every_s=30),
        Rule("fine", "max(temp) > 90", every_s=30),
    ]

    async def use(hub: Pipeline) -> None:
        await at(hub, 0, temp__a=95, temp__b=95, load__a=1, load__b=1)
        assert told(hub) == {"fine fine": "firing"}
        status = hub.evaluations.status()
        assert "many-to-many" in status["many to many"].error
        assert (status["many to many"].failures, status["fine"].error) == (1, "")
        counted = {one.labels: one.value for one in hub.counters.snapshot() if one.name.endswith("failures_total")}
        assert counted == {(("rule", "many to many"),): 1.0}
        assert hub.health() == [], "the hub itself is well"
        monkeypatch.setattr(conditions, "MOST_ALARMING", 0)
        await at(hub, 60, temp__a=95)
        assert "bring them together" in hub.evaluations.status()["fine"].error
        assert told(hub) == {"fine fine": "firing"}, "its alarms stay as they are"

    run(tmp_path, rules, use)


def test_rows_are_stored_and_judged_while_a_rule_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()
    usual = conditions.evaluate

    def slow(*args: object, **more: object) -> object:
        began.set()
        assert go_on.wait(30)
        return usual(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(conditions, "evaluate", slow)
    rules = [Rule("slow", "max(temp) > 90"), Rule("hot", "temp > 90")]

    async def use(hub: Pipeline) -> None:
        while not began.is_set():  # the hub's own turn
            await asyncio.sleep(0.01)
        hub.clock.now_ns += NS  # type: ignore[attr-defined]
        await hub.commit(Batch.of([(Series.of("temp", host="a"), hub.clock(), 95.0)]))
        await hub.settle()
        assert told(hub) == {'hot temp{host="a"}': "firing"}
        go_on.set()

    run(tmp_path, rules, use, by_itself=True)


def test_a_rule_that_takes_too_long_is_stopped() -> None:
    limited = conditions.Deadline(_Slow(), longest_s=0.0)
    time.sleep(0.001)
    with pytest.raises(QueryTooLarge, match="took longer than"):
        limited.select((), 0, 1)


class _Slow:
    def select(self, matchers: object, start_ns: int, end_ns: int, /) -> Batch:
        return Batch.of([])


def test_each_rule_is_due_at_its_own_times() -> None:
    rule = Rule("a", "max(x) > 1", every_s=30)
    first = next_due(rule, NOW, 0.0)
    assert NOW < first <= NOW + 30 * NS
    assert next_due(rule, first, 0.0) == first + 30 * NS
    assert next_due(rule, first + 17 * NS, 5.0) == first + 30 * NS, "what is said is kept, whatever it costs"
    usual = replace(rule, every_s=0.0)
    assert next_due(usual, NOW, 0.1) - NOW <= EVERY_NS
    assert len({next_due(Rule(f"r{n}", "max(x) > 1"), NOW, 0.0) for n in range(20)}) > 10, "not all at once"
    costly = [next_due(usual, NOW + n * MINUTE_NS, 10.0) for n in range(10)]
    assert set(np.diff(sorted(set(costly)))) <= {200 * NS}
    slow = Rule("t", "disk > 95", within_s=86_400)
    assert next_due(slow, next_due(slow, NOW, 0.0), 0.0) - next_due(slow, NOW, 0.0) == 2 * 86_400 * NS // 500


def test_a_clock_that_was_set_back_does_not_stop_evaluations() -> None:
    clock, asked = Clock(NOW), []

    async def ask(rule: Rule, now_ns: int) -> Answer:
        asked.append(now_ns)
        return Answer(rule.name, rule.expr, now_ns, [], np.zeros(0), np.zeros(0, np.bool_))

    async def decide(answers: Sequence[Answer]) -> None:
        pass

    rule = Rule("a", "max(x) > 1", every_s=30)
    one = Evaluations(lambda: [rule], ask, decide, lambda: 0, clock, Counters())
    for moment in (NOW, NOW + NS, NOW + 31 * NS, NOW - DAY_NS, NOW - DAY_NS + 31 * NS):
        clock.now_ns = moment
        asyncio.run(one.turn())
    assert asked == [NOW, NOW + 31 * NS, NOW - DAY_NS, NOW - DAY_NS + 31 * NS]
