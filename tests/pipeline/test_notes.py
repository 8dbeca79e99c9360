"""Notes of a commit come back from the log as they were, and follow what admission turns away."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from almenara.model.batch import Event
from almenara.pipeline.notes import BEST_EFFORT, HUB, Key, Notes
from almenara.pipeline.segment import Columns, Rows, Segment, create_file, path_of, read_file

FULL = Notes(
    np.array([3, 4 | int(BEST_EFFORT), 3], np.int32), np.array([2, 0, 3], np.int32), 77, ((4, "undecodable", 1),),
    ((9, "refused", 5),), ((3, Event(5, (("app", "cron"),), "job — ended")),), Key(b"d" * 16, b"f" * 8, b"[1]"),
)  # fmt: skip


def same(one: Notes, other: Notes) -> bool:
    words = ("received_ns", "rejected", "dropped", "events", "key")
    columns = ("source", "rows")
    return all(getattr(one, w) == getattr(other, w) for w in words) and all(
        np.array_equal(getattr(one, c), getattr(other, c)) for c in columns
    )


def rows(n: int, notes: Notes | None) -> Rows:
    return Rows(np.arange(n, dtype=np.int32), np.arange(n), np.ones(n), "nats", 5, notes)


def test_notes_come_back_from_the_log(tmp_path: Path) -> None:
    parts = [rows(5, FULL), rows(0, Notes.of(1, 0, 9)), rows(2, Notes.of(7, 2, 8)), rows(4, None)]
    segment = Segment(7, 123, Columns(20))
    writer = create_file(tmp_path, segment)
    writer.append([(one.buffers(), one.offset) for one in parts])
    segment.put(parts)
    writer.close()
    read = read_file(path_of(tmp_path, 7))
    assert read is not None
    found = read[0]
    assert (found.n, found.events) == (11, 1)
    expected = [FULL, Notes.of(1, 0, 9), Notes.of(7, 2, 8), Notes.of(HUB, 4, 123)]  # the last one as in an old log
    assert all(same(*pair) for pair in zip(found.notes, expected, strict=True))
    np.testing.assert_array_equal(found.columns.id[:11], [0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 3])


def test_rows_that_are_turned_away_are_those_of_their_source() -> None:
    notes = Notes(np.array([3, 4 | int(BEST_EFFORT), 3, 5], np.int32), np.array([2, 2, 0, 3], np.int32))
    left = notes.without([("future", np.array([0, 2, 3])), ("no_clock", np.array([6]))])
    assert left.rows.tolist() == [1, 0, 0, 2]
    assert left.rejected == ((3, "future", 1), (4, "future", 2), (5, "no_clock", 1))
    one = Notes.of(3, 5).without([("future", np.array([0, 2]))])
    assert (one.rows.tolist(), one.rejected) == ([3], ((3, "future", 2),))
    assert notes.without([]) is notes
