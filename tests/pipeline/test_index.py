"""The series index finds what was added, by key and by every kind of matcher, like a list that is looked through."""

from __future__ import annotations

import random

import numpy as np
import pytest

from almenara.model.series import Series, encode_key
from almenara.pipeline.index import Selector, SeriesIndex
from almenara.pipeline.keytable import KeyTable
from almenara.query import Matcher, parse_selector


def test_key_table_numbers_keys_like_a_dict() -> None:
    rng = random.Random(2)
    table, twin = KeyTable(), {}
    for _ in range(50):
        keys = [rng.randbytes(rng.randrange(0, 12)) for _ in range(rng.randrange(0, 300))]
        expected = [twin.setdefault(key, len(twin)) for key in keys]
        assert table.add(keys).tolist() == expected
    assert len(table) == len(twin)
    assert [table[i] for i in range(len(table))] == list(twin)
    unknown = [b"never added %d" % i for i in range(20)]
    assert table.find([*twin, *unknown]).tolist() == [*twin.values(), *[-1] * 20]


def test_key_table_has_no_key_beyond_its_end() -> None:
    with pytest.raises(IndexError, match="no key 0"):
        KeyTable()[0]


def random_series(rng: random.Random) -> Series:
    labels = {k: rng.choice(["a", "b", "c", "é", ""]) for k in rng.sample(["x", "y", "z"], rng.randrange(4))}
    return Series.of(rng.choice(["cpu", "mem", "disk_used"]), **labels)


MATCHERS = [
    Matcher(label, op, value)
    for label in ("__name__", "x", "y", "nowhere")
    for op in ("=", "!=", "=~", "!~")
    for value in ("a", "cpu", "", "a|b", "[a-c]?", ".+", "é")
]


def test_select_gives_what_looking_through_all_series_gives() -> None:
    rng = random.Random(3)
    index = SeriesIndex()
    for _ in range(5):  # in pieces, as series come
        index.add([random_series(rng).key for _ in range(40)])
    series = [index[i] for i in range(len(index))]
    for _ in range(300):
        matchers = rng.sample(MATCHERS, rng.randrange(1, 4))
        expected = [
            i
            for i, one in enumerate(series)
            if all(m.matches(({"__name__": one.name} | dict(one.labels)).get(m.label, "")) for m in matchers)
        ]
        assert index.select(matchers).tolist() == expected, matchers


def test_a_selector_follows_the_index() -> None:
    index = SeriesIndex()
    selector = Selector(index, parse_selector('{x="a"}'))
    seen = []
    for n in range(5):
        index.add([encode_key("m", {"x": "a" if n % 2 else "b", "n": str(n)})])
        seen = selector.mask().tolist()
    assert seen == [False, True, False, True, False]


def test_names_and_values_are_listed() -> None:
    index = SeriesIndex()
    index.add([Series.of("cpu", host="b").key, Series.of("cpu", host="a").key, Series.of("mem", disk="1").key])
    assert index.label_names() == ["__name__", "disk", "host"]
    assert index.label_values("host") == ["a", "b"]
    assert index.label_values("__name__") == ["cpu", "mem"]
    assert index.label_values("nowhere") == []


def test_a_million_series_take_less_than_500_mb() -> None:
    index = SeriesIndex()
    for first in range(0, 1_000_000, 50_000):
        index.add(
            [
                encode_key(
                    "cpu_usage_user",
                    {"hostname": f"host_{i}", "region": f"eu-{i % 9}", "rack": str(i % 100), "service": str(i % 20)},
                )
                for i in range(first, first + 50_000)
            ]
        )
    assert len(index) == 1_000_000
    assert index.nbytes < 500e6
    assert index.select(parse_selector('cpu_usage_user{hostname="host_765432"}')).tolist() == [765_432]
    assert len(index.select(parse_selector('{rack=~"1|2"}'))) == 20_000


def test_ids_are_int32_and_sorted() -> None:
    index = SeriesIndex()
    index.add([Series.of("m", n=str(n)).key for n in range(10)])
    ids = index.select(parse_selector("m"))
    assert ids.dtype == np.int32
    assert ids.tolist() == list(range(10))
