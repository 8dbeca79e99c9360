"""The simulated plant: the same at any time it is asked, and every fault of it is found, and nothing else."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import numpy as np
import pytest
from tests.detectors.series import longest_s

from almenara.collectors.plant import Plant
from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS, WEEK_NS

NOW = 1_769_990_400 * NS + 16 * HOUR_NS  # a Monday, 16:00 UTC
TICK = 10 * NS


def plant(**options: Any) -> Plant:
    return Plant(clock=lambda: NOW, auto_fault_after_s=0.0, **options)


def ticks(start: int, end: int) -> Any:
    return np.arange(start, end, TICK)


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """What `seasonal` knows after three weeks of history."""
    detector = Seasonal()
    detector.step(plant().history(NOW))
    return detector.state()


def scores(trained: dict[str, Any], batch: Batch, n: int) -> Any:
    detector = Seasonal()
    detector.restore(trained)
    return detector.step(batch).score.reshape(-1, n)


def test_every_series_says_that_it_is_simulated() -> None:
    batch = plant().collect()
    assert 25 <= len(batch.series) <= 30
    assert all(dict(series.labels)["source"] == "simulated" for series in batch.series)
    assert np.isfinite(batch.value).all()


def test_values_depend_on_seed_and_time_alone() -> None:
    times = ticks(NOW - HOUR_NS, NOW + HOUR_NS)
    whole = plant().values_at(times).value.reshape(-1, len(times))
    parts = [plant().values_at(times[a : a + 7]).value.reshape(len(whole), -1) for a in range(0, len(times), 7)]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert not np.array_equal(plant(seed=2).values_at(times).value, whole.ravel())


def test_history_and_live_rows_are_one_function() -> None:
    history = plant().history(NOW, weeks=1.0)
    assert len(history) == len(history.series) * 7 * 1440
    assert (np.diff(history.id) >= 0).all()
    assert history.time.max() == NOW - MINUTE_NS
    row = plant().values_at(np.array([NOW - MINUTE_NS]))
    assert np.array_equal(history.value.reshape(len(row), -1)[:, -1], row.value)


def test_three_weeks_of_history_are_made_in_two_seconds() -> None:
    start = time.process_time()
    assert len(plant().history(NOW)) > 700_000
    assert time.process_time() - start < 2


def test_there_is_a_day_a_week_and_a_sunday_evening_peak() -> None:
    times = np.arange(NOW - 4 * WEEK_NS, NOW, 600 * NS)
    batch = plant().values_at(times)
    names = [series.name for series in batch.series]
    requests = batch.value.reshape(-1, len(times))[names.index("requests_per_s")]
    hour, weekday = times // HOUR_NS % 24, (times // DAY_NS + 3) % 7
    evening = [requests[(hour == 20) & (weekday == d)].mean() for d in range(7)]
    assert min(evening) > 1.5 * requests[hour == 4].mean()
    assert evening[6] > 1.5 * max(evening[:6])
    assert requests[(weekday == 5) & (hour == 12)].mean() < 0.9 * requests[(weekday == 2) & (hour == 12)].mean()


def test_seasons_follow_the_wall_clock_of_the_site() -> None:
    here, there = plant(), plant(timezone="Asia/Kolkata")
    times = np.arange(NOW, NOW + DAY_NS, HOUR_NS)
    shift = int(5.5 * HOUR_NS)
    level = [s.name for s in here.collect().series].index("reservoir_level")
    a = here.values_at(times).value.reshape(-1, 24)[level]
    b = there.values_at(times - shift).value.reshape(-1, 24)[level]
    assert np.abs(a - b).max() < 4  # noise only; the season itself swings by 16


def test_no_clean_series_fires_in_the_week_after_training(trained: dict[str, Any]) -> None:
    times = ticks(NOW, NOW + WEEK_NS)
    batch = plant().values_at(times)
    score = scores(trained, batch, len(times))
    for series, row in zip(batch.series, score, strict=True):
        assert longest_s(times, row > 1) < 60, str(series)
    assert (score > 1).mean() < 1e-4


EXPECTED = {
    "leak": ("flow", "pressure", "vibration"),
    "stuck": ("vibration",),
    "drift": ("motor_temperature",),
    "missing_peak": ("requests_per_s",),
    "storm": ("flow", "pressure", "vibration", "motor_temperature"),
}


@pytest.mark.parametrize("after_h", [0.2, 4, 10, 52.5])  # Monday afternoon, evening peak, night, Wednesday evening
@pytest.mark.parametrize("fault", Plant.faults)
def test_every_fault_is_found_within_ten_minutes_and_gone_after(
    fault: str, after_h: float, trained: dict[str, Any]
) -> None:
    broken = plant()
    at = NOW + int(after_h * HOUR_NS)
    broken.break_something(fault, at)
    ((_, since, until),) = broken.injected()
    times = ticks(NOW, until + 20 * MINUTE_NS)
    batch = broken.values_at(times)
    score = scores(trained, batch, len(times))
    found = set()
    for series, row in zip(batch.series, score, strict=True):
        soon = (times >= since) & (times < min(until, since + 10 * MINUTE_NS))
        if longest_s(times[soon], row[soon] > 1) >= 60:
            found.add(series.name)
        assert longest_s(times[times >= until], row[times >= until] > 1) < 60, f"{series} goes on after the fault"
    assert found >= set(EXPECTED[fault])


def test_a_fault_shows_within_ten_seconds_on_a_clock_sixty_times_as_fast(trained: dict[str, Any]) -> None:
    for fault in Plant.faults:
        broken = plant(_speed=60.0)
        broken.break_something(fault, NOW + HOUR_NS)
        times = ticks(NOW, NOW + HOUR_NS + 10 * MINUTE_NS)
        batch = broken.values_at(times)
        score = scores(trained, batch, len(times))
        late = times >= NOW + HOUR_NS
        assert max(longest_s(times[late], row[late] > 1) for row in score) >= 60, fault


def test_untouched_it_leaks_and_an_alarm_held_a_minute_fires_by_three_and_ends_by_six(trained: dict[str, Any]) -> None:
    now = [NOW]
    untouched = Plant(clock=lambda: now[0], auto_fault_after_s=60.0)
    detector = Seasonal()
    detector.restore(trained)
    since: dict[int, int] = {}
    pending, firing, resolved = set(), set(), set()
    begun = NOW + 5 * MINUTE_NS  # made long before it was asked, as where a hub compiles first
    for now[0] in range(begun, begun + 10 * MINUTE_NS, TICK):
        batch = untouched.collect()
        age = (now[0] - begun) / NS
        for id, score in enumerate(detector.step(batch).score):
            if score > 1:
                start = since.setdefault(id, now[0])
                pending.add(age)
                if now[0] - start >= MINUTE_NS:
                    firing.add(age)
            elif since.pop(id, now[0]) <= now[0] - MINUTE_NS:
                resolved.add(age)
    assert 60 < min(a for a in pending if a > 50) <= 90
    assert min(firing) <= 180
    assert max(firing) < max(resolved) <= 360
    assert [name for name, *_ in untouched.injected()] == ["leak"]


def test_nothing_is_injected_once_somebody_broke_something() -> None:
    now = [NOW]
    touched = Plant(clock=lambda: now[0], auto_fault_after_s=60.0)
    touched.collect()
    touched.break_something("stuck")
    touched.break_something("stuck")  # runs already
    now[0] += HOUR_NS
    touched.collect()
    assert [name for name, *_ in touched.injected()] == ["stuck"]
    with pytest.raises(ValueError, match="'flood'; expected one of leak"):
        touched.break_something("flood")


def test_batches_come_on_whole_multiples_of_a_fast_clock() -> None:
    begun = time.monotonic_ns()

    def fast() -> int:
        return NOW + (time.monotonic_ns() - begun) * 60

    async def first(n: int) -> list[Batch]:
        found: list[Batch] = []
        async for batch in Plant(clock=fast, _speed=60.0).batches():
            found.append(batch)
            if len(found) == n:
                break
        return found

    batches = asyncio.run(asyncio.wait_for(first(3), 60))
    times = [int(batch.time[0]) for batch in batches]
    assert all(t % TICK == 0 for t in times)
    assert times == sorted(set(times))
