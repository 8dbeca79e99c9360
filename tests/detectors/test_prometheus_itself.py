"""A real Prometheus that scrapes itself, from its first sample on: nothing is wrong with it, so nothing is told."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from almenara.analysis.alerts import Anomalies
from almenara.detectors.seasonal import Seasonal
from almenara.model.batch import Batch
from almenara.model.series import Metadata, SeriesTable, encode_key
from almenara.pipeline.kinds import COUNTER, HISTOGRAM, kind_of
from almenara.pipeline.rates import rated, step_in_turns

pytestmark = pytest.mark.real("prometheus")

SCRAPES = 90
CONFIG = """
global: {scrape_interval: 100ms, scrape_timeout: 100ms}
scrape_configs: [{job_name: itself, static_configs: [{targets: ["127.0.0.1:%d"]}]}]
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "p.yml").write_text(CONFIG % port)
    args = [f"--config.file={tmp_path / 'p.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    program = subprocess.Popen(
        ["prometheus", *args, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL
    )
    yield port
    program.terminate()
    program.wait(30)


def ask(port: int, path: str, **params: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(params)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]


def scraped(port: int) -> list[dict[str, Any]]:
    """All samples of Prometheus itself, once there are enough."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            found = ask(port, "query", query='count_over_time(up{job="itself"}[5m])')["result"]
            if found and int(found[0]["value"][1]) >= SCRAPES:
                return ask(port, "query", query='{job="itself"}[5m]')["result"]
        except (urllib.error.URLError, ConnectionError):
            pass  # not up yet
        time.sleep(0.2)
    raise TimeoutError(f"no {SCRAPES} scrapes within a minute")


def test_a_prometheus_that_scrapes_itself_is_as_expected(port: int) -> None:
    series = scraped(port)
    told = {name: Metadata(kind=about[0]["type"]) for name, about in ask(port, "metadata").items()}
    keys = [encode_key(one["metric"].pop("__name__"), one["metric"]) for one in series]
    names = [key.partition(b"\xff")[0].decode() for key in keys]
    kinds = np.array([kind_of(k, told.get(n, Metadata())) for k, n in zip(keys, names, strict=True)], np.uint8)
    lengths = [len(one["values"]) for one in series]
    ids = np.repeat(np.arange(len(keys), dtype=np.int32), lengths)
    times = np.array([round(float(t) * 1000) * 1_000_000 for one in series for t, _ in one["values"]])
    values = np.array([float(v) for one in series for _, v in one["values"]])
    several = (kinds[ids] != HISTOGRAM) & ~np.isinf(values)
    batch, turned, _ = rated(Batch(SeriesTable.of(keys), ids[several], times[several], values[several]), kinds)
    said = step_in_turns(Seasonal(), Seasonal, batch, turned)
    nth = Anomalies().step(batch.id, said.score)
    ready = int((~np.isnan(said.score)).sum())
    assert (kinds == COUNTER).sum() > 50
    assert ready > 40 * len(set(batch.id.tolist()))
    begun = [
        (names[i], s) for i, s, k in zip(batch.id.tolist(), said.score.tolist(), nth.tolist(), strict=True) if k == 1
    ]
    assert len(begun) <= 2 * ready * 1e-4, begun  # p_limit is 1e-4
