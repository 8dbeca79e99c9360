"""`seasonal` is exact: equal to its slow twin, and to itself however rows are cut, looked at, kept and restored."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tests.detectors.series import DAY_ROWS, clean, minutes, rows
from tests.naive import seasonal

from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Verdict
from almenara.model.time import NS

COLUMNS = ("score", "yhat", "lower", "upper", "cause")


def same(a: Verdict, b: Verdict) -> bool:
    return all(np.array_equal(getattr(a, c), getattr(b, c), equal_nan=True) for c in COLUMNS)


def cut(verdict: Verdict, part: Any) -> Verdict:
    return Verdict(*(getattr(verdict, c)[part] for c in ("score", "yhat", "lower", "upper", "share", "cause")))


def faulty(seed: int, n: int, every_s: int) -> dict[str, Any]:
    """Series with a spike, a lasting shift, a stuck stretch, missing values and a gap's worth of change."""
    columns = clean(n, seed, every_s)
    for values in columns.values():
        values[n // 2] += 100
        values[n // 2 + 50 : n // 2 + 400] += 5 * np.std(values) + 1
        values[n - 700 : n - 500] = values[n - 700]
        values[n // 3 : n // 3 + 5] = np.nan
    return columns


@pytest.mark.parametrize(("every_s", "zone"), [(60, "UTC"), (300, "Europe/Madrid"), (3600, "America/New_York")])
def test_equals_its_naive_twin(every_s: int, zone: str) -> None:
    n = 4 * DAY_ROWS
    # Ends of March: the clocks change within these rows.
    times = minutes(n, every_s) + (82 * 86_400 * NS if every_s < 3600 else 0)
    times[2 * n // 3 :] += 7200 * NS
    for name, values in faulty(3, n, every_s).items():
        verdict = Seasonal(timezone=zone, accept_after_s=20_000.0).step(rows(np.zeros(n), times, values))
        slow = np.array(seasonal(times.tolist(), values.tolist(), zone, 1e-4, 20_000.0))
        for k, column in enumerate(COLUMNS):
            np.testing.assert_allclose(getattr(verdict, column), slow[:, k], rtol=1e-9, atol=1e-9, err_msg=name)


def cycles(n: int, seed: int) -> Any:
    """Minutes with two periods of their own, one of which ends, rows missing and an outage."""
    rng = np.random.default_rng(seed)
    k = np.arange(n)
    crest = np.exp(2 * (np.cos(2 * np.pi * k / 53.7) - 1))
    values = 200 + 25 * crest + 8 * np.sin(2 * np.pi * k / 231.1) * (k < n // 2) + 2 * rng.normal(size=n)
    values[rng.random(n) < 0.05] = np.nan
    values[n // 3 : n // 3 + 200] = np.nan
    return values


def test_equals_its_naive_twin_where_it_follows_periods() -> None:
    n = 6 * DAY_ROWS
    times, values = minutes(n), cycles(n, 1)
    detector = Seasonal()
    verdict = detector.step(rows(np.zeros(n), times, values))
    slow = np.array(seasonal(times.tolist(), values.tolist(), "UTC", 1e-4, 86_400.0))
    assert detector.state()["slots"]["waves"][0] > 0
    for k, column in enumerate(COLUMNS):
        np.testing.assert_allclose(getattr(verdict, column), slow[:, k], rtol=1e-7, atol=1e-7, err_msg=column)


def test_equals_its_naive_twin_where_spread_grows_with_the_level() -> None:
    n = 6 * DAY_ROWS
    rng, times = np.random.default_rng(4), minutes(n)
    load = 1.1 + np.sin(2 * np.pi * np.arange(n) / DAY_ROWS)
    columns = {1: rng.poisson(3 + 40 * load).astype(float), 2: 5000 * np.exp(load + 0.4 * rng.normal(size=n))}
    for root, values in columns.items():
        values[n - 900 : n - 870] = 0.0
        values[n - 500 : n - 480] *= 6.0
        values[n - 100] = -1e6
        detector = Seasonal()
        verdict = detector.step(rows(np.zeros(n), times, values))
        slow = np.array(seasonal(times.tolist(), values.tolist(), "UTC", 1e-4, 86_400.0))
        assert detector.state()["slots"]["root"][0] == root
        for k, column in enumerate(COLUMNS):
            np.testing.assert_allclose(getattr(verdict, column), slow[:, k], rtol=1e-7, atol=1e-7, err_msg=column)


def interleaved(n: int) -> tuple[Any, Any, Any]:
    """Rows of ten series in order of time, then id."""
    columns = faulty(5, n, 60)
    ids = np.tile(np.arange(len(columns)), n)
    return ids, np.repeat(minutes(n), len(columns)), np.stack(list(columns.values()), axis=1).ravel()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_batches_of_any_size_give_the_same_bits(size: int) -> None:
    n = 2200
    ids, times, values = interleaved(n)
    if size == 1:  # the last rows only: the rest in one
        bounds = [0, *range(len(ids) - 3000, len(ids) + 1)]
    else:
        bounds = [*range(0, len(ids), size), len(ids)]
    whole, cuts = Seasonal(), Seasonal()
    expected = whole.step(rows(ids, times, values))
    for a, b in pairwise(bounds):
        order = np.lexsort((times[a:b], ids[a:b])) + a
        got = cuts.step(rows(ids[order], times[order], values[order]))
        assert same(got, cut(expected, order))
    assert whole.state()["slots"].tobytes() == cuts.state()["slots"].tobytes()


def test_look_says_what_step_would_say_and_learns_nothing() -> None:
    n = 3 * DAY_ROWS
    columns = faulty(7, n, 60)
    for name, values in columns.items():
        detector, times = Seasonal(), minutes(n)
        for k in range(0, n, 97):
            before = detector.state()["slots"].tobytes()
            looked = detector.look(rows([0], times[k : k + 1], values[k : k + 1]))
            assert detector.state()["slots"].tobytes().startswith(before)
            stepped = detector.step(rows(np.zeros(len(times[k : k + 97])), times[k : k + 97], values[k : k + 97]))
            assert same(looked, cut(stepped, slice(0, 1))), (name, k)


def test_look_judges_every_row_as_the_next_one() -> None:
    n = 3 * DAY_ROWS
    detector, times, values = Seasonal(), minutes(n), clean(n, 1)["temperature"]
    detector.step(rows(np.zeros(n - 10), times[:-10], values[:-10]))
    together = detector.look(rows(np.zeros(10), times[-10:], values[-10:]))
    for k in range(10):
        alone = detector.look(rows([0], times[n - 10 + k :][:1], values[n - 10 + k :][:1]))
        assert same(alone, cut(together, slice(k, k + 1)))


def test_restored_state_goes_on_to_the_bit() -> None:
    ids, times, values = interleaved(2000)
    half = len(ids) // 2
    detector, other = Seasonal(), Seasonal()
    first = np.lexsort((times[:half], ids[:half]))
    second = np.lexsort((times[half:], ids[half:])) + half
    detector.step(rows(ids[first], times[first], values[first]))
    other.restore(detector.state())
    batch = rows(ids[second], times[second], values[second])
    assert same(detector.step(batch), other.step(batch))
    assert detector.state()["slots"].tobytes() == other.state()["slots"].tobytes()


def test_a_state_that_does_not_fit_is_refused() -> None:
    state = Seasonal().state()
    with pytest.raises(ValueError, match="options"):
        Seasonal(p_limit=1e-3).restore(state)
    with pytest.raises(ValueError, match="timezone"):
        Seasonal(timezone="Europe/Madrid").restore(state)
    with pytest.raises(ValueError, match="format"):
        Seasonal().restore({**state, "format": np.array([0])})
    with pytest.raises(ValueError, match="slots"):
        Seasonal().restore({**state, "slots": np.zeros(3)})
    with pytest.raises(ValueError, match="no slots"):
        Seasonal().restore({k: v for k, v in state.items() if k != "slots"})


def test_state_is_small_and_survives_an_npz_without_pickle(tmp_path: Any) -> None:
    detector = Seasonal()
    detector.step(rows(np.arange(100), minutes(1).repeat(100), np.ones(100)))
    assert detector.state()["slots"].dtype.itemsize <= 2048
    np.savez(tmp_path / "slice.npz", **detector.state())
    other = Seasonal()
    with np.load(tmp_path / "slice.npz", allow_pickle=False) as arrays:
        other.restore(arrays)
    assert other.state()["slots"].tobytes() == detector.state()["slots"].tobytes()


def test_columns_that_do_not_fit_never_reach_the_kernel() -> None:
    with pytest.raises(ValueError, match="negative"):
        Seasonal().step(rows([-1], [NS], [1.0]))
    with pytest.raises(ValueError, match="p_limit"):
        Seasonal(p_limit=0.5)
    with pytest.raises(ValueError, match="accept_after_s"):
        Seasonal(accept_after_s=0.0)
