"""Backtest over stored rows, compared with the detector itself going over the same rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from almenara.analysis.alerts import Anomalies
from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import Series, SeriesTable
from almenara.model.time import DAY_NS, MINUTE_NS, NS
from almenara.pipeline import backtest as room
from almenara.pipeline.backtest import Backtest, Contender, backtest
from almenara.pipeline.index import SeriesIndex
from almenara.plugin.contracts import Selection
from almenara.stores.memory import Memory

START = 1_767_571_200 * NS
DAYS, COUNT_FROM = 40, 33
STRICT, LOOSE = 1e-6, 1e-3


class Stored:
    """Three gauges and a counter, a row every five minutes, with a fault in the first of them on day 35."""

    def __init__(self) -> None:
        rng, every = np.random.default_rng(5), 5 * MINUTE_NS
        n = DAYS * DAY_NS // every
        self.time = START + every * np.arange(n)
        hour = self.time % DAY_NS / DAY_NS
        self.value = 20 + 5 * np.sin(2 * np.pi * hour) + rng.normal(size=(4, n))
        self.value[0, 35 * 288 + 100 : 35 * 288 + 112] += 30
        self.value[3] = np.cumsum(100 + self.value[3])
        series = [*(Series.of("level", tank=str(k)) for k in range(3)), Series.of("pumped_litres_total")]
        self.index, self.store = SeriesIndex(), Memory()
        self.index.add([one.key for one in series])
        ids = np.repeat(np.arange(4, dtype=np.int32), n)
        self.store.append(Batch(self.index, ids, np.tile(self.time, 4), self.value.ravel()), 1)
        self.ids = np.arange(4, dtype=np.int32)
        self.start, self.end = START + COUNT_FROM * DAY_NS, START + DAYS * DAY_NS

    def run(self, *p_limits: float, ids: np.ndarray | None = None) -> Backtest:
        contenders = [Contender(str(p), partial(Seasonal, p_limit=p)) for p in p_limits]
        chosen = self.ids if ids is None else ids
        *_, last = backtest(self.store.reader(), self.index, None, chosen, self.start, self.end, contenders)
        return last


@pytest.fixture(scope="module")
def stored() -> Stored:
    return Stored()


def straight(stored: Stored, p_limit: float) -> tuple[int, int]:
    """(anomalies, rows over the limit) of the gauges, by the detector alone, over warm-up and all."""
    warm = stored.time >= stored.start - Seasonal().warmup_s * NS
    time = np.tile(stored.time[warm], 3)
    ids = np.repeat(np.arange(3, dtype=np.int32), int(warm.sum()))
    score = Seasonal(p_limit=p_limit).step(Batch(SeriesTable(), ids, time, stored.value[:3, warm].ravel())).score
    nth = Anomalies().step(ids, score)
    counts = time >= stored.start
    return int(((nth == 1) & counts).sum()), int(((nth > 0) & counts).sum())


@pytest.mark.parametrize("p_limit", [STRICT, LOOSE])
def test_it_says_what_the_detector_says_of_the_same_rows(stored: Stored, p_limit: float) -> None:
    (tally,) = stored.run(p_limit, ids=stored.ids[:3]).tallies
    assert (tally.alerts, tally.over) == straight(stored, p_limit)
    assert tally.judged == 3 * (DAYS - COUNT_FROM) * 288


def test_the_fault_is_told_with_when_how_far_and_what_was_expected(stored: Stored) -> None:
    found = stored.run(STRICT).anomalies
    first = {name: column[0] for name, column in found.items()}
    begins = START + 35 * DAY_NS + 100 * 5 * MINUTE_NS
    assert (first["id"], first["begins"]) == (0, begins)
    assert begins <= first["worst"] <= first["ends"] < begins + 12 * 5 * MINUTE_NS
    assert first["value"] > first["upper"] > first["yhat"] > first["lower"]


def test_what_both_flag_is_counted_on_both_sides(stored: Stored) -> None:
    found = stored.run(STRICT, LOOSE)
    strict, loose = found.tallies
    assert 1 <= strict.also == strict.alerts < loose.alerts  # what is unlikely enough for one is so for the other
    assert 1 <= loose.also <= strict.alerts
    assert sum(loose.by_day.values()) == sum(loose.by_series.values()) == loose.alerts
    assert all(START + COUNT_FROM * DAY_NS <= day < stored.end for day in loose.by_day)


def test_counters_are_judged_on_their_rate(stored: Stored) -> None:
    found = stored.run(LOOSE, ids=stored.ids[3:])
    assert found.tallies[0].judged > 0
    assert found.tallies[0].alerts < 10  # a count that only rises would be an anomaly all the time
    assert (np.abs(found.anomalies["value"]) < 10).all()


@pytest.mark.parametrize("rows", [5_000, 15_000])
def test_it_does_not_matter_how_much_is_read_at_a_time(
    stored: Stored, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = stored.run(LOOSE)
    monkeypatch.setattr(room, "CHUNK_ROWS", rows)  # less than, or hardly more than, one series has
    parts = stored.run(LOOSE)
    assert parts.tallies == whole.tallies
    assert parts.rows == whole.rows
    assert begun(parts) == begun(whole)


def begun(found: Backtest) -> list[tuple[int, int]]:
    return sorted(zip(found.anomalies["id"].tolist(), found.anomalies["begins"].tolist(), strict=True))


def test_progress_is_told_after_each_portion(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "CHUNK_ROWS", 15_000)
    make: Callable[[], Seasonal] = Seasonal
    steps = backtest(
        stored.store.reader(), stored.index, None, stored.ids, stored.start, stored.end, [Contender("", make)]
    )
    done = [(one.series, one.rows) for one in steps]
    assert done == sorted(done)
    assert len(done) >= 4
    assert done[-1][0] == 4


def test_series_without_rows_are_no_mistake(stored: Stored) -> None:
    empty = SeriesIndex()
    empty.add([Series.of("nothing").key])
    reader = Memory().reader()
    *_, last = backtest(reader, empty, None, np.zeros(1, np.int32), 0, DAY_NS, [Contender("", Seasonal)])
    assert (last.series, last.rows, last.tallies[0].alerts) == (1, 0, 0)
    assert len(reader.read(Selection(empty, np.zeros(1, np.int32)), 0, DAY_NS)) == 0
