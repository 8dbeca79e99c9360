"""Remote write over HTTP: what senders are told, with a real pipeline; and Prometheus and vmagent themselves."""

from __future__ import annotations

import csv
import http.server
import io
import json
import math
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cramjam
import httpx
import pytest
from tests.codecs.messages import WriteRequest
from tests.web.conftest import NOW
from tests.web.dialects.served import Hub

from almenara.model.errors import Overloaded
from almenara.model.series import Series, encode_key
from almenara.model.time import parse_time
from almenara.testing.process import HubProcess, free_port, wait_until
from almenara.web.body import Limits

NOW_MS = NOW // 1_000_000
HEADERS = {
    "content-encoding": "snappy",
    "content-type": "application/x-protobuf",
    "x-prometheus-remote-write-version": "0.1.0",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    one = Hub(tmp_path_factory.mktemp("data") / "hub", limits=Limits(inflated_bytes=1 << 20))
    yield one
    one.stop()


def message(name: str, *samples: tuple[float, int], **labels: str) -> bytes:
    pairs = [{"name": k, "value": v} for k, v in {"__name__": name, **labels}.items()]
    values = [{"value": v, "timestamp": t} for v, t in samples]
    return WriteRequest(timeseries=[{"labels": pairs, "samples": values}]).SerializeToString()


def post(served: Hub, body: bytes, path: str = "/api/v1/write", **headers: str) -> httpx.Response:
    packed = bytes(cramjam.snappy.compress_raw(body))
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return served.client.post(path, content=packed, headers=HEADERS | changed)


@pytest.mark.parametrize("path", ["/api/v1/write", "/api/v1/push", "/api/prom/push"])
def test_what_was_acknowledged_is_seen(served: Hub, path: str) -> None:
    answer = post(served, message("seen", (2.5, NOW_MS), path=path), path)
    assert (answer.status_code, answer.content) == (204, b"")
    found = served.client.get("/api/v1/query", params={"query": f'seen{{path="{path}"}}'}).json()
    assert [one["value"][1] for one in found["data"]["result"]] == ["2.5"]


def test_a_message_with_samples_that_cannot_be_kept_is_called_partial(served: Hub) -> None:
    answer = post(served, message("partial", (math.inf, NOW_MS), (1.0, NOW_MS)))
    assert answer.status_code == 400
    assert "partial write: series 1: partial: an infinite value dropped=1" in answer.json()["error"]
    assert len(served.rows("partial")) == 1


def test_exemplars_do_not_make_a_message_partial(served: Hub) -> None:
    sent = WriteRequest.FromString(message("exemplary", (1.0, NOW_MS)))
    sent.timeseries[0].exemplars.add(value=1.0)
    assert post(served, sent.SerializeToString()).status_code == 204


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}, 415),
        ({"content_encoding": "zstd"}, 415),
    ],
)
def test_what_the_sender_can_do_without_is_refused_so_that_it_falls_back(
    served: Hub, headers: dict[str, str], status: int
) -> None:
    assert post(served, message("other", (1.0, NOW_MS)), **headers).status_code == status


def test_damaged_bodies_need_not_come_again(served: Hub) -> None:
    assert post(served, b"\x0a\xff").status_code == 400
    assert served.client.post("/api/v1/write", content=b"\x05abc", headers=HEADERS).status_code == 400
    assert post(served, b"").status_code == 204


def test_a_body_that_says_to_be_too_large_is_never_decompressed(served: Hub) -> None:
    answer = served.client.post("/api/v1/write", content=b"\xff\xff\xff\xff\x0f" + b"\x00" * 100, headers=HEADERS)
    assert answer.status_code == 413
    assert "it says 4294967295" in answer.json()["error"]
    assert post(served, message("large", *[(float(n), NOW_MS - n) for n in range(80_000)])).status_code == 413


def test_a_hub_that_cannot_take_it_asks_for_it_again(served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: Any) -> None:
        raise Overloaded("the queue is full", retry_after_s=7)

    monkeypatch.setattr(served.hub, "write", full)
    answer = post(served, message("again", (1.0, NOW_MS)))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")


def test_a_series_ends_at_its_staleness_marker(served: Hub) -> None:
    sent = WriteRequest.FromString(message("ends", (1.0, NOW_MS - 2000), (1.0, NOW_MS - 1000)))
    raw = sent.SerializeToString().replace(sent.timeseries[0].samples[1].SerializeToString(), stale(NOW_MS - 1000))
    assert post(served, raw).status_code == 204
    for ago_s, count in ((1.5, 1), (0.5, 0)):
        asked = {"query": "ends", "time": NOW / 1e9 - ago_s}
        assert len(served.client.get("/api/v1/query", params=asked).json()["data"]["result"]) == count


