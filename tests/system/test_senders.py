"""A hub with every listening link, and the real programs that people already have: what they send arrives."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cbor2
import pytest

from almenara.testing.process import HubProcess, free_port, wait_until

LINKS = ("graphite", "statsd", "collectd", "zabbix", "syslog", "nsca", "coap")
OPTIONS = {
    "graphite": 'codec = { templates = ["cd.* .host.measurement*"] }',
    "statsd": "flush_s = 1",
    "nsca": 'password = "hush"',
}


class Senders:
    """The hub, and where its links listen."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ports = {name: free_port() for name in LINKS}
        sections = (
            f'[transports.{n}]\nlisten = "127.0.0.1:{p}"\n{OPTIONS.get(n, "")}\n' for n, p in self.ports.items()
        )
        config = "[mqtt]\nenabled = false\n[collectors]\n" + "".join(sections)
        self.hub = HubProcess(folder / "data", config=config, mqtt=False)

    def value(self, expression: str) -> float | None:
        """The one value of a query, None where there is no series."""
        found = self.hub.query(expression)
        return next(iter(found.values())) if found else None

    def until(self, expression: str, value: float) -> None:
        """Wait for a series to have a value."""
        wait_until(lambda: self.value(expression) == value, f"{expression} to be {value}")


def run(*command: str, given: str = "", code: int = 0) -> str:
    """A program's output; it must end with `code`."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Senders]:
    senders = Senders(tmp_path_factory.mktemp("senders"))
    with senders.hub:
        yield senders


@pytest.mark.real("nc")
def test_graphite_lines_by_netcat(at: Senders) -> None:
    port, now = str(at.ports["graphite"]), int(time.time())
    run(
        "nc",
        "-q1",
        "127.0.0.1",
        port,
        given=f"servers.web1.load 0.5 {now}\ndisk.used;rack=a1 7 {now}\nbad line of it\n",
    )
    run("nc", "-u", "-w1", "127.0.0.1", port, given="by.udp 3 -1\n")
    at.until("servers_web1_load", 0.5)
    at.until('disk_used{rack="a1"}', 7)
    at.until("by_udp", 3)
    assert at.hub.source("graphite:127.0.0.1")["rejected"] == {"bad_line": 1}


@pytest.mark.real("nc")
def test_statsd_lines_by_netcat(at: Senders) -> None:
    lines = "api.calls:1|c|@0.1|#code:200\napi.calls:2|c|#code:200\nlat:10:30|ms\n"
    lines += "temp:21|g\nusers:a|s\nusers:b|s\nnonsense\n"
    run("nc", "-u", "-w1", "127.0.0.1", str(at.ports["statsd"]), given=lines)
    at.until('api_calls_total{code="200"}', 12)
    for series, value in (("lat_mean", 20), ("lat_count", 2), ("temp", 21), ("users_unique", 2)):
        at.until(series, value)
    metric = "almenara_link_dropped_total"
    wait_until(lambda: at.hub.metric(metric, reason="bad_line", transport="statsd") == 1, "the bad line to be counted")


@pytest.mark.real("zabbix_sender")
def test_zabbix_sender_is_told_what_was_kept(at: Senders, tmp_path: Path) -> None:
    to = ("zabbix_sender", "-z", "127.0.0.1", "-p", str(at.ports["zabbix"]))
    said = run(*to, "-s", "web1", "-k", "vfs.fs.size[/,free]", "-o", "12.5")
    assert "processed: 1; failed: 0; total: 1" in said
    assert at.value('vfs_fs_size{host="web1",p1="/",p2="free"}') == 12.5
    now = int(time.time())
    (tmp_path / "items").write_text(f"web1 a.b {now} 5\nweb1 a.b {now - 60} 4\nweb1 log {now} hello\n")
    said = run(*to, "-T", "-i", str(tmp_path / "items"), code=2)
    assert "processed: 2; failed: 1; total: 3" in said
    assert [v for _, v in at.hub.rows("a_b")] == [4.0, 5.0]


@pytest.mark.real("logger")
def test_logger_in_both_standards_over_udp_and_tcp(at: Senders) -> None:
    before = at.hub.source("syslog:127.0.0.1").get("payloads", 0)
    for standard in ("--rfc3164", "--rfc5424"):
        for way in (["-d"], ["-T"], ["-T", "--octet-count"]):
            run("logger", "-n", "127.0.0.1", "-P", str(at.ports["syslog"]), *way, standard, "-t", "app", "a message")
    wait_until(lambda: at.hub.source("syslog:127.0.0.1").get("payloads", 0) == before + 6, "six messages")
    assert at.hub.source("syslog:127.0.0.1")["rejected"] == {}
    events = [one for one in at.hub.json("/api/v1/events") if one["labels"].get("app") == "app"]
    assert len(events) == 6
    assert {(one["text"], one["labels"]["severity"]) for one in events} == {("a message", "notice")}


@pytest.mark.real("nsca-client")
def test_send_nsca_with_perfdata_and_with_a_wrong_password(at: Senders, tmp_path: Path) -> None:
    config = tmp_path / "send_nsca.cfg"
    command = ("/usr/sbin/send_nsca", "-H", "127.0.0.1", "-p", str(at.ports["nsca"]), "-c", str(config))
    config.write_text("password=other\nencryption_method=1\n")
    run(*command, given="web9\tload\t1\tlost\n")
    wait_until(
        lambda: "another password" in at.hub.source("transport:nsca").get("problem", ""), "the problem to be said"
    )
    config.write_text("password=hush\nencryption_method=1\n")
    run(*command, given="web1\tPING\t1\tPING WARNING|rta=12.5ms;100;500;0 pl=0%\x17\nweb1\t1\tdown\x17\n")
    at.until('nagios_check_state{host="web1",service="PING"}', 1)
    at.until('nagios_host_state{host="web1"}', 1)
    at.until('nagios_perfdata{host="web1",label="rta",service="PING"}', 0.0125)
    at.until('nagios_perfdata_crit{label="rta"}', 0.5)
    assert at.value('nagios_check_state{host="web9"}') is None


@pytest.mark.real("libcoap3-bin")
def test_coap_client_posts_puts_observes_and_sends_blocks(at: Senders, tmp_path: Path) -> None:
    base, client = f"coap://127.0.0.1:{at.ports['coap']}", "coap-client-notls"
    assert run(client, "-m", "post", "-t", "50", "-e", '{"temp": 21.5}', f"{base}/rooms/kitchen").strip() == ""
    assert len(at.hub.query('{__name__=~".*temp"}')) >= 1
    run(client, "-m", "put", "-t", "0", "-e", "plant,room=a temp=20.5", f"{base}/ingest/influx/x")
    assert at.value('plant_temp{room="a"}') == 20.5
    assert "4.00" in run(client, "-m", "put", "-e", "garbage{{", f"{base}/ingest/json/x")
    (tmp_path / "cbor").write_bytes(cbor2.dumps({"level": 7.5}))
    run(client, "-m", "put", "-t", "60", "-f", str(tmp_path / "cbor"), f"{base}/tank")
    assert list(at.hub.query('{__name__=~".*level"}').values()) == [7.5]
    (tmp_path / "senml").write_bytes(cbor2.dumps([{0: "sealed", 2: 20.5}]))
    run(client, "-m", "put", "-t", "112", "-f", str(tmp_path / "senml"), f"{base}/tank")
    assert list(at.hub.query('{__name__=~".*sealed"}').values()) == [20.5]
    big = tmp_path / "big"
    big.write_text("".join(f"big,n={n} v={n}\n" for n in range(3000)))
    run(client, "-m", "put", "-f", str(big), "-b", "1024", f"{base}/ingest/influx/big")
    assert at.value("count(big_v)") == 3000
    with subprocess.Popen(
        [client, "-m", "get", "-s", "20", f"{base}/rooms/kitchen"], stdout=subprocess.PIPE
    ) as watching:
        assert watching.stdout is not None
        seen = watching.stdout.read(len('{"temp": 21.5}'))
        for value in (22, 23):
            run(client, "-m", "put", "-t", "50", "-e", f'{{"temp": {value}}}', f"{base}/rooms/kitchen")
            seen += watching.stdout.read(len('{"temp": 22}'))
        watching.terminate()
    assert seen == b'{"temp": 21.5}{"temp": 22}{"temp": 23}'


COLLECTD = """
Hostname "box1"
FQDNLookup false
Interval 1
BaseDir "{folder}"
PIDFile "{folder}/pid"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin load
LoadPlugin interface
LoadPlugin memory
LoadPlugin cpu
LoadPlugin processes
LoadPlugin network
<Plugin network>
  Server "127.0.0.1" "{collectd}"
