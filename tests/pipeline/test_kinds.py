"""Counters are judged and shown as their rate a second; parts of histograms are not judged."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import Metadata, Series, encode_key
from almenara.model.time import MINUTE_NS, NS
from almenara.pipeline.counters import Counters
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options, Pipeline
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.judge import Judge, Watch
from almenara.pipeline.kinds import COUNTER, GAUGE, HISTOGRAM, UNTOLD, kind_of, kinds_of
from almenara.pipeline.metadata import KnownMetadata
from almenara.testing.hub import Clock, pipeline

NOW = 1_790_000_000 * NS
WATCH = Watch("seasonal", (), Seasonal)


@pytest.mark.parametrize(
    ("name", "labels", "kind", "expected"),
    [
        ("http_requests_total", {}, "", COUNTER),
        ("temperature", {}, "", UNTOLD),
        ("queue_count", {}, "", UNTOLD),
        ("latency_bucket", {"le": "0.1"}, "", HISTOGRAM),
        ("leaky_bucket", {}, "", UNTOLD),
        ("octets", {}, "untyped", UNTOLD),
        ("octets", {}, "counter", COUNTER),
        ("jobs_total", {}, "gauge", GAUGE),
        ("latency_bucket", {"le": "0.1"}, "histogram", HISTOGRAM),
        ("latency_sum", {}, "histogram", COUNTER),
        ("latency_count", {}, "histogram", COUNTER),
        ("door", {}, "state", GAUGE),
    ],
)
def test_metadata_says_what_a_series_is_and_else_its_name(
    name: str, labels: dict[str, str], kind: str, expected: int
) -> None:
    assert kind_of(encode_key(name, labels), Metadata(kind=kind)) == expected


def test_kinds_of_many_series_are_those_of_each(tmp_path: Path) -> None:
    index = SeriesIndex()
    names = ("octets", "latency_bucket", "jobs_total", "x")
    index.add([encode_key(name, labels) for name in names for labels in ({}, {"le": "1"}, {"host": "a"})])
    folder = DataFolder(tmp_path)
    known = KnownMetadata(folder.database, index)
    one = encode_key("octets", {"host": "a"})
    told = {b"octets": Metadata(kind="counter"), one: Metadata(kind="gauge"), b"jobs_total": Metadata(kind="gauge")}
    known.keep(known.changes(told))
    ids = np.arange(len(index))[::-1]
    expected = [kind_of(index.keys[id], known.of(id)) for id in ids.tolist()]
    assert kinds_of(index, known, ids).tolist() == expected
    assert set(expected) == {GAUGE, COUNTER, HISTOGRAM, UNTOLD}
    folder.close()


def step(judge: Judge, *values: float, at: int = 0) -> tuple[np.ndarray, np.ndarray]:
    time = NOW + (at + np.arange(len(values), dtype=np.int64)) * MINUTE_NS
    batch = Batch(judge._index, np.zeros(len(values), np.int32), time, np.array(values, np.float64))
    verdict, _ = judge.step(batch)
    return np.asarray(verdict.judged(batch)), np.asarray(verdict.score)


def test_a_counter_that_grows_steadily_is_as_expected_and_a_burst_is_not() -> None:
    index = SeriesIndex()
    index.add([b"requests_total"])
    judge = Judge(index, [WATCH], Counters())
    steps = np.random.default_rng(3).normal(600, 30, 3000)
    judged, score = step(judge, *np.cumsum(steps))
    assert (np.nan_to_num(score) < 1).mean() > 0.999
    last = np.cumsum(steps)[-1]
    judged, score = step(judge, last + 60_000, at=3000)
    assert judged.tolist() == [1000.0]
    assert score[0] > 1


def test_parts_of_histograms_are_not_judged() -> None:
    index = SeriesIndex()
    index.add([encode_key("latency_bucket", {"le": "1"})])
    judge = Judge(index, [WATCH], Counters())
    _, score = step(judge, *np.arange(100.0))
    assert np.isnan(score).all()
    assert judge.selected("seasonal").tolist() == []


def test_what_is_known_of_counters_goes_with_the_state() -> None:
    index = SeriesIndex()
    index.add([b"requests_total"])
    first, second = Judge(index, [WATCH], Counters()), Judge(index, [WATCH], Counters())
    step(first, 60, 120)
    second.restore(first.rest(), [(0, first.part(0, 1))])
    assert step(second, 240, at=2)[0].tolist() == [2.0]


@pytest.mark.parametrize("told", [Series.of("octets", host="a").key, b"octets"])
def test_a_series_that_turns_out_to_be_a_counter_is_judged_again(tmp_path: Path, told: bytes) -> None:
    async def run(hub: Pipeline) -> None:
        await hub.start()
        key = Series.of("octets", host="a").key
        await hub.commit(Batch.of((key, NOW + k * MINUTE_NS, 60.0 * k) for k in range(100)))
        await hub.settle()
        hub._judge.kinds.note(hub.metadata.keep(hub.metadata.changes({told: Metadata(kind="counter")})))
        await hub.commit(Batch.of([(key, NOW + 100 * MINUTE_NS, 6000.0)]))
        await hub.settle()
        assert hub.to_judge_again == 1
        replayed = await hub.replay(np.zeros(1, np.int32), NOW, NOW + 200 * MINUTE_NS)
        assert replayed.batch.value.tolist()[1:] == [1.0] * 100
        await hub.stop()

    asyncio.run(run(pipeline(tmp_path, Options(watches=[WATCH]), clock=Clock(NOW + 101 * MINUTE_NS))))
