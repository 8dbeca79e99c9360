"""Influx's own clients against a hub, and lines that influxd refuses: what each of both says of them."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from collections.abc import Iterator

import httpx
import pytest
from tests.web.dialects.test_influx_real import Real, ask, influxd

__all__ = ["influxd"]  # the fixture

S = 1_000_000_000
T = 1_700_000_000


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    one = Real(tmp_path_factory.mktemp("hub") / "data")
    one.client.timeout = 60  # kernels may have to be compiled
    yield one
    one.stop()


def values(hub: Real, query: str) -> list[list[object]]:
    answer = ask(hub.client, query).json()
    return [row for series in answer["results"][0].get("series", ()) for row in series["values"]]


#: Line -> status of influxd 1.6 and ours.
REFUSED = [
    "x y",
    "m",
    "m v",
    "m v=",
    "m v=1 abc",
    "m v=1 12 13",
    "m,host v=1",
    "m,=a v=1",
    ",host=a v=1",
    "m v=abc",
    "m v=1i2",
    "m v=99999999999999999999i",
    "m v=1e400",
    "m v=NaN",
    "m v=inf",
    'm v="abc',
    'm v="abc" x',
    "m v=1,w",
    "m v=1,=2",
    "m v=1, w=2",
    "m v=1,,w=2",
    " v=1",
    "m v=tru",
    "m v=1 1.5",
    "m v=1 99999999999999999999",
    "m,a=1,a=2 v=1",
    "m v=0x10",
    "m v=-",
    "m,host=a",
    "m\\ v=1",
    "m v=1;w=2",
    "m 5",
    "x\ny\nz",
    "m v=1\nx y\nm v=\n",
    "m v=1 1\nm v=2 soon\nm v=3 3",
    "SELECT",
]
TAKEN = [
    "# comment",
    "",
    "\n\n",
    "m  v=1",
    "m v=.5",
    "m v=5.",
    "m v=1E5",
    "m v=t,w=F,x=true,y=FALSE",
    "m,host=a\\ b v=1",
    "é,host=ü v=1",
    f"m v=1 {T * S}",
    "time v=1",
]
#: Lines that only one of both takes: (line, influxd, us, why).
DIFFERENT = [
    ("m v=1\r\nm v=2\r\n", 400, 204, "Windows' line ends are taken"),
    ("m,host= v=1", 400, 204, "a tag without a value is left out"),
    ("m v=1u", 400, 204, "unsigned numbers, which newer versions write"),
    ("m v=+1", 400, 204, "a sign"),
    ("m time=1", 400, 204, "a field may be called time"),
    ("m,time=1 v=1", 400, 204, "so may a tag"),
    ('m v="text"', 204, 400, "strings need a rule"),
    ("m v=1 -1", 204, 400, "times before 1971"),
]


@pytest.mark.real("influxdb")
def test_lines_are_refused_and_taken_as_by_influxd(influxd: httpx.Client, hub: Real) -> None:
    for number, (line, status) in enumerate([*((line, 400) for line in REFUSED), *((line, 204) for line in TAKEN)]):
        answers = _both(influxd, hub, number, line)
        assert [one.status_code for one in answers] == [status, status], (line, [one.text for one in answers])
        if status == 400:
            said = answers[1].json()["error"]
            assert said.startswith(("partial write: ", "unable to parse")), said
            wrong = next(one for one in line.split("\n") if one.strip() and one not in ("m v=1", "m v=1 1"))
            assert repr(wrong.strip()) in said or wrong.strip() in said, said


@pytest.mark.real("influxdb")
@pytest.mark.parametrize(("line", "theirs", "ours", "why"), DIFFERENT)
def test_where_we_are_stricter_or_more_lenient(
    influxd: httpx.Client, hub: Real, line: str, theirs: int, ours: int, why: str
) -> None:
    answers = _both(influxd, hub, 1000 + DIFFERENT.index((line, theirs, ours, why)), line)
    assert [one.status_code for one in answers] == [theirs, ours], (why, [one.text for one in answers])


def _both(influxd: httpx.Client, hub: Real, number: int, line: str) -> list[httpx.Response]:
    influxd.post("/query", data={"q": f"CREATE DATABASE bad{number}"})  # types of fields may not meet
    body = {"params": {"db": f"bad{number}"}, "content": line.encode()}
    return [client.post("/write", **body) for client in (influxd, hub.client)]  # type: ignore[arg-type]


def test_a_partial_write_keeps_the_rest_and_names_the_line(hub: Real) -> None:
    answer = hub.client.post("/write", params={"db": "p"}, content=f"part v=1 {T}\nx y\npart v=2 {T + 1}".encode())
    assert answer.status_code == 400  # precision: ns, so both are before 1971
    answer = hub.client.post(
        "/write", params={"db": "p", "precision": "s"}, content=f"part v=1 {T}\nx y\npart v=2 {T + 1}".encode()
    )
    expected = "partial write: line 2: found 'y', expected field=value in 'x y' dropped=1"
    assert (answer.status_code, answer.json()["error"]) == (400, expected)
    assert values(hub, "SELECT v FROM part") == [[T * S, 1], [(T + 1) * S, 2]]


def test_gzip_and_every_precision(hub: Real) -> None:
    for at, (unit, scale) in enumerate({"ns": 1, "n": 1, "u": 10**3, "ms": 10**6, "s": S, "m": 60 * S}.items()):
        body = gzip.compress(f"zip v={at} {(T * S) // scale}".encode())
        answer = hub.client.post(
            "/write", params={"precision": unit}, content=body, headers={"content-encoding": "gzip"}
        )
        assert answer.status_code == 204, answer.text
    assert values(hub, "SELECT last(v) FROM zip")[0][1] == 4  # minutes begin before that second
    assert values(hub, "SELECT count(v) FROM zip") == [[0, 2]]


def test_databases_are_remembered(hub: Real) -> None:
    hub.client.post("/query", data={"q": 'CREATE DATABASE "my plant" WITH DURATION 30d NAME "x"'})
    hub.client.post("/write", params={"db": "written"}, content=b"dbs v=1")
    hub.client.post("/api/v2/write", params={"bucket": "bucket/rp", "org": "o"}, content=b"dbs v=1")
    names = [row[0] for row in values(hub, "SHOW DATABASES")]
    assert {"almenara", "my plant", "written", "bucket/rp"} <= set(names)
    assert names == sorted(names)


def test_what_is_not_supported_says_so(hub: Real) -> None:
    for query in (
        "DROP DATABASE x",
        "DELETE FROM cpu",
        "SELECT mean(v) INTO y FROM x",
        "SELECT v FROM (SELECT v FROM x)",
        "SHOW QUERIES",
        "CREATE RETENTION POLICY x ON y DURATION 1d REPLICATION 1",
    ):
        answer = ask(hub.client, query)
        assert (answer.status_code, "not supported" in answer.json()["error"]) == (400, True), answer.text
    for query in ("SELECT sample(v, 2) FROM part", "SELECT holt_winters(mean(v), 1, 1) FROM part"):
        assert "not supported" in ask(hub.client, query).json()["results"][0]["error"]
    answer = hub.client.post("/api/v2/query", json={"query": 'from(bucket: "x")'})
    assert (answer.status_code, "Flux is not supported" in answer.json()["message"]) == (501, True)


def test_an_answer_that_would_be_too_large_is_refused(hub: Real) -> None:
    hub.client.post("/write", params={"precision": "s"}, content=f"wide v=1 {T}".encode())
    for query in (
        "SELECT mean(v) FROM wide GROUP BY time(1u)",
        "SELECT mean(v) FROM wide WHERE time > 0 GROUP BY time(1s)",
    ):
        assert "larger interval" in ask(hub.client, query).json()["results"][0]["error"]
    assert values(hub, f"SELECT mean(v) FROM wide WHERE time < {T + 5}s GROUP BY time(2s)")[0] == [T * S, 1]
    assert values(hub, "SELECT mean(v) FROM wide GROUP BY time(1u) fill(none)") == [[T * S, 1]]


def test_series_of_other_senders_are_measurements_with_a_value(hub: Real) -> None:
    hub.client.post("/api/v1/write/json", content=b'{"temp": 21.5, "id": "a"}')
    assert values(hub, "SELECT value, id FROM temp")[0][1:] == [21.5, "a"]
    assert ["temp"] in values(hub, "SHOW MEASUREMENTS")
    # A name that was never written in two parts may be asked for in two.
    hub.client.post("/api/v1/write/json", content=b'{"tank_level": 3, "id": "a"}')
    assert values(hub, "SELECT level FROM tank")[0][1] == 3


def test_names_come_back_as_they_were_written(hub: Real) -> None:
    hub.client.post("/write", content=rb"odd-name,my\ tag=x read\ bytes=1,a.b=2")
    assert values(hub, 'SHOW FIELD KEYS FROM "odd-name"') == [["a.b", "float"], ["read bytes", "float"]]
    found = ask(hub.client, 'SELECT "read bytes" FROM "odd-name" GROUP BY "my tag"').json()["results"][0]["series"]
    assert (found[0]["name"], found[0]["tags"]) == ("odd-name", {"my tag": "x"})


@pytest.mark.real("influxdb-client")
def test_the_influx_shell_asks_and_writes(hub: Real) -> None:
    program = shutil.which("influx")
    assert program
    where = [program, "-host", hub.host, "-port", str(hub.port), "-database", "shell", "-precision", "rfc3339"]
    for line in ("CREATE DATABASE shell", f"INSERT shell,host=a v=4 {(T - 1) * S}"):
        said = subprocess.run([*where, "-execute", line], capture_output=True, text=True, timeout=60, check=False)
        assert said.returncode == 0, said.stderr
    for line in ("shell,host=a v=3", "shell,host=b v=5"):
        hub.client.post("/write", params={"precision": "s"}, content=f"{line} {T}".encode())
    asked = [*where, "-execute", "SELECT mean(v) FROM shell GROUP BY host; SHOW DATABASES", "-format", "csv"]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "shell,host=a,1970-01-01T00:00:00Z,3.5" in told
    assert "shell,host=b,1970-01-01T00:00:00Z,5" in told
    assert "databases,shell" in told


def test_the_client_library_of_version_2_writes(hub: Real) -> None:
    influxdb_client = pytest.importorskip("influxdb_client")
    from influxdb_client.client.write_api import SYNCHRONOUS
    from influxdb_client.rest import ApiException

    with influxdb_client.InfluxDBClient(url=hub.url, token="any", org="o") as client:
        assert client.ping()
        assert client.health().status == "pass"
        point = influxdb_client.Point("lib").tag("host", "a").field("v", 2.5).field("n", 7).time(T * S)
        with client.write_api(write_options=SYNCHRONOUS) as api:
            api.write(bucket="b", record=[point, "lib,host=b v=1 1700000001000000000"])
            with pytest.raises(ApiException, match="partial write"):
                api.write(bucket="b", record=["lib,host=c v=1 1700000001000000000", "x y"])
        assert values(hub, "SELECT v, n, host FROM lib")[0] == [T * S, 2.5, 7, "a"]
        assert values(hub, "SELECT count(v) FROM lib") == [[0, 3]]
        with pytest.raises(ApiException, match="Flux is not supported"):
            client.query_api().query('from(bucket: "b")')
