"""Queues on disk: order, bounds, leases and restarts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from almenara.model.errors import Overloaded, StoreError
from almenara.model.time import NS
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.queue import OVERHEAD, Bounds, Depth, Queues

T = 1_700_000_000 * NS
Make = Callable[..., Queues]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    folder = DataFolder(tmp_path / "hub")
    made: list[Queues] = []

    def give(**bounds: int) -> Queues:
        made.append(Queues(folder.database, Bounds(**bounds)))
        return made[-1]

    yield give
    for one in made:
        one.close()
    folder.close()


def body(queues: Queues, name: str, now_ns: int = T, lease_ns: int = 0) -> bytes | None:
    message = queues.take(name, now_ns, lease_ns)
    return message.body if message else None


def test_the_oldest_is_taken_first_and_once(make: Make) -> None:
    queues = make()
    ids = [queues.put("a", b"%d" % n, T) for n in range(3)]
    queues.put("b", b"other", T)
    assert ids == sorted(ids)
    assert [body(queues, "a") for _ in range(4)] == [b"0", b"1", b"2", None]
    assert body(queues, "b") == b"other"


def test_a_queue_is_there_after_a_restart_and_gives_no_id_again(make: Make) -> None:
    first = make()
    first.put("a", b"x", T)
    last = first.put("a", b"y", T)
    assert body(first, "a") == b"x"
    first.close()
    second = make()
    assert second.depth("a", T) == Depth(1, 0, 1 + OVERHEAD, T)
    assert body(second, "a") == b"y"
    second.close()
    assert make().put("a", b"z", T) > last


def test_a_lent_message_comes_back_at_its_old_place(make: Make) -> None:
    queues = make()
    for text in (b"1", b"2"):
        queues.put("a", text, T)
    lent = queues.take("a", T, 30 * NS)
    assert lent is not None
    assert (lent.body, lent.leased_until_ns) == (b"1", T + 30 * NS)
    assert body(queues, "a", T + 29 * NS, NS) == b"2"
    assert queues.depth("a", T + 29 * NS).leased == 2
    assert body(queues, "a", T + 29 * NS) is None
    assert body(queues, "a", T + 30 * NS) == b"1"


def test_a_message_whose_work_is_done_goes(make: Make) -> None:
    queues = make()
    queues.put("a", b"1", T)
    lent = queues.take("a", T, NS)
    assert lent is not None
    assert not queues.acknowledge("b", lent.id)
    assert queues.acknowledge("a", lent.id)
    assert not queues.acknowledge("a", lent.id)
    assert body(queues, "a", T + 2 * NS) is None
    assert queues.names() == []


def test_a_lease_outlives_a_restart(make: Make) -> None:
    first = make()
    first.put("a", b"1", T)
    first.take("a", T, 10 * NS)
    first.close()
    second = make()
    assert body(second, "a", T + NS) is None
    assert body(second, "a", T + 10 * NS) == b"1"


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"messages": 2}, "'a' is full: it holds 2 messages"),
        ({"bytes": 2 * (OVERHEAD + 1)}, f"'a' is full: it holds {2 * (OVERHEAD + 1)} of"),
    ],
)
def test_a_full_queue_takes_nothing_until_there_is_room(make: Make, bounds: dict[str, int], words: str) -> None:
    queues = make(**bounds)
    for text in (b"1", b"2"):
        queues.put("a", text, T)
    with pytest.raises(Overloaded, match=words):
        queues.put("a", b"3", T)
    queues.put("b", b"3", T)
    assert queues.take("a", T, NS) is not None
    with pytest.raises(Overloaded):  # what is lent still needs its place
        queues.put("a", b"3", T)
    assert body(queues, "a", T) == b"2"
    queues.put("a", b"3", T)
    assert [body(queues, "a", T + NS) for _ in range(3)] == [b"1", b"3", None]


def test_so_many_queues_and_no_more(make: Make) -> None:
    queues = make(queues=2)
    queues.put("a", b"1", T)
    queues.put("b", b"1", T)
    with pytest.raises(Overloaded, match="2 queues hold messages already"):
        queues.put("c", b"1", T)
    assert body(queues, "a") == b"1"
    queues.put("c", b"1", T)
    assert queues.names() == ["b", "c"]
    assert queues.sizes() == {"b": 1, "c": 1}


def test_many_threads_lose_and_double_nothing(make: Make) -> None:
    queues = make()

    def work(n: int) -> bytes | None:
        queues.put("a", b"%d" % n, T)
        return body(queues, "a")

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(work, range(100)))
    assert sorted(int(one or -1) for one in taken) == list(range(100))
    assert queues.depth("a", T) == Depth()


def test_what_the_disk_refuses_is_not_counted(make: Make, tmp_path: Path) -> None:
    queues = make()
    queues.put("a", b"1", T)
    other = sqlite3.connect(tmp_path / "hub" / "hub.db")
    other.execute("CREATE TRIGGER no BEFORE INSERT ON queue_message BEGIN SELECT RAISE(FAIL, 'no'); END")
    other.commit()
    with pytest.raises(StoreError):
        queues.put("a", b"2", T)
    other.execute("DROP TRIGGER no")
    other.commit()
    other.close()
    assert queues.depth("a", T).messages == 1
    queues.put("a", b"3", T)
    assert [body(queues, "a") for _ in range(3)] == [b"1", b"3", None]
