"""`change`: lasting changes are reported once, what is usual is not, and the kernel is equal to its slow twin."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from tests import naive

import almenara as al
from almenara.detectors.change import Change
from almenara.model.batch import Batch, Verdict
from almenara.model.series import SeriesTable
from almenara.model.time import HOUR_NS, MINUTE_NS
from almenara.testing.planted import CASES, Planted, batch_of, reported_once

BY_NAME = {case.name: case for case in CASES}
DAY = 1440


@cache
def planted(name: str, seed: int) -> tuple[Planted, Verdict]:
    made = BY_NAME[name].planted(seed)
    return made, Change(timezone=made.timezone).step(batch_of(made))


def words(name: str, seed: int) -> list[str]:
    """The causes of all reports."""
    _, said = planted(name, seed)
    return [Change.causes[said.cause[k]] for k in np.flatnonzero(said.score >= 1)]


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize(
    ("name", "cause"),
    [("new_level", "level rose"), ("new_spread", "became less steady"), ("new_trend", "trend turned upwards")],
)
def test_a_change_is_reported_once_and_then_accepted(name: str, cause: str, seed: int) -> None:
    made, said = planted(name, seed)
    assert reported_once(made, said.score, 24 * 3600) == []
    assert set(words(name, seed)) == {cause}


def test_it_says_from_what_to_what_and_since_when() -> None:
    _, said = planted("new_level", 11)
    (note, *_) = said.notes.values()
    assert note == "from about 112 to 143 since 2026-01-28T12:00:00Z"
    _, said = planted("new_spread", 11)
    assert all("from row to row since 2026-01-28T1" in note for note in said.notes.values())
    _, said = planted("new_trend", 12)
    assert all(" a day since 2026-01-28T" in note for note in said.notes.values())


@pytest.mark.parametrize(
    "name",
    ["season_and_point", "missing_peak", "clocks_go_forward", "noisy_by_day", "rare_counts", "counts_by_day",
     "heavy_tailed", "fault_after_fault", "storm"],
)  # fmt: skip
def test_what_is_usual_and_what_is_over_soon_is_no_change(name: str) -> None:
    _, said = planted(name, 12)
    assert (said.score >= 1).sum() <= 1, words(name, 12)
    assert np.nanmax(said.score[np.isfinite(said.score)]) < 2


def test_a_series_that_always_changes_must_say_it_louder() -> None:
    _, said = planted("stairs", 11)
    weeks = 20
    assert (said.score >= 1).sum() < 2 * weeks


def minutes(n: int) -> np.ndarray:
    return 1_767_571_200 * 10**9 + np.arange(n, dtype=np.int64) * MINUTE_NS


def rough(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three weeks of every four minutes in which all kinds of things happen."""
    rng = np.random.default_rng(seed)
    time = minutes(24 * DAY)[::4]
    value = 50 + 20 * np.sin(2 * np.pi * np.arange(len(time)) / 360) + rng.normal(size=len(time))
    value[4500:] += 25
    value[6000:] += 4 * rng.normal(size=len(time) - 6000)
    value[7200:] += 0.05 * np.arange(len(time) - 7200)
    value[2000:2010] = np.nan
    keep = np.ones(len(time), bool)
    keep[3000:3500] = False  # it was away for more than a day
    keep[5000:5100] = rng.random(100) < 0.1
    return time[keep], value[keep]


@pytest.mark.parametrize(("seed", "zone"), [(1, "UTC"), (2, "Europe/Madrid")])
def test_it_equals_its_naive_twin(seed: int, zone: str) -> None:
    time, value = rough(seed)
    batch = Batch(SeriesTable.of([b"x"]), np.zeros(len(time), np.int32), time, value)
    said = Change(timezone=zone, p_limit=1e-3, accept_after_s=20 * 3600).step(batch)
    slow, told = naive.change(time.tolist(), value.tolist(), zone, 1e-3, 20 * 3600)
    assert told, "nothing happens in this example"
    assert len(said.notes) == len(told) == (said.score >= 1).sum()
    for k, column in enumerate(("score", "yhat", "lower", "upper", "cause")):
        right = np.array([row[k] for row in slow])
        np.testing.assert_allclose(getattr(said, column), right, rtol=1e-9, atol=1e-9, err_msg=column)


def test_a_state_of_other_options_is_refused() -> None:
    state = Change().state()
    with pytest.raises(ValueError, match="options of the state"):
        Change(p_limit=1e-3).restore(state)
    with pytest.raises(ValueError, match="not of this version"):
        Change().restore(state | {"slots": np.zeros(3)})


@pytest.mark.parametrize("options", [{"p_limit": 0.5}, {"accept_after_s": 1.0}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be from"):
        Change(**options)


def test_a_series_judged_again_goes_on_from_its_new_past() -> None:
    time, value = rough(3)
    one, fresh, whole = Change(), Change(), Change()
    table = SeriesTable.of([b"x", b"y"])
    first, rest = slice(0, 4000), slice(4000, None)
    zeros = np.zeros(len(time), np.int32)
    fresh.step(Batch(table, zeros[first], time[first], value[first]))
    one.adopt(np.array([1], np.int32), fresh)
    got = one.step(Batch(table, zeros[rest] + 1, time[rest], value[rest]))
    whole.step(Batch(table, zeros[first], time[first], value[first]))
    expected = whole.step(Batch(table, zeros[rest], time[rest], value[rest]))
    assert np.array_equal(got.score, expected.score, equal_nan=True)


def test_al_detect_has_it_by_its_name() -> None:
    import pandas as pd

    made, _ = planted("new_level", 11)
    mine = made.id == 0
    df = pd.DataFrame({"time": pd.to_datetime(made.time[mine]), "value": made.value[mine]})
    out = al.detect(df, detector="change")
    (row,) = np.flatnonzero(out["alert"])
    assert out["why"].iloc[row].startswith("Level rose from about 112 to 143 since 2026-01-28T12:00:00Z: ")
    assert made.time[mine][row] - made.faults[0].start_ns <= 6 * HOUR_NS
