"""Options on what counts and alarm budgets, from the file to a hub's detectors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from almenara.config.build import options
from almenara.config.load import load
from almenara.model.batch import Batch
from almenara.model.errors import ConfigError
from almenara.model.series import Series, SeriesTable
from almenara.model.time import MINUTE_NS
from almenara.pipeline.tuned import Tuned
from almenara.stores.memory import Memory
from almenara.testing.hub import Clock, pipeline

TEXT = """\
version = 1
[tuning.requests]
match = '{__name__="requests"}'
detection_direction = "below_expected"
min_dev_from_expected = [5, 10]
data_range = [0, inf]
[[tuning.requests.rules]]
conditions = ["actual < 5"]
actions = ["skip_result"]
[tuning.rest]
min_rel_dev_from_expected = 10
[budgets.all]
per_week = 3
"""


def test_a_detector_is_built_with_what_counts_and_a_plain_one_without(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(TEXT)
    config = load(file)
    made = options(config)
    (watch,) = made.watches
    detector = watch.make()
    assert isinstance(detector, Tuned)
    assert (made.budgets.all[0].name, made.budgets.all[0].per_week) == ("all", 3)
    assert made.fingerprint == options(load()).fingerprint, "what counts changes nothing in what is learned"
    assert not isinstance(options(load()).watches[0].make(), Tuned)


def test_selectors_choose_whose_options_count(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text(TEXT)
    detector = options(load(file)).watches[0].make()
    n = 300
    table = SeriesTable.of([Series.of("requests"), Series.of("other")])
    value = np.tile(50 + np.random.default_rng(1).normal(size=n), 2)
    value[[n - 1, 2 * n - 1]] = 90
    time = np.tile(1_790_000_000 * 10**9 + np.arange(n, dtype=np.int64) * MINUTE_NS, 2)
    said = detector.step(Batch(table, np.repeat(np.arange(2, dtype=np.int32), n), time, value))
    assert said.score[n - 1] == 0
    assert said.score[2 * n - 1] > 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[tuning.a]\ndetection_direction = 'up'\n", '3: tuning.a.detection_direction: must be "both"'),
        ("[tuning.a]\nmatch = '{'\n", "3: tuning.a.match: "),
        (
            "[tuning.a]\ndata_range = [5, 1]\n",
            "3: tuning.a.data_range: found (5.0, 1.0), expected the lower",
        ),
        ("[tuning.a]\nrules = [{conditions = ['x < 1']}]\n", "3: tuning.a.rules: found 'x < 1', expected a comparison"),
        (
            "[tuning.a]\nmin_dev_expected = 1\n",
            "3: tuning.a.min_dev_expected: unknown option; did you mean min_dev",
        ),
        ("[budgets.a]\nper_week = 0\n", "3: budgets.a.per_week: must be "),
        ("[budgets.a]\n", "2: budgets.a.per_week: is missing"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("version = 1\n" + text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert any(str(problem).startswith(f"{file}:{told}") for problem in caught.value.problems), caught.value


def test_a_hub_says_live_and_replayed_what_counts_and_goes_on_with_it(tmp_path: Path) -> None:
    """Options, budget, alerts and sentences through a whole hub, and over a restart."""
    file = tmp_path / "hub.toml"
    file.write_text(
        "version = 1\n[tuning.t]\nmatch = '{host=\"a\"}'\ndetection_direction = 'below_expected'\n"
        "[budgets.all]\nper_week = 50\n"
    )
    start, n = 1_790_000_000 * 10**9, 600
    table = SeriesTable.of([Series.of("load", host="a"), Series.of("load", host="b")])
    value = np.tile(50 + np.random.default_rng(2).normal(size=n), 2)
    value[[n - 20, n - 18, 2 * n - 20, 2 * n - 18]] = 90
    time = np.tile(start + np.arange(n, dtype=np.int64) * MINUTE_NS, 2)
    id = np.repeat(np.arange(2, dtype=np.int32), n)

    class Kept(Memory):
        def close(self) -> None:
            """It outlives the hub, as a disk does."""

    store = Kept()

    async def part(rows: np.ndarray) -> tuple[Any, ...]:
        hub = pipeline(tmp_path / "data", options(load(file)), store=store, clock=Clock(int(time[n - 1])))
        await hub.start()
        await hub.commit(Batch(table, id[rows], time[rows], value[rows]))
        await hub.settle()
        found = await hub.replay(np.arange(2, dtype=np.int32), start, start + n * MINUTE_NS)
        alerts = await hub.query("anomaly_alert", int(time[n - 20]), int(time[n - 20]), 0)
        kept = hub.budgets()
        await hub.stop()
        return found, alerts, kept

    early = time < time[n - 30]
    asyncio.run(part(early))
    found, alerts, (kept,) = asyncio.run(part(~early))
    begins = np.flatnonzero(found.verdict.nth == 1)
    assert found.batch.id[begins].tolist() == [1]
    assert (kept.alerts, kept.series) == (1, 2)
    assert kept.p_limit == pytest.approx(50 / (2 * 10_080), rel=0.25)
    by_host = {labels["host"]: alerts.values[k, 0] for k, labels in enumerate(alerts.labels)}
    assert by_host == {"a": 0, "b": 1}
    told = found.causes.sentence(90, 3, 50, 45, 55, 0, time=int(time[n - 20]))
    assert told.startswith("Higher than usual for this time of day and week (")
