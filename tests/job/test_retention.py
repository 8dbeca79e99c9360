"""Retention: what is older goes, what is younger stays, to the nanosecond; on each store, in steps, over restarts."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from almenara.job.retention import every_s, retention_jobs
from almenara.job.runs import Outcome, Run
from almenara.job.schedule import Job, Skipped
from almenara.model.batch import Batch, Event
from almenara.model.errors import StoreError
from almenara.model.series import Series
from almenara.model.time import DAY_NS, HOUR_NS, NS
from almenara.pipeline.admission import Limits
from almenara.pipeline.hub import Options
from almenara.plugin.contracts import Store
from almenara.stores.chdb import Chdb
from almenara.stores.memory import Memory
from almenara.testing.hub import Clock, pipeline
from almenara.testing.twin import HIGHEST, LOWEST, Twin, batch_of, random_rows, same, same_everywhere, select
from almenara.testing.twin import NOW as T0

KEEP_S, KEEP_NS = 90 * 86_400.0, 90 * DAY_NS
LIMIT = T0 - KEEP_NS


@pytest.fixture(params=["memory", "chdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    one: Store = Memory() if request.param == "memory" else Chdb(tmp_path / "store")
    yield one
    one.close()


def job(store: Store, keep_s: float = KEEP_S) -> Job:
    (one,) = retention_jobs(store, keep_s)
    return one


def figures(store: Store, now_ns: int = T0, last: Run | None = None) -> list[dict[str, int | float]]:
    return [dict(one) for one in job(store).run(now_ns, last)]


def test_without_retention_there_is_no_job() -> None:
    assert retention_jobs(Memory(), 0) == []


def test_it_looks_often_enough_and_not_too_often() -> None:
    hour, day = 3600.0, 86_400.0
    assert [every_s(s) for s in (hour, 5 * hour, day, 24 * day, 3650 * day)] == [300, 750, 3600, day, day]


def test_rows_and_events_just_inside_stay_and_just_outside_go(store: Store) -> None:
    old = [(0, LIMIT - 1, 1.0), (1, LIMIT - 400 * DAY_NS, 2.0), (1, LIMIT - 12_000 * DAY_NS, 3.0)]
    young = [(0, LIMIT, 4.0), (0, LIMIT + 1, 5.0), (2, T0, 6.0)]
    store.append(batch_of(old + young), 1)
    store.append_events([Event(t, (), str(t)) for t in (LIMIT - DAY_NS, LIMIT - 1, LIMIT, T0)], 1)
    assert figures(store)[-1] == {"rows": 3, "until_ms": LIMIT // 1_000_000, "events": 2}
    reader = store.reader()
    same(reader.read(select(range(3)), LOWEST, HIGHEST), young)
    same(reader.last(select(range(3))), [(0, LIMIT + 1, 5.0), (2, T0, 6.0)])
    assert [event.time for event in store.read_events(LOWEST, HIGHEST)] == [T0, LIMIT]
    assert figures(store)[-1] == {"rows": 0, "until_ms": LIMIT // 1_000_000, "events": 0}


def test_rollups_follow(store: Store) -> None:
    twin, rows = Twin(), random_rows(3, 4000, 4, 200 * DAY_NS)
    twin.append(rows, 1)
    store.append(batch_of(rows), 1)
    store.maintain()
    store.maintain()
    assert figures(store)[-1]["rows"] == twin.delete(None, LOWEST, LIMIT)
    same_everywhere(store.reader(), twin, range(4))
    store.maintain()
    store.maintain()
    same_everywhere(store.reader(), twin, range(4))
    later = T0 + 20 * DAY_NS + HOUR_NS // 3
    assert figures(store, later)[-1]["rows"] == twin.delete(None, LOWEST, later - KEEP_NS)
    same_everywhere(store.reader(), twin, range(4))


def test_the_first_run_goes_by_months_and_later_ones_in_one_step() -> None:
    store = Memory()
    store.append(batch_of([(0, LIMIT - k * 10 * DAY_NS, 1.0) for k in range(1, 40)]), 1)
    told = figures(store)
    assert 120 <= len(told) <= 122
    gone = [one["rows"] for one in told]
    assert max(after - before for before, after in pairwise(gone)) <= 4
    assert gone[-1] == 39
    last = Run("retention", T0, T0, Outcome.OK, figures=told[-1])
    assert len(figures(store, T0 + DAY_NS, last)) == 2  # rows to the limit; events
    assert len(figures(store, T0 + 31 * DAY_NS, last)) == 3  # a month has begun in between


KILLED = """
import sys
from pathlib import Path
from almenara.job.retention import retention_jobs
from almenara.stores.chdb import Chdb
from almenara.testing.twin import NOW, batch_of
store = Chdb(Path(sys.argv[1]))
store.append(batch_of([(0, NOW - k * 7 * 86400 * 10**9, float(k)) for k in range(40)]), 1)
for figures in retention_jobs(store, 90 * 86400.0)[0].run(NOW, None):
    print(figures["rows"], flush=True)
