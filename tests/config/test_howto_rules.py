"""Every example of the page on rules is read, and raises its alarm in a real hub."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.pipeline.test_evaluations import told

from almenara.alarm.book import Book
from almenara.config.build import rules
from almenara.config.load import Config, load
from almenara.model.batch import Batch, Verdict
from almenara.model.series import Series, SeriesTable
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.stores.memory import Memory
from almenara.testing.hub import Clock

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "rules.md"
NOW = 1_795_431_600 * NS  # Monday 2026-11-23, 11:00 UTC


def config(path: Path) -> Config:
    blocks = re.findall(r"(?ms)^```toml\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
    assert len(blocks) == 9
    files = [block for block in blocks if block.startswith("rule_files")]
    (path / "rules").mkdir()
    (path / "rules" / "a.yml").write_text("groups: [{name: g, rules: [{alert: Imported, expr: load1 > 8}]}]")
    (path / "hub.toml").write_text("version = 1\n" + "".join(files) + "".join(b for b in blocks if b not in files))
    return load(path / "hub.toml")


def planted() -> list[tuple[Series, int, float]]:
    """Rows that make every rule but those on detectors fire."""
    rows: list[tuple[Series, int, float]] = []
    for minute in range(11):
        time = NOW - (10 - minute) * MINUTE_NS
        rows += [
            (Series.of("temperature", room="server 1"), time, 35.0),
            (Series.of("fan_rpm", room="server 1"), time, 5000.0),
        ]
        rows += [
            (Series.of("errors_total", host="a"), time, 10.0 * minute),
            (Series.of("requests_total", host="a"), time, 100.0 * minute),
        ]
        rows += [(Series.of("queue_length"), time, 60.0), (Series.of("load1"), time, 9.0)]
    days = np.arange(NOW - 7 * DAY_NS, NOW, HOUR_NS)
    rows += [(Series.of("disk_used_percent"), int(t), 94 - 2 * (NOW - t) / DAY_NS) for t in days]
    return rows


async def with_hub(path: Path, made: Config) -> dict[str, str]:
    folder, clock = DataFolder(path / "data"), Clock(NOW)

    def alarms(index: SeriesIndex) -> Book:
        return Book(folder.database, rules(made), index, lambda matchers: Selector(index, matchers))

    hub = Pipeline(folder, Memory(), Options(), alarms=alarms, clock=clock)
    await hub.start()
    hub._evaluating.cancel()  # the test says when
    try:
        await hub.commit(Batch.of(planted()))
        await hub.settle()
        for later in (0, 120, 121):
            clock.now_ns = NOW + later * NS
            await hub.evaluations.turn()
        return told(hub)
    finally:
        await hub.stop()
        hub.alarms.close()  # type: ignore[attr-defined]


def test_every_example_raises_its_alarm(tmp_path: Path) -> None:
    made = config(tmp_path)
    found = asyncio.run(with_hub(tmp_path, made))
    firing = {name.split(" ")[0] for name, state in found.items() if state == "firing"}
    of_detectors = {"unusual", "change", "stopped"}
    assert firing == set(made.rules) - of_detectors, found


def test_the_examples_on_detectors_and_silence_do(tmp_path: Path) -> None:
    mine = [rule for rule in rules(config(tmp_path)) if rule.name in ("unusual", "change", "stopped")]
    table = SeriesTable.of([Series.of("cpu_usage")])
    index = SeriesIndex()
    index.add([table.keys[0]])
    book = Book(DataFolder(tmp_path / "data").database, mine, index, lambda matchers: Selector(index, matchers))
    n = 300
    time = NOW + np.arange(n, dtype=np.int64) * MINUTE_NS
    score = np.full(n, 1.5)
    said = Verdict(
        score, *np.full((3, n), 1.0), np.ones(n), np.full(n, -1, np.int16), nth=np.arange(1, n + 1, dtype=np.int32)
    )
    verdict = replace(said, parts={"change": lambda: said})
    book.tick(NOW)
    changes = [*book.step(1, Batch(index, np.zeros(n, np.int32), time, np.ones(n)), verdict, 0)]
    for minute in range(n, n + 30, 4):
        changes += book.tick(NOW + minute * MINUTE_NS)
    book.close()
    assert {c.rule for c in changes if c.state.value == "firing"} == {"unusual", "change", "stopped"}
