"""The notebook client against a small real server that has the hub's API shapes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pandas as pd
import polars as pl
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from tests.query.memory_source import MemorySource

from almenara.client import Client, connect, default_step_ns, parse_series
from almenara.codecs.influx import Influx
from almenara.model.errors import AlmenaraError, QueryError, Refused
from almenara.model.series import Series
from almenara.model.time import NS, format_time, parse_time
from almenara.plugin.contracts import Context
from almenara.query import evaluate, parse, parse_selector, to_prometheus

START = 1_760_000_000
NOW = START + 3600
TOKEN = "open-sesame"
A, B = Series.of("cpu", host="a"), Series.of("cpu", host='b "2"')


class Hub:
    """The API over rows in memory; its clock stands at NOW."""

    def __init__(self) -> None:
        rows = [(A, (START + t) * NS + 123_456_789, float(t)) for t in range(0, 3600, 10)]
        rows += [(B, (START + 1800) * NS, 7.5)]
        self.source = MemorySource(rows)
        self.written: list[tuple[str, int, float]] = []
        self.asked: list[dict[str, str]] = []
        self.url = ""

    async def form(self, request: Request) -> dict[str, str]:
        asked = dict(parse_qsl((await request.body()).decode()))
        self.asked.append(asked)
        return asked

    async def query(self, request: Request) -> Response:
        asked = await self.form(request)
        return self.answer(asked["query"], NOW * NS, NOW * NS, 0)

    async def query_range(self, request: Request) -> Response:
        asked = await self.form(request)
        start, end = parse_time(asked["start"]), parse_time(asked["end"])
        return self.answer(asked["query"], start, end, round(float(asked["step"]) * NS))

    def answer(self, query: str, start: int, end: int, step: int) -> Response:
        try:
            matrix = evaluate(parse(query), start, end, step, self.source)
        except QueryError as error:
            return JSONResponse({"status": "error", "errorType": "bad_data", "error": str(error)}, 400)
        return JSONResponse({"status": "success", "data": to_prometheus(matrix, step == 0)})

    async def series(self, request: Request) -> Response:
        asked = await self.form(request)
        batch = self.source.select(parse_selector(asked["match[]"]), 0, 2**62)
        found = [batch.series[i] for i in sorted(set(batch.id.tolist()))]
        return JSONResponse({"status": "success", "data": [{"__name__": s.name, **dict(s.labels)} for s in found]})

    async def export(self, request: Request) -> Response:
        asked = await self.form(request)
        since = NOW - float(asked.get("since", 0))
        start, end = (parse_time(asked.get(key, str(t))) for key, t in (("start", since), ("end", NOW + 3600)))
        batch = self.source.select(parse_selector(asked["match[]"]), start - 1, end - 1)
        names = ['"' + str(batch.series[i]).replace('"', '""') + '"' for i in batch.id.tolist()]
        times = [format_time(t) for t in batch.time.tolist()]
        lines = [f"{t},{n},{v}\n" for t, n, v in zip(times, names, batch.value.tolist(), strict=True)]
        return PlainTextResponse("time,series,value\n" + "".join(lines), media_type="text/csv")

    async def write(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return JSONResponse({"error": "a token is needed"}, 401)
        body = await request.body()
        if b"full" in body:
            return JSONResponse({"error": "free disk is below 1 GiB"}, 507, {"retry-after": "30"})
        decoded = Influx().decode(body, Context(parameters=dict(request.query_params), received_ns=NOW * NS))
        if decoded.rejected:
            return JSONResponse({"error": f"partial write: {decoded.rejected[0].detail}"}, 400)
        batch = decoded.batch
        rows = zip(batch.id, batch.time, batch.value, strict=True)
        self.written += [(str(batch.series[int(i)]), int(t), float(v)) for i, t, v in rows]
        return Response(status_code=204)

    def app(self) -> Starlette:
        paths: dict[str, Callable[[Request], Any]] = {
            "/api/v1/query": self.query,
            "/api/v1/query_range": self.query_range,
            "/api/v1/series": self.series,
            "/api/v1/export": self.export,
            "/write": self.write,
        }
        return Starlette(routes=[Route(path, handler, methods=["GET", "POST"]) for path, handler in paths.items()])


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    hub = Hub()
    server = uvicorn.Server(uvicorn.Config(hub.app(), host="127.0.0.1", port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    hub.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield hub
    server.should_exit = True
    thread.join(60)


@pytest.fixture
def client(hub: Hub) -> Iterator[Client]:
    hub.asked.clear()
    hub.written.clear()
    with connect(hub.url, token=TOKEN) as client:
        yield client


def test_query_gives_a_wide_frame_in_utc(client: Client) -> None:
    frame = client.query("cpu", since="1h", step="1m")
    assert list(frame.columns) == ['cpu{host="a"}', 'cpu{host="b \\"2\\""}']
    assert frame.index.name == "time"
    assert str(frame.index.tz) == "UTC"
    assert frame.index[-1] == pd.Timestamp(NOW, unit="s", tz="UTC")
    assert frame['cpu{host="a"}'].iloc[-1] == 3590.0
    assert frame.iloc[:, 1].notna().sum() == 5  # one sample, seen for five minutes
    assert frame.dtypes.eq("float64").all()


def test_the_hubs_clock_counts_and_not_ours(client: Client, hub: Hub) -> None:
    assert client.now() == NOW * NS
    frame = client.query("cpu", since=timedelta(minutes=30))
    assert hub.asked[-1]["start"] == f"{NOW - 1800}.000"
    assert hub.asked[-1]["step"] == "5.000"
    assert len(frame) == 361


def test_start_and_end_as_text_and_datetime(client: Client, hub: Hub) -> None:
    for start, end in [
        (format_time(START * NS), format_time((START + 600) * NS)),
        (datetime.fromtimestamp(START, UTC), datetime.fromtimestamp(START + 600, UTC).replace(tzinfo=None)),
        (START, str(START + 600)),
    ]:
        client.query("cpu", start=start, end=end, step=60)
        assert (hub.asked[-1]["start"], hub.asked[-1]["end"]) == (f"{START}.000", f"{START + 600}.000")


def test_query_long_has_present_values_only(client: Client) -> None:
    frame = client.query("(cpu - cpu) / 0", since="1h", step="1m", long=True)
    assert list(frame.columns) == ["time", "series", "value"]
    counts = frame["series"].value_counts()
    assert counts['{host="b \\"2\\""}'] == 5
    assert frame["value"].isna().all()  # 0/0 is a value; where nothing was measured there is no row


def test_polars_frames(client: Client) -> None:
    wide = client.query("cpu", since="1h", step="1m", frame="polars")
    assert wide.columns == ["time", 'cpu{host="a"}', 'cpu{host="b \\"2\\""}']
    assert wide.schema["time"] == pl.Datetime("ms", "UTC")
    assert wide[wide.columns[2]].count() == 5
    long = client.query("cpu", since="1h", step="1m", frame="polars", long=True)
    assert long.schema == {"time": pl.Datetime("ms", "UTC"), "series": pl.String, "value": pl.Float64}
    raw = client.query_raw("cpu", frame="polars")
    assert raw.schema == {"time": pl.Datetime("ns", "UTC"), "series": pl.String, "value": pl.Float64}
    assert len(raw) == 361


def test_empty_answers_are_empty_frames(client: Client) -> None:
    for frame in ("pandas", "polars"):
        for long in (False, True):
            assert len(client.query("nothing", frame=frame, long=long)) == 0
        raw = client.query_raw("nothing", frame=frame)
        assert (len(raw), list(raw.columns)) == (0, ["time", "series", "value"])


def test_query_raw_is_exact(client: Client, hub: Hub) -> None:
    frame = client.query_raw('cpu{host="a"}', since="10m")
    assert hub.asked[-1] == {"match[]": 'cpu{host="a"}', "format": "csv", "since": "600.000"}
    assert frame["time"].dtype == "datetime64[ns, UTC]"
    assert frame["time"].iloc[0].value == (START + 3000) * NS + 123_456_789
    assert frame["value"].iloc[0] == 3000.0
    cut = client.query_raw("cpu", start=START, end=START + 20)
    assert len(cut) == 2


def test_series_lists_names(client: Client) -> None:
    assert client.series() == ['cpu{host="a"}', 'cpu{host="b \\"2\\""}']
    assert client.series('{host="a"}') == ['cpu{host="a"}']


def test_errors_of_a_query_are_the_hubs_words(client: Client) -> None:
    with pytest.raises(QueryError, match="column 5 of 'cpu cpu': found 'cpu'"):
        client.query("cpu cpu")
    with pytest.raises(QueryError, match="topk is not supported yet"):
        client.query("topk(1, cpu)")


def test_write_line_protocol(client: Client, hub: Hub) -> None:
    assert client.write("temp,city=Mumbai value=20.5 1760000000\n# note\n", precision="s") == 1
    assert hub.written == [('temp{city="Mumbai"}', 1_760_000_000 * NS, 20.5)]


@pytest.mark.parametrize("frame", ["pandas", "polars"])
@pytest.mark.parametrize("form", ["wide", "long", "raw"])
def test_what_was_read_can_be_written_back(client: Client, hub: Hub, frame: Any, form: str) -> None:
    if form == "raw":
        data = client.query_raw("cpu", frame=frame)
    else:
        data = client.query("cpu", since="1h", step="1m", frame=frame, long=form == "long")
    rows = client.write(data)
    assert rows == len(hub.written)
    names = [name for name, _, _ in hub.written]
    if form == "raw":
        batch = hub.source.select(parse_selector("cpu"), 0, 2**62)
        assert [(t, v) for _, t, v in hub.written] == list(zip(batch.time.tolist(), batch.value.tolist(), strict=True))
    else:
        assert names.count(str(B)) == 5
        assert hub.written[0] == (str(A), (START + 60) * NS, 50.0)
    assert set(names) == {str(A), str(B)}


def test_times_with_a_zone_are_written_in_utc(client: Client, hub: Hub) -> None:
    index = pd.DatetimeIndex(["2025-10-09 10:00"], tz="Asia/Kolkata")
    client.write(pd.DataFrame({"temp": [1.0]}, index=index))
    assert hub.written == [("temp", parse_time("2025-10-09T04:30:00Z"), 1.0)]


def test_refused_writes_say_why(client: Client, hub: Hub) -> None:
    with pytest.raises(Refused, match="free disk") as caught:
        client.write("full value=1")
    assert caught.value.retry_after_s == 30
    with pytest.raises(AlmenaraError, match="partial write"):
        client.write("a value=1 1\nb value=x 1")
    with connect(hub.url) as stranger, pytest.raises(AlmenaraError, match=r"token is needed; give the hub's token"):
        stranger.write("a value=1")
    with pytest.raises(AlmenaraError, match="expected line protocol or a pandas or polars DataFrame"):
        client.write([1, 2])
    with pytest.raises(AlmenaraError, match="name it `time`"):
        client.write(pd.DataFrame({"temp": [1.0]}))


def test_no_hub_is_one_clear_line(free_port: Callable[[], int]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with connect(url) as client, pytest.raises(AlmenaraError, match=f"no hub answers at {url}.*almenara up"):
        client.query("cpu")


def test_bad_arguments_are_named(client: Client) -> None:
    for arguments, words in [
        ({"since": "1 hour"}, "duration: '1 hour'"),
        ({"start": "yesterday"}, "time: "),
        ({"frame": "excel"}, "frame: found 'excel'"),
    ]:
        with pytest.raises(AlmenaraError, match=words):
            client.query("cpu", **arguments)  # type: ignore[arg-type]
    for url in ("127.0.0.1:8642", "ftp://host", ""):
        with pytest.raises(AlmenaraError, match="expected one such as"):
            connect(url)


def test_the_token_is_not_shown() -> None:
    with connect("http://127.0.0.1:1", token=TOKEN) as client:
        assert TOKEN not in repr(client)


@pytest.mark.parametrize(
    ("range_s", "step_s"), [(60, 1), (3600, 10), (86400, 300), (7 * 86400, 1800), (5000 * 86400, 864000)]
)
def test_default_step_gives_about_500_points(range_s: int, step_s: int) -> None:
    assert default_step_ns(range_s * NS) == step_s * NS


@pytest.mark.parametrize("series", [A, B, Series.of("x"), Series.of("x:y", a='\\"\n,}', b="{")])
def test_series_text_reads_back(series: Series) -> None:
    assert parse_series(str(series)) == series


@pytest.mark.parametrize("text", ["", "{}", "9x", "x{a}", 'x{a="b"', "x y", 'x{a="b" c="d"}'])
def test_text_that_is_no_series(text: str) -> None:
    with pytest.raises(AlmenaraError, match="series"):
        parse_series(text)
