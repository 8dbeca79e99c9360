"""What every store must do, as plain functions: run them on a store of your own with pytest or without.

Each case takes an empty store and raises AssertionError where it breaks the contract; `CASES` has them all. Those in
`DURABLE_CASES` take a function that opens the same store again. Answers are compared with `almenara.testing.twin`.

    @pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
    def test_my_store(case, tmp_path):
        case(MyStore(tmp_path))
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from almenara.model.batch import Batch, Event
from almenara.model.errors import StoreError
from almenara.model.series import SeriesTable
from almenara.model.time import DAY_NS, HOUR_NS, MINUTE_NS, NS
from almenara.plugin.contracts import Selection, Store
from almenara.testing.twin import (
    HIGHEST,
    LOWEST,
    NOW,
    Twin,
    batch_of,
    fill,
    random_rows,
    rows_of,
    same,
    same_everywhere,
    select,
    table_of,
)

# --- rows -------------------------------------------------------------------------------------------------------------


def rows_come_back_in_order_whatever_the_order_of_appends(store: Store) -> None:
    twin, rows = Twin(), random_rows(1, 3000, 7, 3 * DAY_NS)
    for seq in (5, 2, 9, 1, 7):
        fill(store, twin, rows[seq * 300 : seq * 300 + 300], seq)
    same_everywhere(store.reader(), twin, range(7))


def last_write_wins(store: Store) -> None:
    reader = store.reader()
    for seq, value in ((3, 1.0), (7, 2.0), (5, 3.0)):  # 5 comes last and loses: the higher seq wins, not the later call
        store.append(batch_of([(0, NOW, value), (seq, NOW, value)]), seq)
    same(reader.read(select([0]), LOWEST, HIGHEST), [(0, NOW, 2.0)])
    same(reader.last(select([0, 5])), [(0, NOW, 2.0), (5, NOW, 3.0)])
    same(reader.read(select([0]), LOWEST, HIGHEST, HOUR_NS, "count"), [(0, NOW // HOUR_NS * HOUR_NS, 1.0)])


def overwritten_rows_count_once_in_every_bucket(store: Store) -> None:
    twin = Twin()
    times = [NOW - k * 20 * NS for k in range(500)]
    rng = np.random.default_rng(2)
    for seq in range(1, 7):
        rows = [(int(rng.integers(0, 3)), t, float(rng.choice([np.nan, rng.normal()]))) for t in times]
        fill(store, twin, rows, seq)
    same_everywhere(store.reader(), twin, range(3))


def a_nan_replaces_a_number(store: Store) -> None:
    store.append(batch_of([(0, NOW, 1.0)]), 1)
    store.append(batch_of([(0, NOW, math.nan)]), 2)
    reader = store.reader()
    same(reader.read(select([0]), NOW, NOW + 1), [(0, NOW, math.nan)])
    same(reader.last(select([0])), [(0, NOW, math.nan)])
    same(reader.read(select([0]), LOWEST, HIGHEST, HOUR_NS, "sum"), [])


def the_same_seq_again_does_nothing(store: Store) -> None:
    twin, rows = Twin(), random_rows(3, 500, 4, DAY_NS)
    fill(store, twin, rows[:250], 1)
    fill(store, twin, rows[250:], 2)
    store.append(batch_of(rows[:250]), 1)
    store.append(batch_of(rows[250:]), 2)
    same_everywhere(store.reader(), twin, range(4))


def unsorted_or_doubled_rows_are_refused_whole(store: Store) -> None:
    table = SeriesTable()
    bad = {
        "ids fall": ([1, 0], [NOW, NOW]),
        "times fall": ([0, 0], [NOW, NOW - 1]),
        "a row twice": ([0, 0], [NOW, NOW]),
        "negative id": ([-1, 0], [NOW, NOW]),
    }
    for why, (id, time) in bad.items():
        batch = Batch(table, np.array(id, np.int32), np.array(time, np.int64), np.zeros(2))
        try:
            store.append(batch, 1)
        except StoreError:
            continue
        raise AssertionError(f"taken, though {why}")
    same(store.reader().read(select([0, 1]), LOWEST, HIGHEST), [])
    store.append(batch_of([(0, NOW, 1.0)]), 1)  # a refused seq is not used up
    same(store.reader().read(select([0, 1]), LOWEST, HIGHEST), [(0, NOW, 1.0)])


def values_come_back_bit_for_bit(store: Store) -> None:
    odd = [0.0, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, math.nan, math.inf, -math.inf, -1e-300, 2.0**53 + 2]
    rng = np.random.default_rng(4)
    noise = rng.integers(1, 0x7FEF_FFFF_FFFF_FFFF, 2000).view(np.float64).tolist()
    rows = [(0, NOW + k, value) for k, value in enumerate(odd + noise)]
    store.append(batch_of(rows), 1)
    same(store.reader().read(select([0]), LOWEST, HIGHEST), rows)


def times_are_exact_to_the_ns_from_1971_to_2262(store: Store) -> None:
    times = [365 * DAY_NS, 365 * DAY_NS + 1, NOW - 3 * 365 * DAY_NS, NOW, NOW + 1, NOW + 2, 9_223_372_036_000_000_001]
    rows = [(0, time, float(k)) for k, time in enumerate(times)]
    store.append(batch_of(rows), 1)
    same(store.reader().read(select([0]), LOWEST, HIGHEST), rows)


def ranges_are_closed_at_the_start_and_open_at_the_end(store: Store) -> None:
    store.append(batch_of([(0, NOW + k, float(k)) for k in range(5)]), 1)
    reader = store.reader()
    same(reader.read(select([0]), NOW + 1, NOW + 3), [(0, NOW + 1, 1.0), (0, NOW + 2, 2.0)])
    same(reader.read(select([0]), NOW + 1, NOW + 3, 10, "sum"), [(0, NOW, 3.0)])
    same(reader.read(select([0]), NOW + 3, NOW + 3), [])
    same(reader.read(select([0]), NOW + 3, NOW + 1), [])


def a_sample_three_years_old_is_kept(store: Store) -> None:
    old = NOW - 3 * 365 * DAY_NS
    store.append(batch_of([(0, NOW, 1.0)]), 1)
    store.append(batch_of([(0, old, 2.0)]), 2)
    store.maintain()
    reader = store.reader()
    same(reader.read(select([0]), LOWEST, HIGHEST), [(0, old, 2.0), (0, NOW, 1.0)])
    same(reader.last(select([0])), [(0, NOW, 1.0)])


def twelve_years_shuffled_come_back_whole(store: Store) -> None:
    twin, rows = Twin(), random_rows(5, 4000, 5, 12 * 365 * DAY_NS)
    for seq in range(2):
        fill(store, twin, rows[seq * 2000 : seq * 2000 + 2000], seq + 1)
    store.maintain()
    store.maintain()
    same_everywhere(store.reader(), twin, range(5))


def one_row_a_month_for_fifty_years(store: Store) -> None:
    months = np.arange("1971-01", "2021-01", dtype="datetime64[M]").astype("datetime64[ns]").astype(np.int64)
    rows = [(0, int(time), float(k)) for k, time in enumerate(months)]
    store.append(batch_of(rows), 1)
    reader = store.reader()
    same(reader.read(select([0]), 0, NOW), rows)
    same(reader.last(select([0]), before=int(months[7])), [rows[6]])
    # Nothing is made up between two months.
    same(reader.read(select([0]), int(months[3]), int(months[5]), DAY_NS, "avg"), [
        (0, int(t) // DAY_NS * DAY_NS, v) for (_, t, v) in rows[3:5]
    ])  # fmt: skip


def a_hundred_thousand_series_in_one_batch(store: Store) -> None:
    n = 100_000
    table, id = table_of(n), np.arange(n, dtype=np.int32)
    store.add_series(0, table.keys)
    value = np.random.default_rng(6).normal(size=n)
    store.append(Batch(table, id, np.full(n, NOW), value), 1)
    reader = store.reader()
    for batch in (reader.read(Selection(table, id), NOW, NOW + 1), reader.last(Selection(table, id))):
        assert np.array_equal(batch.id, id)
        assert np.array_equal(batch.value, value)
    some = np.sort(np.random.default_rng(7).permutation(n)[:10_000]).astype(np.int32)
    assert np.array_equal(reader.read(Selection(table, some), NOW, NOW + 1).value, value[some])
    assert [key for chunk in store.series_keys() for key in chunk] == table.keys


def nothing_selected_or_given_is_nothing(store: Store) -> None:
    store.append(batch_of([]), 1)
    store.append(batch_of([(1, NOW, 1.0)]), 2)
    reader, table = store.reader(), table_of(1)
    for ids in ([], [0], [7, 9]):
        for batch in (
            reader.read(select(ids, table), LOWEST, HIGHEST),
            reader.read(select(ids, table), LOWEST, HIGHEST, HOUR_NS, "avg"),
            reader.last(select(ids, table)),
            reader.last(select(ids, table), before=HIGHEST),
        ):
            assert rows_of(batch) == []
            assert batch.series is table
    assert store.delete(select([]), LOWEST, HIGHEST) == 0
    same(reader.read(select([0, 1]), LOWEST, HIGHEST), [(1, NOW, 1.0)])


def since_seq_gives_only_what_came_later(store: Store) -> None:
    twin, rows = Twin(), random_rows(8, 1200, 5, 2 * DAY_NS)
    for seq in (4, 1, 3, 2):
        fill(store, twin, rows[: seq * 300], seq)
    reader = store.reader()
    for seq in (-1, 0, 1, 2, 3, 4, 9):
        found = reader.read(select(range(5)), LOWEST, HIGHEST, since_seq=seq)
        same(found, twin.read(range(5), LOWEST, HIGHEST, since_seq=seq))


def until_seq_leaves_out_what_came_later(store: Store) -> None:
    rows = {seq: [(seq % 3, NOW + seq * MINUTE_NS, float(seq))] for seq in range(1, 7)}
    twin = Twin()
    for seq, some in rows.items():
        fill(store, twin, some, seq)
    reader = store.reader()
    for since, until in ((0, 3), (2, 4), (3, 3), (-1, 9)):
        found = reader.read(select(range(5)), LOWEST, HIGHEST, since_seq=since, until_seq=until)
        same(found, sorted(row for seq, some in rows.items() if since < seq <= until for row in some))


def last_before_looks_as_far_back_as_needed(store: Store) -> None:
    twin, rows = Twin(), [(k, NOW - k**5 * MINUTE_NS, float(k)) for k in range(20)]
    fill(store, twin, rows, 1)
    fill(store, twin, random_rows(9, 500, 20, 40 * DAY_NS), 2)
    reader = store.reader()
    for before in (NOW + 1, NOW, NOW - 7 * HOUR_NS, NOW - 20 * DAY_NS, NOW - 41 * DAY_NS, NOW - 500 * DAY_NS):
        same(reader.last(select(range(20)), before), twin.last(range(20), before))
        same(reader.last(select([3, 4, 11]), before), twin.last([3, 4, 11], before))


def exactly_the_rows_that_are_asked_for_are_found(store: Store) -> None:
    twin, rows = Twin(), random_rows(11, 2000, 5, 3 * DAY_NS)
    fill(store, twin, rows[:1200], 1)
    fill(store, twin, rows[1000:], 2)
    reader, table = store.reader(), SeriesTable()
    asked = sorted({(id, time) for id, time, _ in rows[::3]} | {(id + 1, time) for id, time, _ in rows[::7]} | {(9, 1)})
    for some in (asked, asked[:1], asked[5:6], [], [(9, 1)], asked):
        id, time = np.array([i for i, _ in some], np.int32), np.array([t for _, t in some], np.int64)
        there = [(i, t, twin.rows[i, t][1]) for i, t in some if (i, t) in twin.rows]
        same(reader.find(table, id, time), there)
    try:
        reader.find(table, np.array([1, 0], np.int32), np.array([NOW, NOW]))
    except StoreError:
        return
    raise AssertionError("taken, though not in order")


def a_bucket_that_makes_no_sense_is_an_error(store: Store) -> None:
    store.append(batch_of([(0, NOW, 1.0)]), 1)
    reader = store.reader()
    for every_ns, how in ((0, "avg"), (-5, "avg"), (HOUR_NS, "median"), (HOUR_NS, "")):
        try:
            reader.read(select([0]), LOWEST, HIGHEST, every_ns, how)
        except StoreError:
            continue
        raise AssertionError(f"every_ns={every_ns}, how={how!r} was answered")


# --- rollups ----------------------------------------------------------------------------------------------------------


def late_and_overwritten_rows_repair_what_was_rolled_up(store: Store) -> None:
    twin, rows = Twin(), random_rows(10, 4000, 4, 10 * DAY_NS)
    fill(store, twin, rows[:3000], 1)
    reader = store.reader()
    for seq, part in enumerate((rows[3000:3400], [(i, t, -v) for i, t, v in rows[:300]], rows[3400:]), start=2):
        store.maintain()
        store.maintain()
        same_everywhere(reader, twin, range(4))
        fill(store, twin, part, seq)
        same_everywhere(reader, twin, range(4))
    # A bucket whose only number became NaN is empty.
    hour = [(i, t, math.nan) for i, t, _ in twin.read([1], NOW - 5 * DAY_NS, NOW - 4 * DAY_NS)]
    fill(store, twin, hour, 9)
    store.maintain()
    store.maintain()
    same_everywhere(reader, twin, [1, 3])


# --- deleting ---------------------------------------------------------------------------------------------------------


def deleted_rows_are_gone_at_once(store: Store) -> None:
    twin, rows = Twin(), random_rows(11, 3000, 4, 100 * DAY_NS)
    fill(store, twin, rows[:2000], 1)
    fill(store, twin, [(i, t, v + 1) for i, t, v in rows[:1000]], 2)
    store.maintain()
    store.maintain()
    reader = store.reader()
    for ids, start, end in (
        ([1, 3], NOW - 20 * DAY_NS + 5, NOW - 3 * DAY_NS),
        (None, NOW - 8 * DAY_NS, NOW - 7 * DAY_NS - HOUR_NS // 2),
        ([0], NOW - 30 * DAY_NS, NOW + 1),
        (None, -(1 << 63), NOW - 50 * DAY_NS),
    ):
        chosen = None if ids is None else select(ids)
        assert store.delete(chosen, start, end) == twin.delete(ids, start, end)
        same_everywhere(reader, twin, range(4))
        assert store.delete(chosen, start, end) == 0
    fill(store, twin, rows[1500:], 3)  # rows may come again, under a new seq
    store.maintain()
    store.maintain()
    same_everywhere(reader, twin, range(4))


def everything_can_be_deleted(store: Store) -> None:
    rows = random_rows(12, 300, 3, 400 * DAY_NS)
    store.append(batch_of(rows), 1)
    assert store.delete(None, LOWEST, HIGHEST) == len({(i, t) for i, t, _ in rows})
    reader = store.reader()
    same(reader.read(select(range(3)), LOWEST, HIGHEST), [])
    same(reader.last(select(range(3))), [])
    store.append(batch_of([(0, NOW, 1.0)]), 2)
    same(reader.last(select(range(3))), [(0, NOW, 1.0)])


# --- series and events ------------------------------------------------------------------------------------------------


def series_keys_come_back_in_the_order_of_their_ids(store: Store) -> None:
    keys = [bytes([k % 251, 0xFF, 0xFE, k // 251]) + b"\x00\n\t'\\" for k in range(1000)]
    store.add_series(0, keys[:10])
    store.add_series(10, keys[10:700])
    store.add_series(0, keys[:700])  # again: nothing
    store.add_series(650, keys[650:])  # some again, some new
    store.add_series(1000, [])
    assert [key for chunk in store.series_keys() for key in chunk] == keys


def an_id_keeps_its_key(store: Store) -> None:
    store.add_series(0, [b"a", b"b"])
    for first, keys in ((1, [b"c"]), (0, [b"x", b"b", b"c"]), (3, [b"d"])):
        try:
            store.add_series(first, keys)
        except StoreError:
            continue
        raise AssertionError(f"{keys} were taken as ids from {first}")
    assert [key for chunk in store.series_keys() for key in chunk] == [b"a", b"b"]


def events_come_back_newest_first(store: Store) -> None:
    events = [
        Event(NOW + k // 2, (("host", f"h{k}"), ("note", "ä=1,\n'")) if k % 3 else (), f"line {k}\n\t\\'")
        for k in range(10)
    ]
    store.append_events(events[:6], 1)
    store.append_events(events[6:], 2)
    store.append_events(events[6:], 2)
    store.append_events([], 3)
    assert store.read_events(LOWEST, HIGHEST) == events[::-1]
    assert store.read_events(LOWEST, HIGHEST, limit=3) == events[:-4:-1]
    assert store.reader().read_events(NOW + 1, NOW + 3) == store.read_events(NOW + 1, NOW + 3) == events[5:1:-1]
    assert store.delete_events(-(1 << 63), NOW + 2) == 4
    assert store.delete_events(LOWEST, NOW + 2) == 0
    assert store.read_events(LOWEST, HIGHEST) == events[:3:-1]


def size_tells_rows_and_bytes(store: Store) -> None:
    store.append(batch_of(random_rows(13, 500, 3, DAY_NS)), 1)
    size = store.size()
    assert size["rows"] == 500
    assert size["bytes"] > 0


# --- on disk ----------------------------------------------------------------------------------------------------------


def everything_is_there_after_reopening(open_store: Callable[[], Store]) -> None:
    twin, rows = Twin(), random_rows(14, 3000, 6, 12 * DAY_NS)
    events = [Event(NOW, (("a", "b"),), "text")]
    store = open_store()
    store.add_series(0, [b"a", b"b"])
    store.append_events(events, 1)
    for seq, part in enumerate((rows[:1000], rows[1000:2000], [(i, t, -v) for i, t, v in rows[:500]]), start=1):
        fill(store, twin, part, seq)
        store.maintain()
        store.close()
        store = open_store()
        same_everywhere(store.reader(), twin, range(6))
    store.append(batch_of(rows[:1000]), 1)  # once more, in a new process
    fill(store, twin, rows[2000:], 2_000)
    assert store.delete(select([2]), NOW - 7 * DAY_NS, NOW) == twin.delete([2], NOW - 7 * DAY_NS, NOW)
    store.close()
    store = open_store()
    same_everywhere(store.reader(), twin, range(6))
    assert [key for chunk in store.series_keys() for key in chunk] == [b"a", b"b"]
    assert store.read_events(LOWEST, HIGHEST) == events
    store.close()


CASES: tuple[Callable[[Store], None], ...] = (
    rows_come_back_in_order_whatever_the_order_of_appends,
    last_write_wins,
    overwritten_rows_count_once_in_every_bucket,
    a_nan_replaces_a_number,
    the_same_seq_again_does_nothing,
    unsorted_or_doubled_rows_are_refused_whole,
    values_come_back_bit_for_bit,
    times_are_exact_to_the_ns_from_1971_to_2262,
    ranges_are_closed_at_the_start_and_open_at_the_end,
    a_sample_three_years_old_is_kept,
    twelve_years_shuffled_come_back_whole,
    one_row_a_month_for_fifty_years,
    a_hundred_thousand_series_in_one_batch,
    nothing_selected_or_given_is_nothing,
    since_seq_gives_only_what_came_later,
    until_seq_leaves_out_what_came_later,
    last_before_looks_as_far_back_as_needed,
    exactly_the_rows_that_are_asked_for_are_found,
    a_bucket_that_makes_no_sense_is_an_error,
    late_and_overwritten_rows_repair_what_was_rolled_up,
    deleted_rows_are_gone_at_once,
    everything_can_be_deleted,
    series_keys_come_back_in_the_order_of_their_ids,
    an_id_keeps_its_key,
    events_come_back_newest_first,
    size_tells_rows_and_bytes,
)
DURABLE_CASES: tuple[Callable[[Callable[[], Store]], None], ...] = (everything_is_there_after_reopening,)
