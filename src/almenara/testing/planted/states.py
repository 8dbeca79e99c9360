"""Planted states: services, links, modes and leaders, which take a few values and hold them, and faults of each."""

from __future__ import annotations

import numpy as np

from almenara.testing.planted.case import Case, Planted, planted_of
from almenara.testing.planted.signals import DAY, HOUR, WEEK, day_of, hour_of, minutes, rows_at, struck, struck_at


def states(rng: np.random.Generator) -> Planted:
    """A service is 1, every night from 3 to 3:10 it is 2; for ten minutes of a day it is 0."""
    times = minutes(4 * WEEK)
    hour = hour_of(times)
    values = np.tile(1.0 + ((hour >= 3) & (hour < 3 + 1 / 6))[:, None], 4)
    faults = [struck_at(times, values, s, (17 + 2 * s) * DAY + 700, 10, lambda v: v * 0) for s in range(4)]
    return planted_of(times, values, faults, WEEK)


def state_that_flaps(rng: np.random.Generator) -> Planted:
    """A link is up, and down for some minutes about twice a day; for an hour it changes with every row."""
    times = minutes(4 * WEEK)
    values = np.ones((len(times), 4))
    for s in range(4):
        for start in np.flatnonzero(rng.random(len(times)) < 2 / DAY):
            values[start : start + int(rng.integers(1, 10)), s] = 0
    faults = struck(rng, times, values, 2 * WEEK, 60, lambda v: np.arange(len(v)) % 2.0, each=1)
    return planted_of(times, values, faults, WEEK)


def _visits(rng: np.random.Generator, values: np.ndarray, to: float, a_day: float, least: int, most: int) -> None:
    """Every column goes to a state at random, `a_day` times a day, for `least` to `most` rows, in place."""
    for s in range(values.shape[1]):
        for start in np.flatnonzero(rng.random(len(values)) < a_day / DAY):
            values[start : start + int(rng.integers(least, most + 1)), s] = to


def service_with_rare_criticals(rng: np.random.Generator) -> Planted:
    """A check of Nagios: OK (0), a warning (1) about once a day for up to half an hour; twice it is critical (2)."""
    times = minutes(5 * WEEK)
    values = np.zeros((len(times), 4))
    _visits(rng, values, 1, 1, 5, 30)
    return planted_of(times, values, struck(rng, times, values, 3 * WEEK, 20, lambda v: v * 0 + 2), 2 * WEEK)


def link_that_stays_down(rng: np.random.Generator) -> Planted:
    """A link is up, and down for some minutes about twice a day; once it is down for three hours."""
    times = minutes(4 * WEEK)
    values = np.ones((len(times), 4))
    _visits(rng, values, 0, 2, 1, 9)
    return planted_of(times, values, struck(rng, times, values, 2 * WEEK, 180, lambda v: v * 0, each=1), WEEK)


def mode_of_the_day(rng: np.random.Generator) -> Planted:
    """A plant's mode: 1 at night, 3 by day, 5 on weekends, each begun at no exact minute; an hour of a day it is 1."""
    times = minutes(6 * WEEK)
    first, days = day_of(times)[0], len(times) // DAY
    values = np.ones((len(times), 4))
    for s in range(4):
        for d in range(days):
            start, end = d * DAY + 6 * HOUR + rng.integers(-8, 9), d * DAY + 22 * HOUR + rng.integers(-8, 9)
            values[start:end, s] = 3 if d % 7 < 5 else 5
    faults = [
        struck_at(times, values, s, int(rows_at(times, [first + 5 * 7 + s], 11)[0]), 60, lambda v: v * 0 + 1)
        for s in range(4)
    ]
    return planted_of(times, values, faults, 3 * WEEK)


def leader_that_stays(rng: np.random.Generator) -> Planted:
    """The number of a leader (1 to 3), which changes every 20 to 60 minutes; once it stays for half a day."""
    times = minutes(3 * WEEK)
    values = np.empty((len(times), 4))
    for s in range(4):
        at, leader = 0, 1
        while at < len(times):
            length = int(rng.integers(20, 61))
            values[at : at + length, s] = leader
            at, leader = at + length, 1 + (leader + int(rng.integers(0, 2))) % 3
    # Whoever leads, it is not the one that comes next: the stay ends with the fault.
    faults = struck(rng, times, values, 2 * WEEK, 720, lambda v: v * 0 + 1 + v[-1] % 3, each=1)
    return planted_of(times, values, faults, WEEK)


def replicas_by_day(rng: np.random.Generator) -> Planted:
    """Copies of a program, 2 at night and 3 to 5 by day, changed by load every half hour or so; once there is none."""
    times = minutes(5 * WEEK)
    busy = 1 / (1 + np.exp(-(hour_of(times) - 8) * 2)) / (1 + np.exp((hour_of(times) - 18) * 2))
    wanted = 2 + 2 * busy[:, None] + 0.8 * busy[:, None] * np.repeat(rng.normal(size=(len(times) // 30, 4)), 30, axis=0)
    values = np.clip(np.round(wanted), 2, 5)
    return planted_of(times, values, struck(rng, times, values, 3 * WEEK, 15, lambda v: v * 0), 2 * WEEK)


CASES = (
    Case(states, within=0, over=0.9, false_a_week=0.1),
    Case(state_that_flaps, within=20, false_a_week=0.3),
    Case(service_with_rare_criticals, within=0, over=0.9, false_a_week=0.3),
    Case(link_that_stays_down, within=40, over=0.7, false_a_week=0.3),
    Case(mode_of_the_day, within=2, over=0.9, false_a_week=0.3),
    Case(leader_that_stays, within=3 * HOUR, over=0.7, false_a_week=0.3),
    Case(replicas_by_day, within=0, over=0.9),
)
