"""What detection costs: samples a CPU second over many series and over a million, of one series, and bytes of state.

    .venv/bin/python bench/detection_speed.py [--series 10000 1000000] [--detector seasonal]

Series have two days behind them, so that all of the detector is at work; for a million, what a thousand have learned is
handed to all. Every batch holds one row of each of 10,000 series, and the next one meets others. river and pyod, where
they are installed, judge rows of one such series, as they have no form for many.
"""

from __future__ import annotations

import argparse
import pickle
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from almenara.model.batch import Batch
from almenara.model.series import SeriesTable
from almenara.plugin.registry import load
from almenara.testing.planted.signals import hour_of, minutes

BATCH, TRAINED, EVERY_S = 10_000, 1000, 60
LEARN_ROWS, ROUNDS, POINTS = 2 * 1440 + 1, 200, 1000
TABLE = SeriesTable()


def values_at(rng: np.random.Generator, time_ns: int, series: int) -> np.ndarray:
    """A row of each series: a day's wave and noise."""
    return 20 + 5 * np.sin(hour_of(np.array([time_ns]))[0] / 24 * 2 * np.pi) + rng.normal(size=series)


def trained(make: Callable[[], Any], series: int) -> Any:
    """A detector whose series have seen two days: what TRAINED have learned, repeated."""
    rng, few = np.random.default_rng(1), make()
    ids, times = np.arange(TRAINED, dtype=np.int32), minutes(LEARN_ROWS, EVERY_S)
    for now in times.tolist():
        few.step(Batch(TABLE, ids, np.full(TRAINED, now), values_at(rng, now, TRAINED)))
    detector = make()
    for first in range(0, series, TRAINED):
        detector.adopt(np.arange(first, min(first + TRAINED, series), dtype=np.int32), few)
    return detector


def live(make: Callable[[], Any], series: int) -> tuple[float, float, float]:
    """(million rows a CPU second: median and best of rounds, bytes of state a series) in batches of BATCH rows. On a
    machine that is busy otherwise the best says more."""
    detector, rng = trained(make, series), np.random.default_rng(2)
    rounds = max(5, ROUNDS * BATCH // series)
    size = min(BATCH, series)
    blocks = [np.arange(first, min(first + size, series), dtype=np.int32) for first in range(0, series, size)]
    speeds = []
    for k in range(rounds):
        now = int(minutes(LEARN_ROWS + k + 1, EVERY_S)[-1])
        value = values_at(rng, now, series)
        batches = [Batch(TABLE, ids, np.full(len(ids), now), value[ids]) for ids in blocks]
        begun = time.process_time()
        for batch in batches:
            detector.step(batch)
        speeds.append(series / (time.process_time() - begun) / 1e6)
    own = sum(v.nbytes for v in detector.state().values())
    return statistics.median(speeds), max(speeds), own / series


def one_series() -> tuple[np.ndarray, np.ndarray]:
    """1,000 points of a minute: int64[n], float64[n]."""
    times, rng = minutes(POINTS, EVERY_S), np.random.default_rng(3)
    return times, 20 + 5 * np.sin(hour_of(times) / 24 * 2 * np.pi) + rng.normal(size=POINTS)


def notebook(make: Callable[[], Any]) -> float:
    """ms for 1,000 points of one series with a new detector, the median of 200."""
    times, values = one_series()
    batch, took = Batch(TABLE, np.zeros(POINTS, np.int32), times, values), []
    for _ in range(200):
        begun = time.perf_counter()
        make().step(batch)
        took.append(time.perf_counter() - begun)
    return 1000 * statistics.median(took)


def backtest(make: Callable[[], Any], series: int = 10, days: int = 365) -> float:
    """CPU seconds for a year of 1,000 one-minute KPIs, reckoned from `series` of them."""
    times = minutes(days * 1440)
    values = 20 + 5 * np.sin(hour_of(times) / 24 * 2 * np.pi) + np.random.default_rng(4).normal(size=len(times))
    begun = time.process_time()
    for _ in range(series):
        make().step(Batch(TABLE, np.zeros(len(times), np.int32), times, values))
    return (time.process_time() - begun) * 1000 / series


def river() -> tuple[float, int]:
    """(seconds for 1,000 points, bytes of the model) of HalfSpaceTrees as in `detection_peers`."""
    from river.anomaly import HalfSpaceTrees

    _, values = one_series()
    model = HalfSpaceTrees(n_trees=10, height=6, window_size=250, seed=1)
    scaled = ((values - values.min()) / np.ptp(values)).tolist()
    begun = time.process_time()
    for value in scaled:
        model.score_one({"value": value})
        model.learn_one({"value": value})
    return time.process_time() - begun, len(pickle.dumps(model))


def pyod(make: Callable[[], Any]) -> tuple[float, int]:
    """(seconds to fit 1,000 windows of 8 points and to score them, bytes of the model)."""
    _, values = one_series()
    windows = np.lib.stride_tricks.sliding_window_view(np.r_[values[:7], values], 8)
    begun = time.process_time()
    model = make()
    model.fit(windows)
    model.decision_function(windows)
    return time.process_time() - begun, len(pickle.dumps(model))


def peers() -> dict[str, tuple[float, int]]:
    """What is installed of river and pyod."""
    out = {}
    try:
        out["river HalfSpaceTrees"] = river()
    except ImportError:
        print("river is not installed: left out")
    try:
        from pyod.models.ecod import ECOD
        from pyod.models.iforest import IForest

        out["pyod ECOD, fit and score"] = pyod(ECOD)
        out["pyod IForest, fit and score"] = pyod(lambda: IForest(n_estimators=50, random_state=1))
    except ImportError:
        print("pyod is not installed: left out")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--detector", default="seasonal")
    asked = parser.parse_args()
    make = load("detector", asked.detector)
    notebook(make)  # compiles
    for series in asked.series:
        middle, best, size = live(make, series)
        print(f"{series:>9,} series: {middle:.2f} M rows a CPU second, at best {best:.2f}; {size:,.0f} bytes a series")
    own = notebook(make)
    print(f"{POINTS} points of one series, new detector: {own:.3f} ms")
    print(f"a year of 1,000 one-minute KPIs: {backtest(make):.0f} CPU s, reckoned from 10 of them")
    for name, (seconds, size) in peers().items():
        print(
            f"{name}: {1000 * seconds:.1f} ms for {POINTS} points ({1000 * seconds / own:,.0f} times), {size:,} bytes"
        )


if __name__ == "__main__":
    main()
