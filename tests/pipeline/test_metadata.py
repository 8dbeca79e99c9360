"""What is known of series, by series and by the name of their metric: the last one wins, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from almenara.model.series import Metadata, encode_key
from almenara.pipeline import metadata
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.index import SeriesIndex
from almenara.pipeline.metadata import KnownMetadata

A, B = encode_key("octets", {"host": "a"}), encode_key("octets", {"host": "b"})
BYTES, BITS = Metadata("By", "counter", "Sent."), Metadata("bit", "gauge", "")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    one = DataFolder(tmp_path)
    yield one
    one.close()


@pytest.fixture
def index() -> SeriesIndex:
    index = SeriesIndex()
    index.add([b"up", A, encode_key("octets_total", {"host": "a"})])
    return index


def tell(known: KnownMetadata, told: dict[bytes, Metadata]) -> list[int]:
    return sorted(known.keep(known.changes(told)).tolist())


def test_a_name_speaks_of_all_its_series_and_of_those_that_come_later(folder: DataFolder, index: SeriesIndex) -> None:
    known = KnownMetadata(folder.database, index)
    assert tell(known, {b"octets": BYTES}) == [1]
    index.add([B, b"octets", encode_key("new", {"host": "a"})])
    assert [known.of(id) for id in range(-1, 8)] == [
        Metadata(), Metadata(), BYTES, Metadata(), BYTES, BYTES, Metadata(), Metadata(), Metadata(),
    ]  # fmt: skip
    assert tell(known, {b"octets": BITS, b"new": BYTES}) == [1, 3, 4, 5]
    assert known.of(1) == known.of(3) == BITS


def test_a_name_is_remembered_before_it_has_a_series(folder: DataFolder) -> None:
    index = SeriesIndex()
    known = KnownMetadata(folder.database, index)
    assert tell(known, {b"octets": BYTES}) == []
    index.add([A])
    assert known.of(0) == BYTES


def test_what_is_told_of_one_series_goes_before_its_name(folder: DataFolder, index: SeriesIndex) -> None:
    index.add([B])
    known = KnownMetadata(folder.database, index)
    assert tell(known, {A: BITS}) == [1]
    tell(known, {b"octets": BYTES})
    assert (known.of(1), known.of(3)) == (BITS, BYTES)
    assert known.by_name() == {"octets": [BYTES, BITS]}


def test_nothing_is_written_where_nothing_is_new(folder: DataFolder, index: SeriesIndex) -> None:
    known = KnownMetadata(folder.database, index)
    told = {b"octets": BYTES, A: BYTES, b"later": BITS}
    tell(known, told)
    assert known.changes(told) == []
    assert known.changes({B: BYTES, b"unknown": Metadata()}) == []
    assert tell(known, {}) == []


def test_names_outlive_the_hub(folder: DataFolder, index: SeriesIndex) -> None:
    first = KnownMetadata(folder.database, index)
    tell(first, {b"octets": BITS, b"up": BITS})
    tell(first, {b"octets": BYTES})
    first.close()
    second = KnownMetadata(folder.database, index)
    assert [second.of(id) for id in range(3)] == [BITS, BYTES, Metadata()]
    assert second.by_name() == {"octets": [BYTES], "up": [BITS]}


def test_names_are_bounded(folder: DataFolder, index: SeriesIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "MAX_NAMES", 2)
    known = KnownMetadata(folder.database, index)
    tell(known, {b"x" * (metadata.MAX_NAME_BYTES + 1): BYTES, b"octets": BYTES, b"one": BYTES, b"too_many": BYTES})
    assert known.by_name() == {"octets": [BYTES], "one": [BYTES]}
    assert tell(known, {b"too_many": BITS, b"octets": BITS}) == [1]
    assert known.of(1) == BITS


def test_numbers_of_many_are_those_of_each(folder: DataFolder) -> None:
    index = SeriesIndex()
    keys = [encode_key(f"m{n % 7}", {"host": str(n)}) for n in range(200)]
    index.add(keys[:100])
    known = KnownMetadata(folder.database, index)
    tell(known, {b"m1": BYTES, b"m2": BITS, **dict.fromkeys(keys[:40:3], BITS)})
    index.add(keys[100:])
    tell(known, {b"m3": BYTES})
    ids = np.random.default_rng(1).permutation(len(index))
    assert [known.text(number) for number in known.numbers(ids).tolist()] == [known.of(id) for id in ids.tolist()]
