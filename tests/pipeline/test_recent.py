"""What became of rows is told from what came lately, and the store is asked only where that cannot tell."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.naive import became as naive_became

from almenara.model.batch import Batch
from almenara.pipeline import recent
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.order import sort_rows
from almenara.pipeline.recent import Accountant, Recent, locate
from almenara.pipeline.segment import Columns, Rows, Segment
from almenara.stores.memory import Memory

Row = tuple[int, int, float]


class House:
    """A store, and an accountant before it."""

    def __init__(self) -> None:
        self.store, self.index, self.seq = Memory(), SeriesIndex(), 0
        keys = [b"s%d" % n for n in range(50)]
        self.index.add(keys)
        self.store.add_series(0, keys)
        self.accountant = Accountant(self.index, self.store)

    def take(self, rows: list[Row], *, counted: bool = True) -> tuple[list[int], list[int], list[int]]:
        """Count rows, and store them."""
        self.seq += 1
        id, time = np.array([r[0] for r in rows], np.int32), np.array([r[1] for r in rows], np.int64)
        columns = Rows(id, time, np.array([r[2] for r in rows]))
        segment = Segment(self.seq, 0, Columns(len(rows)))
        segment.put([columns])
        batch = Batch(self.index, *sort_rows(id, time, columns.value))
        found = self.accountant.became(segment, batch) if counted else None
        self.store.append(batch, self.seq)
        self.accountant.stored(segment)
        if found is None:
            return [], [], []
        return tuple(sorted(c.tolist()) for c in (found.duplicate, found.overwritten, found.late))  # type: ignore[return-value]

    def stored(self) -> dict[tuple[int, int], float]:
        id, time, value, _ = (c.tolist() for c in self.store._columns)
        return {(i, t): v for i, t, v in zip(id, time, value, strict=True)}


@pytest.mark.parametrize("seed", range(25))
def test_it_tells_what_looking_at_every_row_tells(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    monkeypatch.setattr(recent, "SEGMENTS", int(rng.integers(1, 5)))
    monkeypatch.setattr(recent, "ROWS", int(rng.integers(1, 200)))
    house = House()
    for at in range(25):
        n = int(rng.integers(1, 40))
        id, late = rng.integers(3, 3 + seed % 7 + 1, n), rng.choice([0, 1, 2, 5, 60], n)
        value = rng.choice([0.0, 1.0, math.nan], n)
        rows = list(zip(id.tolist(), (at * 5 + rng.integers(0, 5, n) - late).tolist(), value.tolist(), strict=True))
        expected = naive_became(rows, house.stored())
        if rng.random() < 0.1:
            house.take(rows, counted=False)  # as a segment that a former run counted
        else:
            assert house.take(rows) == expected


def test_rows_a_little_late_are_told_without_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "SEGMENTS", 4)
    house = House()
    house.take([(n, 0, 1.0) for n in range(20)])
    for step in range(1, 30):
        house.take([(n, step * 10, 1.0) for n in range(20)])
        duplicate, overwritten, late = house.take(
            [(n, step * 10 - 5, 1.0) for n in range(10)] + [(n, step * 10, 1.0 + n % 2) for n in range(10, 20)]
        )
        assert (len(duplicate), len(overwritten), len(late)) == (5, 5, 10)
    assert house.accountant.asked == 0
    house.take([(0, -100, 1.0)])
    assert house.accountant.asked == 1


def test_a_times_place_is_found_and_what_makes_no_sense_is_refused() -> None:
    time = np.array([1, 3, 5, 2, 4], np.int64)
    found = locate(time, np.array([0, 0, 3, 3, 3]), np.array([3, 3, 5, 5, 3]), np.array([5, 4, 2, 9, 2]))
    assert found.tolist() == [2, -1, 3, -1, -1]
    for start, end in (([0], [6]), ([-1], [2]), ([0, 1], [2])):
        with pytest.raises(ValueError, match=r"differ in length|ranges from"):
            locate(time, np.array(start), np.array(end), np.array([1]))
    known, there, _ = Recent().find(np.array([1], np.int32), np.array([1]))
    assert (known.tolist(), there.tolist()) == ([False], [False])
