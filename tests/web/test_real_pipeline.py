"""The HTTP floor over a real `Pipeline`: log, memory store and detector; only the alarms are put there by the test."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.web.conftest import MINUTE, NOW, S, Served, TwinAlarms
from tests.web.test_live import listening

from almenara.codecs.influx import Influx
from almenara.codecs.json import Json
from almenara.detectors.seasonal import Seasonal
from almenara.model.alarm import Transition
from almenara.pipeline import Pipeline
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options
from almenara.pipeline.judge import Watch
from almenara.query import parse_selector
from almenara.stores.memory import Memory


class NoAlarms(TwinAlarms):
    """Rules that never fire."""

    changes = 0

    def evaluated(self) -> Sequence[Any]:
        return ()

    def step(self, *_: Any) -> Sequence[Transition]:
        return ()

    def tick(self, now_ns: int) -> Sequence[Transition]:
        return ()


class ServedPipeline(Served):
    """A real hub behind uvicorn; its clock stands."""

    def __init__(self, folder: Path):
        self._folder = folder
        super().__init__()

    def make_hub(self) -> Any:
        options = Options(
            watches=[Watch("seasonal", parse_selector('{__name__=~".+"}'), Seasonal)],
            codecs={"influx": Decoding(Influx), "json": Decoding(Json)},
        )
        return Pipeline(DataFolder(self._folder), Memory(), options, alarms=lambda index: NoAlarms(), clock=lambda: NOW)

    async def start_hub(self) -> None:
        await self.hub.start()

    async def stop_hub(self) -> None:
        await self.hub.stop()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    one = ServedPipeline(tmp_path_factory.mktemp("data") / "hub")
    yield one
    one.stop()


def test_what_was_acknowledged_is_seen_by_the_next_question(real: Served) -> None:
    for n in range(5):
        assert real.write(f"seen,n={n} v={n} {NOW}").status_code == 204
        answer = real.client.get("/api/v1/query", params={"query": "count(seen_v)"}).json()
        assert answer["data"]["result"][0]["value"] == [NOW // S, str(n + 1)]


def test_json_becomes_series_with_the_device_time(real: Served) -> None:
    body = b'{"id":"CITIMUM","temperature":20.04,"humidity":32.06,"timestamp":1699999000,"city":"Mumbai"}'
    assert real.client.post("/ingest/json/sensors/mumbai", content=body).status_code == 204
    asked = {"match[]": 'temperature{city="Mumbai"}', "start": 0}
    text = real.client.get("/api/v1/export", params=asked).text
    assert (
        '2023-11-14T21:56:40.000000000Z,"temperature{city=""Mumbai"",id=""CITIMUM"",topic=""sensors/mumbai""}"' in text
    )
    assert text.endswith(",20.04\n")


def test_bad_lines_and_bad_times_are_told_in_influx_words(real: Served) -> None:
    partial = real.write(f"bad v=1 {NOW}\nnonsense\nbad v=2 {NOW + 3600 * S}")
    assert partial.status_code == 400
    error = partial.json()["error"]
    assert error.startswith("partial write: line 2: ")
    assert "future: bad_v = 2" in error
    assert error.endswith("dropped=2")
    assert real.write("nonsense").json()["error"].startswith("unable to parse: ")
    assert real.client.post("/ingest/nonsense/x", content=b"1").status_code == 400


def test_a_chart_has_the_band_that_was_learned_and_the_anomaly(real: Served) -> None:
    rng = np.random.default_rng(7)
    times = NOW - np.arange(2000)[::-1] * MINUTE
    values = 50 + rng.normal(0, 1, 2000)
    values[1900] = 90
    lines = "\n".join(f"pump,p=1 bar={v!r} {t}" for v, t in zip(values.tolist(), times.tolist(), strict=True))
    assert real.write(lines).status_code == 204
    asked = {"series": 'pump_bar{p="1"}', "start": int(times[1800]) // 1_000_000, "width": 2000}
    chart = real.client.get("/api/v1/view", params=asked).json()
    assert len(chart["times"]) == len(chart["upper"]) == 200
    band = [(low, high) for low, high in zip(chart["lower"], chart["upper"], strict=True) if low is not None]
    assert band
    assert all(low < 50 < high for low, high in band)
    assert any(one["value"] == 90 and one["score"] > 1 for one in chart["anomalies"])
    frame = pd.read_csv(io.StringIO(real.client.get("/api/v1/export", params={"match[]": "pump_bar"}).text))
    np.testing.assert_array_equal(frame.value, values)


def test_judged_rows_are_pushed(real: Served) -> None:
    with listening(real, match="pushed_v", kinds="rows") as events:
        assert real.write(f"pushed v=4.5 {NOW}").status_code == 204
        name, data = next(events)
    assert (name, data["series"]) == ("rows", [{"__name__": "pushed_v"}])
    assert data["rows"][0][:3] == [0, NOW // 1_000_000, 4.5]


def test_status_sources_and_metrics_are_those_of_the_hub(real: Served) -> None:
    assert real.write(f"counted v=1 {NOW}").status_code == 204
    assert real.client.get("/api/v1/status").json()["series"] == len(real.hub.index)
    (source,) = [one for one in real.client.get("/api/v1/sources").json() if one["name"] == "http:127.0.0.1"]
    assert source["rows"] > 0
    assert source["transport"] == "http"
    assert "almenara_rows_committed_total " in real.client.get("/metrics").text
    assert real.client.get("/-/ready").status_code == 200
