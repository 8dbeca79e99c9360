"""Rows out of the hub, as stored."""

from __future__ import annotations

import io
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.web.conftest import NOW, S, Served

from almenara.model.batch import Batch
from almenara.model.series import Series
from almenara.web import export
from almenara.web.export import csv_rows, plan, runs

ODD = Series.of("odd", city='a "quoted", name', path="back\\slash\nline")


def exported(served: Served, **params: str) -> str:
    answer = served.client.get("/api/v1/export", params={k.replace("match", "match[]"): v for k, v in params.items()})
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.fixture(scope="module", autouse=True)
def rows(served: Served) -> None:
    values = [(ODD, NOW + 123_456_789, 0.1), (ODD, NOW + S, float("nan")), (Series.of("even"), NOW, 1e300)]
    served.on_loop(lambda: served.hub.put(Batch.of(values)))


def test_csv_is_read_by_pandas_bit_for_bit(served: Served) -> None:
    frame = pd.read_csv(io.StringIO(exported(served, match='{__name__=~"odd|even"}')), parse_dates=["time"])
    assert list(frame.columns) == ["time", "series", "value"]
    assert frame.series.tolist() == [str(ODD), str(ODD), "even"]
    times = frame.time.dt.tz_convert(None).to_numpy().astype("datetime64[ns]").astype(np.int64)
    assert times.tolist() == [NOW + 123_456_789, NOW + S, NOW]
    np.testing.assert_array_equal(frame.value, [0.1, np.nan, 1e300])


def test_json_and_jsonl_hold_nanoseconds_and_labels(served: Served) -> None:
    told = [
        {
            "metric": {"__name__": "odd", **dict(ODD.labels)},
            "times": [NOW + 123_456_789, NOW + S],
            "values": [0.1, None],
        },
        {"metric": {"__name__": "even"}, "times": [NOW], "values": [1e300]},
    ]
    assert orjson.loads(exported(served, match='{__name__=~"odd|even"}', format="json")) == told
    lines = exported(served, match='{__name__=~"odd|even"}', format="jsonl").splitlines()
    assert [orjson.loads(line) for line in lines] == told


def test_nothing_selected_is_an_empty_answer(served: Served) -> None:
    assert exported(served, match="nothing") == "time,series,value\n"
    assert exported(served, match="nothing", format="json") == "[]\n"
    assert exported(served, match="nothing", format="jsonl") == ""


def test_start_is_in_end_is_out_and_since_counts_back(served: Served) -> None:
    assert exported(served, match="odd", start=str(NOW), end=str(NOW + S)).count("\n") == 2
    assert exported(served, match="even", start=str(NOW), end=str(NOW)).count("\n") == 1
    assert exported(served, match="even", since="1s").count("\n") == 2
    assert served.client.get("/api/v1/export?match[]=odd&start=5&end=4").status_code == 400
    assert served.client.get("/api/v1/export?match[]=odd&format=xml").status_code == 400
    everything = exported(served)
    assert "odd" in everything
    assert "even" in everything


def test_many_rows_come_in_chunks_and_none_is_lost(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "CHUNK_ROWS", 50)
    monkeypatch.setattr(export, "CHUNK_SERIES", 3)
    month = 30 * 86_400 * S
    many = [
        (Series.of("chunk", n=str(n)), NOW - 10 * month + i * month // 20, float(i))
        for n in range(5)
        for i in range(200)
    ]
    many += [(Series.of("chunk", n="x"), NOW - month + i * S, float("nan")) for i in range(10)]
    served.on_loop(lambda: served.hub.put(Batch.of(many)))
    for form in ("csv", "jsonl", "json"):
        text = exported(served, match="chunk", format=form)
        if form == "csv":
            frame = pd.read_csv(io.StringIO(text))
            assert len(frame) == len(many)
            assert frame.groupby("series").value.sum().tolist() == [19900.0] * 5 + [0.0]
        else:
            found = orjson.loads(text) if form == "json" else [orjson.loads(line) for line in text.splitlines()]
            assert sum(len(one["values"]) for one in found) == len(many)
            assert len(found) > 6


@given(
    counts=st.lists(st.tuples(st.integers(0, 6), st.integers(-2, 12), st.integers(1, 300_000)), max_size=40),
    start=st.integers(0, 5 * export._PLAN_NS),
    length=st.integers(1, 5 * export._PLAN_NS),
)
def test_a_plan_covers_every_series_and_moment_once(
    counts: list[tuple[int, int, int]], start: int, length: int
) -> None:
    rows = sorted({(i, b): n for i, b, n in counts}.items())
    columns = zip(*((i, b * export._PLAN_NS, float(n)) for (i, b), n in rows), strict=True) if rows else ((), (), ())
    known = SimpleNamespace(**dict(zip(("id", "time", "value"), map(np.array, columns), strict=True)))
    covered: dict[int, list[tuple[int, int]]] = {}
    order = []
    for ids, low, high in plan(np.arange(7, dtype=np.int32), start, start + length, known):  # type: ignore[arg-type]
        for id in ids.tolist():
            covered.setdefault(id, []).append((low, high))
            order.append((id, low))
    assert order == sorted(order)
    assert sorted(covered) == list(range(7))
    for spans in covered.values():
        assert spans[0][0] == start
        assert spans[-1][1] == start + length
        assert all(left[1] == right[0] for left, right in pairwise(spans))


def test_csv_writes_infinities_and_whole_numbers_as_pandas_reads_them() -> None:
    series = Series.of("x")
    batch = Batch.of(
        [(series, 0, float("inf")), (series, 1, float("-inf")), (series, 2, 3.0), (series, 3, float("nan"))]
    )
    values = [line.rpartition(",")[2] for line in csv_rows(batch).decode().splitlines()]
    assert values == ["inf", "-inf", "3.0", "NaN"]
    assert list(runs(batch)) == [(0, slice(0, 4))]
