"""The same samples and expressions to Prometheus itself and to us: the answers must be the same."""

from __future__ import annotations

import itertools
import json
import random
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
from tests.query.memory_source import MemorySource

from almenara.model.errors import QueryError
from almenara.model.series import Series
from almenara.query import evaluate, parse, to_prometheus

pytestmark = pytest.mark.real("prometheus")

MS = 1_000_000
# Prometheus 2 closes windows on the left, 3 (and we) leave them open. No sample lies on an edge here, so both agree:
# samples have times of 137 ms and more past the second, evaluations are at whole seconds.
BASE_MS = 1_760_000_000_000
START_S, END_S, STEP_S = BASE_MS // 1000 + 600, BASE_MS // 1000 + 3600, 45

SELECTORS = [
    "requests_total",
    'requests_total{host="a"}',
    'requests_total{host!="a",job=~"we.*"}',
    '{__name__=~"requests_total|temp"}',
    'temp{host!~"a|b"}',
    'temp{missing=""}',
    'temp{host=~".+"}',
    "temp offset 7m",
    "temp offset -3m",
    'nothing{host="a"}',
]
RANGED = [
    "rate",
    "increase",
    "irate",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "stddev_over_time",
    "present_over_time",
]
COUNTERS, GAUGES = ["requests_total", "wrapping_total"], ["temp", "gappy"]
# Not over gauges: where a value is near 0 after a gap, Prometheus 3 (and we) extrapolate less far than 2 did.
COUNTING = ("rate", "increase")
LISTED = [
    "delta(temp[5m])",
    "delta(temp[11m] offset 2m)",
    "rate(requests_total[3m] offset -4m)",
    "quantile_over_time(0.9, temp[5m])",
    "quantile_over_time(0, temp[9m])",
    "quantile_over_time(1, temp[9m])",
    "quantile_over_time(-1, temp[5m])",
    "quantile_over_time(2 - 0.5, temp[5m])",
    "quantile_over_time(NaN, temp[5m])",
    "1",
    "-2 ^ 2",
    "(-2) ^ 0.5",
    "7 % -3 + 1 / 0",
    "1 > bool 2",
    "0 / 0 == bool 0 / 0",
    "1e-7 * 3",
    "1e21 + 0",
    "123456789012345678",
    "temp + 1",
    "100 - temp",
    "temp * 2.5",
    "1 / (temp - temp)",
    "(temp - temp) / (temp - temp)",
    "temp % 3",
    "temp ^ 2",
    "2 ^ temp",
    "-temp",
    "+temp",
    "- -rate(requests_total[5m])",
    "temp > 20",
    "20 < temp",
    "temp >= bool 20",
    "20 > bool temp",
    "temp == temp",
    "temp != temp",
    "requests_total / requests_total",
    "temp - limit",
    "temp > limit",
    "temp > bool limit",
    "temp / on(host, job) limit",
    "temp / ignoring(unit) scale",
    "scale / ignoring(unit) temp",
    "temp > ignoring(unit) scale",
    "temp <= on(host, job) limit",
    "sum(temp) / count(temp) - avg(temp)",
    "sum by (host) (temp) / on(host) sum by (host) (limit)",
    'rate(requests_total{code="500"}[5m]) / ignoring(code) sum without (code) (rate(requests_total[5m]))',
    'sum by (job) (rate(requests_total{code="500"}[5m])) / sum by (job) (rate(requests_total[5m])) > 0.05',
    "sum(temp > 20)",
    "count(temp > 1e9)",
    "temp + nothing",
    "sum by (host) (requests_total) > bool 1000",
    "avg(rate(requests_total[10m])) * 60",
    "max(temp) - min(temp)",
    "sum by (__name__) ({__name__=~'temp|limit'})",
    "count by (nothing) (temp)",
    "sum without () (temp)",
    "count without (host) ({__name__=~'temp|limit'})",
    "sum(1 / (temp - temp))",
    "min((temp - temp) / (temp - temp))",
    "max(-1 / (limit - limit) > bool 0)",
    "avg(temp) by (job)",
    "sum(rate(requests_total[90s]))",
    "late_total",
    "rate(late_total[5m])",
    "increase(late_total[20m])",
    "rate(wrapping_total[4m])",
    "irate(wrapping_total[90s])",
    "increase(wrapping_total[1h])",
    "temp{host='a',job='web'} + on() sum(limit)",
    "{host='a', __name__=~'temp|limit'} == 3",
]
LISTED += [
    "temp and limit",
    "temp > 20 and on(host) limit < 22",
    "temp > 20 unless on(host, job) requests_total{code='500'} > 50100",
    "temp unless temp > 20",
    "temp > 22 or temp < 18",
    "temp or limit",
    "temp{host='a'} or ignoring(unit) scale",
    "temp > 20 or on(job) limit",
    "gappy and nothing",
    "nothing or gappy",
    "gappy unless nothing",
    "requests_total and on(host) temp > 24 unless on(job) temp > 30",
    "absent(temp)",
    "absent(nothing)",
    'absent(nothing{host="a",job=~"x.*",code="1",code!="2"})',
    'absent(gappy{host="a",job="web"})',
    "absent(sum(nothing))",
    "absent(temp > 1e9)",
    'absent_over_time(gappy{host="a"}[2m])',
    'absent_over_time(nothing{host="a"}[5m])',
    "absent(nothing) * 5",
    "deriv(temp[5m])",
    "deriv(gappy[11m])",
    "predict_linear(temp[10m], 3600)",
    "predict_linear(gappy{host='a'}[10m] offset 1m, 60 * 10)",
    "predict_linear(limit[20m], 60) > 21",
    "deriv(late_total[10s])",
]
REFUSED = [
    "temp * on(host) limit",
    "rate(requests_total[5m]) / ignoring(code) sum without (code) (rate(requests_total[5m]))",
    "temp{host='a'} + on() sum(limit)",
    "rate({__name__=~'temp|limit'}[5m])",
    "-{__name__=~'temp|limit'}",
    "{__name__=~'temp|limit'} + 1",
    "temp + on(job) limit",
    "limit + on(job) sum by (job) (temp)",
    "temp == on(nothing) limit",
    "foo bar",
    "rate(temp)",
    "1 == 2",
    "{x=''}",
    "temp{host=~'(('}",
]


