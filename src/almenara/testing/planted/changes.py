"""Planted changes that last, faults that last long, and values that stop moving."""

from __future__ import annotations

import numpy as np

from almenara.testing.planted.case import Case, Planted, planted_of
from almenara.testing.planted.signals import DAY, WEEK, minutes, noise, struck, struck_at, wander, work


def _office(rng: np.random.Generator, weeks: int = 5) -> tuple[np.ndarray, np.ndarray]:
    times = minutes(weeks * WEEK)
    return times, 50 + 60 * work(times)[:, None] + 3 * noise(rng, len(times), 4)


def _changed(times: np.ndarray, values: np.ndarray, by: np.ndarray, learn_rows: int) -> Planted:
    """Everything from Wednesday noon of the fourth week on is `by` away; the fault ends where it must be accepted."""
    start = 3 * WEEK + 2 * DAY + 720
    values[start:] += by[: len(values) - start, None]
    faults = [struck_at(times, values, s, start, learn_rows, lambda v: v) for s in range(values.shape[1])]
    return planted_of(times, values, faults, 2 * WEEK)


def new_level(rng: np.random.Generator) -> Planted:
    """A level 10 times the noise higher that stays: found at once, accepted after a day and a half, then left alone."""
    times, values = _office(rng)
    return _changed(times, values, np.full(len(times), 30.0), int(1.5 * DAY))


def new_spread(rng: np.random.Generator) -> Planted:
    """The noise becomes 4 times as large and stays: found within an hour, accepted after two days."""
    times, values = _office(rng)
    extra = 12 * noise(rng, len(times), 1)[:, 0]
    return _changed(times, values, extra, 2 * DAY)


def new_trend(rng: np.random.Generator) -> Planted:
    """From one hour on it rises by ten times the noise a day: found within a day, accepted after four."""
    times, values = _office(rng, 6)
    return _changed(times, values, 30 * np.arange(len(times)) / DAY, 4 * DAY)


def long_fault(rng: np.random.Generator) -> Planted:
    """A fault of 14 hours that itself wanders: it keeps its rank to its end, and is not learned."""
    times, values = _office(rng)
    faults = struck(rng, times, values, 3 * WEEK, 840, lambda v: v + 40 + 8 * wander(rng, len(v), 1, 120)[:, 0], each=1)
    return planted_of(times, values, faults, 2 * WEEK)


def fault_after_fault(rng: np.random.Generator) -> Planted:
    """Five faults of two hours in one week: the last ones are found as the first one was."""
    times, values = _office(rng)
    faults = struck(rng, times, values, 3 * WEEK, 120, lambda v: v + 27, each=10)
    return planted_of(times, values, faults, 2 * WEEK)


def stuck_sensor(rng: np.random.Generator) -> Planted:
    """A temperature that moves with every row stays at one value for four hours: found within the first of them."""
    times = minutes(4 * WEEK)
    values = np.round(20 + 2 * wander(rng, len(times), 4, 600) + 0.2 * rng.normal(size=(len(times), 4)), 2)
    faults = struck(rng, times, values, 2 * WEEK, 240, lambda v: v * 0 + v[0])
    return planted_of(times, values, faults, WEEK)


def storm(rng: np.random.Generator) -> Planted:
    """Sixty series of one place, each of its own size, are wrong at the same time for 40 minutes: a switch is down."""
    times, m = minutes(3 * WEEK), 60
    size = np.exp(rng.normal(3, 1.5, m))
    values = size * (5 + 6 * work(times, weekend=0.8)[:, None] + 0.3 * rng.normal(size=(len(times), m)))
    start = 2 * WEEK + 3 * DAY + 600
    faults = [struck_at(times, values, s, start, 40, lambda v: v * 0.1) for s in range(m)]
    return planted_of(times, values, faults, WEEK)


CASES = (
    Case(new_level, within=7),
    Case(new_spread, within=60),
    Case(new_trend, within=DAY),
    Case(long_fault, within=7, over=0.9),
    Case(fault_after_fault, within=7, over=0.8),
    Case(stuck_sensor, within=60, over=0.7),
    Case(storm, within=2, over=0.9),
)
