"""Bad input at a real hub: each gets a clear answer or a counted drop with a name, and the rest goes on."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.system.clients import publish

from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(300)

LIMIT = 10_000
MB = 1 << 20
CONFIG = f"""
[data]
series_limit = {LIMIT}
[http]
max_body_mb = 4
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    with HubProcess(tmp_path_factory.mktemp("bad") / "data", config=CONFIG) as one:
        yield one


@pytest.fixture(autouse=True)
def hub(bad: HubProcess) -> Iterator[HubProcess]:
    """The hub, which after every test is ready and still takes what is good."""
    yield bad
    assert bad.get("/-/ready")[0] == 200
    assert bad.post("/write", b"good v=1")[0] == 204
    assert bad.query("good_v") == {"good_v": 1}


def rejected(hub: HubProcess, reason: str) -> float:
    return hub.metric("almenara_rows_rejected_total", reason=reason)


@pytest.mark.parametrize("path", ["/write", "/api/v1/write/json", "/ingest/prometheus/x"])
def test_garbage_is_an_error_that_says_where(hub: HubProcess, path: str) -> None:
    rng = random.Random(4)
    for body in (rng.randbytes(3000), b"\xff\xfe\x00", b"{", b"\x00" * 100, b"cpu usage="):
        status, answer = hub.post(path, body)
        assert status == 400, (path, body[:20], answer)
        assert json.loads(answer)["error"]
        assert hub.post(path, gzip.compress(body), headers={"Content-Encoding": "gzip"})[0] == 400


def test_a_good_row_beside_bad_ones_is_kept(hub: HubProcess) -> None:
    before = hub.metric("almenara_rows_rejected_total", reason="bad_line")
    status, answer = hub.post("/write", b"kept v=1\nthis is none\nkept,n=2 v=2\nkept,n=3 v=")
    assert status == 400
    assert b"partial write: line 2" in answer
    assert b"dropped=2" in answer
    assert sorted(hub.query("kept_v").values()) == [1, 2]
    assert rejected(hub, "bad_line") == before + 2


def test_what_is_not_utf8_is_named(hub: HubProcess) -> None:
    status, answer = hub.post("/write", b"caf\xe9 v=1\nplain v=1")
    assert status == 400
    assert b"UTF-8" in answer
    assert rejected(hub, "not_utf8") == 1
    assert hub.query("plain_v") == {"plain_v": 1}


def test_infinities_are_named_drops(hub: HubProcess) -> None:
    before = rejected(hub, "not_finite")
    status, answer = hub.post("/write", b"inf v=1e999\ninf,n=1 v=-1e999\nfinite v=1e308")
    assert (status, hub.query("finite_v")) == (400, {"finite_v": 1e308}), answer
    assert rejected(hub, "not_finite") == before + 2
    assert hub.post("/api/v1/write/json?topic=x", b'{"overflow": 1e999, "fits": 2}')[0] == 400
    assert hub.query("fits") == {'fits{topic="x"}': 2}
    assert hub.query("overflow") == {}


def test_times_outside_the_window_are_named_drops(hub: HubProcess) -> None:
    now = int(time.time())
    long_ago, ahead, soon = 365 * 86400 - 1, now + 360, now + 240
    lines = [f"clock v={n} {t * 10**9}" for n, t in enumerate((long_ago, ahead, soon, long_ago + 1))]
    status, answer = hub.post("/write", "\n".join(lines).encode())
    assert status == 400
    assert b"no clock" in answer
    assert b"future" in answer
    assert [value for _, value in hub.rows("clock_v")] == [3, 2]
    assert rejected(hub, "no_clock") == rejected(hub, "future") == 1
    told = hub.source("http:127.0.0.1")["rejected"]
    assert told["no_clock"] == told["future"] == 1, "the page Sources tells whose rows they were"


def test_a_label_of_a_megabyte_is_a_named_drop(hub: HubProcess) -> None:
    status, answer = hub.post("/write", b"long,label=" + b"x" * MB + b" v=1\nbeside v=1")
    assert status == 400
    assert len(answer) < 2000
    assert b"partial write" in answer
    assert hub.query("beside_v") == {"beside_v": 1}
    assert hub.query("long_v") == {}
    told = hub.source("http:127.0.0.1")["rejected"]
    assert told.keys() & {"bad_series", "too_long", "bad_line"}


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}])
def test_a_body_over_the_limit_is_413(hub: HubProcess, headers: dict[str, str]) -> None:
    command = ["curl", "-s", "-o", "/dev/stdout", "-w", " %{http_code}", "--data-binary", "@-", f"{hub.url}/write"]
    command += [part for k, v in headers.items() for part in ("-H", f"{k}: {v}")]
    said = subprocess.run(command, input=b"x" * (5 * MB), capture_output=True, check=False).stdout
    assert said.endswith(b" 413")
    assert b"send smaller batches" in said