"""


def test_killed_in_the_middle_it_is_done_by_the_next_start(tmp_path: Path) -> None:
    rows = [(0, T0 - k * 7 * DAY_NS, float(k)) for k in range(40)]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "store")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert any(int(line) >= 5 for line in killed.stdout)  # some months are gone, and more are to go
        killed.kill()
    store = Chdb(tmp_path / "store")
    store.append(batch_of(rows), 1)  # the log gives the segment again
    assert list(job(store).run(T0, Run("retention", T0, None, Outcome.FAILED)))
    same(store.reader().read(select([0]), LOWEST, HIGHEST), sorted(row for row in rows if row[1] >= LIMIT))
    store.close()


def test_a_store_that_fails_is_tried_again_from_the_beginning() -> None:
    class Torn(Memory):
        fails = True

        def delete(self, selection: object, start: int, end: int) -> int:
            if self.fails:
                raise StoreError("store: torn")
            return super().delete(None, start, end)

    store = Torn()
    store.append(batch_of([(0, LIMIT - DAY_NS, 1.0), (0, T0, 2.0)]), 1)
    with pytest.raises(StoreError):
        figures(store)
    store.fails = False
    assert figures(store, T0, Run("retention", T0, T0, Outcome.FAILED))[-1]["rows"] == 1


def test_a_hub_deletes_what_grew_old_refuses_what_is_and_says_so(tmp_path: Path) -> None:
    async def scenario() -> None:
        clock, options = Clock(T0), Options(limits=Limits(retention_s=3600.0))
        hub = pipeline(tmp_path, options, store=(store := Memory()), clock=clock)
        await hub.start()

        async def ran(times: int) -> list[Run]:
            async with asyncio.timeout(60):
                while len(done := [r for r in hub.jobs.runs.recent() if r.outcome is Outcome.OK]) < times:
                    await asyncio.sleep(0.02)
            return done

        await ran(1)
        cpu, kept = Series.of("cpu"), [T0 - 3599 * NS, T0 - 60 * NS]
        written, turned = await hub.commit(Batch.of([(cpu, t, 1.0) for t in (T0 - 3601 * NS, *kept)]))
        assert written == 2
        assert [(t.rejected.reason, t.at.tolist()) for t in turned] == [("expired", [0])]
        await hub.settle()
        clock.now_ns += 300 * NS  # the next turn
        latest, _ = await ran(2)
        assert latest.figures["rows"] == 1
        assert store.reader().last(select([0])).time.tolist() == [T0 - 60 * NS]
        assert store.size()["rows"] == 1
        await hub.stop()

    asyncio.run(scenario())


def test_a_clock_that_leaps_over_the_retention_costs_one_turn_before_it_costs_rows(store: Store) -> None:
    store.append(batch_of([(0, T0, 1.0)]), 1)
    last = Run("retention", T0, T0, Outcome.OK)
    ahead = T0 + KEEP_NS + NS
    with pytest.raises(Skipped, match="more than the whole retention"):
        figures(store, ahead, last)
    same(store.reader().last(select([0])), [(0, T0, 1.0)])
    skipped = Run("retention", ahead, ahead, Outcome.SKIPPED)
    assert figures(store, T0 + DAY_NS, skipped)[-1]["rows"] == 0  # the clock was put right
    assert figures(store, ahead + DAY_NS, skipped)[-1]["rows"] == 1  # it was right
