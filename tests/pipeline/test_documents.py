"""The last documents: newest first, within their room, over restarts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from almenara.pipeline.documents import OVERHEAD, Documents, Room, joined
from almenara.pipeline.folder import DataFolder

WIDE = Room(1000, 1 << 30)
Make = Callable[..., Documents]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    folder = DataFolder(tmp_path / "hub")
    made: list[Documents] = []

    def give(kind: str = "thing", total: int = 1 << 30) -> Documents:
        made.append(Documents(folder.database, kind, total))
        return made[-1]

    yield give
    for one in made:
        one.close()
    folder.close()


def bodies(documents: Documents, owner: str, limit: int = 100, since_ns: int = 0) -> list[bytes]:
    return [one.body for one in documents.latest(owner, limit, since_ns)]


def test_the_newest_come_first(make: Make) -> None:
    documents = make()
    ids = [documents.keep("a", n, b"%d" % n, WIDE) for n in range(3)]
    documents.keep("b", 9, b"9", WIDE)
    assert bodies(documents, "a") == [b"2", b"1", b"0"]
    assert bodies(documents, "a", limit=1) == [b"2"]
    assert bodies(documents, "a", since_ns=1) == [b"2", b"1"]
    assert [one.body for one in documents.latest("a", 9, before_id=ids[1])] == [b"0"]
    assert joined(documents.latest("a", 2)) == b"[2,1]"


def test_kinds_do_not_see_each_other(make: Make) -> None:
    things, streams = make("thing"), make("stream")
    things.keep("a", 1, b"t", WIDE)
    streams.keep("a", 1, b"s", WIDE)
    assert things.clear("a") == 1
    assert (bodies(things, "a"), bodies(streams, "a")) == ([], [b"s"])


@pytest.mark.parametrize("room", [Room(3, 1 << 30), Room(99, 3 * (OVERHEAD + 1)), Room(99, 1 << 30, since_ns=2)])
def test_the_oldest_give_way(make: Make, room: Room) -> None:
    documents = make()
    for n in range(5):
        documents.keep("a", n, b"%d" % n, room)
    assert bodies(documents, "a") == [b"4", b"3", b"2"]
    assert documents.used("a") == (3, 3 * (OVERHEAD + 1))


def test_the_last_one_is_kept_whatever_its_size(make: Make) -> None:
    documents = make()
    documents.keep("a", 1, b"x", Room(3, 1))
    documents.keep("a", 2, b"y" * 100, Room(3, 1))
    assert bodies(documents, "a") == [b"y" * 100]


def test_all_together_stay_within_their_room(make: Make) -> None:
    documents = make(total=10 * (OVERHEAD + 1))
    for n in range(40):
        documents.keep(f"owner {n % 20}", n, b"x", WIDE)
        used = sum(documents.used(f"owner {k}")[1] for k in range(20))
        assert used <= 10 * (OVERHEAD + 1)
        assert used == sum(len(bodies(documents, f"owner {k}")) for k in range(20)) * (OVERHEAD + 1)
    assert bodies(documents, "owner 19") == [b"x"]
    assert bodies(documents, "owner 0") == []


def test_they_outlive_a_restart_and_are_counted_again(make: Make) -> None:
    first = make()
    first.keep("a", 1, b"1", WIDE)
    first.close()
    second = make()
    assert second.used("a") == (1, 1 + OVERHEAD)
    second.keep("a", 2, b"2", Room(1, 1 << 30))
    assert bodies(second, "a") == [b"2"]
