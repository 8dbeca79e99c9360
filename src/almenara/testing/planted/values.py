"""Planted kinds of values: trends, spreads, counts, percents, stairs, rare, heavy-tailed ones, and faults in each."""

from __future__ import annotations

import numpy as np

from almenara.testing.planted.case import Case, Planted, planted_of
from almenara.testing.planted.signals import (
    HOUR,
    WEEK,
    bump,
    day_of,
    hour_of,
    minutes,
    noise,
    rows_at,
    struck,
    struck_at,
    wander,
    work,
)


def drifting_level(rng: np.random.Generator) -> Planted:
    """A level that wanders by 20 times the noise within days; for an hour 10 times the noise more."""
    times = minutes(4 * WEEK)
    values = 500 + 40 * wander(rng, len(times), 4, 2 * 1440) + 2 * noise(rng, len(times), 4)
    return planted_of(times, values, struck(rng, times, values, 2 * WEEK, 60, lambda v: v + 20), WEEK)


def steady_trend(rng: np.random.Generator) -> Planted:
    """A disk that fills by ten times the noise a day, with a daily season; for two hours 10 times the noise less."""
    times = minutes(5 * WEEK)
    days = np.arange(len(times)) / 1440
    values = 1000 + 20 * days[:, None] + 10 * work(times)[:, None] + 2 * noise(rng, len(times), 4)
    return planted_of(times, values, struck(rng, times, values, 3 * WEEK, 120, lambda v: v - 20), 2 * WEEK)


def noisy_by_day(rng: np.random.Generator) -> Planted:
    """Noise of 10 by day and of 1 at night; for 20 minutes of a night 8 more, which by day would be usual."""
    times = minutes(5 * WEEK)
    spread = 1 + 9 * work(times, weekend=1.0)
    values = 100 + spread[:, None] * noise(rng, len(times), 4)
    first, faults = day_of(times)[0], []
    for s in range(4):
        for start in rows_at(times, first + rng.choice(np.arange(21, 34), 2, replace=False), 2 + 0.3 * s):
            faults.append(struck_at(times, values, s, int(start), 20, lambda v: v + 8))
    return planted_of(times, values, faults, 2 * WEEK)


def rare_counts(rng: np.random.Generator) -> Planted:
    """Errors a minute, one in 50 minutes (Poisson); for five minutes six a minute."""
    times = minutes(4 * WEEK)
    values = rng.poisson(0.02, (len(times), 4)).astype(float)
    faults = struck(rng, times, values, 2 * WEEK, 5, lambda v: v + rng.poisson(6, len(v)))
    return planted_of(times, values, faults, WEEK)


def counts_by_day(rng: np.random.Generator) -> Planted:
    """Orders a minute (Poisson), 0.2 at night and 3 by day; for ten minutes four times the rate of noon."""
    times = minutes(5 * WEEK)
    rate = 0.2 + 2.8 * work(times)
    values = rng.poisson(np.tile(rate[:, None], 4)).astype(float)
    faults = struck(rng, times, values, 3 * WEEK, 10, lambda v: v + rng.poisson(12, len(v)))
    return planted_of(times, values, faults, 2 * WEEK)


def counts_fall_silent(rng: np.random.Generator) -> Planted:
    """Requests a minute (Poisson), 8 at night and 40 by day; for half an hour of a day none."""
    times = minutes(5 * WEEK)
    values = rng.poisson(np.tile(8 + 32 * work(times, weekend=1.0)[:, None], 4)).astype(float)
    first, faults = day_of(times)[0], []
    for s in range(4):
        start = int(rows_at(times, [first + 24 + 2 * s], 11)[0])
        faults.append(struck_at(times, values, s, start, 30, lambda v: v * 0))
    return planted_of(times, values, faults, 2 * WEEK)


def percent_near_its_ceiling(rng: np.random.Generator) -> Planted:
    """A processor in use at 60 to 100 percent, cut at 100 in the evening; for half an hour at 15 percent."""
    times = minutes(5 * WEEK)
    load = 70 + 35 * bump(hour_of(times), 20, 2)[:, None] + 6 * noise(rng, len(times), 4)
    values = np.clip(np.round(load, 1), 0, 100)
    faults = struck(rng, times, values, 3 * WEEK, 30, lambda v: np.clip(v - 70, 2, 100))
    return planted_of(times, values, faults, 2 * WEEK)


