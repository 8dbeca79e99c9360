"""Rules of the agent as a real process, with the base install alone, against real brokers: killed, cut off, stopped."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

import psutil
import pytest

import slim
from almenara.model.topic import status_topic
from almenara.plugin.contracts import Outcome, Packet
from almenara.transports.mqtt import Mqtt
from brokers import broker_pid, embedded, mosquitto, reading, until

#: Rows with a number each. What was kept stands in a ledger: a collector is asked for more once its batch is on disk.
COUNT = """
import asyncio
from pathlib import Path
from almenara.model.batch import Batch
from almenara.model.series import Series

class Plugin:
    '''Counts.

    Options:
        ledger: Where to write what was kept.
        pause_s: Time between two numbers.
    '''

    def __init__(self, *, ledger: Path, pause_s: float = 0.005) -> None:
        self.ledger, self.pause_s = ledger, pause_s

    async def batches(self):
        n = len(self.ledger.read_text().splitlines()) if self.ledger.exists() else 0
        with self.ledger.open("a", buffering=1) as ledger:
            while True:
                yield Batch.of([(Series.of("count"), 1_700_000_000_000_000_000 + n, float(n))])
                print(n, file=ledger)
                n += 1
                await asyncio.sleep(self.pause_s)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slim")
    found = slim.make(folder)
    slim.add_plugin(folder, "almenara.collectors", "count", COUNT)
    return found


