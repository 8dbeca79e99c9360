"""The same lines and the same InfluxQL to Debian's influxd and to us: the answers must be the same."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from tests.web.dialects.served import Hub
from tests.web.test_real_pipeline import NoAlarms

from almenara.pipeline import Pipeline
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.folder import DataFolder
from almenara.pipeline.hub import Options
from almenara.plugin import registry
from almenara.stores.memory import Memory

pytestmark = pytest.mark.real("influxdb")

S = 1_000_000_000
#: An hour and a half before the tests begin, at a whole hour: so that now() can be asked for, too.
BASE = (time.time_ns() // (3600 * S) - 2) * 3600
DB = "telegraf"
RANGE = f"time >= {BASE}s AND time < {BASE + 600}s"
#: More: from before the first row until after the last.
WIDE = f"time >= {BASE - 120}s AND time <= {BASE * 1000 + 900_000}ms"

_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
[monitor]
  store-enabled = false
[logging]
  level = "error"
"""


def lines() -> str:
    """Ten minutes of five measurements: gaps, tags that some series lack, a counter that falls back, odd names."""
    rng = np.random.default_rng(3)
    out: list[str] = []
    for n in range(0, 600, 10):
        t = BASE + n
        for host, dc in (("a", "east"), ("b", "west"), ("c", "")):
            if host == "b" and 120 <= n < 300:
                continue
            tags = f"host={host}" + (f",dc={dc}" if dc else "")
            idle, user = 50 + 20 * math.sin(n / 90) + rng.normal(), rng.integers(0, 9)
            odd = n + {"a": 0, "b": 1, "c": 3}[host]  # no two series at one time, where order would be anybody's
            out.append(f"cpu,{tags} usage_idle={idle:.3f},usage_user={user} {t * S + odd % 7 * 100_000_000 + odd}")
        out.append(f"net,host=a,interface=eth0 bytes_recv={(n * 1000) % 333_000}i {t * S}")
        if n % 30 == 0:
            out.append(f"disk-io,host=a,path=/var\\ log read.bytes={n}i,value={n / 7:.4f} {t * S}")
    out += [f"sparse,host=a value={v} {(BASE + t) * S}" for t, v in ((5, 1), (217, 8), (228, 8), (405, -2.5))]
    out += [f"state,host=a on={'true' if n % 40 else 'false'} {(BASE + n) * S}" for n in range(0, 200, 20)]
    return "\n".join(out)


class Real(Hub):
    """A hub whose clock is the true one."""

    def make_hub(self) -> Any:
        options = Options(codecs={name: Decoding(registry.load("codec", name)) for name in ("influx", "json")})
        return Pipeline(DataFolder(self._folder), Memory(), options, alarms=lambda index: NoAlarms())


