"""Answers as Prometheus writes them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from almenara.query import Matrix, series_text, to_prometheus
from almenara.query.matrix import format_value

MS = 1_000_000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1"),
        (-0.0, "-0"),
        (0.1, "0.1"),
        (1e16, "10000000000000000"),
        (123456789012345680000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (1e-6, "0.000001"),
        (1.5e-7, "1.5e-07"),
        (5e-324, "5e-324"),
        (float("nan"), "NaN"),
        (float("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert format_value(value) == text


def matrix(scalar: bool = False, steps: int = 2) -> Matrix:
    values = np.array([[1.0, np.nan], [np.nan, np.nan]])[:, :steps]
    present = np.array([[True, True], [False, False]])[:, :steps]
    times = np.array([1_700_000_000_000, 1_700_000_000_500])[:steps] * MS
    return Matrix([{"__name__": "x", "a": "b"}, {"a": "c"}], times, values, present, scalar)


def test_range_answer_has_present_values_only() -> None:
    data = to_prometheus(matrix(), instant=False)
    assert data["resultType"] == "matrix"
    assert data["result"][0] == {
        "metric": {"__name__": "x", "a": "b"},
        "values": [[1_700_000_000, "1"], [1_700_000_000.5, "NaN"]],
    }
    json.dumps(data, allow_nan=False)


def test_instant_answer_is_a_vector() -> None:
    data = to_prometheus(matrix(steps=1), instant=True)
    assert data == {
        "resultType": "vector",
        "result": [{"metric": {"__name__": "x", "a": "b"}, "value": [1_700_000_000, "1"]}],
    }
    with pytest.raises(ValueError, match="one time"):
        to_prometheus(matrix(), instant=True)


def test_scalar_answer_has_no_exponent() -> None:
    one = Matrix([{}], np.array([1_700_000_000_000 * MS]), np.array([[1e21]]), np.array([[True]]), scalar=True)
    assert to_prometheus(one, instant=True) == {"resultType": "scalar", "result": [1_700_000_000, "1" + "0" * 21]}


def test_series_as_text() -> None:
    assert matrix().names() == ['x{a="b"}', '{a="c"}']
    assert series_text({}) == "{}"
    assert series_text({"__name__": "x", "q": 'a"\n'}) == 'x{q="a\\"\\n"}'
