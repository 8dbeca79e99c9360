"""Planted seasons: of the day, the week, the month and the year, of any length, and what can be wrong with them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from almenara.testing.planted.case import Case, Planted, planted_of
from almenara.testing.planted.signals import (
    DAY,
    HOUR,
    WEEK,
    bump,
    day_of,
    hour_of,
    minutes,
    missing,
    noise,
    rows_at,
    struck,
    struck_at,
    weekday_of,
    work,
)

MADRID = "Europe/Madrid"


def _second(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp())


def _office(rng: np.random.Generator, weeks: int = 5, m: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Minutes of a place of work: 50 at night, 150 by day, noise of 3."""
    times = minutes(weeks * WEEK)
    return times, 50 + 100 * work(times)[:, None] + 3 * noise(rng, len(times), m)


def season_and_point(rng: np.random.Generator) -> Planted:
    """A day and week of work; single values 10 times the noise away from what is usual then, far from unusual else."""
    times, values = _office(rng)
    hour = hour_of(times)
    night = np.flatnonzero((hour < 5) & (np.arange(len(times)) > 3 * WEEK))
    faults = [
        struck_at(times, values, s, int(row), 1, lambda v: v + 30)
        for s in range(4)
        for row in np.sort(rng.choice(night[::90], 3, replace=False))
    ]
    return planted_of(times, values, faults, 2 * WEEK)


def season_and_level(rng: np.random.Generator) -> Planted:
    """A day and week of work; for three hours 8 times the noise more than is usual."""
    times, values = _office(rng)
    return planted_of(times, values, struck(rng, times, values, 3 * WEEK, 180, lambda v: v + 24), 2 * WEEK)


def season_and_slow_drift(rng: np.random.Generator) -> Planted:
    """A day and week of work; a leak that takes 8 hours to 15 times the noise. It must not be followed."""
    times, values = _office(rng)
    faults = struck(rng, times, values, 3 * WEEK, 480, lambda v: v - np.linspace(0, 45, len(v)))
    return planted_of(times, values, faults, 2 * WEEK)


def noon_at_midnight(rng: np.random.Generator) -> Planted:
    """A day and week of work; for half an hour of a night the load of noon: usual, but not then."""
    times, values = _office(rng)
    days = rng.choice(np.arange(day_of(times)[0] + 21, day_of(times)[0] + 34), 4, replace=False)
    starts = rows_at(times, days, 2)
    faults = [struck_at(times, values, s, int(starts[s]), 30, lambda v: v + 100) for s in range(4)]
    return planted_of(times, values, faults, 2 * WEEK)


def weekend(rng: np.random.Generator) -> Planted:
    """Weekends have a tenth of the load; once a Tuesday looks like a Saturday, and a Sunday like a Tuesday."""
    times = minutes(6 * WEEK)
    values = 20 + 100 * work(times, weekend=0.1)[:, None] + 3 * noise(rng, len(times), 4)
    first, faults = day_of(times)[0], []
    for s in range(4):
        tuesday, sunday = (int(r) for r in rows_at(times, [first + 29, first + 41], 10))
        faults.append(struck_at(times, values, s, tuesday, 360, lambda v: v - 90))
        faults.append(struck_at(times, values, s, sunday, 360, lambda v: v + 90))
    return planted_of(times, values, faults, 3 * WEEK)


def missing_peak(rng: np.random.Generator) -> Planted:
    """A backup of 40 minutes at 02:00 every night; one night it does not come, another it comes at 14:00 too."""
    times = minutes(5 * WEEK)
    hour = hour_of(times)
    values = 10 + 60 * ((hour >= 2) & (hour < 2.67))[:, None] + 2 * noise(rng, len(times), 4)
    first, faults = day_of(times)[0], []
    for s in range(4):
        gone, twice = (int(rows_at(times, [first + d], h)[0]) for d, h in ((24 + s, 2), (29 + s, 14)))
        faults.append(struck_at(times, values, s, gone, 40, lambda v: v - 60))
        faults.append(struck_at(times, values, s, twice, 40, lambda v: v + 60))
    return planted_of(times, values, faults, 2 * WEEK)


def missing_peak_of_the_week(rng: np.random.Generator) -> Planted:
    """A report every Sunday from 20 to 22 h; in the fifth week it does not come."""
    times = minutes(6 * WEEK)
    peak = (weekday_of(times) == 6) * bump(hour_of(times), 21, 0.6)
    values = 10 + 40 * peak[:, None] + 2 * noise(rng, len(times), 4)
    start = int(rows_at(times, [day_of(times)[0] + 34], 20.3)[0])
    lost = 40 * peak[start : start + 84]
    faults = [struck_at(times, values, s, start, 84, lambda v: v - lost) for s in range(4)]
    return planted_of(times, values, faults, 3 * WEEK)


def _waves(rng: np.random.Generator, periods: tuple[float, ...], *, gaps: bool) -> Planted:
    """Waves with sharp crests, of these periods in minutes; faults: half an hour at the mean where crests would be."""
    times, m = minutes(4 * WEEK), 4
    values = 2 * noise(rng, len(times), m) + 200
    for period in periods:
        phase = (np.arange(len(times))[:, None] / period + rng.random(m)) % 1
        values += 25 * np.exp(2 * (np.cos(2 * np.pi * phase) - 1))
    faults = struck(rng, times, values, 3 * WEEK, int(1.5 * max(periods)), lambda v: v * 0 + np.median(v) + 2, 2)
    if gaps:
        missing(rng, values, 0.05, outages=3, length=300)
    return planted_of(times, values, faults, 2 * WEEK)


