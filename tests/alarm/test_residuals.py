"""Residuals are the mean of each minute in half bands, however rows were cut into segments, for half a day."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alarm.book_case import Table
from almenara.alarm.residuals import KEPT, Residuals
from almenara.model.batch import Batch, Verdict
from almenara.model.time import MINUTE_NS, NS

_START = 29_000_000  # minutes
_row = st.tuples(st.integers(0, 3), st.integers(0, 1500 * 60), st.floats(-8, 8) | st.just(float("nan")))


def step(one: Residuals, rows: list[tuple[int, int, float]]) -> None:
    """(id, seconds, residual) as rows around 100 with a band of 5 to either side."""
    rows = sorted(rows, key=lambda row: row[:2])
    id = np.array([row[0] for row in rows], np.int32)
    time = _START * MINUTE_NS + np.array([row[1] for row in rows], np.int64) * NS
    value, at = 100 + 5 * np.array([row[2] for row in rows]), np.full(len(rows), 100.0)
    one.step(Batch(Table(4), id, time, value), Verdict(at * 0, at, at - 5, at + 5, at, np.zeros(len(rows), np.int16)))


@settings(max_examples=60, deadline=None)
@given(st.lists(_row, max_size=60, unique_by=lambda row: row[:2]), st.integers(1, 5), st.integers(0, 4))
def test_they_are_the_means_of_whole_minutes(rows: list[tuple[int, int, float]], parts: int, again: int) -> None:
    rows.sort(key=lambda row: row[1])
    one = Residuals(1.0)
    for k in range(parts):
        step(one, rows[k * len(rows) // parts : (k + 1) * len(rows) // parts])
        if k == again:
            saved, one = one.state(), Residuals(1.0)
            one.restore(saved)
    newest = max((second // 60 for _, second, _ in rows), default=0)
    found = one.of(np.arange(-1, 4), _START + newest + 1)
    assert np.isnan(found[0]).all()
    for id in range(4):
        mine = [(second // 60, min(max(far, -4.0), 4.0)) for i, second, far in rows if i == id and far == far]
        last = max((minute for minute, _ in mine), default=0)
        for back in range(KEPT):
            minute = newest - back
            expected = [far for at, far in mine if at == minute and minute < last]  # the last one is not over
            got = found[id + 1, KEPT - 1 - back]
            if expected:
                assert got == pytest.approx(sum(expected) / len(expected), abs=0.04)
            else:
                assert np.isnan(got)


def test_series_past_the_memory_are_not_kept() -> None:
    one = Residuals(2 * KEPT / 1e6)
    for minute in range(3):
        step(one, [(id, 60 * minute, 1.0) for id in range(4)])
    found = one.of(np.arange(4), _START + 2)
    assert (np.nanmax(found[:2], axis=1) == 1.0).all()
    assert np.isnan(found[2:]).all()
    assert one.state()["residual_ring"].shape == (KEPT, 2)


def test_rows_out_of_order_are_refused() -> None:
    at = np.full(2, _START * MINUTE_NS)
    full = np.ones(2)
    with pytest.raises(ValueError, match="in order of series"):
        Residuals(1.0).step(
            Batch(Table(2), np.array([1, 0], np.int32), at, full), Verdict(full, full, full - 1, full + 1, full, full)
        )
