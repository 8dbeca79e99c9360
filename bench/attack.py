"""Whether a hub stays alive, small and quick while everything that is wrong is thrown at it from several connections.

    python bench/attack.py [--seconds 4] [--connections 4] [--patience 1] [--only NAME ...]

A real hub (`almenara up`) with every listening link takes one attack after the other, each from several processes at a
time. Meanwhile a normal sender goes on writing and a client asks `/-/ready`. Told for each attack: how long the longest
answer to either took, the memory of the hub at its highest, what was counted as dropped and why. At the end: every
acknowledged row of the normal sender is there, the sums of the ledger hold, and no secret stands in what the hub said.

Measured on two quiet cores, 4 connections, 3 s each: 434 MB at rest, 1.4 GB at most, 1.8 GB with 100,000 new series in
a moment; `/-/ready` within 0.5 s, writes within 0.7 s but for three: 1.7 s behind millions of tiny rows that are
all taken (`many`), 1.3 s behind payloads of 8 MB over MQTT (`mqtt`), 6.6 s behind a million new names (`names`). Under
other load (4 to 11) 1.1 s, and 6 and 14 s for the first and the last.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import random
import re
import socket
import struct
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cramjam

from almenara.testing.process import HubProcess, free_port

MB = 1 << 20
TOKEN, NSCA, PRIVATE = "token-of-the-attack-bench", "password-of-nsca", "private-key-of-a-stream"
#: What the hub must keep to, with its defaults: memory, and how long anybody else may wait for an answer.
BOUND_MB, BOUND_S = 3000, 1.0

TCP, UDP = ("graphite", "zabbix", "nsca", "syslog"), ("graphite", "statsd", "collectd", "syslog", "coap")
LINKS = ("graphite", "statsd", "collectd", "zabbix", "syslog", "nsca", "coap")
CONFIG = f"""
[http]
token = "{TOKEN}"
dialects = ["dweet", "phant", "queue"]
[streams.attacked]
private = "{PRIVATE}"
fields = ["a"]
"""

PATHS = (
    ("/write", "text/plain"), ("/api/v2/write", ""), ("/api/v1/write/json?topic=x", "application/json"),
    ("/ingest/csv/x", "text/csv"), ("/ingest/senml/x", "application/senml+cbor"), ("/ingest/prometheus/x", ""),
    ("/ingest/auto/x", "application/x-ndjson"), ("/ingest/collectd/x", ""), ("/ingest/bulk/x", ""),
    ("/ingest/sparkplug/spBv1.0/g/NDATA/n", ""), ("/ingest/syslog/x", ""), ("/ingest/zabbix/x", ""),
    ("/ingest/graphite/x", ""), ("/ingest/nagios_perfdata/x", ""), ("/ingest/nsca/x", ""),
    ("/api/v1/write", "application/x-protobuf"), ("/v1/metrics", "application/x-protobuf"),
    ("/v1/metrics", "application/json"), ("/_bulk", "application/x-ndjson"), ("/dweet/for/x", "application/json"),
    ("/input/attacked", "application/json"), ("/queue/x", "application/json"), ("/query", ""),
    ("/api/v1/query", "application/x-www-form-urlencoded"),
)  # fmt: skip

Ports = dict[str, int]
Attack = Callable[[Ports, random.Random], None]


def post(ports: Ports, path: str, body: bytes, media: str = "", encoding: str = "") -> int:
    """The status of a POST; 0 where the connection broke."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    headers |= {"Content-Type": media} if media else {}
    headers |= {"Content-Encoding": encoding} if encoding else {}
    request = urllib.request.Request(f"http://127.0.0.1:{ports['http']}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def gz(ports: Ports, path: str, body: bytes, media: str = "") -> None:
    """Send something as gzip."""
    post(ports, path, gzip.compress(body, 1), media, "gzip")


def raw(ports: Ports, link: str, *parts: bytes, wait_s: float = 0.5) -> None:
    """Send parts over a TCP connection."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", ports[link]), timeout=wait_s) as link_socket:
        for part in parts:
            link_socket.sendall(part)
        link_socket.recv(4096)


def shoot(ports: Ports, link: str, datagrams: Iterator[bytes]) -> None:
    """Send datagrams."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gun:
        for datagram in datagrams:
            with suppress(OSError):
                gun.sendto(datagram, ("127.0.0.1", ports[link]))


def head(path: str, *more: str) -> bytes:
    """The head of a POST."""
    lines = (f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {TOKEN}", *more)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def field(number: int, inside: bytes) -> bytes:
    """A field of Protocol Buffers that has a length."""
    size, length = len(inside), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + inside


# --- attacks: one round each, which goes on for a second or so at most


def random_bytes(ports: Ports, rng: random.Random) -> None:
    """Random bytes to every path, under right and wrong content types and encodings."""
    for path, media in PATHS:
        body = rng.randbytes(rng.choice((1, 30, 3000, 60_000)))
        post(ports, path, body, rng.choice((media, "application/octet-stream", "")))
        gz(ports, path, body, media)
        post(ports, path, bytes(cramjam.snappy.compress_raw(body))[:-1], media, "snappy")


def random_links(ports: Ports, rng: random.Random) -> None:
    """Random bytes over every link."""
    for link in TCP:
        raw(ports, link, rng.randbytes(20_000), wait_s=0.05)
    for link in UDP:
        shoot(ports, link, (rng.randbytes(rng.randint(0, 1400)) for _ in range(200)))


def truncated(ports: Ports, rng: random.Random) -> None:
    """Bodies that end before their length."""
    for path, _ in PATHS:
        raw(ports, "http", head(path, "Content-Length: 1000"), b"cpu v=1\n", wait_s=0.02)
    raw(ports, "http", head("/write", "Content-Length: 1000000000"), b"cpu v=1\n" * 1000)
    raw(ports, "http", head("/write", "Transfer-Encoding: chunked"), b"fffffffffffffffff\r\n")
    raw(ports, "http", head("/write", "Content-Length: -1"), b"x")
    raw(ports, "http", head("/write", "Content-Length: 5", "Content-Length: 50"), b"x v=1")


def bombs(ports: Ports, rng: random.Random) -> None:
    """gzip and snappy that are far larger inside, members without end, lengths that lie."""
    post(ports, "/write", BOMB, encoding="gzip")
    post(ports, "/_bulk", BOMB, "application/x-ndjson", "gzip")
    post(ports, "/write", MEMBERS, encoding="gzip")
    post(ports, "/api/v1/write", b"\xff\xff\xff\xff\x0f" + b"x" * 100, "application/x-protobuf", "snappy")
    post(ports, "/api/v1/write", b"\x80\x80\x80\x20" + b"x" * 100, "application/x-protobuf", "snappy")


def slow(ports: Ports, rng: random.Random) -> None:
    """Connections that send a byte now and then."""
    opened = []
    for n in range(60):
        with suppress(OSError):
            one = socket.create_connection(("127.0.0.1", ports["http" if n % 2 else rng.choice(TCP)]), timeout=1)
            one.sendall(head("/write", "Content-Length: 100000")[: 20 if n % 4 == 1 else None])
            opened.append(one)
    for _ in range(10):
        for one in opened:
            with suppress(OSError):
                one.sendall(b"a")
        time.sleep(0.1)
    for one in opened:
        one.close()


def megabyte_fields(ports: Ports, rng: random.Random) -> None:
    """A text, a name and a label of a megabyte in each format."""
    x = b"x" * MB
    post(ports, "/write", b'm,a=b f="' + x + b'"\n' + x + b" v=1\nm," + x + b"=1 v=1\n")
    post(ports, "/api/v1/write/json?topic=x", b'{"' + x + b'":1,"t":"' + x + b'"}')
    post(ports, "/ingest/prometheus/x", x + b" 1\na{" + x + b'="1"} 1\n')
    post(ports, "/ingest/csv/x", b"time," + x + b"\n1700000000,1\n")
    post(
        ports,
        "/ingest/zabbix/x",
        json.dumps(
            {"request": "sender data", "data": [{"host": "h", "key": 'k["\\"' + '\\"x,' * 300_000, "value": "1"}]}
        ).encode(),
    )
    post(ports, "/ingest/syslog/x", b"<13>1 - h a - - [" + b'a@1 b="' + x + b'"] t\n')
    post(
        ports,
        "/v1/metrics",
        field(1, field(2, field(2, field(1, x) + field(5, field(1, b""))))),
        "application/x-protobuf",
    )
    raw(ports, "graphite", x + b" 1 1\n")
    raw(ports, "syslog", b"9999999 " + x)


def names(ports: Ports, rng: random.Random) -> None:
    """A million different series, in bodies of 50,000."""
    base = rng.randrange(10**12)
    for start in range(0, 250_000, 50_000):
        body = b"".join(b"flood,u=u%d v=1\n" % n for n in range(base + start, base + start + 50_000))
        gz(ports, "/write", body)
    raw(ports, "graphite", b"".join(b"flood.u%d 1 -1\n" % n for n in range(base, base + 50_000)))


def deep(ports: Ports, rng: random.Random) -> None:
    """JSON and CBOR of 100,000 levels, groups in groups."""
    lists, objects = b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    for path, media in PATHS:
        for body in (lists, objects):
            post(ports, path, body, "application/json" if "json" in media else media)
    for path in ("/api/v1/write", "/v1/metrics", "/ingest/sparkplug/spBv1.0/g/NDATA/n"):
        post(ports, path, b"\x0b" * 100_000 + b"\x0c" * 100_000, "application/x-protobuf")
    post(ports, "/ingest/senml/x", b"\x81" * 100_000 + b"\0", "application/senml+cbor")


def lengths(ports: Ports, rng: random.Random) -> None:
    """CBOR, Zabbix and collectd that say huge lengths."""
    for body in (b"\x9b\0\0\0\xff\xff\xff\xff\xff", b"\x81\x7b\0\0\0\x7f\xff\xff\xff\xff", b"\xbb" + b"\xff" * 8):
        post(ports, "/ingest/senml/x", body, "application/senml+cbor")
    for flags, size, inside in ((1, 1 << 31, 0), (3, 100, 1 << 31), (3, 100, 4 * MB), (5, 1 << 31, 0), (1, 100, 0)):
        raw(ports, "zabbix", b"ZBXD" + bytes([flags]) + struct.pack("<II", size, inside), b"x" * 50, wait_s=0.05)
    packed = zlib.compress(bytes(4 * MB))
    raw(ports, "zabbix", b"ZBXD\x03" + struct.pack("<II", len(packed), 4 * MB), packed)
    raw(ports, "zabbix", b"ZBXD\x03" + struct.pack("<II", len(packed), 100), packed)
    parts = (b"\0\0\0\0" * 300, b"\0\6\0\x0f\xff\xff" + b"\1" * 20, b"\0\2\xff\xff" + b"x" * 50, b"\2\0\0\4" * 100)
    shoot(ports, "collectd", (part for part in parts * 20))


def many(ports: Ports, rng: random.Random) -> None:
    """Tiny records by the million, small as gzip: empty points, objects, lines, rows."""
    n = 30 * MB
    points = field(1, field(2, field(2, field(1, b"m") + field(5, b"\x0a\0" * (n // 3)))))
    gz(ports, "/v1/metrics", points, "application/x-protobuf")
    for path, media, one in (
        ("/api/v1/write/json?topic=x", "", b"{},"), ("/ingest/prometheus/x", "", b"a\n"),
        ("/ingest/syslog/x", "", b"<1>\n"),
        ("/_bulk", "application/x-ndjson", b"{}\n"), ("/write", "", b"a\n"), ("/write", "", b"tiny v=1\n"),
        ("/ingest/senml/x", "application/senml+json", b"{},"), ("/ingest/nagios_perfdata/x", "", b"a\n"),
    ):  # fmt: skip
        gz(ports, path, (b"[" if one == b"{}," else b"") + one * (n // len(one)), media)


def long_lines(ports: Ports, rng: random.Random) -> None:
    """A CSV line of 50 MB, Graphite and syslog lines that never end."""
    gz(ports, "/ingest/csv/x", b"time,a\n" + b"1," * (25 * MB), "text/csv")
    gz(ports, "/ingest/csv/x", b'time,a\n"' + b"x" * (50 * MB), "text/csv")
    for link in ("graphite", "syslog"):
        with suppress(OSError), socket.create_connection(("127.0.0.1", ports[link]), timeout=1) as one:
            for _ in range(50):
                one.sendall(b"x" * MB)


def statsd(ports: Ports, rng: random.Random) -> None:
    """StatsD with huge rates and values, ever new names, tags, members, checks and events."""
    big = b"x" * 1400

    def packets() -> Iterator[bytes]:
        for n in range(5000):
            yield b"c:1e308|c|@0.000001\ng:+1e308|g\nt:1e308:1e308|ms|@0.000001"
            yield b"n%d:1|c|#t:%s" % (rng.randrange(10**9), big[:1000])
            yield b"s:%d%s|s" % (n, big[:1000])
            yield b"_sc|a%d|0|#t:%s" % (n, big)
            yield b"_e{1,1300}:t|" + big
            yield b"c:1|c|unknown:%d%s" % (n, big[:1300])

    shoot(ports, "statsd", packets())


def nsca(ports: Ports, rng: random.Random) -> None:
    """Packets of others, and right ones that were recorded."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", ports["nsca"]), timeout=0.5) as one:
        start = one.recv(132, socket.MSG_WAITALL)
        packet = struct.pack("!hhIIH64s128s512s", 3, 0, 0, struct.unpack("!I", start[128:])[0], 0, b"h", b"s", b"x=1")
        packet += b"\0" * (720 - len(packet))
        packet = packet[:4] + struct.pack("!I", zlib.crc32(packet)) + packet[8:]
        for key in (start[:128], NSCA.encode()):
            packet = bytes(byte ^ key[at % len(key)] for at, byte in enumerate(packet))
        for _ in range(200):
            one.sendall(packet)
        for _ in range(20):
            raw(ports, "nsca", packet, wait_s=0.05)


def coap(ports: Ports, rng: random.Random) -> None:
    """Blocks of transfers that never end, and many messages."""

    def packets() -> Iterator[bytes]:
        for _ in range(400):  # PUT /p<n>, block 0 of many, 1024 bytes each
            path = b"p%05d" % rng.randrange(10**5)
            yield (
                struct.pack("!BBH", 0x40, 3, rng.randrange(65536)) + b"\xb6" + path + b"\xd1\x03\x0e\xff" + b"x" * 1024
            )
            yield struct.pack("!BBH", 0x40, 1, rng.randrange(65536)) + b"\x60\x56" + path  # observe

    for _ in range(3):
        shoot(ports, "coap", packets())


def mqtt(ports: Ports, rng: random.Random) -> None:
    """Payloads of 8 MB with garbage, packets that lie about their length."""
    hello = b"\x10\x0d\0\4MQTT\4\2\0\x3c\0\1" + bytes([rng.randrange(97, 123)])
    payload = rng.randbytes(8 * MB - 100)
    for topic in (b"t/x", b"spBv1.0/g/NDATA/n"):
        body = struct.pack(">H", len(topic)) + topic + b"\0\1" + payload
        size, length = len(body), bytearray()
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        raw(ports, "mqtt", hello, b"\x32" + bytes([*length, size]) + body, wait_s=3)
    raw(ports, "mqtt", hello, b"\x32\xff\xff\xff\x7f" + b"x" * 1000)
    raw(ports, "mqtt", hello, b"\x30\xff\xff\xff\xff\xff\xff")
    raw(ports, "mqtt", rng.randbytes(1000))


def secrets(ports: Ports, rng: random.Random) -> None:
    """Requests that carry secrets and go wrong."""
    urls = (f"/write?u=a&p={TOKEN}", f"/input/attacked?private_key={PRIVATE}&a=", f"/dweet/for/x?key={TOKEN}")
    for path in urls:
        post(ports, path, b"\xff\xfe garbage " + TOKEN.encode()[:0], "application/json")
        post(ports, path.replace("attacked", "nobody"), b"{", "application/json")


BOMB = gzip.compress(bytes(1000 * MB), 9)
MEMBERS = gzip.compress(b"") * 500_000
ATTACKS: tuple[Attack, ...] = (
    random_bytes, random_links, truncated, bombs, slow, megabyte_fields, deep, lengths, many, long_lines, statsd, nsca,
    coap, mqtt, secrets, names,
)  # fmt: skip


def again(attack: Attack, ports: Ports, seed: int, seconds: float) -> None:
    """Rounds of an attack until its time is up."""
    rng, end = random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < end:
        attack(ports, rng)


# --- what the others notice


class AttackedHub(HubProcess):
    """A hub with every link and the token of this bench."""

    token = TOKEN  # type: ignore[assignment]

    def __init__(self, folder: Path) -> None:
        self.links = {name: free_port() for name in LINKS}
        sections = "".join(
            f'[transports.{name}]\nlisten = "127.0.0.1:{port}"\n' + (f'password = "{NSCA}"\n' if name == "nsca" else "")
            for name, port in self.links.items()
        )
        super().__init__(folder, config=CONFIG + sections)

    @property
    def ports(self) -> Ports:
        """Where everything listens."""
        return {**self.links, "http": self.http, "mqtt": self.mqtt}

    def resident_mb(self) -> float:
        """Its memory now, without its broker's."""
        assert self.process is not None
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / MB


class Others:
    """A normal sender and somebody who asks whether the hub is ready, each in a thread of its own."""

    def __init__(self, hub: AttackedHub) -> None:
        self.hub, self.acknowledged, self.statuses = hub, 0, Counter[str]()
        self.longest = {"/-/ready": 0.0, "write": 0.0}
        self.peak_mb = 0.0
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._ask, self._write)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stopping.wait(0.05):
            self._timed("/-/ready", lambda: self.hub.get("/-/ready")[0])
            self.peak_mb = max(self.peak_mb, self.hub.resident_mb())

    def _write(self) -> None:
        start = int(time.time()) - 1_000_000
        while not self._stopping.wait(0.05):
            line = f"normal v={self.acknowledged} {(start + self.acknowledged) * 10**9}".encode()
            self.acknowledged += self._timed("write", lambda line=line: self.hub.post("/write", line)[0]) == 204

    def _timed(self, what: str, ask: Callable[[], int]) -> int:
        began = time.monotonic()
        try:
            status = ask()
        except OSError as error:
            self.statuses[f"{what} {type(error).__name__}"] += 1
            status = 0
        self.statuses[f"{what} {status}"] += 1
        self.longest[what] = max(self.longest[what], time.monotonic() - began)
        return status

    def told(self) -> tuple[dict[str, float], float, Counter[str]]:
        """What was noticed since the last time."""
        found = dict(self.longest), self.peak_mb, self.statuses
        self.longest, self.peak_mb, self.statuses = dict.fromkeys(self.longest, 0.0), 0.0, Counter()
        return found

    def stop(self) -> None:
        """Ask and send no more."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()


def reasons(hub: HubProcess) -> Counter[str]:
    """How much was dropped and rejected so far, by reason."""
    text = hub.get("/metrics")[1].decode()
    found: Counter[str] = Counter()
    wanted = r"^almenara_(?:link_dropped|rows_rejected|payloads_undecodable)_total(?:\{([^}]*)\})? (\S+)$"
    for labels, value in re.findall(wanted, text, re.MULTILINE):
        found[" ".join(re.findall(r'"([^"]*)"', labels)) or "undecodable"] += int(float(value))
    return found


def run(hub: AttackedHub, attack: Attack, given: argparse.Namespace, others: Others) -> list[str]:
    """One attack; what went wrong."""
    seconds, connections = given.seconds, given.connections
    before = reasons(hub)
    others.told()
    spawn = multiprocessing.get_context("fork")
    attackers = [
        spawn.Process(target=again, args=(attack, hub.ports, seed, seconds), daemon=True) for seed in range(connections)
    ]
    for one in attackers:
        one.start()
    for one in attackers:
        one.join(60)
        one.kill()
    longest, peak_mb, statuses = others.told()
    counted = {reason: n for reason, n in (reasons(hub) - before).items() if n}
    print(
        f"{attack.__name__:16} ready {longest['/-/ready']:5.2f} s  write {longest['write']:5.2f} s  "
        f"memory {peak_mb:6.0f} MB  {dict(statuses)}\n{'':16} {counted}", flush=True,
    )  # fmt: skip
    assert hub.process is not None
    wrong = ["the hub ended"] if hub.process.poll() is not None else []
    wrong += [f"{attack.__name__}: {what} took {s:.2f} s" for what, s in longest.items() if s > given.patience]
    wrong += [f"{attack.__name__}: {peak_mb:.0f} MB"] if peak_mb > BOUND_MB else []
    return wrong


def after(hub: AttackedHub, acknowledged: int) -> list[str]:
    """What does not hold at the end."""
    rows = len(hub.rows("normal_v"))
    wrong = [] if rows == acknowledged else [f"{acknowledged} rows acknowledged, {rows} there"]
    for one in hub.json("/api/v1/ledger")["sources"]:
        parts = [one["stored"], one["duplicate"], one["overwritten"]]
        parts += [sum(one[name].values()) for name in ("rejected", "dropped")]
        if sum(parts) != one["received"]:
            wrong.append(f"{one['name']}: received {one['received']}, parts {parts}")
    said = hub.said()
    wrong += [f"the secret {secret!r} was logged" for secret in (TOKEN, NSCA, PRIVATE) if secret in said]
    if "Traceback" in said:
        wrong.append(f"a traceback in what it said: {said[said.index('Traceback') :][:1500]}")
    return wrong


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=4.0)
    arguments.add_argument("--connections", type=int, default=4)
    arguments.add_argument("--patience", type=float, default=BOUND_S, help="seconds that others may wait")
    arguments.add_argument("--only", nargs="*", default=[])
    given: Any = arguments.parse_args()
    chosen = [one for one in ATTACKS if not given.only or one.__name__ in given.only]
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, AttackedHub(Path(folder) / "data") as hub:
        print(f"at rest: {hub.resident_mb():.0f} MB")
        others = Others(hub)
        try:
            for attack in chosen:
                wrong += run(hub, attack, given, others)
        finally:
            others.stop()
        wrong += after(hub, others.acknowledged)
    print("\n".join(wrong) or "all held")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