class Agent:
    """An agent that runs; what it writes is in `said`."""

    def __init__(self, python: Path, folder: Path, output: IO[str], *arguments: str) -> None:
        self._output = Path(output.name)
        self.process = subprocess.Popen(
            [python, "-c", "from almenara.cli import agent_main; agent_main()", *arguments],
            cwd=folder, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    @property
    def said(self) -> str:
        return self._output.read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def running(python: Path, folder: Path, *arguments: str) -> Iterator[Agent]:
    with (folder / "said").open("a") as output:
        agent = Agent(python, folder, output, *arguments)
        try:
            yield agent
        finally:
            agent.kill()


@asynccontextmanager
async def hearing(port: int, topic: str, client_id: str = "") -> Any:
    """What is said live on a topic; for a client with an id the broker keeps what comes while it is away."""
    ear, heard = Mqtt(url=f"mqtt://127.0.0.1:{port}", topics=[topic], client_id=client_id), list[bytes]()

    async def listen() -> None:
        async for packets in ear.receive():
            heard.extend(p.payload for p in packets)
            for packet in packets:
                packet.done(Outcome())

    listening = asyncio.create_task(listen())
    await ear.check()
    await until(lambda: ear.problem == "")
    yield heard
    await ear.close()
    await listening


def config(folder: Path, text: str) -> str:
    (folder / "puma.toml").write_text("version = 1\n" + text)
    return "--config=puma.toml"


def numbers(packets: list[Packet]) -> list[int]:
    rows = [json.loads(line) for p in packets for line in p.payload.splitlines()]
    found = [row for row in rows if row["metric"]["__name__"] == "count"]
    assert all(row["time"] == 1_700_000_000_000_000_000 + int(row["value"]) for row in found)  # the device's own time
    return [int(row["value"]) for row in found]


def kept(folder: Path) -> int:
    """How many numbers the agents say they kept."""
    ledger = folder / "ledger"
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


def test_it_runs_without_anything_of_the_extras(python: Path) -> None:
    code = """
import importlib.util, sys
import almenara.cli.agent
heavy = ["numpy", "numba", "pandas", "orjson", "chdb", "httpx", "starlette", "uvicorn", "promql_parser", "bokeh"]
print([name for name in heavy if importlib.util.find_spec(name)])
"""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def test_host_metrics_arrive_with_the_devices_time(tmp_path: Path, python: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path / "hub")
        async with reading(bus) as heard:
            text = f'[mqtt]\nurl = "mqtt://{bus.address}"\n[site]\nname = "well 7"\n[collectors.host]\nevery_s = 1\n'
            began_ns = time.time_ns()
            with running(python, tmp_path, config(tmp_path, text)) as agent:
                await until(lambda: len(heard) >= 2)
                assert agent.stop(signal.SIGINT) == 0
            rows = [json.loads(line) for line in heard[0].payload.splitlines()]
            assert heard[0].topic.startswith("puma/well-7-")
            names = {row["metric"]["__name__"] for row in rows}
            assert {"cpu_usage_percent", "mem_used_percent", "disk_used_percent"} <= names
            assert {row["metric"]["host"] for row in rows} == {"well 7"}
            assert all(began_ns < row["time"] < time.time_ns() for row in rows)
            assert re.search(
                rf"PUMA \S+: sends host every 1s to mqtt://{bus.address} as puma/well-7-\w+; until it is taken it "
                r"waits in puma-data/spool \(at most 512 MB, 0 payloads now\)", agent.said
            )  # fmt: skip
            assert "everything was sent" in agent.said
            assert list((tmp_path / "puma-data/spool").glob("*.spool")) == []

    asyncio.run(run())


def test_nothing_is_lost_over_kills_of_agent_and_broker(
    tmp_path: Path, python: Path, free_port: Callable[[], int]
) -> None:
    async def run(port: int) -> None:
        bus = embedded(tmp_path / "hub", port=port)
        text = config(tmp_path, f'[collectors.count]\nledger = "{tmp_path}/ledger"\n')
        hub = f"--hub=mqtt://127.0.0.1:{port}"
        with running(python, tmp_path, text, hub):  # nobody answers yet
            await until(lambda: kept(tmp_path) > 50)
        async with reading(bus) as heard:
            with running(python, tmp_path, text, hub):
                await until(lambda: len(heard) > 100)
                os.kill(await broker_pid(bus, tmp_path / "hub"), signal.SIGKILL)
                await until(lambda: len(heard) > 300)
            before = kept(tmp_path)
            with running(python, tmp_path, text, hub) as agent:
                await until(lambda: kept(tmp_path) > before + 100)
                agent.kill()
            with running(python, tmp_path, text, hub) as agent:
                await until(lambda: kept(tmp_path) > before + 200)
                assert agent.stop() == 0
            total = kept(tmp_path)
            await until(lambda: set(range(total)) <= set(numbers(heard)))
            found = numbers(heard)
            assert max(found) <= total
            # Twice comes at most what was acknowledged in the last second before a kill, or was on its way.
            assert len(found) - len(set(found)) < 1000

    asyncio.run(run(free_port()))


@pytest.mark.real("mosquitto")
def test_a_broker_that_is_gone_for_a_while_gets_everything_afterwards(
    tmp_path: Path, python: Path, free_port: Callable[[], int]
) -> None:
    async def run(port: int) -> None:
        text = config(tmp_path, f'[collectors.count]\nledger = "{tmp_path}/ledger"\n')
        with mosquitto(tmp_path / "broker", port) as broker:
            async with hearing(port, "puma/#", "ear") as heard:
                with running(python, tmp_path, text, f"--hub={broker.url}") as agent:
                    await until(lambda: len(heard) > 50)
                    broker.stop()
                    before = kept(tmp_path)
                    await until(lambda: kept(tmp_path) > before + 100)
                    broker.start()
                    # Pauses between attempts double: as long again as it was gone, and some.
                    await until(lambda: "payloads wait" in agent.said.partition("waits on disk")[2], 110)
                    assert agent.stop() == 0
                total = kept(tmp_path)
                await until(lambda: set(range(total)) <= {json.loads(h)["value"] for h in heard if b'"count"' in h})
        assert list((tmp_path / "puma-data/spool").glob("*.spool")) == []

    asyncio.run(run(free_port()))


def test_the_broker_says_online_and_offline(tmp_path: Path, python: Path) -> None:
    async def run() -> None:
        bus = embedded(tmp_path / "hub")
        async with reading(bus) as packets:
            port = int(bus.address.rpartition(":")[2])
            text = config(tmp_path, '[site]\nname = "well-7"\n')
            assert status_topic("agent", "well-7") == "almenara/agent/well-7/status"
            async with hearing(port, "almenara/agent/well-7/status") as heard:
                with running(python, tmp_path, text, f"--hub=mqtt://127.0.0.1:{port}") as agent:
                    await until(lambda: heard == [b"online"])
                    agent.kill()
                    await until(lambda: heard == [b"online", b"offline"])
                with running(python, tmp_path, text, f"--hub=mqtt://127.0.0.1:{port}") as agent:
                    await until(lambda: heard[2:] == [b"online"])
                    assert agent.stop() == 0
                    await until(lambda: heard[3:4] == [b"offline"])
            assert not any(p.topic.endswith("/status") for p in packets)  # not taken for rows

    asyncio.run(run())


def test_without_a_broker_it_stops_at_once_and_keeps_what_it_has(
    tmp_path: Path, python: Path, free_port: Callable[[], int]
) -> None:
    async def run(port: int) -> None:
        text = config(tmp_path, f'[collectors.count]\nledger = "{tmp_path}/ledger"\npause_s = 0.05\n')
        with running(python, tmp_path, text, f"--hub=mqtt://127.0.0.1:{port}") as agent:
            await until(lambda: kept(tmp_path) > 5)
            began = time.monotonic()
            assert agent.stop() == 0
            assert time.monotonic() - began < 5
            assert re.search(r"stopped; \d+ payloads wait for the next start", agent.said)
        assert list((tmp_path / "puma-data/spool").glob("*.spool"))

    asyncio.run(run(free_port()))


def test_two_agents_on_one_folder_are_refused(tmp_path: Path, python: Path) -> None:
    with running(python, tmp_path) as first:
        asyncio.run(until(lambda: "PUMA" in first.said))
        done = subprocess.run(
            [python, "-m", "almenara.cli", "agent"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "error: puma-data/spool: is in use by another agent" in done.stderr


def test_an_agent_is_small(tmp_path: Path, python: Path) -> None:
    """Measured: 41 MB, 0.3 % of a core, at one look every 10 s. The limits leave room for other machines."""

    async def run() -> None:
        bus = embedded(tmp_path / "hub")
        async with reading(bus) as heard:
            text = config(tmp_path, "[collectors.host]\nevery_s = 1\n")
            with running(python, tmp_path, text, f"--hub=mqtt://{bus.address}") as agent:
                await until(lambda: len(heard) >= 1)
                process = psutil.Process(agent.process.pid)
                before = sum(process.cpu_times()[:2])
                await until(lambda: len(heard) >= 4)
                assert process.memory_info().rss < 60e6
                assert sum(process.cpu_times()[:2]) - before < 0.3

    asyncio.run(run())
