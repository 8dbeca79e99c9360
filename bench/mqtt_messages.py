"""What a hub pays for MQTT messages of one JSON sample each at QoS 1: CPU seconds a million messages, broker apart.

    python bench/mqtt_messages.py [--messages 300000] [--devices 100] [--broker embedded|mosquitto|both]

A real hub (`almenara up`) on a fresh folder hears what a process of its own publishes: prebuilt PUBLISH frames over one
raw socket, with at most --window of them not yet answered by PUBACK. The clock runs until every row is stored and
judged. CPU is read from /proc: the hub with its threads, and the broker (nats-server or mosquitto) beside it.

Measured on two cores that other work used too (load 4 to 6, where the same code costs about twice what it does alone),
150,000 messages, hub in CPU s/M: embedded 64, mosquitto 64 to 70; with paho's own loop mosquitto cost 126 to 127 in the
same minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from almenara.testing.process import HubProcess, free_port, wait_until

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
WARM_UP = 20_000

MOSQUITTO = """
listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1000
max_queued_messages 1000000
max_inflight_messages 1000
"""


def frames(first: int, count: int, devices: int, base_ms: int) -> list[bytes]:
    """PUBLISH frames (MQTT 3.1.1, 3.3) of messages first..., as blocks of 500."""
    blocks = []
    for start in range(first, first + count, 500):
        block = bytearray()
        for n in range(start, min(start + 500, first + count)):
            device = n % devices
            topic = b"sensors/room%d" % device
            payload = b'{"id":"d%d","temperature":%d.%02d,"time":%d}' % (device, 20 + n % 7, n % 100, base_ms + n)
            body = struct.pack(">H", len(topic)) + topic + struct.pack(">H", n % 65_535 + 1) + payload
            block += b"\x32" + _length(len(body)) + body
        blocks.append(bytes(block))
    return blocks


def _length(size: int) -> bytes:
    out = bytearray()
    while True:
        size, low = size >> 7, size & 127
        out.append(low | 128 if size else low)
        if not size:
            return bytes(out)


def publish(port: int, first: int, count: int, devices: int, window: int, base_ms: int) -> None:
    """Send them all, and return when the last is answered."""
    blocks = frames(first, count, devices, base_ms)
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = b"bench-%d" % os.getpid()
        body = b"\x00\x04MQTT\x04\x02\x00\x3c" + struct.pack(">H", len(name)) + name
        link.sendall(b"\x10" + _length(len(body)) + body)
        if link.recv(4) != b"\x20\x02\x00\x00":
            raise ConnectionError("the broker refused the publisher")
        sent = answered = 0  # answered: bytes, four a PUBACK
        for block in blocks:
            while sent - answered // 4 > window - 500:
                answered += len(_some(link))
            link.sendall(block)
            sent += min(500, count - sent)
        while answered < 4 * count:
            answered += len(_some(link))


def _some(link: socket.socket) -> bytes:
    data = link.recv(65536)
    if not data:
        raise ConnectionError("the broker hung up on the publisher")
    return data


def processes_below(pid: int) -> Iterator[int]:
    """A process and all its descendants."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from processes_below(int(child))


def cpu_s(pid: int) -> float:
    """User and system seconds of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def name_of(pid: int) -> str:
    """The program that a process runs."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def measure(name: str, hub: HubProcess, port: int, broker: int, args: argparse.Namespace) -> None:
    """Publish, wait, print."""
    base_ms = time.time_ns() // 10**6 - args.messages - WARM_UP
    assert hub.process is not None

    def run(first: int, count: int) -> None:
        began, before = time.monotonic(), hub.metric("almenara_rows_stored_total")
        options = ("--port", str(port), "--first", str(first), "--count", str(count), "--base", str(base_ms))
        more = ("--devices", str(args.devices), "--window", str(args.window))
        subprocess.run([sys.executable, __file__, *options, *more], check=True)
        published_s = time.monotonic() - began
        wait_until(
            lambda: time.sleep(0.2) or hub.metric("almenara_rows_stored_total") >= before + count, "all rows", 300
        )
        if first:
            print(f"{name:<10} published in {published_s:.1f} s, stored after {time.monotonic() - began:.1f} s")

    run(0, WARM_UP)
    if broker == 0:
        broker = next(p for p in processes_below(hub.process.pid) if name_of(p) == "nats-server")
    ours = [p for p in processes_below(hub.process.pid) if p != broker]
    before, before_broker = sum(map(cpu_s, ours)), cpu_s(broker)
    run(WARM_UP, args.messages)
    used, used_broker = sum(map(cpu_s, ours)) - before, cpu_s(broker) - before_broker
    per = 1e6 / args.messages
    print(f"{name:<10} hub {used * per:6.2f} CPU s/M    broker {used_broker * per:6.2f} CPU s/M")
    last = hub.json("/api/v1/query", query="sum(count_over_time(temperature[1h]))")["data"]["result"]
    print(f"{name:<10} rows in the store: {last[0]['value'][1]} of {WARM_UP + args.messages}")


def embedded(folder: Path, args: argparse.Namespace) -> None:
    """With the broker that comes with the hub."""
    with HubProcess(folder / "hub", config=args.config) as hub:
        measure("embedded", hub, hub.mqtt, 0, args)


def mosquitto(folder: Path, args: argparse.Namespace) -> None:
    """With a Mosquitto of our own."""
    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        print("mosquitto: not installed, left out")
        return
    port = free_port()
    (folder / "mosquitto").mkdir()
    text = MOSQUITTO.format(port=port, folder=folder / "mosquitto") + ("user root\n" if os.geteuid() == 0 else "")
    (folder / "mosquitto.conf").write_text(text)
    broker = subprocess.Popen([program, "-c", str(folder / "mosquitto.conf")], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "mosquitto to listen")
        config = f'[mqtt]\nurl = "mqtt://127.0.0.1:{port}"\n' + args.config
        with HubProcess(folder / "hub2", config=config, mqtt=False) as hub:
            measure("mosquitto", hub, port, broker.pid, args)
    finally:
        broker.terminate()
        broker.wait()


def main() -> None:
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--messages", type=int, default=300_000)
    cli.add_argument("--devices", type=int, default=100)
    cli.add_argument("--window", type=int, default=4000, help="most messages not yet answered by PUBACK")
    cli.add_argument("--broker", choices=["embedded", "mosquitto", "both"], default="both")
    cli.add_argument("--port", type=int, default=0, help="publish to this port, and measure nothing")
    for name in ("--first", "--count", "--base"):
        cli.add_argument(name, type=int, default=0, help=argparse.SUPPRESS)
    args = cli.parse_args()
    if args.port:
        publish(args.port, args.first, args.count, args.devices, args.window, args.base)
        return
    args.config = "[collectors]\n"
    with tempfile.TemporaryDirectory() as folder:
        if args.broker in ("embedded", "both"):
            embedded(Path(folder), args)
        if args.broker in ("mosquitto", "both"):
            mosquitto(Path(folder), args)


if __name__ == "__main__":
    main()
