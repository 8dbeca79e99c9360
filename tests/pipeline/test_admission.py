"""Admission: what is turned away has a reason, and old series go on whatever is made up."""

from __future__ import annotations

import numpy as np
import pytest
from tests.pipeline.faults import NOW

from almenara.model.batch import Batch
from almenara.model.series import SeriesTable, encode_key
from almenara.model.time import MINUTE_NS
from almenara.pipeline.admission import Admission, Limits, is_good
from almenara.pipeline.index import SeriesIndex


def admission(**limits: float) -> Admission:
    return Admission(SeriesIndex(), Limits(**limits), lambda first, keys: None)  # type: ignore[arg-type]


def batch(keys: list[bytes], value: float = 1.0) -> Batch:
    n = len(keys)
    return Batch(SeriesTable(list(keys)), np.arange(n, dtype=np.int32), np.full(n, NOW), np.full(n, value))


@pytest.mark.parametrize(
    "key",
    [
        b"", b"\xffa\xfeb", b"m\xff", b"m\xffa", b"m\xffa\xfe", b"m\xff\xfeb", b"m\xffa\xfeb\xfec", b"m\xfeb", b"m\x00",
        b"m\xffb\xfe1\xffa\xfe1", b"m\xffa\xfe1\xffa\xfe2", b"m\xff__name__\xfex", b"m\xc3\xffa\xfe\xa9", b"m" * 5000,
    ],
)  # fmt: skip
def test_a_key_that_the_index_could_not_cut_is_turned_away(key: bytes) -> None:
    assert not is_good(key)
    one = admission()
    good = encode_key("good", {"a": "1", "é": "2"})
    ids, _, _, turned = one.admit(batch([key, good]), NOW)
    assert ids.tolist() == [0]
    assert [(t.rejected.reason, t.at.tolist()) for t in turned] == [("bad_series", [0])]
    assert one._index[0].key == good


def test_a_table_that_has_a_key_twice_gives_one_series() -> None:
    told: list[tuple[int, list[bytes]]] = []
    one = Admission(SeriesIndex(), Limits(), lambda first, keys: told.append((first, keys)))
    ids, *_ = one.admit(batch([b"a", b"b", b"a", b"c"]), NOW)
    assert ids.tolist() == [0, 1, 0, 2]
    assert told == [(0, [b"a", b"b", b"c"])]


def test_a_million_new_label_values_are_limited_and_counted_and_old_series_go_on() -> None:
    one = admission(series=60_000, new_series_per_minute=40_000)
    old = batch([encode_key("old", {"n": str(n)}) for n in range(10)])
    assert len(one.admit(old, NOW)[0]) == 10
    kept = rejected = 0
    for minute in range(2):
        for first in range(0, 500_000, 50_000):
            flood = batch([encode_key("flood", {"id": f"{minute}-{n}"}) for n in range(first, first + 50_000)])
            ids, _, _, turned = one.admit(flood, NOW + minute * MINUTE_NS)
            kept += len(ids)
            rejected += sum(t.rejected.rows for t in turned if t.rejected.reason == "series_limit")
    assert kept + rejected == 1_000_000
    assert len(one._index) == 60_000
    assert one.admit(old, NOW)[3] == []
    assert len(one.admit(batch([b"what the hub says"]), NOW, own=True)[0]) == 1  # and the hub can still say so
    assert len(one._ids) <= 3  # tables that are gone are forgotten