def test_a_gzip_bomb_is_413_and_takes_no_memory(hub: HubProcess) -> None:
    bomb = gzip.compress(bytes(400 * MB), 9)
    assert len(bomb) < MB
    before = resident_mb(hub)
    status, answer = hub.post("/write", bomb, headers={"Content-Encoding": "gzip"})
    assert status == 413, answer
    assert b"after decompression" in answer
    assert resident_mb(hub) - before < 200
    assert hub.post("/write", gzip.compress(b"cpu v=1")[:-6], headers={"Content-Encoding": "gzip"})[0] == 400


def resident_mb(hub: HubProcess) -> float:
    assert hub.process is not None
    with open(f"/proc/{hub.process.pid}/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def test_series_past_the_limit_are_counted_and_old_ones_go_on(hub: HubProcess) -> None:
    assert hub.post("/write", b"old v=1")[0] == 204
    before = rejected(hub, "series_limit")
    for start in range(0, 20_000, 5000):
        lines = "\n".join(f"flood,user=u{n} v={n}" for n in range(start, start + 5000))
        status, answer = hub.post("/write", lines.encode())
    assert status == 400
    assert b"series limit" in answer
    assert hub.metric("almenara_series") == LIMIT
    known = hub.query("count(flood_v)")[""]
    assert rejected(hub, "series_limit") - before == 20_000 - known
    assert hub.source("http:127.0.0.1")["rejected"]["series_limit"] == 20_000 - known
    assert hub.post("/write", b"old v=2\nflood,user=u1 v=5")[0] == 204
    assert hub.query('{__name__=~"old_v|flood_v",user=~"u1|"}') == {"old_v": 2, 'flood_v{user="u1"}': 5}


MQTT = pytest.mark.real("mosquitto-clients")


@MQTT
def test_garbage_over_mqtt_is_counted_under_its_topic(hub: HubProcess) -> None:
    rng = random.Random(4)
    for payload in (rng.randbytes(500), b'{"temp": 1', b"\xff\xfe", b"not json"):
        assert publish(hub.mqtt, "bad/garbage", payload, "-q", "1").returncode == 0
    source = wait_until(
        lambda: (one := hub.source("mqtt:bad/garbage")) and one["payloads"] == 4 and one, "four payloads to be counted"
    )
    assert source["rows"] == 0
    assert source["rejected"] == {"undecodable": 4}
    assert hub.metric("almenara_payloads_undecodable_total") >= 4
    assert len(list((hub.folder / "aside").iterdir())) >= 1, "one is kept to look at"


@MQTT
def test_bad_times_over_mqtt_are_named_under_their_topic(hub: HubProcess) -> None:
    ahead = int(time.time()) + 360
    assert publish(hub.mqtt, "bad/clock", f'{{"v": 1, "time": {ahead}}}', "-q", "1").returncode == 0
    source = wait_until(lambda: hub.source("mqtt:bad/clock"), "the source")
    assert source["rejected"] == {"future": 1}


#: What a client does -> its name among the sources, what is wrong, what to do.
TURNED_AWAY = {
    ("bad/large", 9 * MB, "-i", "large"): ("large", "payload over the limit", "send smaller payloads"),
    ("bad topic/with space", 1, "-i", "space"): ("space", "topic with a space", "rename the topic"),
    # Turned away before it gives its name.
    ("bad/five", 1, "-V", "mqttv5"): ("127.0.0.1", "MQTT 5", "mosquitto_pub -V mqttv311"),
}


@MQTT
def test_a_client_that_is_turned_away_is_told_what_to_do(hub: HubProcess) -> None:
    for topic, size, *options in TURNED_AWAY:
        publish(hub.mqtt, topic, b"1" * size, *options)
    for name, problem, remedy in TURNED_AWAY.values():
        source = wait_until(lambda name=name: hub.source(f"mqtt:{name}"), f"{name} among the sources")
        assert problem in source["problem"]
        assert remedy in source["remedy"]
