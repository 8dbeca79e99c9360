"""How fast the codecs read: samples a second and CPU seconds a million, on one core.

    python bench/decode.py [--hosts 1000] [--steps 60]

Each case is decoded three times after a first pass that learns its keys; the best pass counts. As a scale, the plain
twin of the line protocol reader (tests/naive.py) reads a part of the same bytes in the same run.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests import naive

from almenara.codecs.bulk import Bulk
from almenara.codecs.csv import Csv
from almenara.codecs.influx import Influx
from almenara.codecs.json import Json
from almenara.codecs.otlp import Otlp
from almenara.codecs.prometheus import Prometheus
from almenara.codecs.remote_write import RemoteWrite
from almenara.codecs.senml import Senml
from almenara.codecs.sparkplug import Sparkplug
from almenara.model.batch import Batch
from almenara.plugin.contracts import Codec, Context, ManyCodec, Packet
from almenara.testing import workload

CONTEXT = Context(topic="plant/pump/7", received_ns=1_700_000_000_000_000_000)


def measure(name: str, make: Callable[[], Codec], payloads: Sequence[bytes], passes: int = 3) -> float:
    """Print and return samples a CPU second."""
    codec, best, learned = make(), float("inf"), 0.0
    for attempt in range(passes + 1):
        began = time.process_time()
        samples = sum(len(codec.decode(payload, CONTEXT).batch) for payload in payloads)
        took = time.process_time() - began
        if attempt:
            best = min(best, took)
        else:
            learned = took
    size = sum(map(len, payloads))
    print(
        f"{name:<44} {samples / best / 1e6:8.2f} M samples/s {best / samples * 1e6:8.3f} CPU s/M "
        f"{size / best / 1e6:7.0f} MB/s   first pass {learned / samples * 1e6:.3f} s/M"
    )
    return samples / best


def scrapes(series: int, count: int, apart: int = 1) -> list[Batch]:
    """`count` batches, each with `apart` samples of the same series with five labels."""
    keys = [
        b"node_cpu_seconds_total\xffcpu\xfe%d\xffinstance\xfehost-%d:9100\xffjob\xfenode\xffmode\xfeidle\xffregion\xfeeu-1"
        % (n % 64, n // 64)
        for n in range(series)
    ]
    chance, start = random.Random(3), 1_700_000_000_000_000_000
    return [
        Batch.of([(key, start + (n * apart + k) * 15 * 10**9, chance.random()) for key in keys for k in range(apart)])
        for n in range(count)
    ]


def grouped(series: int, points: int, count: int) -> list[bytes]:
    """OTLP requests with `points` points a metric."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    found = []
    for batch in scrapes(series, count):
        request = ExportMetricsServiceRequest.FromString(Otlp().encode(batch))
        metrics = request.resource_metrics[0].scope_metrics[0].metrics
        for at in range(0, series, points):
            for one in metrics[at + 1 : at + points]:
                metrics[at].gauge.data_points.extend(one.gauge.data_points)
        for at in reversed(range(series)):
            if at % points:
                del metrics[at]
        found.append(request.SerializeToString())
    return found


def protobuf() -> None:
    """Remote write, OTLP, Sparkplug B."""
    few, many = scrapes(2000, 20), scrapes(2000, 5, apart=10)
    for codec in (RemoteWrite(), Otlp()):
        codec.decode(codec.encode(Batch.of([(b"warm", 0, 1.0)])), CONTEXT)
    bodies = [RemoteWrite().encode(batch) for batch in few]
    measure("remote write, 1 sample a series", RemoteWrite, bodies)
    measure("remote write, 10 samples a series", RemoteWrite, [RemoteWrite().encode(batch) for batch in many])
    large = [RemoteWrite().encode(batch) for batch in scrapes(100_000, 2)]
    measure("remote write, 100,000 series", RemoteWrite, large)
    measure("OTLP, a metric for each point", Otlp, [Otlp().encode(batch) for batch in few])
    measure("OTLP, 100 points a metric", Otlp, grouped(2000, 100, 20))
    measure(
        "Sparkplug B, 100 metrics a message, by name", Sparkplug, [Sparkplug().encode(b) for b in scrapes(100, 100)]
    )


