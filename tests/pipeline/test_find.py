"""Rules of finding series by what a person types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from almenara.model.series import Series
from almenara.pipeline.find import MOST, find
from almenara.pipeline.index import SeriesIndex

SERIES = (
    Series.of("flow", pump="P-101", plant="brewery"),
    Series.of("flow", pump="P-102", plant="brewery"),
    Series.of("flow_setpoint", pump="P-101", plant="brewery"),
    Series.of("temp", room="Kühlraum 3"),
    Series.of("level"),
    Series.of("level", tank="7"),
    Series.of("almenara_series"),
    Series.of("cpu_usage", host="web-1", path='/a"b'),
)


def index_of(*series: Series) -> SeriesIndex:
    index = SeriesIndex()
    index.add([one.key for one in series])
    return index


INDEX = index_of(*SERIES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flow P-101", SERIES[0]),
        ("FLOW p-101", SERIES[0]),
        ("P-101 setpoint", SERIES[2]),
        ("flow{pump='P-102'}", SERIES[1]),
        ('flow{pump="P-102"}', SERIES[1]),
        ("flow (plant=brewery, pump=P-102)", SERIES[1]),
        ("kühlraum", SERIES[3]),
        ("level 7", SERIES[5]),
        ('{tank="7"}', SERIES[5]),
        ("almenara_series", SERIES[6]),
        ("web cpu", SERIES[7]),
        (str(SERIES[7]), SERIES[7]),
    ],
)
def test_words_of_the_name_and_the_labels_find_a_series(text: str, expected: Series) -> None:
    found = find(INDEX, text)
    assert found.one is not None, found
    assert INDEX[found.one] == expected


def test_where_several_are_meant_all_are_told_the_likeliest_first() -> None:
    found = find(INDEX, "flow")
    assert (found.one, found.of) == (None, 2)
    assert [INDEX[id] for id in found.ids] == [SERIES[0], SERIES[1]]
    assert [INDEX[id] for id in find(INDEX, "P-10").ids] == [SERIES[0], SERIES[1], SERIES[2]]


def test_a_mistyped_word_is_a_guess_and_never_taken_for_certain() -> None:
    found = find(INDEX, "flwo P-102")
    assert found.guessed
    assert found.one is None
    assert [INDEX[id] for id in found.ids] == [SERIES[1]]


def test_the_hubs_own_series_are_found_only_where_no_other_is() -> None:
    assert {INDEX[id].name for id in find(INDEX, "e").ids}.isdisjoint({"almenara_series"})
    assert [INDEX[id].name for id in find(INDEX, "almenara").ids] == ["almenara_series"]


@pytest.mark.parametrize("text", ["", "   ", "{}", "{", "nothing like it", "=", '"'])
def test_what_means_nothing_finds_nothing(text: str) -> None:
    assert find(INDEX, text).of == 0


def test_of_very_many_a_few_are_named() -> None:
    many = index_of(*(Series.of("cpu", host=f"h{i}") for i in range(5000)))
    found = find(many, "cpu")
    assert (len(found.ids), found.of) == (MOST, 5000)
    assert find(many, "cpu h4321").one == 4321


@given(st.text(max_size=80))
def test_nothing_that_can_be_typed_raises(text: str) -> None:
    found = find(INDEX, text)
    assert len(found.ids) <= MOST
