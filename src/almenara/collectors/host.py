"""This machine's own metrics: processor, memory, disks, network, load. Rates and percents are ready to read."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Annotated, Any

from almenara.collectors.poll import Poll
from almenara.model.batch import Batch
from almenara.model.errors import PluginError
from almenara.model.series import Series
from almenara.plugin.options import Range

#: File systems that are not somebody's disk.
_UNREAL = {"squashfs", "overlay", "tmpfs", "devtmpfs", "iso9660", "autofs", "proc", "sysfs"}
#: Disks and network interfaces that only mirror others.
_MIRRORS = ("loop", "ram", "dm-", "veth", "docker", "br-", "lo")


class Host(Poll):
    """Metrics of this machine, read with psutil: usage in percent, rates a second between two looks, sizes in bytes.

    Options:
        every_s: Seconds between two looks.
        host: What the label `host` says; empty: the machine's name.
    """

    def __init__(
        self, *, every_s: Annotated[float, Range(1)] = 10.0, host: str = "", clock: Callable[[], int] = time.time_ns
    ) -> None:
        super().__init__(every_s, clock)
        self.host = host or socket.gethostname()
        self._psutil = _load_psutil()
        self._before: tuple[float, dict[tuple[str, str], float]] | None = None
        self._psutil.cpu_percent()  # counts from here on

    def collect(self) -> Batch:
        """Rows of one look; rates are there from the second look on."""
        now = self.clock()
        rows = {("cpu_usage_percent", ""): self._psutil.cpu_percent()}
        rows |= self._load() | self._memory() | self._disks() | self._rates(self._totals())
        return Batch.of((self._series(*key), now, float(value)) for key, value in rows.items())

    def _series(self, name: str, label: str) -> Series:
        key, _, value = label.partition("=")
        return Series.of(name, host=self.host, **({key: value} if key else {}))

    def _load(self) -> dict[tuple[str, str], float]:
        if not hasattr(os, "getloadavg"):
            return {}
        return {("system_load1", ""): os.getloadavg()[0], ("system_processes", ""): len(self._psutil.pids())}

    def _memory(self) -> dict[tuple[str, str], float]:
        memory, swap = self._psutil.virtual_memory(), self._psutil.swap_memory()
        found = {("mem_used_percent", ""): memory.percent, ("mem_available_bytes", ""): memory.available}
        return found | ({("swap_used_percent", ""): swap.percent} if swap.total else {})

    def _disks(self) -> dict[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = {}
        seen = set()
        for part in self._psutil.disk_partitions(all=False):
            if part.fstype in _UNREAL or part.device in seen:
                continue
            seen.add(part.device)
            try:
                usage = self._psutil.disk_usage(part.mountpoint)
            except OSError:  # unmounted since, or not ours to look at
                continue
            found["disk_used_percent", f"path={part.mountpoint}"] = usage.percent
            found["disk_free_bytes", f"path={part.mountpoint}"] = usage.free
        return found

    def _totals(self) -> dict[tuple[str, str], float]:
        """Counters since boot, by the name of the rate that becomes of them."""
        found: dict[tuple[str, str], float] = {}
        for device, io in (self._psutil.disk_io_counters(perdisk=True) or {}).items():
            if not device.startswith(_MIRRORS):
                found["disk_read_bytes_per_s", f"device={device}"] = io.read_bytes
                found["disk_write_bytes_per_s", f"device={device}"] = io.write_bytes
        for name, io in self._psutil.net_io_counters(pernic=True).items():
            if not name.startswith(_MIRRORS):
                found["net_receive_bytes_per_s", f"interface={name}"] = io.bytes_recv
                found["net_transmit_bytes_per_s", f"interface={name}"] = io.bytes_sent
                found["net_errors_per_s", f"interface={name}"] = io.errin + io.errout
        return found

    def _rates(self, totals: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
        now, before = time.monotonic(), self._before
        self._before = now, totals
        if before is None or now <= before[0]:
            return {}
        passed = now - before[0]
        # A counter that went back was reset: no rate can be told for this turn.
        return {k: (v - before[1][k]) / passed for k, v in totals.items() if k in before[1] and v >= before[1][k]}


def _load_psutil() -> Any:
    try:
        import psutil
    except ImportError as error:
        raise PluginError(
            "collector 'host' needs psutil, which has no ready-made package for this machine; "
            "install your system's (Debian: python3-psutil), or build it: pip install psutil"
        ) from error
    return psutil