</Plugin>
LoadPlugin write_graphite
<Plugin write_graphite>
  <Node "hub">
    Host "127.0.0.1"
    Port "{graphite}"
    Prefix "cd."
  </Node>
</Plugin>
LoadPlugin write_http
<Plugin write_http>
  <Node "hub">
    URL "{url}/ingest/collectd/http"
    Format "JSON"
    BufferSize 4096
  </Node>
</Plugin>
"""


@pytest.mark.real("collectd-core")
def test_collectd_by_network_write_graphite_and_write_http(at: Senders, tmp_path: Path) -> None:
    config = tmp_path / "collectd.conf"
    config.write_text(COLLECTD.format(folder=tmp_path, url=at.hub.url, **at.ports))
    with subprocess.Popen(["/usr/sbin/collectd", "-f", "-C", str(config)], stderr=subprocess.DEVNULL) as collectd:
        try:
            for name, sender in (
                ("collectd_load_shortterm", "the plugin network"),
                ("load_load_shortterm", "write_graphite"),
            ):
                wait_until(partial(at.hub.query, f'{name}{{host="box1"}}'), f"load, of {sender}")
            wait_until(lambda: at.hub.source("http:127.0.0.1").get("rows"), "rows of write_http")
        finally:
            collectd.terminate()
    assert at.hub.source("collectd:127.0.0.1")["rejected"] == {}
