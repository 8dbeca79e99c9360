"""Counters become their rate a second, through resets and wraps, and are recognised where nobody told of them."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import naive
from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import Metadata, SeriesTable
from almenara.model.time import MINUTE_NS, NS
from almenara.pipeline.counters import Counters
from almenara.pipeline.hub import Options
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.judge import Judge, Watch
from almenara.pipeline.kinds import COUNTER, GAUGE, UNTOLD
from almenara.pipeline.rates import Rates, rated, step_in_turns
from almenara.testing.hub import Clock, pipeline

NOW = 1_790_000_000 * NS
WATCH = Watch("seasonal", (), Seasonal)


def column(values: Any, step_s: int = 10) -> Batch:
    n = len(values)
    time = np.arange(n, dtype=np.int64) * step_s * NS + NOW
    return Batch(SeriesTable.of([b"c"]), np.zeros(n, np.int32), time, np.array(values, float))


def rates(values: Any, kind: int = COUNTER) -> list[float]:
    return np.asarray(rated(column(values), np.array([kind], np.uint8))[0].value).tolist()


def turns(values: Any) -> list[int]:
    """Rows in which a series nobody told of turned out to be a counter, or to be none."""
    return rated(column(values), np.array([UNTOLD], np.uint8))[1].tolist()


def growing(n: int, seed: int = 1) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).poisson(30, n)).astype(float)


def test_a_counter_becomes_its_rate_and_the_row_of_a_reset_has_none() -> None:
    found = rates([100, 150, 170, 20, 30])
    assert math.isnan(found[0])
    assert found[1:3] == [5.0, 2.0]
    assert math.isnan(found[3])  # how far it had grown before the reset is not known
    assert found[4] == 1.0


@pytest.mark.parametrize("bits", [32, 64])
def test_a_counter_that_wraps_has_grown_by_what_lies_between(bits: int) -> None:
    assert rates([2.0**bits - 4096, 4096.0])[1] == 819.2


def test_a_missing_value_is_passed_over() -> None:
    found = rates([100, math.nan, 120])
    assert math.isnan(found[1])
    assert found[2] == 1.0


def test_a_gauge_stays_as_it_is() -> None:
    assert rates([3, 1, 2], GAUGE) == [3, 1, 2]
    assert rates(growing(1000), GAUGE) == growing(1000).tolist()


def test_what_only_grows_is_a_counter_from_row_256_on() -> None:
    values = growing(1000)
    found = rates(values, UNTOLD)
    assert turns(values) == [255]
    assert found[:255] == values[:255].tolist()
    assert found[255:] == rates(values)[255:]


def test_an_idle_start_is_looked_at_again() -> None:
    values = np.r_[np.zeros(200), growing(3000)]
    assert turns(values) == [2047]


def test_a_recognised_counter_goes_on_through_a_reset() -> None:
    values = np.r_[growing(600), growing(600)]
    assert turns(values) == [255]
    assert math.isnan(rates(values, UNTOLD)[600])


def test_a_level_that_falls_by_a_part_is_no_counter_any_more() -> None:
    values = np.r_[growing(600), growing(600)[-1] * 0.6 + growing(50)]
    assert turns(values) == [255, 600]
    assert rates(values, UNTOLD)[600:] == values[600:].tolist()


@pytest.mark.parametrize(
    "what", ["noise", "constant", "stairs", "saw tooth", "below zero", "trend with noise", "rests"]
)
def test_a_gauge_is_not_taken_for_a_counter(what: str) -> None:
    rng, n = np.random.default_rng(2), 20_000
    values = {
        "noise": lambda: rng.normal(50, 5, n),
        "constant": lambda: np.full(n, 7.0),
        "stairs": lambda: np.cumsum(rng.random(n) < 0.01).astype(float),
        "saw tooth": lambda: 400 + 2.0 * (np.arange(n) % 180),
        "below zero": lambda: np.arange(n) - 10.0,
        "trend with noise": lambda: 0.1 * np.arange(n) + rng.normal(size=n),
        "rests": lambda: (rng.random(n) < 0.05) * rng.exponential(20, n),
    }[what]()
    assert turns(values) == []
    assert rates(values, UNTOLD) == values.tolist()


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 50), st.floats(0, 1e6) | st.just(math.nan), st.booleans()), max_size=60
)


def cut_rates(rows: list[tuple[int, int, float, bool]], cut: int, kind: np.ndarray) -> tuple[list[float], list[int]]:
    table = SeriesTable.of([b"a", b"b", b"c", b"d"])
    one, found, turned = Rates(), list[float](), list[int]()
    for part in (rows[:cut], rows[cut:]):
        columns = [np.array(c) for c in zip(*part, strict=True)] if part else [np.empty(0)] * 4
        batch = Batch(table, columns[0].astype(np.int32), columns[1].astype(np.int64), columns[2].astype(np.float64))
        values, at = one.of(batch, columns[3].astype(np.bool_), kind)
        turned += (at + len(found)).tolist()
        found += [row[2] for row in part] if values is None else values.tolist()
        again = Rates()
        again.restore_part(0, one.part(0, 4))
        one = again
    return found, turned


KIND = np.array([COUNTER, GAUGE, COUNTER, UNTOLD], np.uint8)


@given(rows=ROWS, cut=st.integers(0, 60))
def test_however_rows_are_cut_the_rates_are_those_of_the_twin(
    rows: list[tuple[int, int, float, bool]], cut: int
) -> None:
    parts = [sorted(part, key=lambda row: row[:2]) for part in (rows[:cut], rows[cut:])]
    ordered = [row for part in parts for row in part]
    found, turned = cut_rates(ordered, len(parts[0]), KIND)
    expected, turns = naive.rates(ordered, KIND.tolist())
    np.testing.assert_allclose(found, expected, rtol=1e-12, equal_nan=True)
    assert turned == turns


@pytest.mark.parametrize("seed", range(8))
def test_what_is_recognised_is_what_the_twin_recognises(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.cumsum(rng.poisson(rng.choice([0.3, 1, 30]), 3000)).astype(float)
    for at in rng.integers(1, 3000, rng.integers(0, 5)):
        values[at:] -= values[at] * rng.choice([1.0, 0.9, 0.3])
    if seed % 2:
        values = np.mod(values * 1e6, 2.0**32)
    rows = [(3, k * NS, v, bool(rng.random() < 0.99)) for k, v in enumerate(values.tolist())]
    found, turned = cut_rates(rows, int(rng.integers(0, 3000)), KIND)
    expected, turns = naive.rates(rows, KIND.tolist())
    np.testing.assert_allclose(found, expected, rtol=1e-12, equal_nan=True)
    assert turned == turns


def test_a_detector_begins_anew_with_a_series_that_turns_out_to_be_a_counter() -> None:
    counter, noise = growing(800), np.random.default_rng(5).normal(50, 2, 800)
    ids = np.repeat(np.arange(2, dtype=np.int32), 800)
    times = np.tile(column(counter).time, 2)
    batch = Batch(SeriesTable.of([b"a", b"b"]), ids, times, np.r_[counter, noise])
    judged, turned, _ = rated(batch, np.array([UNTOLD, UNTOLD], np.uint8))
    assert turned.tolist() == [255]
    said = step_in_turns(Seasonal(), Seasonal, judged, turned)
    alone = Seasonal().step(Batch(batch.series, ids[800:] * 0, times[800:], noise))
    rate = Seasonal().step(Batch(batch.series, ids[255:800], times[255:800], np.asarray(judged.value)[255:800]))
    np.testing.assert_array_equal(said.score[800:], alone.score)
    np.testing.assert_array_equal(said.score[255:800], rate.score)
    assert (said.score[285:800] < 1).mean() > 0.99


def judged_in_parts(values: np.ndarray, size: int, restart_at: int = -1) -> np.ndarray:
    """Scores of a hub's judge for one series nobody told of, in batches of `size` rows."""
    index, out, batch = SeriesIndex(), [], column(values)
    index.add([b"octets"])
    judge = Judge(index, [WATCH], Counters())
    for at in range(0, len(values), size):
        if at <= restart_at < at + size:
            again = Judge(index, [WATCH], Counters())
            again.restore(judge.rest(), [(0, judge.part(0, 1))])
            judge = again
        part = slice(at, at + size)
        verdict, _ = judge.step(Batch(index, batch.id[part], batch.time[part], batch.value[part]))
        out.append(np.asarray(verdict.score))
    return np.concatenate(out)


