"""Segments keep rows as they came, and hand them over sorted, each (series, time) once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.naive import sort_rows as naive_sort_rows

from almenara.pipeline.order import sort_rows
from almenara.pipeline.segment import Columns, Rows, Segment, create_file, path_of, read_file


@pytest.mark.parametrize("series", [1, 7, 100_000])
def test_rows_are_sorted_and_the_last_of_equals_stays(series: int) -> None:
    rng = np.random.default_rng(series)
    for n in (0, 1, 2, 50, 1000):
        id = rng.integers(0, series, n).astype(np.int32)
        time = rng.integers(0, 30, n).astype(np.int64)
        value = rng.normal(size=n)
        expected = naive_sort_rows(id.tolist(), time.tolist(), value.tolist())
        assert list(zip(*(c.tolist() for c in sort_rows(id, time, value)), strict=True)) == expected


@pytest.mark.parametrize("rows", [5, 600])
def test_rows_of_two_senders_that_are_not_in_step_are_sorted(rows: int) -> None:
    """Bodies of `rows` rows a series, of which each other one came before the one before it; one came twice."""
    rng, bodies = np.random.default_rng(rows), [1, 0, 3, 2, 3, 5, 4, 4 + 1, 6]
    id = np.tile(np.arange(3, dtype=np.int32), rows * len(bodies))
    time = np.concatenate([np.repeat(np.arange(rows) + rows * body, 3) for body in bodies])
    value = rng.normal(size=len(id))
    expected = naive_sort_rows(id.tolist(), time.tolist(), value.tolist())
    assert list(zip(*(c.tolist() for c in sort_rows(id, time, value)), strict=True)) == expected


def test_unequal_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        sort_rows(np.zeros(3, np.int32), np.zeros(2, np.int64), np.zeros(3))


def test_a_segment_is_read_back_from_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    parts = [
        Rows(rng.integers(0, 9, n).astype(np.int32), rng.integers(0, 99, n), rng.normal(size=n), bus, offset)
        for n, bus, offset in ((3, "", -1), (0, "nats", 17), (5, "nats", 18), (100, "", -1))
    ]
    segment = Segment(7, 123, Columns(200), {"nats": 16, "other": 1})
    writer = create_file(tmp_path, segment)
    writer.append([(rows.buffers(), rows.offset) for rows in parts])
    segment.put(parts)
    writer.close()
    read = read_file(path_of(tmp_path, 7))
    assert read is not None
    found, offsets, torn = read
    assert (found.seq, found.opened_ns, found.n, torn) == (7, 123, 108, 0)
    assert offsets == {"nats": 18, "other": 1}
    for mine, theirs in zip(found.sorted(), segment.sorted(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