def measure_many(name: str, codec: ManyCodec, packets: Sequence[Packet], at_a_time: int = 4000) -> None:
    """Print samples a CPU second of many payloads at once."""
    best = float("inf")
    for _ in range(4):
        began = time.process_time()
        for n in range(0, len(packets), at_a_time):
            codec.decode_many(packets[n : n + at_a_time])
        best = min(best, time.process_time() - began)
    print(f"{name:<44} {len(packets) / best / 1e6:8.2f} M samples/s {best / len(packets) * 1e6:8.3f} CPU s/M")


def main() -> None:
    cli = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    cli.add_argument("--hosts", type=int, default=1000)
    cli.add_argument("--steps", type=int, default=60)
    cli.add_argument("--protobuf", action="store_true", help="only remote write, OTLP and Sparkplug B")
    args = cli.parse_args()
    protobuf()
    if args.protobuf:
        return
    Influx().decode(b"warm up=1", CONTEXT)

    bodies = list(workload.payloads(args.hosts, args.steps))
    fast = measure("influx, 5,000-line bodies", Influx, bodies)
    measure("influx, 50-line bodies", Influx, list(workload.payloads(args.hosts, max(args.steps // 6, 1), 50)))
    shuffled = b"".join(bodies).splitlines(keepends=True)
    random.Random(1).shuffle(shuffled)
    measure("influx, lines shuffled", Influx, [b"".join(shuffled[n : n + 5000]) for n in range(0, len(shuffled), 5000)])
    chance = random.Random(2)
    wide = [f"m,host=h{n % 1000} value={chance.random()!r} 1700000000000000000\n".encode() for n in range(200_000)]
    measure(
        "influx, one 17-digit value a line", Influx, [b"".join(wide[n : n + 5000]) for n in range(0, 200_000, 5000)]
    )

    began = time.process_time()
    part = b"".join(bodies)[:300_000].rpartition(b"\n")[0]
    rows, _ = naive.influx(part, 1, 0)
    print(f"{'the plain twin':<44} ratio {fast / (len(rows) / (time.process_time() - began)):8.0f}")

    messages = [
        json.dumps({"id": n % 100, "temperature": 20 + n / 7, "time": 1_700_000_000 + n}).encode()
        for n in range(50_000)
    ]
    measure("json, one sample a message, one by one", Json, messages)
    packets = [Packet(f"sensors/room{n % 100}", payload, n) for n, payload in enumerate(messages)]
    measure_many("json, one sample a message, 4,000 at a time", Json(), packets)
    rows = [
        {"id": f"d{n % 100}", "temperature": 20 + n % 700 / 100, "time": 1_700_000_000_000 + n} for n in range(1000)
    ]
    measure("json, list of 1,000 objects", Json, [json.dumps(rows).encode()] * 50)
    columns = {"id": "d", "time": [row["time"] for row in rows], "temperature": [row["temperature"] for row in rows]}
    measure("json, columns of 1,000", Json, [json.dumps(columns).encode()] * 50)
    batch = Batch.of([(b"load\xffhost\xfe%d" % (n % 100), 1_700_000_000_000_000_000 + n, n / 3) for n in range(1000)])
    measure("json, 1,000 rows as encode writes them", Json, [Json().encode(batch)] * 50)
    measure("prometheus, 1,000 rows", Prometheus, [Prometheus().encode(batch)] * 50)
    titles = ",".join(f"c{n}" for n in range(50))
    lines = [
        f"{1_700_000_000 + n}," + ",".join(f"{chance.uniform(-99, 99):.3f}" for _ in range(50)) for n in range(5000)
    ]
    measure("csv, 50 columns", Csv, ["\n".join(["time," + titles, *lines]).encode()])
    long = "".join(f"{1_700_000_000 + n},host{n % 1000},{chance.random():.3f}\n" for n in range(200_000))
    measure("csv, time, label, value", Csv, [("time,host,value\n" + long).encode()])
    measure("senml, 1,000 rows", Senml, [Senml().encode(batch)] * 20)
    measure("bulk, 1,000 documents", Bulk, [Bulk().encode(batch)] * 20)


if __name__ == "__main__":
    main()
