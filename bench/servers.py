"""The servers that `bench/ingest.py` measures, each a child process in its own folder, and what /proc says of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from almenara.testing.process import free_port, wait_until

_TICKS = os.sysconf("SC_CLK_TCK")


class Server(ABC):
    """One server under load: started as a context, its CPU seconds and memory counted over its whole process tree."""

    name = "?"
    write = "/write"
    quiet_cpu = 0.03  # of a core: below this nothing is merged any more

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()

    @abstractmethod
    def command(self) -> list[str]:
        """What is run."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it takes writes."""

    @abstractmethod
    def rows(self) -> float:
        """How many samples it says it has."""

    def __enter__(self) -> Server:
        self.folder.mkdir(parents=True)
        with (self.folder / "output").open("wb") as out:
            self.process = subprocess.Popen(
                self.command(),
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=os.environ | {"NO_COLOR": "1"},
            )
        wait_until(self._up, f"{self.name} to be ready", 300)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended: {(self.folder / 'output').read_text()[-2000:]}")
        try:
            return self.ready()
        except OSError:
            return False

    def get(self, path: str, **parameters: str) -> bytes:
        """The body that a GET answers with."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}{query}", timeout=60) as answer:
            return bytes(answer.read())

    # --- what the kernel says

    def _tree(self) -> Iterator[int]:
        parents: dict[int, list[int]] = defaultdict(list)
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    parents[int(_stat(path / "stat")[1])].append(int(path.name))
                except OSError:
                    continue
        waiting = [self.process.pid]
        while waiting:
            yield (pid := waiting.pop())
            waiting += parents[pid]

    def cpu_s(self) -> float:
        """CPU seconds of the process, its children, and those children that have ended."""
        used = 0.0
        for pid in self._tree():
            try:
                used += sum(map(int, _stat(Path(f"/proc/{pid}/stat"))[11:15])) / _TICKS
            except OSError:
                continue
        return used

    def threads_s(self) -> dict[str, float]:
        """CPU seconds of the process's own threads, by name."""
        used: dict[str, float] = defaultdict(float)
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                name = (task / "comm").read_text().strip()
                used[name] += sum(map(int, _stat(task / "stat")[11:13])) / _TICKS
            except OSError:
                continue
        return dict(used)

    def peak_mb(self) -> float:
        """The most memory the tree's processes were resident in, each at its own peak."""
        return sum(_kilobytes(pid, "VmHWM") for pid in self._tree()) / 1024

    def resident_mb(self) -> float:
        """Memory that the tree is resident in now."""
        return sum(_kilobytes(pid, "VmRSS") for pid in self._tree()) / 1024

    def wait_quiet(self, timeout_s: float) -> None:
        """Until two looks in a row, two seconds each, find it idle."""
        deadline, calm = time.monotonic() + timeout_s, 0
        while calm < 2 and time.monotonic() < deadline:
            before = self.cpu_s()
            time.sleep(2)
            calm = calm + 1 if (self.cpu_s() - before) / 2 < self.quiet_cpu else 0

    def disk_bytes(self) -> int:
        """What its data takes on disk."""
        return sum(file.stat().st_blocks * 512 for file in self.folder.rglob("*") if file.is_file())


def _stat(path: Path) -> list[str]:
    """The fields of a /proc stat file behind the name, which may hold spaces: state, parent, ..."""
    return path.read_text().rpartition(")")[2].split()


def _kilobytes(pid: int, name: str) -> int:
    try:
        found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


class Almenara(Server):
    """A hub as `almenara up` starts it: broker, collectors and detector at their defaults."""

    name = "almenara"

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "almenara.cli", "up", "--data", str(self.folder / "data")),
            *("--http", f"127.0.0.1:{self.port}", "--mqtt", f"127.0.0.1:{free_port()}"),
        ]

    def ready(self) -> bool:
        self.get("/-/ready")
        return True

    def metrics(self) -> dict[str, float]:
        """Its own figures."""
        lines = (
            line.rpartition(" ") for line in self.get("/metrics").decode().splitlines() if not line.startswith("#")
        )
        return {name: float(value) for name, _, value in lines}

    def rows(self) -> float:
        return self.metrics()["almenara_rows_stored_total"]

    def disk_bytes(self) -> int:
        """Live data of its store, which it measures every ten seconds; the log is removed with the next snapshot."""
        time.sleep(11)
        return int(self.metrics()["almenara_store_bytes"])


class VictoriaMetrics(Server):
    """Debian's victoria-metrics with its defaults."""

    name = "victoria-metrics"

    def command(self) -> list[str]:
        return [
            "victoria-metrics",
            f"-storageDataPath={self.folder / 'data'}",
            f"-httpListenAddr=127.0.0.1:{self.port}",
        ]

    def ready(self) -> bool:
        return self.get("/health") == b"OK"

    def rows(self) -> float:
        text = self.get("/metrics").decode()
        return float(sum(map(float, re.findall(r'^vm_rows\{type="storage/[a-z_]+"\} (\S+)', text, re.MULTILINE))))

    def disk_bytes(self) -> int:
        self.get("/internal/force_flush")
        return super().disk_bytes()


class InfluxDB(Server):
    """Debian's influxdb with its defaults."""

    name = "influxdb"
    write = "/write?db=bench"

    def command(self) -> list[str]:
        config = self.folder / "influxdb.conf"
        data = self.folder / "data"
        config.write_text(
            f'bind-address = "127.0.0.1:{free_port()}"\n[meta]\ndir = "{data}/meta"\n'
            f'[data]\ndir = "{data}/data"\nwal-dir = "{data}/wal"\n'
            f'[http]\nbind-address = "127.0.0.1:{self.port}"\n'
        )
        return ["influxd", "-config", str(config)]

    def ready(self) -> bool:
        self.get("/ping")
        body = urllib.parse.urlencode({"q": "CREATE DATABASE bench"}).encode()
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/query", body, timeout=30).close()
        return True

    def query(self, text: str) -> Any:
        """The answer to InfluxQL."""
        return json.loads(self.get("/query", db="bench", q=text, epoch="ns"))

    def rows(self) -> float:
        found = self.query("SELECT count(*) FROM cpu")["results"][0]
        return float(sum(found["series"][0]["values"][0][1:])) if "series" in found else 0.0


SERVERS = (Almenara, VictoriaMetrics, InfluxDB)
