"""Reading: what was not stored is replayed, and says what the live detector said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from tests.pipeline.faults import NOW, noisy, rows, watch

from almenara.model.batch import Batch
from almenara.model.errors import QueryTooLarge
from almenara.model.series import encode_key
from almenara.model.time import NS
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.judge import Watch
from almenara.query import parse_selector
from almenara.stores.chdb import Chdb
from almenara.testing.hub import Clock, pipeline


async def filled(hub: Pipeline) -> tuple[list[int], np.ndarray]:
    """Rows of two series in many commits, and the scores that they got live."""
    await hub.start()
    judged = hub.feed.subscribe(depth=10_000)
    times, values = noisy(200)
    values[150] += 4000  # far enough for a young series
    for at in range(0, 200, 20):
        part = slice(at, at + 20)
        await hub.commit(rows("temp", times[part], values[part], room="a"))
        await hub.commit(rows("other", times[part], values[part], room="a"))
    await hub.settle()
    scores = []
    while sum(map(len, scores)) < 200:
        one = await asyncio.wait_for(anext(aiter(judged)), 60)
        scores.append(one.verdict.score[one.batch.id == 0])
    judged.close()
    return times, np.concatenate(scores)


@pytest.mark.parametrize("kind", ["memory", "chdb"])
def test_replay_says_what_was_said_live(tmp_path: Path, kind: str) -> None:
    async def scenario() -> None:
        store = Chdb(tmp_path / "store") if kind == "chdb" else None
        hub = pipeline(tmp_path / "hub", Options(watches=[watch()]), store=store, clock=Clock(NOW))
        times, live = await filled(hub)
        replayed = await hub.replay(hub.index.select(parse_selector("temp")), times[0], NOW)
        np.testing.assert_array_equal(replayed.batch.time, times)
        np.testing.assert_array_equal(replayed.verdict.score, live)
        later = await hub.replay(hub.index.select(parse_selector("temp")), times[100], NOW)
        np.testing.assert_array_equal(later.verdict.score, live[100:])
        await hub.stop()

    asyncio.run(scenario())


def test_virtual_series_are_of_series_that_a_detector_judges(tmp_path: Path) -> None:
    async def scenario() -> None:
        one = Watch("seasonal", tuple(parse_selector("temp")), watch().make)
        hub = pipeline(tmp_path, Options(watches=[one]), clock=Clock(NOW))
        times, live = await filled(hub)
        matrix = await hub.query('anomaly_score{room="a"}', times[150], times[150], 0)
        assert [dict(s)["of"] for s in (dict(labels) for labels in matrix.labels)] == ["temp"]
        assert matrix.values.tolist() == [[live[150]]]
        assert live[150] > 1
        for name in ("yhat", "yhat_lower", "yhat_upper"):
            assert (await hub.query(f'{name}{{of="temp"}}', NOW, NOW, 0)).values.shape == (1, 1)
        await hub.stop()

    asyncio.run(scenario())


def test_too_many_series_to_replay_are_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        hub = pipeline(tmp_path, Options(watches=[watch()]), clock=Clock(NOW))
        await hub.start()
        await hub.commit(Batch.of((encode_key("m", {"n": str(n)}), NOW - NS, 1.0) for n in range(1001)))
        with pytest.raises(QueryTooLarge, match="1001 series"):
            await hub.query("anomaly_score", NOW, NOW, 0)
        await hub.stop()

    asyncio.run(scenario())


def test_a_chdb_hub_goes_on_and_learns_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        for fingerprint in ("a", "a", "b"):
            options = Options(watches=[watch()], fingerprint=fingerprint)
            hub = pipeline(tmp_path / "hub", options, store=Chdb(tmp_path / "store"), clock=Clock(NOW))
            if fingerprint == "a" and not (tmp_path / "store" / "again").exists():
                await filled(hub)
                (tmp_path / "store" / "again").touch()
                expected = hub._judge.detectors["seasonal"].state()["slots"][:2]
            else:
                await hub.start()
                await hub.commit(rows("x", [NOW], [1.0]))
                await hub.settle()
            np.testing.assert_array_equal(hub._judge.detectors["seasonal"].state()["slots"][:2], expected)
            await hub.stop()

    asyncio.run(scenario())