def test_it_is_recognised_at_the_same_row_however_rows_are_cut_and_after_a_restart() -> None:
    values = np.r_[growing(600), 0.5 * growing(600)[-1] + growing(300)]
    whole = judged_in_parts(values, 10_000)
    for size, restart_at in ((1, 200), (7, 255), (256, 256), (100, 650)):
        np.testing.assert_array_equal(judged_in_parts(values, size, restart_at), whole)
    assert np.isnan(whole[255:285]).all()
    assert not np.isnan(whole[285:600]).any()


@pytest.mark.parametrize("told", ["", "gauge"])
def test_a_hub_shows_a_counter_that_nobody_told_of_as_its_rate(tmp_path: Path, told: str) -> None:
    values = growing(400)

    async def run(hub: Any) -> None:
        await hub.start()
        if told:
            hub.metadata.keep(hub.metadata.changes({b"octets": Metadata(kind=told)}))
        await hub.commit(Batch.of((b"octets", NOW + k * MINUTE_NS, v) for k, v in enumerate(values.tolist())))
        await hub.settle()
        ids = np.zeros(1, np.int32)
        assert hub.kinds(ids).tolist() == [GAUGE if told else COUNTER]
        replayed = await hub.replay(ids, NOW, NOW + 500 * MINUTE_NS)
        expected = values[1:] if told else np.diff(values) / 60
        np.testing.assert_allclose(replayed.batch.value[1:], expected)
        await hub.stop()

    asyncio.run(run(pipeline(tmp_path, Options(watches=[WATCH]), clock=Clock(NOW + 401 * MINUTE_NS))))
