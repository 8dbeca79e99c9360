"""Planted bad input: clocks that jump, cadences that change, values no sensor means. The next fault is found."""

from __future__ import annotations

from typing import Any

import numpy as np

from almenara.model.time import DAY_NS
from almenara.testing.planted.case import Case, Fault, Planted, planted_of
from almenara.testing.planted.signals import DAY, WEEK, minutes, noise, struck, struck_at, work


def _plain(rng: np.random.Generator, n: int, m: int = 4) -> Any:
    return 100 + 3 * noise(rng, n, m)


def new_cadence(rng: np.random.Generator) -> Planted:
    """A row a minute for two weeks, then one in 10 s for two days, then one in 5 minutes; a fault in the last part."""
    first = minutes(2 * WEEK)
    second = first[-1] + (minutes(2 * DAY * 6, 10) - minutes(1)) + 10 * 10**9
    third = second[-1] + (minutes(8 * 288, 300) - minutes(1)) + 300 * 10**9
    times = np.r_[first, second, third]
    values = 50 + 60 * work(times)[:, None] + 3 * noise(rng, len(times), 4)
    faults = struck(rng, times, values, len(times) - 4 * 288, 12, lambda v: v + 27)
    return planted_of(times, values, faults, WEEK)


def clock_jumps_a_day_ahead(rng: np.random.Generator) -> Planted:
    """After two weeks all times are a day later; three hours later there is a fault."""
    times = minutes(3 * WEEK)
    times[2 * WEEK + 720 :] += DAY_NS
    values = 50 + 60 * work(minutes(3 * WEEK), weekend=1.0)[:, None] + 3 * noise(rng, len(times), 4)
    faults = [struck_at(times, values, s, 2 * WEEK + 900 + 60 * s, 30, lambda v: v + 27) for s in range(4)]
    return planted_of(times, values, faults, WEEK)


def clock_jumps_and_comes_back(rng: np.random.Generator) -> Planted:
    """For ten rows the clock is 30 minutes ahead; then it is right again, and later there is a fault."""
    times = minutes(3 * WEEK)
    wrong = slice(2 * WEEK + 100, 2 * WEEK + 110)
    values = _plain(rng, len(times))
    faults = [struck_at(times, values, s, 2 * WEEK + 600 + 60 * s, 30, lambda v: v + 30) for s in range(4)]
    times[wrong] += 30 * 60 * 10**9
    return planted_of(times, values, faults, WEEK)


def _spoiled(rng: np.random.Generator, block: Any) -> Planted:
    """Ten days of minutes; on the fifth day rows as in `block` (float64[k]); faults on the ninth."""
    times = minutes(10 * DAY)
    values = _plain(rng, len(times))
    values[4 * DAY : 4 * DAY + len(block)] = np.asarray(block)[:, None]
    bad = [Fault(s, int(times[4 * DAY]), int(times[4 * DAY + len(block)])) for s in range(4)]
    faults = struck(rng, times, values, 8 * DAY, 30, lambda v: v + 36, each=1)
    return planted_of(times, values, [*bad, *faults], 2 * DAY)


def a_huge_value(rng: np.random.Generator) -> Planted:
    """One row of 1e300."""
    return _spoiled(rng, [1e300])


def huge_values_by_turns(rng: np.random.Generator) -> Planted:
    """Two hours of 1e308 and -1e308 by turns."""
    return _spoiled(rng, np.tile([1e308, -1e308], 60))


def denormal_values(rng: np.random.Generator) -> Planted:
    """Two hours of 5e-324."""
    return _spoiled(rng, np.full(120, 5e-324))


def extremes_without_end(rng: np.random.Generator) -> Planted:
    """Series of 1e300, of denormals, and of both by turns, from their first row on: no score is infinite."""
    n = 2000
    columns = [
        np.full(n, 1e300),
        np.full(n, 5e-324),
        np.tile([5e-324, 1e300], n // 2),
        np.tile([1e308, -1e308], n // 2),
    ]
    return planted_of(minutes(n), np.stack(columns, axis=1), [], 60)


def starts_with_a_huge_value(rng: np.random.Generator) -> Planted:
    """The first row of all is 1e300; a day later there is a fault of 12 times the noise."""
    times = minutes(3 * DAY)
    values = _plain(rng, len(times))
    values[0] = 1e300
    faults = struck(rng, times, values, DAY, 30, lambda v: v + 36, each=1)
    return planted_of(times, values, faults, 60)


def nothing_but_missing(rng: np.random.Generator) -> Planted:
    """Rows that are all known to be missing: none is judged."""
    n = 3000
    return Planted(np.zeros(n, np.int32), minutes(n), np.full(n, np.nan), (), int(minutes(1)[0]))


def half_is_missing(rng: np.random.Generator) -> Planted:
    """Half of the rows are known to be missing, in stretches; faults in the last week."""
    times = minutes(4 * WEEK)
    values = _plain(rng, len(times), 2)
    faults = struck(rng, times, values, 3 * WEEK, 40, lambda v: v + 30)
    gone = np.repeat(rng.random(len(times) // 20) < 0.5, 20)
    inside = np.zeros(len(times), bool)
    for fault in faults:
        inside |= (times >= fault.start_ns) & (times < fault.end_ns)
    values[gone & ~inside] = np.nan
    id = np.repeat(np.arange(2, dtype=np.int32), len(times))
    return Planted(id, np.tile(times, 2), values.T.ravel(), tuple(faults), int(times[WEEK]))


def one_row(rng: np.random.Generator) -> Planted:
    """A series of one row, and one of ten."""
    id = np.repeat(np.arange(2, dtype=np.int32), [1, 10])
    return Planted(id, minutes(11), rng.normal(size=11), (), int(minutes(1)[0]))


def same_time_twice(rng: np.random.Generator) -> Planted:
    """Every tenth row comes again with the same time and another value; the fault that follows is found."""
    times = np.sort(np.r_[minutes(3 * WEEK), minutes(3 * WEEK)[::10]])
    values = _plain(rng, len(times))
    faults = struck(rng, times, values, 2 * WEEK, 30, lambda v: v + 30)
    return planted_of(times, values, faults, WEEK)


def backwards(rng: np.random.Generator) -> Planted:
    """A hundred rows come in the wrong order, last first; a day later there is a fault."""
    times = minutes(3 * WEEK)
    values = _plain(rng, len(times))
    part = slice(2 * WEEK, 2 * WEEK + 100)
    times[part] = times[part][::-1].copy()
    faults = struck(rng, times, values, 2 * WEEK + DAY, 30, lambda v: v + 30)
    return planted_of(times, values, faults, WEEK)


CASES = (
    Case(new_cadence, within=2, over=0.8),
    Case(clock_jumps_a_day_ahead, within=4, over=0.8),
    Case(clock_jumps_and_comes_back, within=4, over=0.8),
    Case(a_huge_value, within=4, over=0.8),
    Case(huge_values_by_turns, within=4, over=0.8),
    Case(denormal_values, within=4, over=0.8),
    Case(extremes_without_end),
    Case(starts_with_a_huge_value, within=4, over=0.8),
    Case(nothing_but_missing),
    Case(half_is_missing, within=2, over=0.8),
    Case(one_row),
    Case(same_time_twice, within=2, over=0.8),
    Case(backwards, within=2, over=0.8),
)
