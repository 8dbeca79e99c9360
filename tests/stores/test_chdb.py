"""The chdb store: rollups, readers beside a writer, kill -9, a full disk, one folder a process."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from almenara.model.batch import Batch
from almenara.model.errors import DiskFull, StoreError
from almenara.model.series import SeriesTable
from almenara.model.time import HOUR_NS, MINUTE_NS
from almenara.stores.chdb import Chdb
from almenara.stores.dirty import pairs_of, split_pairs
from almenara.testing.twin import HIGHEST, LOWEST, NOW, batch_of, rows_of, same, select
from small_disk import small_disk

HOUR = NOW // HOUR_NS * HOUR_NS


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Chdb]:
    store = Chdb(tmp_path / "store")
    yield store
    store.close()


def _day(value: float = 1.0) -> list[tuple[int, int, float]]:
    """Two series, a row a minute, the 24 hours before HOUR."""
    return [(id, HOUR - k * MINUTE_NS, value) for id in (0, 1) for k in range(1, 1440)]


def _maintain(store: Chdb) -> None:
    store.maintain()  # rows that came since the last call are left alone
    store.maintain()


# --- rollups ----------------------------------------------------------------------------------------------------------


def test_rollups_answer_for_every_hour_but_the_newest(store: Chdb) -> None:
    store.append(batch_of(_day()), 1)
    reader = store.reader()
    ids = np.array([0, 1], np.int32)
    assert reader.raw_ranges(ids, HOUR - 24 * HOUR_NS, HOUR) == [(HOUR - 24 * HOUR_NS, HOUR)]
    _maintain(store)
    assert reader.raw_ranges(ids, HOUR - 24 * HOUR_NS, HOUR) == [(HOUR - HOUR_NS, HOUR)]
    assert reader.raw_ranges(ids, HOUR - 9 * HOUR_NS + 5, HOUR - 7 * HOUR_NS) == [
        (HOUR - 9 * HOUR_NS + 5, HOUR - 8 * HOUR_NS)
    ]


def test_a_late_row_sends_only_its_hour_and_series_back_to_raw_rows(store: Chdb) -> None:
    store.append(batch_of(_day()), 1)
    _maintain(store)
    late = HOUR - 5 * HOUR_NS
    store.append(batch_of([(1, late + 1, 9.0)]), 2)
    reader, span = store.reader(), (HOUR - 8 * HOUR_NS, HOUR - 2 * HOUR_NS)
    assert reader.raw_ranges(np.array([1], np.int32), *span) == [(late, late + HOUR_NS)]
    assert reader.raw_ranges(np.array([0], np.int32), *span) == []
    _maintain(store)
    assert reader.raw_ranges(np.array([1], np.int32), *span) == []
    same(reader.read(select([1]), late, late + HOUR_NS, HOUR_NS, "max"), [(1, late, 9.0)])


def test_dirty_hours_survive_a_crash_in_any_order_of_seqs(tmp_path: Path) -> None:
    store = Chdb(tmp_path / "store")
    store.append(batch_of(_day()), 5)
    _maintain(store)
    store.close()  # the checkpoint holds for seq 5
    store = Chdb(tmp_path / "store")
    late = HOUR - 5 * HOUR_NS + 1
    store.append(batch_of([(1, late, 9.0)]), 3)  # a lower seq than the checkpoint's
    store._engine.close()  # as after a crash: no checkpoint is written
    store = Chdb(tmp_path / "store")
    reader = store.reader()
    same(reader.read(select([1]), late - 1, late - 1 + HOUR_NS, HOUR_NS, "max"), [(1, late - 1, 9.0)])
    same(reader.read(select([1]), late, late + 1), [(1, late, 9.0)])
    store.close()


@pytest.mark.parametrize("damage", [None, b"", b"garbage"])
def test_without_its_checkpoint_the_store_opens_from_the_rows(tmp_path: Path, damage: bytes | None) -> None:
    store = Chdb(tmp_path / "store")
    store.append(batch_of(_day(2.0)), 1)
    _maintain(store)
    store.close()
    checkpoint = tmp_path / "store" / "checkpoint.npz"
    checkpoint.unlink() if damage is None else checkpoint.write_bytes(damage)
    store = Chdb(tmp_path / "store")
    reader = store.reader()
    same(reader.last(select([0, 1])), [(0, HOUR - MINUTE_NS, 2.0), (1, HOUR - MINUTE_NS, 2.0)])
    same(reader.read(select([0]), HOUR - HOUR_NS, HOUR, HOUR_NS, "sum"), [(0, HOUR - HOUR_NS, 120.0)])
    store.close()


def test_a_delete_that_was_cut_short_is_finished_at_the_next_start(tmp_path: Path) -> None:
    store = Chdb(tmp_path / "store")
    store.append(batch_of(_day()), 1)
    _maintain(store)
    store.close()
    start, end = HOUR - 10 * HOUR_NS + 7, HOUR - 2 * HOUR_NS - 7
    (tmp_path / "store" / "delete.json").write_text(f'{{"ids": [1], "start": {start}, "end": {end}}}')
    store = Chdb(tmp_path / "store")
    left = [row for row in sorted(_day()) if not (row[0] == 1 and start <= row[1] < end)]
    reader = store.reader()
    same(reader.read(select([0, 1]), LOWEST, HIGHEST), left)
    counted = reader.read(select([1]), HOUR - 24 * HOUR_NS, HOUR, 24 * HOUR_NS, "count")
    assert sum(value for _, _, value in rows_of(counted)) == sum(row[0] == 1 for row in left)
    store.close()


# --- readers beside a writer ------------------------------------------------------------------------------------------


def test_readers_in_threads_see_what_was_appended_and_do_not_wait(store: Chdb) -> None:
    written, stop, slow, problems = [0], threading.Event(), [0.0], list[str]()
    id = np.arange(2000, dtype=np.int32)

    def look() -> None:
        reader = store.reader()
        while not stop.is_set():
            seen, began = written[0], time.monotonic()
            rows = len(reader.read(select([7, 1500]), LOWEST, HIGHEST))
            newest = reader.last(select([7])).time
            slow[0] = max(slow[0], time.monotonic() - began)
            if rows < 2 * seen or (seen and newest[0] < NOW + seen - 1):
                problems.append(f"{rows} rows, newest {newest}, after {seen} appends")
        reader.close()

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for seq in range(30):
        store.append(Batch(SeriesTable(), id, np.full(2000, NOW + seq), np.zeros(2000)), seq)
        written[0] = seq + 1
        if seq % 10 == 9:
            store.maintain()
    stop.set()
    for thread in threads:
        thread.join(30)
    assert not problems
    assert slow[0] < 2.0


def test_a_closed_reader_says_so(store: Chdb) -> None:
    reader = store.reader()
    reader.close()
    reader.close()
    with pytest.raises(StoreError, match="this session is closed"):
        reader.read(select([0]), LOWEST, HIGHEST)


def test_a_second_folder_is_refused_in_plain_words(store: Chdb, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="one folder open at a time; close that one first"):
        Chdb(tmp_path / "other")
    store.check()


def test_a_folder_that_cannot_be_made_is_named_and_lets_go(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file/store"):
        Chdb(tmp_path / "file" / "store")
    Chdb(tmp_path / "store with a space").close()


# --- crashes ----------------------------------------------------------------------------------------------------------


def _months(seq: int) -> Batch:
    """A batch of 24 months, 20 rows in each, for the series `seq`."""
    starts = np.arange("2018-01", "2020-01", dtype="datetime64[M]").astype("datetime64[ns]").astype(np.int64)
    time = (starts[:, None] + np.arange(20) * 1_000_000_007).ravel()
    return Batch(SeriesTable(), np.full(len(time), seq, np.int32), time, np.arange(len(time)) + 0.5)


def test_a_batch_of_many_months_survives_kill_9_once_and_whole(tmp_path: Path) -> None:
    """The same seq again completes what the killed process had begun, and doubles nothing."""
    random.seed(1)
    code = (
        "import sys; sys.path[:0] = sys.argv[3:]; from pathlib import Path\n"
        "from test_chdb import _months; from almenara.stores.chdb import Chdb\n"
        "store = Chdb(Path(sys.argv[1])); seq = int(sys.argv[2])\n"
        "print('go', flush=True); store.append(_months(seq), seq); print('done', flush=True); sys.stdin.read()"
    )
    rows = len(_months(0))
    for seq in range(1, 5):
        folders = [str(folder) for folder in Path(__file__).parents[:2]]
        command = [sys.executable, "-c", code, str(tmp_path / "store"), str(seq), *folders]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"go\n"
            time.sleep(random.random() * 0.25)  # where in the append it dies is the point, so this is no wait
            child.send_signal(signal.SIGKILL)
        store = Chdb(tmp_path / "store")
        store.append(_months(seq), seq)
        assert store.size()["rows"] == seq * rows
        reader, batch = store.reader(), _months(seq)
        same(reader.read(select([seq]), LOWEST, HIGHEST), rows_of(batch))
        same(reader.last(select([seq])), rows_of(batch)[-1:])
        store.close()


def _noise(seq: int) -> Batch:
    """Rows that do not compress."""
    rng = np.random.default_rng(seq)
    time = NOW + seq * 10**12 + np.cumsum(rng.integers(1, 10**7, 100_000))
    return Batch(SeriesTable(), np.zeros(100_000, np.int32), time, rng.normal(size=100_000))


def test_a_full_disk_is_named_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 24) as disk, closing(Chdb(disk / "store")) as store:
        kept = 0
        with pytest.raises(DiskFull, match="no space left"):  # noqa: PT012
            for kept in range(60):
                store.append(_noise(kept), kept)
        assert kept > 2
        assert len(store.reader().read(select([0]), LOWEST, HIGHEST)) == kept * 100_000
        subprocess.run(["mount", "-o", "remount,size=200m", str(disk)], check=True)
        store.append(_noise(kept), kept)
        assert len(store.reader().read(select([0]), LOWEST, HIGHEST)) == (kept + 1) * 100_000


def test_pairs_of_far_times_keep_their_hours() -> None:
    id, time = np.array([0, 0, 2**31 - 1], np.int32), np.array([-1, 0, HIGHEST])
    ids, hours = split_pairs(pairs_of(id, time))
    assert ids.tolist() == [0, 0, 2**31 - 1]
    assert hours.tolist() == [-1, 0, HIGHEST // HOUR_NS]
