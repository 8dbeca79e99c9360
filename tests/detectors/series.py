"""Series to judge: clean ones of many kinds, from a seed; and how to judge columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch, Verdict
from almenara.model.series import SeriesTable
from almenara.model.time import NS

START_S = 1_767_571_200  # Monday 2026-01-05 00:00 UTC
DAY_ROWS, WEEK_ROWS = 1440, 10_080


def rows(ids: Any, times: Any, values: Any) -> Batch:
    """A batch from columns; ids need no names here."""
    return Batch(SeriesTable(), np.asarray(ids, np.int32), np.asarray(times, np.int64), np.asarray(values, float))


def minutes(n: int, every_s: int = 60) -> Any:
    """n times from a Monday 00:00 UTC on: int64[n] ns."""
    return (START_S + np.arange(n) * every_s) * NS


def judge(detector: Seasonal, times: Any, columns: Mapping[str, Any]) -> dict[str, Verdict]:
    """Step through all columns, one series each; the verdict of each."""
    n, out = len(times), {}
    for i, (name, values) in enumerate(columns.items()):
        out[name] = detector.step(rows(np.full(n, i), times, values))
    return out


def wander(rng: np.random.Generator, n: int, memory: float) -> Any:
    """Noise of size 1 that remembers `memory` rows: float64[n]."""
    keep = np.exp(-1 / memory)
    steps = rng.normal(size=n) * np.sqrt(1 - keep * keep)
    out, last = np.empty(n), 0.0
    for i, step in enumerate(steps.tolist()):
        last = keep * last + step
        out[i] = last
    return out


def clean(n: int, seed: int, every_s: int = 60) -> dict[str, Any]:
    """Series like those of plants and hosts, without a fault."""
    rng = np.random.default_rng(seed)
    seconds = START_S + np.arange(n) * every_s
    hour, weekday = (seconds % 86_400) / 3600, (seconds // 86_400 + 3) % 7
    day = np.sin(2 * np.pi * (hour - 8) / 24)
    evening = np.exp(-0.5 * ((hour - 20) / 1.3) ** 2) * np.where(weekday == 6, 1.2, 0.6)
    load = np.exp(0.8 * day - 0.5 * (weekday >= 5) + evening)
    bursts = (rng.random(n) < 0.01) * rng.exponential(40, n)
    saw = (np.arange(n) * 1.7 + 20 * np.sin(np.arange(n) / 700)) % 200
    return {
        "temperature": np.round(20 + 6 * day + wander(rng, n, 360) + 0.2 * wander(rng, n, 5), 2),
        "requests": rng.poisson(300 * load * np.exp(0.1 * wander(rng, n, 60))) / 60,
        "latency": np.exp(3.5 + 0.2 * np.log(load) + 0.15 * rng.normal(size=n)),
        "errors": rng.poisson(0.01 * load).astype(float),
        "cpu": np.clip(np.round(5 + 3 * load + bursts + rng.exponential(1.5, n), 1), 0, 100),
        "memory": 4000 + saw + rng.uniform(0, 2, n),
        "pressure": 101_325 + 50 * wander(rng, n, 2880) + 2 * rng.normal(size=n),
        "constant": np.full(n, 20.0),
        "steps": np.round(30 + np.cumsum((rng.random(n) < 0.0005) * rng.choice([-1.0, 1.0], n))),
        "heavy": rng.standard_t(3, n),
    }


def longest_s(times: Any, flags: Any) -> float:
    """Longest stretch of true flags, first to last, in s."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, np.int8), [0]])))
    return max(((times[b - 1] - times[a]) / NS for a, b in zip(edges[::2], edges[1::2], strict=True)), default=0.0)
