"""What a chart gets, over real HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.web.conftest import NOW, S, Served, transition, verdict_of

from almenara.model.alarm import Alarm, State
from almenara.model.batch import Batch
from almenara.model.causes import Causes
from almenara.model.series import Metadata, Series, SeriesTable
from almenara.web import view as module
from almenara.web.view import alarm_spans, anomalies

ROSE = Causes.of([("seasonal", ("rose suddenly",))])
PUMP = Series.of("pressure", pump="P1")


@pytest.fixture(scope="module", autouse=True)
def rows(served: Served) -> None:
    time = NOW - np.arange(1000, dtype=np.int64)[::-1] * 10 * S
    value = np.full(1000, 10.0)
    value[500], value[600], value[700] = 25.0, float("nan"), 10.5
    table = SeriesTable.of([PUMP, Series.of("pressure", pump="P1", site="x"), Series.of("alone", a="b")])
    ids = np.zeros(1000, np.int32)
    served.on_loop(lambda: served.hub.put(Batch(table, ids, time, value)))
    served.on_loop(lambda: served.hub.put(Batch(table, np.array([1, 2], np.int32), time[:2], value[:2])))


def view(served: Served, **params: Any) -> dict[str, Any]:
    answer = served.client.get("/api/v1/view", params={"series": str(PUMP), **params})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_chart_has_values_band_and_anomalies_in_ms(served: Served) -> None:
    chart = view(served, width=5000)
    assert chart["series"] == 'pressure{pump="P1"}'
    assert len(chart["times"]) == len(chart["values"]) == len(chart["upper"]) == 1000
    assert chart["times"][-1] == NOW // 1_000_000
    assert chart["decimated"] is False
    assert chart["values"][600] is None
    assert (chart["lower"][0], chart["yhat"][0], chart["upper"][0]) == (5, 10, 15)
    (anomaly,) = chart["anomalies"]
    assert anomaly["time"] == chart["times"][500]
    assert (anomaly["value"], anomaly["score"], anomaly["severity"]) == (25, 3, "critical")
    assert anomaly["why"] == "Higher than usual: 25, 2.5 times the usual 10, expected 5 to 15"


def test_a_chart_says_the_unit_where_it_is_known(served: Served) -> None:
    assert view(served)["unit"] == ""
    served.hub.metadata.keep(served.hub.metadata.changes({PUMP.key: Metadata("bar", "gauge")}))
    chart = view(served)
    assert (chart["unit"], chart["kind"]) == ("bar", "gauge")


def test_thresholds_come_with_the_chart_where_they_change(served: Served) -> None:
    load = Series.of("load", host="a")
    labels = dict(load.labels)
    ends = [Series.of("load_warn", **labels), Series.of("load_crit", **labels),
            Series.of("load_crit_low", range="inside", **labels), Series.of("load_warn", host="b")]  # fmt: skip
    time = NOW - np.arange(100, dtype=np.int64)[::-1] * 10 * S
    for series, value in [(load, np.arange(100.0)), *((s, np.full(100, 10.0 + n)) for n, s in enumerate(ends))]:
        value[:50] -= 5 if series == ends[0] else 0
        batch = Batch(SeriesTable.of([series]), np.zeros(100, np.int32), time, value)
        served.on_loop(lambda batch=batch: served.hub.put(batch))
    end = NOW / 1e9 + 1
    found = view(served, series=str(load), start=end - 2000, end=end, width=1000)["thresholds"]
    told = [(one["severity"], one["values"]) for one in found]
    assert sorted(told) == [("critical", [11.0]), ("critical", [12.0]), ("warning", [5.0, 10.0])]
    changes = next(one["times"] for one in found if one["severity"] == "warning")
    assert changes == pytest.approx([time[0] / 1e6, time[50] / 1e6], abs=2001)
    assert view(served)["thresholds"] == []


def test_a_narrow_chart_keeps_the_extremes_the_gap_and_the_anomaly(served: Served) -> None:
    chart = view(served, width=20)
    assert chart["decimated"] is True
    assert len(chart["times"]) < 70
    assert max(v for v in chart["values"] if v is not None) == 25
    assert None in chart["values"]
    assert chart["anomalies"][0]["time"] in chart["times"]


def test_many_rows_come_as_lowest_and_highest_from_the_store(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REPLAYED", 100)
    chart = view(served, width=50)
    assert chart["decimated"] is True
    assert chart["lower"] == []
    assert max(chart["values"]) == 25
    assert chart["times"] == sorted(chart["times"])


def test_a_line_and_its_band_break_where_no_rows_came(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    time = NOW - np.arange(400, dtype=np.int64)[::-1] * 10 * S
    time[:200] -= 3600 * S  # the hub was away for an hour
    table = SeriesTable.of([Series.of("away")])
    served.on_loop(lambda: served.hub.put(Batch(table, np.zeros(400, np.int32), time, np.full(400, 10.0))))
    for width in (5000, 50):
        chart = view(served, series="away", width=width)
        (at,) = [i for i, value in enumerate(chart["values"]) if value is None]
        assert (chart["lower"][at], chart["upper"][at], chart["yhat"][at]) == (None, None, None)
        assert chart["times"][at] == (time[199] + time[200]) / 2e6
        assert chart["gap_ms"] == max(30_000, 6 * 3_600_000 / width)
    monkeypatch.setattr(module, "MAX_REPLAYED", 100)
    assert view(served, series="away", width=50)["values"].count(None) == 1


def test_start_and_end_bound_the_chart(served: Served) -> None:
    chart = view(served, start=(NOW - 100 * S) // 1_000_000, end=NOW // 1_000_000)
    assert len(chart["times"]) == 10
    assert view(served, start=1, end=2)["times"] == []


def test_one_series_is_meant_by_its_text_or_by_a_selector_of_one(served: Served) -> None:
    assert served.client.get("/api/v1/view", params={"series": "alone"}).json()["series"] == 'alone{a="b"}'
    several = served.client.get("/api/v1/view", params={"series": "pressure"})
    assert several.status_code == 400
    assert "matches 2 series" in several.json()["error"]
    assert served.client.get("/api/v1/view", params={"series": "nothing"}).status_code == 404
    assert served.client.get("/api/v1/view", params={"series": "pressure", "start": 5, "end": 5}).status_code in (
        400,
        404,
    )
    assert served.client.get("/api/v1/view", params={"series": "alone", "width": 5}).status_code == 400


def test_alarms_of_the_series_come_with_the_chart(served: Served) -> None:
    served.hub.alarms.now = [
        Alarm(transition(State.FIRING, PUMP, NOW - 50 * S, NOW)),
        Alarm(transition(State.FIRING, Series.of("z"))),
    ]
    served.hub.alarms.told = [
        transition(State.PENDING, PUMP, NOW - 50 * S, NOW - 50 * S),
        transition(State.RESOLVED, PUMP, NOW - 900 * S, NOW - 800 * S),
    ]
    spans = view(served)["alarms"]
    ms = NOW / 1_000_000
    assert spans == [
        {"start": ms - 900_000, "end": ms - 800_000, "rule": "anomaly", "state": "resolved", "severity": "major"},
        {"start": ms - 50_000, "end": None, "rule": "anomaly", "state": "firing", "severity": "major"},
    ]


def test_alarms_outside_the_window_are_left_out() -> None:
    over = transition(State.RESOLVED, PUMP, 10, 20)
    assert alarm_spans([over], 21, 30) == []
    assert alarm_spans([over], 0, 10) == []
    assert len(alarm_spans([over], 0, 11)) == 1


def test_a_span_without_data_ends_where_the_alarm_goes_on() -> None:
    told = [transition(State.NO_DATA, PUMP, 10, 20), transition(State.FIRING, PUMP, 30, 30)]
    assert [(one["start"], one["end"]) for one in alarm_spans(told, 0, 100)] == [(1e-5, 3e-5), (3e-5, None)]


def test_of_too_many_anomalies_the_worst_of_each_part_of_the_time_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANOMALIES", 3)
    value = np.array([40.0, 20.0, 60.0, 18.0, 50.0, 10.0])
    found = anomalies(np.arange(6, dtype=np.int64) * 1_000_000, value, verdict_of(value), Causes())
    assert [one["time"] for one in found] == [0, 2, 4]
    value = np.array([90.0, 80.0, 70.0, 60.0, 50.0, 40.0])
    found = anomalies(np.array([0, 1, 2, 3, 4, 59], np.int64) * 1_000_000, value, verdict_of(value), Causes())
    assert [one["time"] for one in found] == [0, 59], "the last part is not without"


def test_an_anomaly_is_explained_in_a_sentence() -> None:
    value = np.array([20.0])
    (found,) = anomalies(np.zeros(1, np.int64), value, replace(verdict_of(value), cause=[0]), ROSE)
    assert found["why"] == "Rose suddenly: 20, 2 times the usual 10, expected 5 to 15"


def test_a_counter_is_shown_as_its_rate(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Series.of("sent_bytes_total", pump="P9").key
    time = NOW - np.arange(100, dtype=np.int64)[::-1] * 10 * S
    served.on_loop(
        lambda: served.hub.put(Batch(SeriesTable.of([key]), np.zeros(100, np.int32), time, np.arange(100) * 50.0))
    )
    assert view(served)["rate"] is False
    monkeypatch.setattr(module, "MAX_REPLAYED", 10)
    chart = view(served, series='sent_bytes_total{pump="P9"}', start=(NOW - 900 * S) / 1e9, end=NOW / 1e9, width=10)
    assert chart["rate"] is True
    drawn = [value for value in chart["values"] if value is not None]
    assert len(drawn) >= 8
    assert drawn == pytest.approx([5.0] * len(drawn), rel=0.15)