def expressions() -> list[str]:
    """Those listed, and each function and aggregation over several selectors and windows."""
    pick = random.Random(7)
    ranged = [
        f"{f}({s}[{w}])"
        for f in RANGED
        for s, w in zip(pick.sample(COUNTERS if f in COUNTING else COUNTERS + GAUGES, 2), ["5m", "75s"], strict=True)
    ]
    aggregated = [
        f"{op}{by} ({inner})"
        for (op, by), inner in zip(
            itertools.product(["sum", "avg", "min", "max", "count"], ["", " by (job)", " without (host)"]),
            itertools.cycle(["temp", "rate(requests_total[5m])", "gappy"]),
            strict=False,
        )
    ]
    return SELECTORS + ranged + aggregated + LISTED


def samples() -> list[tuple[Series, int, float]]:
    """Gauges, counters with resets, gaps, irregular times, series that begin late or end early; times in ms."""
    rng = np.random.default_rng(11)
    rows: list[tuple[Series, int, float]] = []

    def add(series: Series, times: np.ndarray, values: np.ndarray) -> None:
        rows.extend((series, int(t), float(v)) for t, v in zip(times, values, strict=True))

    for host, job in itertools.product("abc", ("web", "db")):
        seconds = np.arange(0, 4000, 15)
        jitter = 137 + rng.integers(0, 700, len(seconds))
        times = BASE_MS + seconds * 1000 + jitter
        lost = rng.random(len(times)) < 0.2
        add(Series.of("temp", host=host, job=job), times[~lost], rng.normal(20, 4, (~lost).sum()).round(3))
        add(Series.of("limit", host=host, job=job), times[::8], np.full(len(times[::8]), 21.5))
        add(Series.of("scale", host=host, job=job, unit="C"), times[::4], rng.integers(15, 25, len(times[::4])))
        for code in ("200", "500"):
            counts = rng.integers(0, 50, len(times)).cumsum() + 50_000.0
            for reset in rng.integers(20, len(times), 2):  # a restart begins well above 0, see `late_total` for 0
                counts[reset:] -= counts[reset] - 3_000
            add(Series.of("requests_total", host=host, job=job, code=code), times, counts)
    regular = BASE_MS + np.arange(0, 4000, 10) * 1000 + 500
    hole = ((regular - BASE_MS) // 600_000) % 2 == 0
    add(Series.of("gappy", host="a", job="web"), regular[hole], rng.normal(0, 1e6, hole.sum()))
    add(Series.of("gappy", host="b", job="web"), regular[:100], np.arange(100) * 1e150)
    add(Series.of("late_total", host="a"), regular[170:], np.arange(len(regular) - 170) * 7.0)
    add(Series.of("wrapping_total", host="a", job="db"), regular, (np.arange(len(regular)) * 37.0) % 1000)
    return rows


def open_metrics(rows: list[tuple[Series, int, float]]) -> str:
    """The rows as OpenMetrics text with times in seconds: https://openmetrics.io."""
    families: dict[str, list[str]] = {}
    for series, ms, value in rows:
        text = str(series) if series.labels else f"{series.name}{{}}"
        families.setdefault(series.name, []).append(f"{text} {value!r} {ms // 1000}.{ms % 1000:03d}")
    lines = [line for name, own in families.items() for line in [f"# TYPE {name} unknown", *own]]
    return "\n".join([*lines, "# EOF\n"])


class Peer:
    """A Prometheus over the samples, on a port of its own."""

    def __init__(self, url: str):
        self.url = url

    def ask(self, path: str, **parameters: Any) -> Any:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{query}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            return json.load(error)

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False


@pytest.fixture(scope="module")
def rows() -> list[tuple[Series, int, float]]:
    return samples()


@pytest.fixture(scope="module")
def source(rows: list[tuple[Series, int, float]]) -> MemorySource:
    return MemorySource((series, ms * MS, value) for series, ms, value in rows)


@pytest.fixture(scope="module")
def peer(rows: list[tuple[Series, int, float]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples.txt").write_text(open_metrics(rows))
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    data = folder / "data"
    make = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "-q", str(folder / "samples.txt"), str(data)]
    subprocess.run(make, check=True, capture_output=True, timeout=30)
    yield from _running(folder, data)


def _running(folder: Path, data: Path) -> Iterator[Peer]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={data}"]
    options.append(f"--web.listen-address=127.0.0.1:{port}")
    options.append("--storage.tsdb.retention.time=100y")
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(["prometheus", *options], stderr=log, stdout=log) as process,
    ):
        peer = Peer(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + 20
        while not peer.is_ready():
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        try:
            yield peer
        finally:
            process.terminate()
            process.wait(20)


def same(theirs: str, ours: str) -> bool:
    """The same text; or, as version 2 adds up without compensation, numbers that differ in the last digits only."""
    x, y = float(theirs), float(ours)
    if theirs == ours or (x == y == 0):
        return True
    return x != y and abs(x - y) <= 1e-9 * max(abs(x), abs(y)) + 1e-9


def by_labels(result: list[dict[str, Any]], key: str) -> dict[str, Any]:
    points = {}
    for one in result:
        values = [one["value"]] if key == "value" else one["values"]
        points[json.dumps(one["metric"], sort_keys=True)] = values
    assert len(points) == len(result)
    return points


def assert_same(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    assert theirs["resultType"] == ours["resultType"]
    if theirs["resultType"] == "scalar":
        assert theirs["result"] == ours["result"]
        return
    key = "value" if theirs["resultType"] == "vector" else "values"
    left, right = by_labels(theirs["result"], key), by_labels(ours["result"], key)
    assert left.keys() == right.keys()
    for labels, points in left.items():
        assert [t for t, _ in points] == [t for t, _ in right[labels]], labels
        bad = [(t, a, b) for (t, a), (_, b) in zip(points, right[labels], strict=True) if not same(a, b)]
        assert not bad, (labels, bad[:3])
    if key == "values":
        assert [one["metric"] for one in theirs["result"]] == [one["metric"] for one in ours["result"]]


@pytest.mark.parametrize("expression", expressions())
def test_range_and_instant_answers_equal(expression: str, peer: Peer, source: MemorySource) -> None:
    theirs = peer.ask("/api/v1/query_range", query=expression, start=START_S, end=END_S, step=STEP_S)
    matrix = evaluate(parse(expression), START_S * 1000 * MS, END_S * 1000 * MS, STEP_S * 1000 * MS, source)
    assert_same(theirs, to_prometheus(matrix, instant=False))
    for at in (START_S, START_S + 1237, END_S):
        theirs = peer.ask("/api/v1/query", query=expression, time=at)
        now = evaluate(parse(expression), at * 1000 * MS, at * 1000 * MS, 0, source)
        assert_same(theirs, to_prometheus(now, instant=True))


@pytest.mark.parametrize("expression", REFUSED)
def test_refused_where_prometheus_refuses(expression: str, peer: Peer, source: MemorySource) -> None:
    theirs = peer.ask("/api/v1/query_range", query=expression, start=START_S, end=END_S, step=STEP_S)
    assert theirs["status"] == "error"
    with pytest.raises(QueryError):
        evaluate(parse(expression), START_S * 1000 * MS, END_S * 1000 * MS, STEP_S * 1000 * MS, source)


def test_the_peer_holds_what_it_was_given(peer: Peer, rows: list[tuple[Series, int, float]]) -> None:
    counted = peer.ask("/api/v1/query", query="count(last_over_time({__name__=~'.+'}[2h]))", time=END_S + 600)
    assert int(counted["result"][0]["value"][1]) == len({series for series, _, _ in rows})


def test_there_are_a_hundred_expressions() -> None:
    assert len(set(expressions())) >= 100
