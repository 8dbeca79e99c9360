"""Could months be found without a calendar? A test on what `seasonal` leaves of each day; nothing of it is built.

    .venv/bin/python bench/detection_months.py [--series 500]

Candidates are days of the month, its last days, its first and last business day. The ranks of a candidate's days among
all days so far, by size, say how likely they would lie so high by chance; see docs/plans/detection.md.
"""

from __future__ import annotations

import argparse
import math
from datetime import date, timedelta

import numpy as np

from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch, Verdict
from almenara.model.series import SeriesTable
from almenara.model.time import DAY_NS
from almenara.testing.planted import GROUPS, batch_of
from almenara.testing.planted.signals import minutes

LEARNED_DAYS, P_MOST, AFTER = 21, 1e-3, (60, 90, 120)


def daily(time: np.ndarray, value: np.ndarray, said: Verdict) -> tuple[np.ndarray, np.ndarray]:
    """(days since 1970; mean of value less yhat in each) of one series."""
    away = value - said.yhat
    known = ~np.isnan(away)
    day, place = np.unique(time[known] // DAY_NS, return_inverse=True)
    return day, np.bincount(place, away[known]) / np.bincount(place)


def _business(day: date, step: int) -> date:
    """The next business day, or with -1 the one before."""
    day += timedelta(step)
    while day.weekday() > 4:
        day += timedelta(step)
    return day


def candidates(days: np.ndarray) -> dict[str, np.ndarray]:
    """By name: which of these days they are, bool[n]."""
    dates = [date(1970, 1, 1) + timedelta(int(day)) for day in days]
    found = {f"day {k}": np.array([one.day == k for one in dates]) for k in range(1, 29)}
    found |= {f"last {k}": np.array([(one + timedelta(k)).day == 1 for one in dates]) for k in range(1, 4)}
    for name, step in (("first business day", -1), ("last business day", 1)):
        found[name] = np.array([one.weekday() < 5 and _business(one, step).month != one.month for one in dates])
    return found


def best(days: np.ndarray, means: np.ndarray) -> tuple[str, float]:
    """(the likeliest candidate, p that the best of all would be so extreme by chance)."""
    days, means = days[LEARNED_DAYS:], means[LEARNED_DAYS:]
    away = means - np.median(means)
    rank = (np.argsort(np.argsort(np.abs(away))) + 1) / (len(away) + 1)
    found = {}
    for name, mine in candidates(days).items():
        k = int(mine.sum())
        if k >= 2:
            one_side = abs(np.sign(away[mine]).sum()) == k
            found[name] = ((1 - rank[mine].min()) ** k if one_side else 1.0) * 0.5 ** (k - 1)
    name = min(found, key=lambda one: found[one])
    return name, found[name] * len(found)


def noise(series: int) -> dict[int, int]:
    """By days seen: in how many series without months one was found."""
    rng, found = np.random.default_rng(1), dict.fromkeys(AFTER, 0)
    times = minutes(24 * max(AFTER), 3600)
    hour, weekday = np.arange(len(times)) % 24, np.arange(len(times)) // 24 % 7
    keep = math.exp(-1 / 48)
    for nth in range(series):
        left = rng.normal(size=len(times))
        if nth % 2:
            steps, slow = rng.normal(size=len(times)) * math.sqrt(1 - keep * keep), np.zeros(len(times))
            for k in range(1, len(times)):
                slow[k] = keep * slow[k - 1] + steps[k]
            left += 1.5 * slow
        if nth % 5 == 0:
            left += (rng.random(len(times)) < 0.002) * 15
        values = 50 + 10 * np.sin(hour / 24 * 2 * np.pi) + 5 * (weekday < 5) + left
        said = Seasonal().step(Batch(SeriesTable(), np.zeros(len(times), np.int32), times, values))
        days, means = daily(times, values, said)
        for after in AFTER:
            found[after] += int(best(days[:after], means[:after])[1] < P_MOST)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--series", type=int, default=500)
    asked = parser.parse_args()
    print(f"found in {asked.series} series without months, by days seen: {noise(asked.series)}")
    for case in (case for cases in GROUPS.values() for case in cases if case.name in ("payday", "first_of_the_month")):
        for seed in (1, 2, 3):
            planted = case.planted(seed)
            batch = batch_of(planted)
            said, value = Seasonal(timezone=planted.timezone).step(batch), np.asarray(batch.value)
            mine = np.asarray(batch.id) == 0
            part = Verdict(
                *(getattr(said, name)[mine] for name in ("score", "yhat", "lower", "upper", "share", "cause"))
            )
            days, means = daily(planted.time[mine], value[mine], part)
            told = [f"after {n} days {name} {p:.1e}" for n in AFTER for name, p in [best(days[:n], means[:n])]]
            print(f"{case.name}, seed {seed}: {', '.join(told)}")


if __name__ == "__main__":
    main()
