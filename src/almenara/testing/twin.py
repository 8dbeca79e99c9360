"""A store of one dict, slow and obvious, and what the cases of `almenara.testing.stores` are written with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from almenara.model.batch import Batch
from almenara.model.series import SeriesTable, encode_key
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS
from almenara.plugin.contracts import Selection, Store, StoreReader

Row = tuple[int, int, float]  # id, time in ns, value

NOW = 1_760_000_000 * NS
LOWEST, HIGHEST = -(1 << 62), (1 << 63) - 1


class Twin:
    """The contract in one dict: (id, time) -> (seq, value). Slow and obvious."""

    def __init__(self) -> None:
        self.rows: dict[tuple[int, int], tuple[int, float]] = {}

    def append(self, rows: Iterable[Row], seq: int) -> None:
        for id, time, value in rows:
            if seq >= self.rows.get((id, time), (-1, 0.0))[0]:
                self.rows[id, time] = (seq, value)

    def read(self, ids: Sequence[int], start: int, end: int, since_seq: int = -1) -> list[Row]:
        wanted = set(ids)
        found = ((id, time, *self.rows[id, time]) for id, time in sorted(self.rows) if id in wanted)
        return [(id, time, value) for id, time, seq, value in found if start <= time < end and seq > since_seq]

    def groups(self, ids: Sequence[int], start: int, end: int, every_ns: int) -> dict[tuple[int, int], list[float]]:
        """The numbers of each bucket that has some, in order of time."""
        groups: dict[tuple[int, int], list[float]] = {}
        for id, time, value in self.read(ids, start, end):
            if not math.isnan(value):
                groups.setdefault((id, time // every_ns * every_ns), []).append(value)
        return groups

    def last(self, ids: Sequence[int], before: int = HIGHEST) -> list[Row]:
        newest = {row[0]: row for row in self.read(ids, LOWEST, before)}
        return [newest[id] for id in sorted(newest)]

    def delete(self, ids: Sequence[int] | None, start: int, end: int) -> int:
        gone = [key for key in self.rows if (ids is None or key[0] in set(ids)) and start <= key[1] < end]
        for key in gone:
            del self.rows[key]
        return len(gone)


_REDUCE: dict[str, Callable[[list[float]], float]] = {
    "avg": lambda values: math.fsum(values) / len(values),
    "min": min,
    "max": max,
    "sum": math.fsum,
    "count": lambda values: float(len(values)),
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
}


# --- helpers ----------------------------------------------------------------------------------------------------------


def table_of(n: int) -> SeriesTable:
    """n series."""
    return SeriesTable.of(encode_key("m", {"n": f"{i:07d}"}) for i in range(n))


def batch_of(rows: Iterable[Row], table: SeriesTable | None = None) -> Batch:
    """Rows as a store gets them: sorted by (id, time), each once, the later one kept."""
    kept = sorted({(id, time): value for id, time, value in rows}.items())
    id = np.array([key[0] for key, _ in kept], np.int32)
    time = np.array([key[1] for key, _ in kept], np.int64)
    return Batch(table or SeriesTable(), id, time, np.array([value for _, value in kept], np.float64))


def select(ids: Iterable[int], table: SeriesTable | None = None) -> Selection:
    """These ids."""
    return Selection(table or SeriesTable(), np.array(sorted(ids), np.int32))


def rows_of(batch: Batch) -> list[Row]:
    """A batch as a list."""
    return list(
        zip(
            np.asarray(batch.id).tolist(),
            np.asarray(batch.time).tolist(),
            np.asarray(batch.value).tolist(),
            strict=True,
        )
    )


def bits(rows: Iterable[Row]) -> list[tuple[int, int, str]]:
    """Rows that are equal when they are equal to the bit, NaN included."""
    return [(id, time, value.hex()) for id, time, value in rows]


def same(found: Batch, expected: Sequence[Row], *, exact: bool = True) -> None:
    """Raise AssertionError unless `found` is `expected`: to the bit, or up to the order of additions."""
    rows = rows_of(found)
    if exact:
        assert bits(rows) == bits(expected)
        return
    assert [row[:2] for row in rows] == [row[:2] for row in expected]
    np.testing.assert_allclose([r[2] for r in rows], [r[2] for r in expected], rtol=1e-12, atol=1e-9)


def random_rows(seed: int, n: int, ids: int, span_ns: int, *, nan: float = 0.05) -> list[Row]:
    """n rows at irregular times of the last `span_ns`, a few NaN among them."""
    rng = np.random.default_rng(seed)
    times = NOW - rng.integers(0, span_ns, n)
    values = np.where(rng.random(n) < nan, np.nan, rng.normal(20, 5, n))
    return list(zip(rng.integers(0, ids, n).tolist(), times.tolist(), values.tolist(), strict=True))


def fill(store: Store, twin: Twin, rows: Sequence[Row], seq: int) -> None:
    store.append(batch_of(rows), seq)
    twin.append([(i, t, v) for i, t, v in rows_of(batch_of(rows))], seq)


def same_everywhere(reader: StoreReader, twin: Twin, ids: Sequence[int]) -> None:
    """All rows, the last ones, and narrow to daily buckets with ragged ends."""
    same(reader.read(select(ids), LOWEST, HIGHEST), twin.read(ids, LOWEST, HIGHEST))
    same(reader.last(select(ids)), twin.last(ids))
    start, end = NOW - 9 * DAY_NS + 17, NOW - HOUR_NS // 3
    for every_ns in (MINUTE_NS, 5 * MINUTE_NS, 30 * MINUTE_NS, HOUR_NS, DAY_NS):
        groups = twin.groups(ids, start, end, every_ns).items()
        for how in _REDUCE if every_ns in (30 * MINUTE_NS, HOUR_NS) else ("avg", "last"):
            expected = [(id, time, _REDUCE[how](values)) for (id, time), values in groups]
            same(reader.read(select(ids), start, end, every_ns, how), expected, exact=how not in ("avg", "sum"))
