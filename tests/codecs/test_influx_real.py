"""Line protocol as Debian's influxd reads it: the same lines written to both mean the same values at the same times."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from almenara.codecs.influx import Influx
from almenara.model.series import Series
from almenara.plugin.contracts import Context
from almenara.testing.process import free_port, wait_until

pytestmark = pytest.mark.real("influxdb")

#: Each is the only line of its measurement, m0, m1, ..., so that the answers can be told apart.
LINES = [
    ",host=a v=1 10",
    r",host=a\ b\,c\=d v=2.5 11",
    ",b=2,a=1 v=-3i 12",
    " v=9223372036854775807i 13",
    " v=-9223372036854775808i 14",
    " v=1.5e-3 15",
    " v=-1.25E+10 16",
    " v=0.30000000000000004 17",
    " v=.5 18",
    " v=123456789012345678901234567890 19",
    " v=t 20",
    " v=False 21",
    " v=TRUE,w=f 22",
    r' v=1,s="a string, with \"quotes\" and = and  spaces",w=2 23',
    r",path=C:\x v=4 24",
    ",ort=Münster v=5 25",
    "  v=6   26",
    r" a\ b=7 27",
    " v=4.9e-324 28",
    " v=1.7976931348623157e308 29",
    " v=0.1 -30",
]
#: Lines that influxd refuses.
BAD = [" v=1z 1", " v= 1", " =1 1", ",host v=1 1", " v=1 1x", ' v="open 1', " v=9223372036854775808i 1", " v=1, 1"]


@pytest.fixture(scope="module")
def influxd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("influx"), free_port()
    config = folder / "influxdb.conf"
    config.write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{free_port()}"\n[meta]\ndir = "{folder}/meta"\n'
        f'[data]\ndir = "{folder}/data"\nwal-dir = "{folder}/wal"\n[http]\nbind-address = "127.0.0.1:{port}"\n'
    )
    url = f"http://127.0.0.1:{port}"
    with Path(folder / "out").open("wb") as out:
        process = subprocess.Popen(["influxd", "-config", str(config)], stdout=out, stderr=out)
    try:
        wait_until(lambda: _answers(f"{url}/ping"), "influxd to answer")
        _post(f"{url}/query?q=CREATE+DATABASE+d", b"")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()
    except OSError:
        return False
    return True


def _post(url: str, body: bytes) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def theirs(url: str, measurement: str) -> set[tuple[str, tuple[tuple[str, str], ...], int, float]]:
    """(field, tags, time, value) of the numbers that influxd has of a measurement; integers exactly, as floats."""
    question = urllib.parse.urlencode({"db": "d", "epoch": "ns", "q": f'SELECT * FROM "{measurement}" GROUP BY *'})
    with urllib.request.urlopen(f"{url}/query?{question}", timeout=20) as answer:
        found = json.loads(answer.read())["results"][0].get("series", [])
    rows = set()
    for one in found:
        tags = tuple(sorted((k, v) for k, v in one["tags"].items() if v)) if "tags" in one else ()
        for time, *values in one["values"]:
            for field, value in zip(one["columns"][1:], values, strict=True):
                if value is not None and not isinstance(value, str):
                    rows.add((field, tags, time, float(value)))
    return rows


def ours(payload: bytes) -> set[tuple[str, tuple[tuple[str, str], ...], int, float]]:
    """The same of what our decoder reads: measurement and field are joined in the name of a series."""
    batch = Influx().decode(payload, Context("/write")).batch
    rows = set()
    for id, time, value in zip(batch.id.tolist(), batch.time.tolist(), batch.value.tolist(), strict=True):
        series: Series = batch.series[id]
        rows.add((series.name.partition("_")[2], series.labels, time, value))
    return rows


def test_each_line_means_what_it_means_to_influxd(influxd: str) -> None:
    for number, rest in enumerate(LINES):
        line = f"m{number}{rest}".encode()
        assert _post(f"{influxd}/write?db=d", line) == 204, line
        expected = {(f.replace(" ", "_"), tags, time, value) for f, tags, time, value in theirs(influxd, f"m{number}")}
        assert expected
        assert ours(line) == expected, line


def test_lines_that_influxd_refuses_are_refused(influxd: str) -> None:
    for number, rest in enumerate(BAD):
        line = f"bad{number}{rest}".encode()
        assert _post(f"{influxd}/write?db=d", line) == 400, line
        decoded = Influx().decode(b"ok v=1 1\n" + line, Context("/write"))
        assert len(decoded.batch) == 1, line
        assert decoded.rejected, line
