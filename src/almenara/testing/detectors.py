"""What every detector must do, as plain functions: run them on a detector of your own with pytest or without.

Each case takes a function that makes a new detector and raises AssertionError where it breaks the contract; `CASES` has
them all.

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
    def test_my_detector(case):
        case(MyDetector)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from almenara.model.batch import Batch, Verdict
from almenara.model.series import SeriesTable, encode_key
from almenara.model.time import MINUTE_NS, NS
from almenara.plugin.contracts import Detector

Make = Callable[[], Detector]

START = 1_767_571_200 * NS
ROWS, SERIES = 4000, 3
COLUMNS = ("score", "yhat", "lower", "upper", "share", "cause")


def batch_of(table: SeriesTable, id: Any, time: Any, value: Any) -> Batch:
    """Rows as a detector gets them: ordered by (id, time)."""
    order = np.lexsort((time, id))
    return Batch(table, np.asarray(id, np.int32)[order], np.asarray(time)[order], np.asarray(value, float)[order])


def example() -> tuple[SeriesTable, Any, Any, Any]:
    """A table of series, and rows in order of time: id int32[n], time int64[n], value float64[n] with some NaN."""
    table = SeriesTable.of(encode_key("value", {"n": str(n)}) for n in range(SERIES))
    rng = np.random.default_rng(11)
    time = START + np.arange(ROWS) * MINUTE_NS
    value = 20 + 5 * np.sin(time / (86_400 * NS) * 2 * np.pi)[:, None] + rng.normal(size=(ROWS, SERIES))
    value[rng.integers(0, ROWS, 60), rng.integers(0, SERIES, 60)] += 30
    value[rng.integers(0, ROWS, 20), 1] = np.nan
    return table, np.tile(np.arange(SERIES, dtype=np.int32), ROWS), time.repeat(SERIES), value.ravel()


def _same(a: Verdict, b: Verdict) -> bool:
    return all(np.array_equal(getattr(a, c), getattr(b, c), equal_nan=True) for c in COLUMNS)


def _run(detector: Detector, sizes: Sequence[int]) -> dict[str, Any]:
    """Columns of the verdicts of the example, in its order, when stepped in batches of these sizes by turns."""
    table, id, time, value = example()
    out = {c: np.full(len(id), -7.0) for c in COLUMNS}
    at = turn = 0
    while at < len(id):
        part = np.arange(at, min(at + sizes[turn % len(sizes)], len(id)))
        order = part[np.lexsort((time[part], id[part]))]
        verdict = detector.step(batch_of(table, id[part], time[part], value[part]))
        for c in COLUMNS:
            out[c][order] = getattr(verdict, c)
        at, turn = at + len(part), turn + 1
    return out


def verdicts_have_the_columns_of_the_contract(make: Make) -> None:
    table, id, time, value = example()
    detector = make()
    verdict = detector.step(batch_of(table, id, time, value))
    for c in COLUMNS:
        column = getattr(verdict, c)
        assert len(column) == len(id), c
        assert column.dtype == (np.int16 if c == "cause" else np.float64), (c, column.dtype)
    assert verdict.cause.min() >= -1
    assert verdict.cause.max() < len(detector.causes)
    assert all(isinstance(c, str) and c for c in detector.causes)


def a_batch_of_no_rows_gives_a_verdict_of_no_rows(make: Make) -> None:
    none = np.zeros(0)
    assert len(make().step(batch_of(SeriesTable(), none, none.astype(np.int64), none))) == 0


def the_result_never_depends_on_how_rows_were_cut(make: Make) -> None:
    whole = _run(make(), [10**9])
    for sizes in ([1], [7], [1000], [1, 500, 13]):
        cut = _run(make(), sizes)
        for c in COLUMNS:
            assert np.array_equal(whole[c], cut[c], equal_nan=True), (c, sizes)


def look_judges_as_step_and_leaves_the_state(make: Make) -> None:
    table, id, time, value = example()
    detector, half = make(), len(id) // 2
    detector.step(batch_of(table, id[:half], time[:half], value[:half]))
    before = {k: v.tobytes() for k, v in detector.state().items()}
    batch = batch_of(table, id[half : half + SERIES], time[half : half + SERIES], value[half : half + SERIES])
    looked = detector.look(batch)
    assert {k: v.tobytes() for k, v in detector.state().items()} == before
    assert _same(looked, detector.step(batch))


def a_restored_state_goes_on_to_the_bit(make: Make) -> None:
    table, id, time, value = example()
    first, second, half = make(), make(), len(id) // 2
    first.step(batch_of(table, id[:half], time[:half], value[:half]))
    state = {k: np.array(v) for k, v in first.state().items()}
    second.restore(state)
    batch = batch_of(table, id[half:], time[half:], value[half:])
    assert _same(first.step(batch), second.step(batch))


def a_state_given_back_in_parts_goes_on_to_the_bit(make: Make) -> None:
    """A detector that has `part` and `restore_part` knows of each series what it knew when its part was taken."""
    table, id, time, value = example()
    first, second, half = make(), make(), len(id) // 2
    if not hasattr(first, "part"):
        return
    cuts, parts = np.array([half, half + SERIES * 7, half + SERIES * 20]), []  # each series a little later
    for n, (done, cut) in enumerate(pairwise([0, *cuts.tolist()])):
        first.step(batch_of(table, id[done:cut], time[done:cut], value[done:cut]))
        parts.append((n, {k: np.array(v) for k, v in first.part(n, n + 1).items()}))
    for n, arrays in reversed(parts):
        second.restore_part(n, arrays)  # type: ignore[attr-defined]
    late = np.arange(half, len(id))
    late = late[late >= cuts[id[late]]]
    said = second.step(batch_of(table, id[late], time[late], value[late]))
    whole = _run(make(), [10**9])
    order = late[np.lexsort((time[late], id[late]))]
    for c in COLUMNS:
        assert np.array_equal(getattr(said, c), whole[c][order], equal_nan=True), c


def a_state_of_something_else_is_refused(make: Make) -> None:
    try:
        make().restore({"nonsense": np.zeros(3)})
    except ValueError:
        return
    raise AssertionError("restore took arrays that are no state of this detector; expected ValueError")


def a_missing_value_is_not_judged(make: Make) -> None:
    table, id, time, value = example()
    batch = batch_of(table, id, time, value)
    verdict = make().step(batch)
    assert np.isnan(verdict.score[np.isnan(batch.value)]).all()


def a_score_of_one_and_the_band_say_the_same(make: Make) -> None:
    table, id, time, value = example()
    batch = batch_of(table, id, time, value)
    verdict = make().step(batch)
    ready = ~np.isnan(verdict.score)
    assert ready.any(), "no row was ever judged"
    score, inside = verdict.score[ready], batch.value[ready]
    outside = (inside < verdict.lower[ready]) | (inside > verdict.upper[ready])
    assert np.array_equal(score >= 1, outside)
    assert (verdict.lower[ready] <= verdict.yhat[ready]).all()
    assert (verdict.yhat[ready] <= verdict.upper[ready]).all()


def no_value_breaks_it(make: Make) -> None:
    extreme = [np.full(500, v) for v in (0.0, 1e300, -1e300, 5e-324, np.nan)]
    extreme += [np.tile([1e308, -1e308], 250), np.tile([5e-324, 1e300], 250), np.r_[1e300, np.ones(499)]]
    extreme += [np.r_[np.ones(250), np.full(250, 1e300)], np.linspace(-1, 1, 500) * 1e-310]
    time = START + np.arange(500) * MINUTE_NS
    for value in extreme:
        detector = make()
        verdict = detector.step(batch_of(SeriesTable(), np.zeros(500), time, value))
        ready = ~np.isnan(verdict.score)
        assert not ready[np.isnan(value)].any()
        for c in ("score", "yhat", "lower", "upper", "share"):
            assert np.isfinite(getattr(verdict, c)[ready]).all(), (c, value[:2])


CASES: tuple[Callable[[Make], None], ...] = (
    verdicts_have_the_columns_of_the_contract,
    a_batch_of_no_rows_gives_a_verdict_of_no_rows,
    the_result_never_depends_on_how_rows_were_cut,
    look_judges_as_step_and_leaves_the_state,
    a_restored_state_goes_on_to_the_bit,
    a_state_given_back_in_parts_goes_on_to_the_bit,
    a_state_of_something_else_is_refused,
    a_missing_value_is_not_judged,
    a_score_of_one_and_the_band_say_the_same,
    no_value_breaks_it,
)