def nearly_always_100(rng: np.random.Generator) -> Planted:
    """Availability in percent: 100, at times 99.9; for 15 minutes 97."""
    times = minutes(4 * WEEK)
    values = 100 - 0.1 * (rng.random((len(times), 4)) < 0.03)
    return planted_of(times, values, struck(rng, times, values, 2 * WEEK, 15, lambda v: v - 3), WEEK)


def idle_processor(rng: np.random.Generator) -> Planted:
    """Use near 1 percent with short bursts to 40 of its own jobs; for an hour 60 percent."""
    times = minutes(4 * WEEK)
    bursts = (rng.random((len(times), 4)) < 0.01) * rng.exponential(15, (len(times), 4))
    values = np.round(np.clip(rng.gamma(2, 0.5, (len(times), 4)) + bursts, 0, 100), 1)
    faults = struck(rng, times, values, 2 * WEEK, 60, lambda v: np.clip(v + 60, 0, 100))
    return planted_of(times, values, faults, WEEK)


def constant(rng: np.random.Generator) -> Planted:
    """The same value for weeks; for half an hour 20 percent more."""
    times = minutes(4 * WEEK)
    values = np.full((len(times), 4), 50.0) * np.arange(1, 5)
    return planted_of(times, values, struck(rng, times, values, 2 * WEEK, 30, lambda v: v * 1.2), WEEK)


def stairs(rng: np.random.Generator) -> Planted:
    """Replicas: whole numbers that go up or down by one every few days; for two hours 12 instead of about 30."""
    times = minutes(5 * WEEK)
    steps = (rng.random((len(times), 4)) < 0.0004) * rng.choice([-1.0, 1.0], (len(times), 4))
    values = 30 + np.cumsum(steps, axis=0)
    return planted_of(times, values, struck(rng, times, values, 3 * WEEK, 120, lambda v: v * 0 + 12), 2 * WEEK)


def sparse(rng: np.random.Generator) -> Planted:
    """A value every few hours, at no fixed times, for a year; once ten times the noise away."""
    n = 1500
    times = minutes(n) + np.cumsum(rng.exponential(6 * 3600e9, n)).astype(np.int64)
    values = 200 + 5 * noise(rng, n, 4)
    faults = struck(rng, times, values, n // 2, 2, lambda v: v + 50)
    return planted_of(times, values, faults, 200)


def heavy_tailed(rng: np.random.Generator) -> Planted:
    """Response times with single slow ones (log-normal, times Pareto); for ten minutes all are 12 times as slow."""
    times = minutes(4 * WEEK)
    slow = np.where(rng.random((len(times), 4)) < 0.02, 1 + rng.pareto(2.0, (len(times), 4)), 1)
    values = 40 * np.exp(0.3 * rng.normal(size=(len(times), 4))) * slow
    return planted_of(times, values, struck(rng, times, values, 2 * WEEK, 10, lambda v: v * 12), WEEK, timezone="UTC")


def saw_tooth(rng: np.random.Generator) -> Planted:
    """Memory that grows and is collected every two to four hours; once it is not, for three hours."""
    times, m = minutes(4 * WEEK), 4
    values = np.empty((len(times), m))
    for s in range(m):
        ends = np.cumsum(rng.integers(120, 240, len(times) // 120))
        values[:, s] = 400 + 2.0 * (
            np.arange(len(times)) - np.r_[0, ends][np.searchsorted(ends, np.arange(len(times)), "right")]
        )
    values += 5 * noise(rng, len(times), m)
    faults = struck(rng, times, values, 2 * WEEK, 180, lambda v: v[0] + 480 + 2.0 * np.arange(len(v)))
    return planted_of(times, values, faults, WEEK)


CASES = (
    Case(drifting_level),
    Case(steady_trend, over=0.7),
    Case(noisy_by_day, over=0.8),
    Case(rare_counts, within=2),
    Case(counts_by_day, within=4),
    Case(counts_fall_silent, within=4, over=0.8),
    Case(percent_near_its_ceiling, over=0.8),
    Case(nearly_always_100, within=0, over=0.9),
    Case(idle_processor, within=4, over=0.8),
    Case(constant, within=0, over=0.9),
    Case(stairs, within=0, over=0.9),
    Case(sparse, within=1),
    Case(heavy_tailed, within=4),
    Case(saw_tooth, within=2 * HOUR),
)