def period_of_47_minutes(rng: np.random.Generator) -> Planted:
    """A cycle of 47.3 minutes, which divides no day; sometimes a cycle and a half does not come."""
    return _waves(rng, (47.3,), gaps=False)


def periods_with_gaps(rng: np.random.Generator) -> Planted:
    """Cycles of 53.7 minutes and 7.55 hours at once, with rows missing and outages of five hours."""
    return _waves(rng, (53.7, 453.1), gaps=True)


def period_of_five_days(rng: np.random.Generator) -> Planted:
    """A rota of shifts of five days, at rows of five minutes; once a shift has the load of another."""
    times, m = minutes(70 * 288, 300), 4
    shift = (np.arange(len(times)) // 288) % 5
    values = 50 + np.array([0, 30, 60, 20, 80])[shift][:, None] + 10 * bump(hour_of(times), 15, 3)[:, None]
    values = values + 2 * noise(rng, len(times), m)
    faults = [
        struck_at(times, values, s, (45 + 5 * s) * 288 + 84, 72, lambda v: v + 40) for s in range(m)
    ]  # starts of the idle shift, at 7 h
    return planted_of(times, values, faults, 35 * 288)


def job_every_90_seconds(rng: np.random.Generator) -> Planted:
    """A load with crests every 90 seconds, in rows of five seconds over three days; for three minutes they stay out."""
    times, m = minutes(3 * 17_280, 5), 4
    phase = (np.arange(len(times))[:, None] / 18 + rng.random(m)) % 1
    values = 20 + 30 * np.exp(2 * (np.cos(2 * np.pi * phase) - 1)) + 2 * noise(rng, len(times), m)
    faults = struck(rng, times, values, 2 * 17_280, 36, lambda v: v * 0 + np.median(v) + 2, 2)
    return planted_of(times, values, faults, 25_920)


def batch_every_seven_and_a_half_minutes(rng: np.random.Generator) -> Planted:
    """A batch job of a minute every 7.5 minutes, in rows of a minute over two weeks; for an hour no job runs."""
    times, m = minutes(2 * WEEK), 4
    runs = (np.arange(len(times))[:, None] + rng.integers(0, 15, m)) % 7.5 < 1
    values = 10 + 40 * runs + 2 * noise(rng, len(times), m)
    faults = struck(rng, times, values, WEEK, HOUR, lambda v: np.minimum(v, 12), 2)
    return planted_of(times, values, faults, 5 * DAY)


def crews_in_turn(rng: np.random.Generator) -> Planted:
    """Shifts of eight hours and four crews in turn, so every 32 hours, in rows of five minutes over seven weeks; once
    a crew works for four hours as another does."""
    times, m = minutes(49 * 288, 300), 4
    values = 50 + np.array([0, 30, 12, 40])[np.arange(len(times)) // 96 % 4][:, None] + 2 * noise(rng, len(times), m)
    faults = [struck_at(times, values, s, (35 * 3 + 4 * s) * 96 + 36, 48, lambda v: v + 25) for s in range(m)]
    return planted_of(times, values, faults, 28 * 288)


def year(rng: np.random.Generator) -> Planted:
    """Heating over four years in rows of an hour: winters are high; a day in winter with the load of summer is not."""
    times, m = minutes(4 * 365 * 24, 3600), 2
    days = np.arange(len(times)) / 24
    cold = 0.5 + 0.5 * np.cos(2 * np.pi * days / 365.25)
    values = 100 + 80 * cold[:, None] * (1 + 0.2 * bump(hour_of(times), 7, 2)[:, None]) + 3 * noise(rng, len(times), m)
    faults = [struck_at(times, values, s, (3 * 365 + 10 + s) * 24 + 9, 24, lambda v: v - 70) for s in range(m)]
    return planted_of(times, values, faults, 2 * 365 * 24)


def _clocks_change(rng: np.random.Generator, year: int, month: int, day: int) -> Planted:
    """Three weeks before and ten days after the clocks of Madrid change, rows of 5 minutes, a steep start of work."""
    change = _second(year, month, day)
    times = minutes(31 * 288, 300, change - 21 * 86_400)
    values = 50 + 100 * work(times, MADRID)[:, None] + 3 * noise(rng, len(times), 4)
    begin = int(rows_at(times, [day_of(times, MADRID)[0] + 24], 12, MADRID)[0])
    faults = [struck_at(times, values, s, begin + 6 * s, 12, lambda v: v - 60) for s in range(4)]
    return planted_of(times, values, faults, 21 * 288, timezone=MADRID)


def clocks_go_forward(rng: np.random.Generator) -> Planted:
    """Work starts at 8 on the wall clock before and after the last Sunday of March in Madrid."""
    return _clocks_change(rng, 2026, 3, 29)


def clocks_go_back(rng: np.random.Generator) -> Planted:
    """Work starts at 8 on the wall clock before and after the last Sunday of October in Madrid."""
    return _clocks_change(rng, 2026, 10, 25)


CASES = (
    Case(season_and_point, within=0),
    Case(season_and_level, within=7, over=0.9),
    Case(season_and_slow_drift, within=240, over=0.4),
    Case(noon_at_midnight, within=2, over=0.9),
    Case(weekend, within=7, over=0.9),
    Case(missing_peak, within=7, over=0.8),
    Case(missing_peak_of_the_week, within=30, over=0.5),
    Case(period_of_47_minutes, within=HOUR),
    Case(periods_with_gaps, within=8 * HOUR),
    Case(period_of_five_days, within=7),
    Case(job_every_90_seconds, within=18),
    Case(batch_every_seven_and_a_half_minutes, within=15),
    Case(crews_in_turn, within=7),
    Case(year, within=7, false_a_week=0.3),
    Case(clocks_go_forward, within=7),
    Case(clocks_go_back, within=7),
)
