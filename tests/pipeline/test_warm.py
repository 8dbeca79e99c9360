"""What is compiled ahead: everything that payloads need, before the hub is at work or beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from almenara.model.batch import Batch, Decoded
from almenara.pipeline import warm
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.hub import Options
from almenara.plugin import registry
from almenara.plugin.contracts import Context
from almenara.testing.process import wait_until

pytestmark = pytest.mark.compiled  # more than a minute of work in a new checkout, too much for one test's time

CASES = Path(__file__).parents[1] / "cases" / "codecs"


class Told:
    """A codec that notes that it was used, and by whom."""

    def __init__(self, seen: list[str], name: str):
        self._seen, self._name = seen, name

    def encode(self, batch: Batch) -> bytes:
        return b""

    def decode(self, payload: bytes, context: Context) -> Decoded:
        self._seen.append(self._name)
        if self._name == "broken":
            raise RuntimeError("a mistake")
        return Decoded(Batch.of(()))


def options(seen: list[str], *names: str, link: str = "") -> Options:
    def of(name: str, plugin: str = "") -> Decoding:
        return Decoding(lambda: Told(seen, name), plugin=plugin)

    return Options(codecs={name: of(name) for name in names} | ({"transport x": of("x", link)} if link else {}))


def test_what_links_use_comes_first_and_a_mistake_of_one_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []
    with caplog.at_level("INFO"):
        warm.compile_beside(options(seen, "a", "json", "broken", "b", link="b"))
        wait_until(lambda: "all readers are compiled" in caplog.text, "the end")
    assert seen == ["b", "a", "broken"]
    assert "reading broken: RuntimeError: a mistake" in caplog.text


def test_it_ends_where_it_is_told_to() -> None:
    seen: list[str] = []
    stop = threading.Event()
    steps = iter([("one", lambda: seen.append("one")), ("two", stop.set), ("three", lambda: seen.append("three"))])
    warm._compile_all(steps, stop)
    assert seen == ["one"]


COMPILED = """
import gc, json, sys
from pathlib import Path
from numba.core.dispatcher import Dispatcher

def compiled():
    found = [one for one in gc.get_objects() if isinstance(one, Dispatcher)]
    return {f"{d.__module__}.{d.__name__}": len(d.signatures) for d in found if d.__module__.startswith("almenara")}
"""

SCRIPT = (
    COMPILED
    + """
from almenara.model.errors import DecodeError
from almenara.pipeline import warm
from almenara.pipeline.decoding import Decoding
from almenara.pipeline.hub import Options
from almenara.plugin import registry
from almenara.plugin.contracts import Context

codecs = {name: Decoding(registry.load("codec", name)) for name in registry.names("codec")}
for step, do in [*warm.steps(Options(codecs=codecs)), *warm.later(Options(codecs=codecs))]:
    do()
before = compiled()
for path in sorted(Path(sys.argv[1]).glob("*/*/input*")):
    try:
        codecs[path.parts[-3]].make().decode(path.read_bytes(), Context("a/b", received_ns=1_790_000_000 * 10**9))
    except DecodeError:
        pass  # it wants options
print(json.dumps([name for name, n in compiled().items() if n != before.get(name)]))
"""
)

HUB = (
    COMPILED
    + """
import asyncio
from almenara.config.build import build
from almenara.config.load import load
from almenara.model.time import NS
from almenara.pipeline import warm
from almenara.plugin.contracts import Packet
from almenara.query import parse_selector

NOW = 1_800_000_000 * NS
rule = {"rules.cold": {"expr": "temperature < 30"}}
built = build(load(None, rule | {"data.folder": sys.argv[1], "mqtt.enabled": False}), clock=lambda: NOW)
hub = built.pipeline
for step, do in warm.steps(hub.options):
    do()
before = compiled()

async def first_samples():
    await hub.start()
    for second in range(3):
        time = NOW // NS - 9 + second
        rows = b'{"id":"a","temperature":20.04,"hits_total":7,"timestamp":%d,"city":"Mumbai"}' % time
        await hub.take("mqtt", [Packet("sensors/mumbai", rows, received_ns=NOW)])
        await hub.write(Packet("/write", b"cpu,host=a usage=3.5 %d" % (time * NS), received_ns=NOW), "influx")
        await hub.settle()
        await hub.query('temperature{city="Mumbai"}', NOW, NOW, 0)
    await hub.replay(hub.index.select(parse_selector("temperature")), NOW - 60 * NS, NOW)
    print(json.dumps([name for name, n in compiled().items() if n != before.get(name)]))
    await hub.stop()

asyncio.run(first_samples())
"""
)


def test_the_first_samples_of_a_hub_wait_for_no_compiler(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", HUB, tmp_path], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == []


def test_recorded_payloads_of_every_codec_find_their_readers_compiled() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT, CASES], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == []


@pytest.mark.parametrize("name", registry.names("codec"))
def test_every_codec_reads_what_it_is_shown(name: str) -> None:
    plugin: Any = registry.load("codec", name)
    warm._read_own(Decoding(plugin))
