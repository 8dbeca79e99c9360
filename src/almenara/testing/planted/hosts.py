"""Planted machines and programs: the first hour of a host, counters that reset, a program that scrapes itself.

The shapes are those of psutil's and Prometheus' figures: idle rates are zero or a few hundred bytes with single packets
and commits of the journal, and jobs of the machine's own (updates, log rotation, backups) come in bursts of many
megabytes. None of that is a fault.
"""

from __future__ import annotations

import numpy as np

from almenara.testing.planted.case import Case, Planted, planted_of
from almenara.testing.planted.signals import DAY, WEEK, minutes, noise, struck, work


def _bursts(rng: np.random.Generator, n: int, every: float, last: float, size: float, sigma: float = 1.5) -> np.ndarray:
    """A column of bursts, log-normal around `size`, one in `every` rows on average, each of about `last` rows."""
    out = np.zeros(n)
    for start in np.flatnonzero(rng.random(n) < 1 / every):
        length = 1 + int(rng.exponential(last))
        out[start : start + length] += (
            size * np.exp(sigma * rng.normal()) * rng.uniform(0.3, 1, len(out[start : start + length]))
        )
    return out


def _host(rng: np.random.Generator, n: int, every_s: float) -> np.ndarray:
    """Eight figures of a host that does little, n rows: float64[n, 8]."""
    turn = every_s / 10
    packets = rng.poisson(3 * turn, n) * 74 / every_s
    received = packets + _bursts(rng, n, 40 / turn, 2 / turn, 4e4) + _bursts(rng, n, 400 / turn, 8 / turn, 5e6)
    sent = packets * (rng.random(n) < 0.8) + 0.04 * received * rng.uniform(0.5, 1.5, n)
    journal = 4096 * rng.poisson(2 * turn, n) / every_s
    written = journal + _bursts(rng, n, 30 / turn, 1 / turn, 2e5) + _bursts(rng, n, 300 / turn, 5 / turn, 2e7)
    read = _bursts(rng, n, 60 / turn, 1 / turn, 1e5) + _bursts(rng, n, 500 / turn, 4 / turn, 3e7)
    processor = np.clip(rng.gamma(2, 0.6, n) + _bursts(rng, n, 60 / turn, 2 / turn, 15, 0.7), 0, 100)
    load = np.zeros(n)
    for k in range(1, n):
        load[k] = load[k - 1] + (processor[k] / 50 - load[k - 1]) * min(every_s / 60, 1)
    memory = 35 + np.cumsum(rng.normal(0, 0.02, n)) + 0.1 * (processor > 10)
    errors = np.zeros(n)
    columns = [received, sent, written, read, np.round(processor, 1), np.round(load, 2), np.round(memory, 1), errors]
    return np.stack(columns, axis=1)


def fresh_host(rng: np.random.Generator) -> Planted:
    """The first hour of three idle machines, eight figures every 10 s. There is no fault: hardly an alarm may come."""
    times = minutes(361, 10)
    return planted_of(times, np.hstack([_host(rng, 361, 10) for _ in range(3)]), [], 0)


def host_in_its_first_week(rng: np.random.Generator) -> Planted:
    """The first week of three idle machines, figures every minute, without a fault."""
    times = minutes(WEEK)
    return planted_of(times, np.hstack([_host(rng, WEEK, 60) for _ in range(3)]), [], 60)


def host_after_a_week(rng: np.random.Generator) -> Planted:
    """Figures of machines every minute; in the third week each rises to 30 times its usual most for half an hour."""
    times = minutes(3 * WEEK)
    values = np.hstack([_host(rng, len(times), 60)[:, :4] for _ in range(2)])
    faults = struck(rng, times, values, 2 * WEEK, 30, lambda v: v + 3e9, each=1)
    return planted_of(times, values, faults, WEEK)


def first_day_with_a_fault(rng: np.random.Generator) -> Planted:
    """A quiet figure six hours old jumps by 15 times its noise for half an hour: what is plain is found at once."""
    times = minutes(DAY)
    values = 80 + 2 * noise(rng, DAY, 8)
    faults = struck(rng, times, values, 360, 30, lambda v: v + 30, each=1)
    return planted_of(times, values, faults, 60)


def counter_with_resets(rng: np.random.Generator) -> Planted:
    """Counted requests that begin at 0 again at each of ten restarts; for 20 minutes they come five times as often."""
    times, m = minutes(5 * WEEK), 4
    rate = rng.poisson(60 * np.tile(20 + 60 * work(times)[:, None], m)).astype(float)
    faults = struck(rng, times, rate, 3 * WEEK, 20, lambda v: v * 5)
    values = np.cumsum(rate, axis=0)
    for start in np.sort(rng.integers(WEEK, len(times), 10)):
        values[start:] -= values[start - 1] + rate[start] * rng.uniform(0, 1, m)
    return planted_of(times, np.round(values), faults, 2 * WEEK, kind="counter")


def counter_that_wraps(rng: np.random.Generator) -> Planted:
    """Bytes in a counter of 32 bits, which wraps every few hours. There is no fault."""
    times, m = minutes(3 * WEEK), 4
    rate = 60 * 3e5 * (1 + 0.1 * noise(rng, len(times), m))
    return planted_of(times, np.floor(np.cumsum(np.abs(rate), axis=0)) % 2.0**32, [], WEEK, kind="counter")


def counter_with_a_late_row(rng: np.random.Generator) -> Planted:
    """A counter whose scrapes are late by up to 40 s now and then, its rows keep their time. There is no fault."""
    times, m = minutes(3 * WEEK), 4
    late = (rng.random(len(times)) < 0.01) * rng.integers(0, 40, len(times))
    times = times + late * 1_000_000_000
    rate = 500 * (1 + 0.05 * noise(rng, len(times), m))
    steps = np.diff(times, prepend=times[0])[:, None] / 1e9
    return planted_of(times, np.round(np.cumsum(rate * steps, axis=0)), [], WEEK, kind="counter")


def program_that_scrapes_itself(rng: np.random.Generator) -> Planted:
    """An hour of a fresh server's own counters, every 15 s: samples, requests, collections, compactions. No fault."""
    n = 241
    times = minutes(n, 15)
    samples = 15 * np.full(n, 48.0) + rng.integers(-1, 2, n) * 15
    scrapes = np.ones(n)
    processor = 0.05 + rng.exponential(0.05, n) + 2 * (rng.random(n) < 0.01)
    collected = (rng.random(n) < 0.15).astype(float)
    allocated = rng.exponential(2e6, n) * (1 + 9 * (rng.random(n) < 0.03))
    compacted = (np.arange(n) == 200).astype(float)
    requests = rng.poisson(0.05, n).astype(float)
    none = np.zeros(n)
    rates = [samples, scrapes, processor, collected, allocated, compacted, requests, none]
    return planted_of(times, np.cumsum(np.stack(rates, axis=1), axis=0), [], 0, kind="counter")


CASES = (
    Case(fresh_host, false_a_week=17.0),  # one alert an hour in ten series
    Case(host_in_its_first_week, false_a_week=1.0),
    Case(host_after_a_week, within=0, false_a_week=1.0, over=0.9),
    Case(first_day_with_a_fault, within=2, false_a_week=1.0, over=0.8),
    Case(counter_with_resets, within=4, over=0.8),
    Case(counter_that_wraps, false_a_week=0.3),
    Case(counter_with_a_late_row, false_a_week=0.3),
    Case(program_that_scrapes_itself, false_a_week=17.0),
)