@pytest.fixture(scope="module")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("influxd")
    ports = [_free_port() for _ in range(2)]
    config = folder / "influxdb.conf"
    config.write_text(_CONFIG.format(folder=folder, rpc=ports[0], http=ports[1]))
    program = shutil.which("influxd", path="/usr/bin:/usr/sbin")
    assert program
    child = subprocess.Popen([program, "-config", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = httpx.Client(base_url=f"http://127.0.0.1:{ports[1]}", timeout=10)
    try:
        _wait_for(client)
        yield client
    finally:
        client.close()
        child.terminate()
        child.wait(20)


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _wait_for(client: httpx.Client) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if client.get("/ping").status_code == 204:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError("influxd does not answer")


@pytest.fixture(scope="module")
def both(influxd: httpx.Client, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Real]]:
    hub = Real(tmp_path_factory.mktemp("hub") / "data")
    hub.client.timeout = 60  # kernels may have to be compiled
    influxd.post("/query", data={"q": f"CREATE DATABASE {DB}"}).raise_for_status()
    for client in (influxd, hub.client):
        answer = client.post("/write", params={"db": DB, "precision": "ns"}, content=lines().encode())
        assert answer.status_code == 204, answer.text
    yield influxd, hub
    hub.stop()


def ask(client: httpx.Client, query: str, **params: str) -> httpx.Response:
    return client.get("/query", params={"db": DB, "epoch": "ns", "q": query, **params})


def close(theirs: Any, ours: Any, where: str = "") -> None:
    """Assert that two documents are the same, numbers within rounding."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), f"{where}: {theirs} != {ours}"
        assert theirs.keys() == ours.keys(), f"{where}: {theirs} != {ours}"
        for key in theirs:
            close(theirs[key], ours[key], f"{where}.{key}")
    elif isinstance(theirs, list):
        assert isinstance(ours, list), f"{where}: {theirs} != {ours}"
        assert len(theirs) == len(ours), f"{where}: {theirs} != {ours}"
        for at, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            close(one, other, f"{where}[{at}]")
    elif isinstance(theirs, float) or isinstance(ours, float):
        assert None not in (ours, theirs), f"{where}: {theirs} != {ours}"
        assert math.isclose(theirs, ours, rel_tol=1e-9, abs_tol=1e-9), f"{where}: {theirs} != {ours}"
    else:
        assert theirs == ours, f"{where}: {theirs!r} != {ours!r}"


AGGREGATES = ("mean", "sum", "count", "min", "max", "first", "last", "median", "spread", "stddev", "mode", "integral")
FILLS = ("", "fill(null)", "fill(none)", "fill(previous)", "fill(linear)", "fill(0)", "fill(-1.5)")
STEPS = ("derivative", "non_negative_derivative", "difference", "non_negative_difference", "cumulative_sum", "elapsed")

#: What Grafana's query builder writes, with $timeFilter, $__interval and variables filled in.
GRAFANA = [
    f'SELECT mean("usage_idle") FROM "autogen"."cpu" WHERE {RANGE} GROUP BY time(1m) fill(null)',
    f'SELECT mean("usage_idle") FROM "cpu" WHERE ("host" = \'a\') AND {RANGE} GROUP BY time(30s) fill(null)',
    f'SELECT mean("usage_idle") FROM "cpu" WHERE ("host"::tag = \'a\' AND "dc"::tag = \'east\') AND {RANGE}'
    ' GROUP BY time(30s), "host"::tag fill(null)',
    f'SELECT mean("usage_idle") /100 AS "text" FROM "cpu" WHERE {RANGE} GROUP BY time(1m) fill(null)',
    f'SELECT mean("usage_idle"), max("usage_user") * 2 FROM "cpu" WHERE {RANGE} GROUP BY time(1m), "host"',
    f'SELECT "usage_idle" FROM "cpu" WHERE ("host" =~ /^(a|c)$/) AND {RANGE}',
    f'SELECT mean("usage_idle") FROM "cpu" WHERE ("host" =~ /a|b/ OR "dc" = \'\') AND {RANGE} GROUP BY time(2m), "dc"',
    f'SELECT mean("usage_idle") FROM "cpu" WHERE ("host" = \'a\' OR "host" = \'b\') AND {RANGE} GROUP BY time(1m), *',
    f'SELECT mean("usage_idle") FROM "cpu" WHERE ("usage_user" >= 5) AND {RANGE} GROUP BY time(1m) fill(none)',
    f'SELECT mean("usage_idle") FROM "cpu" WHERE ("usage_user" = 5) AND {RANGE} GROUP BY "host"',
    f'SELECT mean("usage_idle") FROM "cpu" WHERE ("host" != \'a\') AND {RANGE} GROUP BY time(1m), "host" '
    "fill(linear) ORDER BY time DESC LIMIT 3 SLIMIT 1",
    f'SELECT mean("usage_idle") FROM "cpu" WHERE {RANGE} GROUP BY time(1m), "host" fill(null) LIMIT 4 OFFSET 2',
    f'SELECT mean("usage_idle") FROM "cpu" WHERE {RANGE} GROUP BY time(1m), "host" fill(null) SLIMIT 1 SOFFSET 1',
    f'SELECT non_negative_derivative(mean("bytes_recv"), 1s) *8 FROM "net" WHERE {RANGE} GROUP BY time(30s), "host"',
    f'SELECT moving_average(mean("usage_idle"), 5) FROM "cpu" WHERE {RANGE} GROUP BY time(20s), "host" fill(null)',
    f'SELECT count(distinct("usage_user")) FROM "cpu" WHERE {RANGE} GROUP BY time(1m) fill(null)',
    f'SELECT distinct("usage_user") FROM "cpu" WHERE {RANGE} AND "host" = \'a\' GROUP BY time(5m) fill(null)',
    f'SELECT percentile("usage_idle", 95) FROM "cpu" WHERE {RANGE} GROUP BY time(1m) fill(null)',
    f'SELECT top("usage_idle", 3) FROM "cpu" WHERE {RANGE} GROUP BY time(5m)',
    f'SELECT bottom("usage_idle", 3) FROM "cpu" WHERE {RANGE} GROUP BY time(5m), "host"',
    f'SELECT mean(*) FROM "cpu" WHERE {RANGE} GROUP BY time(5m)',
    f'SELECT mean("value") FROM "sparse" WHERE {RANGE} GROUP BY time(1m) fill(previous) tz(\'Europe/Berlin\')',
    'SELECT mean("usage_idle") FROM "cpu" WHERE time >= now() - 5h and time <= now() GROUP BY time(1h), "host"',
    'SELECT last("usage_idle") FROM "cpu" WHERE time > now() - 1d GROUP BY "host"',
]
BY_TIME = [
    f"SELECT {name}(value) FROM sparse WHERE {WIDE} GROUP BY time(1m) {fill}"
    for name in AGGREGATES
    for fill in (FILLS if name in ("mean", "count", "last") else ("", "fill(none)"))
]
GROUPED = [f"SELECT {name}(usage_idle) FROM cpu WHERE {RANGE} GROUP BY host" for name in AGGREGATES]
MERGED = [f"SELECT {name}(usage_idle) FROM cpu WHERE {RANGE} GROUP BY time(45s)" for name in AGGREGATES]
STEPPED = [
    query
    for name in STEPS
    for query in (
        f"SELECT {name}(usage_idle) FROM cpu WHERE {RANGE}",
        f"SELECT {name}(usage_idle) FROM cpu WHERE {RANGE} GROUP BY host",
        f"SELECT {name}(mean(usage_idle)) FROM cpu WHERE time >= {BASE + 60}s AND time < {BASE + 600}s "
        "GROUP BY time(30s), host",
        f"SELECT {name}(max(value)) FROM sparse WHERE {WIDE} GROUP BY time(1m) fill(0)",
        f"SELECT {name}(max(value)) FROM sparse WHERE {WIDE} GROUP BY time(1m) fill(previous)",
    )
]
MORE = [
    "SELECT * FROM sparse",
    "SELECT * FROM cpu WHERE host = 'a' LIMIT 3",
    "SELECT * FROM cpu GROUP BY * LIMIT 2",
    "SELECT usage_idle, host, dc FROM cpu LIMIT 5 OFFSET 3",
    "SELECT usage_idle + usage_user AS both, usage_idle FROM cpu WHERE host = 'c' LIMIT 4",
    "SELECT usage_idle / 0, usage_user % 4, -usage_user FROM cpu WHERE host = 'a' LIMIT 4",
    "SELECT abs(usage_idle), round(usage_idle), pow(usage_user, 2) FROM cpu WHERE host = 'b' LIMIT 4",
    "SELECT usage_idle FROM cpu WHERE host = 'a' ORDER BY time DESC LIMIT 3",
    "SELECT nothing FROM cpu",
    "SELECT usage_idle, nothing FROM cpu WHERE host = 'a' LIMIT 2",
    "SELECT host FROM cpu",
    "SELECT mean(nothing) FROM cpu",
    "SELECT mean(nothing), mean(usage_idle) FROM cpu",
    "SELECT value FROM nothing",
    "SELECT max(usage_idle), min(usage_idle) FROM cpu",
    "SELECT max(usage_idle), host FROM cpu",
    "SELECT max(usage_idle), usage_user, host FROM cpu GROUP BY dc",
    f"SELECT first(usage_idle), host FROM cpu WHERE {WIDE} GROUP BY time(5m)",
    "SELECT max(usage_idle) * 2 FROM cpu",
    "SELECT percentile(usage_idle, 50), percentile(usage_idle, 0.1) FROM cpu",
    "SELECT top(usage_idle, host, 2) FROM cpu",
    "SELECT bottom(usage_idle, 2), host FROM cpu",
    "SELECT top(value, 1) * 2 FROM sparse",
    "SELECT spread(usage_idle) / 2 AS x, mean(usage_user) FROM cpu GROUP BY host, nothing",
    "SELECT mean(usage_idle) * mean(usage_user) FROM cpu GROUP BY /h/",
    "SELECT max(/usage/) FROM cpu",
    "SELECT /usage/, host FROM cpu WHERE host = 'a' LIMIT 1",
    "SELECT count(*) FROM cpu",
    "SELECT mean(usage_idle) AS a, mean(usage_idle), mean(usage_idle) FROM cpu",
    "SELECT mean(value) FROM sparse, \"disk-io\", cpu",
    "SELECT mean(value) FROM /s/ GROUP BY host",
    'SELECT "read.bytes", path FROM "disk-io" LIMIT 2',
    f'SELECT mean("read.bytes") FROM "{DB}"."autogen"."disk-io" WHERE "path" = \'/var log\'',
    f"SELECT mean(usage_idle) FROM {DB}..cpu",
    "SELECT time, value FROM sparse LIMIT 1",
    "SELECT time AS t, value FROM sparse LIMIT 1",
    "SELECT value FROM sparse WHERE value > 0 AND value < 5",
    "SELECT value FROM sparse WHERE value * 2 > 15",
    "SELECT value FROM sparse WHERE value = 'x'",
    "SELECT value FROM sparse WHERE host = 5",
    "SELECT value FROM sparse WHERE nothing != 'x'",
    "SELECT value FROM sparse WHERE nothing = 'x'",
    "SELECT usage_idle FROM cpu WHERE usage_user > 7 AND host =~ /A/",
    "SELECT usage_idle FROM cpu WHERE usage_user > 7 AND host =~ /(?i)A/",
    "SELECT usage_idle FROM cpu WHERE usage_user > 7 OR host = 'b' AND dc !~ /east/",
    "SELECT usage_idle FROM cpu WHERE dc = ''",
    "SELECT usage_idle FROM cpu WHERE dc != '' LIMIT 3",
    f"SELECT value FROM sparse WHERE time = {BASE + 217}s",
    f"SELECT value FROM sparse WHERE time > {BASE + 217}s AND time < {(BASE + 405) * 1000}ms",
    f"SELECT value FROM sparse WHERE {BASE + 217}s < time",
    f"SELECT value FROM sparse WHERE time > '{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(BASE + 217))}'",
    f"SELECT value FROM sparse WHERE time > '{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(BASE + 217))}'",
    f"SELECT value FROM sparse WHERE time > '{time.strftime('%Y-%m-%d', time.gmtime(BASE + 86400))}'",
    f"SELECT mean(value) FROM sparse WHERE {WIDE} GROUP BY time(1m, 10s)",
    f"SELECT mean(value) FROM sparse WHERE {WIDE} GROUP BY time(1m) fill(previous) ORDER BY time DESC",
    f"SELECT mean(usage_idle), count(nothing) FROM cpu WHERE {RANGE} GROUP BY time(5m), host",
    f"SELECT mean(usage_idle), count(usage_user) FROM cpu WHERE {RANGE} GROUP BY time(1m), host fill(none)",
    f"SELECT mean(usage_idle) + count(usage_user) FROM cpu WHERE {RANGE} GROUP BY time(1m), host",
    f"SELECT difference(usage_idle) FROM cpu WHERE host = 'a' AND {RANGE} ORDER BY time DESC",
    f"SELECT derivative(last(value)) FROM sparse WHERE {WIDE} GROUP BY time(1m) ORDER BY time DESC",
    f"SELECT elapsed(value, 1s) FROM sparse WHERE {WIDE} ORDER BY time DESC",
    f"SELECT moving_average(usage_idle, 4) FROM cpu WHERE host = 'a' AND {RANGE}",
    f"SELECT moving_average(mean(usage_idle), 3) FROM cpu WHERE host = 'b' AND {RANGE} GROUP BY time(1m) fill(linear)",
    f"SELECT derivative(mean(usage_idle), 10s) * 2 AS d FROM cpu WHERE {RANGE} GROUP BY time(1m), host",
    f"SELECT integral(value, 1m) FROM sparse WHERE {WIDE}",
    f"SELECT cumulative_sum(count(value)) FROM sparse WHERE {WIDE} GROUP BY time(1m)",
    f"SELECT sum(usage_user) FROM cpu WHERE {RANGE} GROUP BY time(1d) tz('America/New_York')",
    f"SELECT sum(usage_user) FROM cpu WHERE {RANGE} GROUP BY time(7m), host fill(0)",
]  # fmt: skip
SHOWS = [
    "SHOW MEASUREMENTS",
    "SHOW MEASUREMENTS LIMIT 2 OFFSET 1",
    "SHOW MEASUREMENTS WITH MEASUREMENT =~ /(?i)CP/ LIMIT 100",
    "SHOW MEASUREMENTS WITH MEASUREMENT = cpu WHERE host = 'c'",
    "SHOW MEASUREMENTS WHERE \"interface\" = 'eth0'",
    "SHOW MEASUREMENTS WHERE host = 'nobody'",
    "SHOW MEASUREMENT CARDINALITY",
    "SHOW SERIES CARDINALITY",
    "SHOW SERIES",
    "SHOW SERIES FROM cpu WHERE host = 'a' LIMIT 2",
    "SHOW TAG KEYS",
    'SHOW TAG KEYS FROM "autogen"."cpu"',
    "SHOW TAG KEYS FROM cpu WHERE host = 'c'",
    "SHOW TAG KEYS FROM /c|net/ LIMIT 1",
    'SHOW TAG VALUES FROM "cpu" WITH KEY = "host"',
    'SHOW TAG VALUES WITH KEY = "host" WHERE "dc" = \'east\'',
    'SHOW TAG VALUES FROM cpu WITH KEY IN ("host", "dc")',
    'SHOW TAG VALUES FROM cpu WITH KEY =~ /h.*|d/ WHERE "host" =~ /a|b/ LIMIT 3',
    'SHOW TAG VALUES FROM cpu WITH KEY != "host"',
    "SHOW TAG VALUES FROM nothing WITH KEY = host",
    "SHOW TAG KEY CARDINALITY",
    "SHOW TAG VALUES CARDINALITY WITH KEY = host",
    "SHOW FIELD KEYS FROM cpu",
    "SHOW FIELD KEYS FROM /sp|cp/ LIMIT 1",
    f'SHOW RETENTION POLICIES ON "{DB}"',
    "SHOW RETENTION POLICIES",
]
ERRORS = [
    "SELECT mean(usage_idle), usage_user FROM cpu",
    "SELECT foo(usage_idle) FROM cpu",
    "SELECT mean(usage_idle, 2) FROM cpu",
    "SELECT usage_idle FROM cpu GROUP BY time(1m)",
    "SELECT usage_idle FROM cpu fill(none)",
    "SELECT derivative(mean(usage_idle)) FROM cpu",
    f"SELECT derivative(usage_idle) FROM cpu WHERE {RANGE} GROUP BY time(1m)",
    "SELECT max(usage_idle), min(usage_idle), host FROM cpu",
    "SELECT moving_average(usage_idle, 1) FROM cpu",
    "SELECT moving_average(usage_idle) FROM cpu",
    "SELECT percentile(usage_idle) FROM cpu",
    "SELECT percentile(usage_idle, 'x') FROM cpu",
    "SELECT distinct(usage_idle), max(usage_idle) FROM cpu",
    "SELECT top(usage_idle, 0) FROM cpu",
    "SELECT * / 2 FROM cpu",
    "SELECT usage_idle FROM cpu WHERE time != 5",
    "SELECT usage_idle FROM cpu WHERE time > 'soon'",
    "SELECT time FROM cpu",
    "SELECT 1 + 2 FROM cpu",
]
MALFORMED = [
    "SELECT",
    "SELECT FROM cpu",
    "SELECT mean(usage_idle FROM cpu",
    "SELECT usage_idle",
    "SELECT usage_idle FROM",
    "SELECT usage_idle FROM cpu WHERE",
    "SELECT usage_idle FROM cpu GROUP time(1m)",
    "SELECT usage_idle FROM cpu LIMIT x",
    "SELECT usage_idle FROM cpu ORDER BY usage_idle",
    "SELECT usage_idle FROM cpu garbage",
    "SHOW TAG VALUES FROM cpu",
    "NONSENSE",
    "",
]


def same_answers(both: tuple[httpx.Client, Real], queries: list[str]) -> None:
    """Ask all in one request, which is quicker, and compare statement by statement."""
    form = {"db": DB, "epoch": "ns", "q": ";".join(queries)}
    theirs, ours = (client.post("/query", data=form) for client in (both[0], both[1].client))
    assert (theirs.status_code, ours.status_code) == (200, 200), ours.text
    pairs = zip(json.loads(theirs.text)["results"], json.loads(ours.text)["results"], strict=True)
    for query, (first, second) in zip(queries, pairs, strict=True):
        if "integral" in query and "series" in first:  # influxd has no order of its groups
            first["series"].sort(key=lambda one: json.dumps(one.get("tags")))
        close(first, second, query)


@pytest.mark.parametrize(
    "queries",
    [GRAFANA, BY_TIME, [*GROUPED, *MERGED], STEPPED, MORE, SHOWS],
    ids=["grafana", "by time", "grouped", "stepped", "more", "shows"],
)
def test_the_answer_is_influxds(both: tuple[httpx.Client, Real], queries: list[str]) -> None:
    same_answers(both, queries)


def test_several_statements_and_comments_are_read_alike(both: tuple[httpx.Client, Real]) -> None:
    for query in (
        "SELECT mean(value) FROM sparse; SELECT max(value) FROM sparse",
        "-- a comment\nSELECT max(value) /* another */ FROM sparse;",
    ):
        close(*(ask(client, query).json() for client in (both[0], both[1].client)))


def test_windows_that_the_store_adds_up_are_the_same(
    both: tuple[httpx.Client, Real], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("almenara.query.influxql.calls._FEW", -1)
    same_answers(both, [*GRAFANA, *MERGED, *STEPPED])


@pytest.mark.parametrize("query", ERRORS)
def test_statements_that_do_not_go_together_fail_alike(both: tuple[httpx.Client, Real], query: str) -> None:
    theirs, ours = (ask(client, query) for client in (both[0], both[1].client))
    assert theirs.status_code == ours.status_code == 200
    for one, other in zip(theirs.json()["results"], ours.json()["results"], strict=True):
        assert one.keys() == other.keys(), (one, other)


def test_after_a_failed_statement_nothing_more_is_done(both: tuple[httpx.Client, Real]) -> None:
    # influxd shows one of the two errors only, under the number 0
    query = "SELECT value FROM sparse WHERE time > 'soon'; SELECT value FROM sparse"
    assert ask(both[0], query).json()["results"][-1]["error"] == "not executed"
    first, second = ask(both[1].client, query).json()["results"]
    assert "not compatible" in first["error"]
    assert second == {"statement_id": 1, "error": "not executed"}


@pytest.mark.parametrize("query", MALFORMED)
def test_what_does_not_parse_is_400_in_both(both: tuple[httpx.Client, Real], query: str) -> None:
    theirs, ours = (ask(client, query) for client in (both[0], both[1].client))
    assert (theirs.status_code, ours.status_code) == (400, 400), (theirs.text, ours.text)
    assert theirs.json().keys() == ours.json().keys() == {"error"}


@pytest.mark.parametrize("epoch", ["", "ns", "u", "ms", "s", "m", "h"])
def test_times_come_in_the_unit_that_is_asked_for(both: tuple[httpx.Client, Real], epoch: str) -> None:
    for query in ("SELECT value FROM sparse", "SELECT usage_idle FROM cpu LIMIT 4"):
        theirs, ours = (ask(client, query, epoch=epoch).json() for client in (both[0], both[1].client))
        close(theirs, ours)


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT mean(usage_idle), max(usage_user) FROM cpu WHERE {RANGE} GROUP BY time(2m), host",
        "SELECT usage_idle, nothing FROM cpu GROUP BY * LIMIT 2",
        "SHOW TAG KEYS",
        "SELECT value FROM sparse; SHOW MEASUREMENTS",
    ],
)
def test_csv_is_influxds(both: tuple[httpx.Client, Real], query: str) -> None:
    asked = {"db": DB, "q": query}
    texts = [
        client.get("/query", params=asked, headers={"accept": "application/csv"}).text
        for client in (both[0], both[1].client)
    ]
    theirs, ours = ([_cells(line) for line in text.splitlines()] for text in texts)
    close(theirs, ours)


def _cells(line: str) -> list[Any]:
    import csv

    row = next(csv.reader([line]), [])
    return [float(cell) if cell[:1].isdigit() and cell.count(".") == 1 and "," not in cell else cell for cell in row]


def test_parameters_are_bound(both: tuple[httpx.Client, Real]) -> None:
    bound = json.dumps({"host": "a", "least": 3, "many": 2.5})
    query = "SELECT usage_user FROM cpu WHERE host = $host AND usage_user > $least AND usage_user > $many LIMIT 4"
    theirs, ours = (ask(client, query, params=bound) for client in (both[0], both[1].client))
    close(theirs.json(), ours.json())
    assert len(ours.json()["results"][0]["series"][0]["values"]) == 4
    assert ask(both[1].client, query, params="{").status_code == 400


def test_a_form_and_chunks_ask_the_same(both: tuple[httpx.Client, Real]) -> None:
    form = {"db": DB, "q": "SELECT max(value) FROM sparse", "epoch": "s"}
    for more in ({}, {"chunked": "true"}, {"pretty": "true"}):
        theirs, ours = (client.post("/query", data={**form, **more}) for client in (both[0], both[1].client))
        close(json.loads(theirs.text), json.loads(ours.text))
        assert ours.text.endswith("\n")


@pytest.mark.parametrize("body", ["no line", "half v=1 1\nno line", "n v=1x"])
def test_an_error_of_a_write_stands_in_body_and_header(both: tuple[httpx.Client, Real], body: str) -> None:
    for client in (both[0], both[1].client):
        answer = client.post("/write", params={"db": DB}, content=body.encode())
        assert answer.status_code == 400
        assert answer.headers["X-Influxdb-Error"] == answer.json()["error"]
        assert answer.headers["X-Influxdb-Version"]
