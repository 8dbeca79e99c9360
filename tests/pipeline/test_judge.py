"""Judging: of several detectors the highest score counts, and rows that no detector selects say nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from almenara.model.batch import Batch, Verdict
from almenara.model.series import encode_key
from almenara.pipeline.counters import Counters
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.judge import Judge, Watch
from almenara.pipeline.relearn import CHUNK_ROWS, packed
from almenara.query import parse_selector


class Says:
    """A detector that gives every row one score."""

    causes = ("said so",)

    def __init__(self, score: float):
        self.score = score

    def step(self, batch: Batch) -> Verdict:
        score, yhat, lower, upper = np.full((4, len(batch)), self.score)
        return Verdict(score, yhat, lower, upper, np.ones(len(batch)), np.zeros(len(batch), np.int16))


def judge(*watches: tuple[str, str, float]) -> Judge:
    index = SeriesIndex()
    index.add([encode_key("m", {"n": str(n)}) for n in range(4)])
    made = [
        Watch(name, tuple(parse_selector(of)) if of else (), lambda s=score: Says(s)) for name, of, score in watches
    ]
    return Judge(index, made, Counters())


def rows(judge: Judge, *times: int) -> Batch:
    n = len(times)
    return Batch(judge._index, np.arange(n, dtype=np.int32), np.array(times, np.int64), np.ones(n))


def test_the_highest_score_counts() -> None:
    for order in ((0.5, 2.0), (2.0, 0.5)):
        one = judge(("a", "", order[0]), ("b", '{n=~"1|2"}', order[1]))
        verdict, made = one.step(rows(one, 5, 5, 5, 5))
        outside = order[0]
        assert verdict.score.tolist() == [outside, 2.0, 2.0, outside]
        assert sum(map(len, made)) == 4 * (2 if order[1] == 2.0 else 4)


def test_causes_of_all_detectors_are_told_apart() -> None:
    one = judge(("a", "", 0.5), ("b", '{n=~"1|2"}', 2.0))
    verdict, _ = one.step(rows(one, 5, 5, 5, 5))
    assert [one.causes.detectors[cause] for cause in verdict.cause] == ["a", "b", "b", "a"]


def test_what_each_of_several_detectors_said_is_kept_apart() -> None:
    one = judge(("a", "", 2.0), ("b", '{n=~"1|2"}', 1.5), ("c", '{n="nothing"}', 9.0))
    for turn, nth in ((5, 1), (6, 2)):
        verdict, _ = one.step(rows(one, turn, turn, turn, turn))
        assert verdict.by("a").score.tolist() == [2.0] * 4
        np.testing.assert_array_equal(verdict.by("b").score, [np.nan, 1.5, 1.5, np.nan])
        assert verdict.by("b").nth.tolist() == [0, nth, nth, 0], "it begins once"
        assert np.isnan(verdict.by("c").score).all()
        assert [one.causes.detectors[cause] for cause in np.asarray(verdict.by("b").cause)[1:3]] == ["b", "b"]


def test_of_one_detector_there_is_one_verdict() -> None:
    one = judge(("a", "", 2.0))
    verdict, _ = one.step(rows(one, 5, 5))
    assert verdict.by("a") is verdict


def test_rows_that_nobody_selects_say_nothing() -> None:
    one = judge(("b", '{n="1"}', 0.5))
    verdict, made = one.step(rows(one, 5, 5, 5))
    np.testing.assert_array_equal(verdict.score, [np.nan, 0.5, np.nan])
    assert made == []


def test_late_rows_are_counted_and_not_judged() -> None:
    one = judge(("a", "", 0.5))
    one.step(rows(one, 5, 5))
    verdict, _ = one.step(rows(one, 5, 6))
    np.testing.assert_array_equal(verdict.score, [np.nan, 0.5])
    assert one._counters.value("almenara_rows_late_total") == 1


def test_the_first_row_back_under_the_limit_is_told_too() -> None:
    one = judge(("a", "", 2.0))
    one.step(rows(one, 5))
    one.detectors["a"].score = 0.5  # type: ignore[attr-defined]
    _, made = one.step(rows(one, 6))
    assert [len(b) for b in made] == [4]
    assert one.step(rows(one, 7))[1] == []


def test_a_verdict_of_another_length_takes_its_detector_out_of_service() -> None:
    one = judge(("a", "", 0.5))
    said = one.detectors["a"].step(rows(one, 1, 1))
    one.detectors["a"].step = lambda batch: said  # type: ignore[method-assign]
    verdict, _ = one.step(rows(one, 5))
    assert np.isnan(verdict.score).all()
    assert "score of 2 rows for 1" in one.problems["a"]


def test_relearning_reads_in_pieces_of_a_bounded_size() -> None:
    id = np.array([0, 0, 1, 2, 3, 3, 3], np.int32)
    day = np.array([1, 2, 1, 1, 1, 2, 3], np.int64)
    many = np.array([0.4, 0.2, 0.3, 0.3, 0.6, 0.6, 0.3]) * CHUNK_ROWS
    found = [(ids.tolist(), since) for ids, since in packed(id, day, many, -7)]
    assert found == [([0, 1], -7), ([3], 2), ([2], -7)]
    assert list(packed(id[:0], day[:0], many[:0], 0)) == []


def test_series_that_come_while_rows_are_judged_do_no_harm() -> None:
    one = judge(("a", "", 2.0), ("b", '{n="1"}', 3.0))
    for selector in one._selectors.values():
        mask = selector.mask

        def grows(mask: Callable[[], np.ndarray] = mask) -> np.ndarray:
            one._index.add([b"new" + bytes(str(len(one._index)), "ascii")])
            return mask()

        selector.mask = grows  # type: ignore[method-assign]
    verdict, _ = one.step(rows(one, 5, 5, 5, 5))
    assert verdict.score.tolist() == [2.0, 3.0, 2.0, 2.0]
    assert one.selected("b").tolist() == [1]