def stale(ms: int) -> bytes:
    sample = WriteRequest.FromString(message("x", (2.0, ms))).timeseries[0].samples[0].SerializeToString()
    return sample[:1] + (0x7FF0000000000002).to_bytes(8, "little") + sample[9:]


# --- the real senders -------------------------------------------------------------------------------------------------


@contextmanager
def running(*command: str, log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def scrape_config(folder: Path, *targets: tuple[str, int], more: str = "") -> str:
    jobs = "".join(
        f"- job_name: {name}\n  static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n" for name, port in targets
    )
    path = folder / "scrape.yml"
    path.write_text(f"global: {{scrape_interval: 500ms}}\nscrape_configs:\n{jobs}{more}")
    return str(path)


def prometheus_rows(port: int, query: str) -> dict[str, list[tuple[float, str]]]:
    """(seconds, value) by series of a range selector, as Prometheus answers it."""
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=60) as answer:
        found = json.load(answer)["data"]["result"]
    return {
        str(Series.from_key(encode_key(one["metric"].pop("__name__"), one["metric"]))): [
            (float(t), repr(float(v))) for t, v in one["values"]
        ]
        for one in found
    }


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    config = "[mqtt]\nenabled = false\n"
    with HubProcess(tmp_path_factory.mktemp("hub") / "data", mqtt=False, config=config) as one:
        yield one


@pytest.mark.real("prometheus")
def test_prometheus_writes_what_it_answers_itself(hub: HubProcess, tmp_path: Path) -> None:
    port = free_port()
    more = f"remote_write:\n- url: {hub.url}/api/v1/write\n  queue_config: {{batch_send_deadline: 300ms}}\n"
    config = scrape_config(tmp_path, ("prometheus", port), ("hub", hub.http), more=more)
    command = ("prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}")
    with running(*command, f"--web.listen-address=127.0.0.1:{port}", log=tmp_path / "log"):
        wait_until(lambda: scrapes(hub, "prometheus") >= 4 <= scrapes(hub, "hub"), "four scrapes to arrive")
        theirs = prometheus_rows(port, '{job=~"prometheus|hub"}[1m]')
    ours = exported(hub, '{job=~"prometheus|hub"}')
    assert len(theirs) > 300
    assert {f'up{{instance="127.0.0.1:{p}",job="{j}"}}' for p, j in ((hub.http, "hub"), (port, "prometheus"))} <= set(
        ours
    )
    compared = {name: both_have(rows, ours[name]) for name, rows in theirs.items() if name in ours}
    assert {name: pair for name, pair in compared.items() if pair[0] != pair[1]} == {}
    assert sum(len(one) >= 2 for one, _ in compared.values()) > 300


def both_have(theirs: list[tuple[float, str]], ours: list[tuple[float, str]]) -> Any:
    """Rows of either between the first and the last time that both know.

    Prometheus sends only what it scraped since it watches, and the hub may have more by now."""
    first, last = max(theirs[:1] + ours[:1]), min(theirs[-1:] + ours[-1:])
    return [[row for row in rows if first[0] <= row[0] <= last[0]] for rows in (theirs, ours)]


def scrapes(hub: HubProcess, job: str) -> float:
    return max(hub.query(f'count_over_time(up{{job="{job}"}}[1m])').values(), default=0.0)


def exported(hub: HubProcess, selector: str) -> dict[str, list[tuple[float, str]]]:
    """(seconds, value) by series, as stored."""
    _, body = hub.get("/api/v1/export", **{"match[]": selector, "start": "1", "format": "csv"})
    found: dict[str, list[tuple[float, str]]] = {}
    for row in csv.DictReader(io.StringIO(body.decode())):
        found.setdefault(row["series"], []).append((round(parse_time(row["time"]) / 1e9, 3), repr(float(row["value"]))))
    return found


class Target(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"pressure_bar 3.25\n")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.real("victoria-metrics")
def test_vmagent_writes_and_says_when_a_target_is_gone(hub: HubProcess, tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Target) as target:
        serving = threading.Thread(target=target.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        config = scrape_config(tmp_path, ("pump", target.server_address[1]))
        arguments = (f"-promscrape.config={config}", f"-remoteWrite.url={hub.url}/api/v1/write")
        where = (f"-remoteWrite.tmpDataPath={tmp_path / 'queue'}", "-httpListenAddr=127.0.0.1:0")
        with running("vmagent", *arguments, *where, log=tmp_path / "log"):
            found = wait_until(lambda: hub.query("pressure_bar"), "a scrape to arrive")
            assert list(found.values()) == [3.25]
            target.shutdown()
            serving.join()
            target.server_close()
            wait_until(lambda: not hub.query("pressure_bar"), "the staleness marker of a target that is gone")
            assert list(hub.query('up{job="pump"}').values()) == [0.0]
