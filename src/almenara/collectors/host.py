"""This machine's own metrics: processor, memory, disks, network, load. Rates and percents are ready to read."""

from __future__ import annotations

import logging
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
_MIRRORS = ("loop", "ram", "dm-", "veth", "docker", "br-")

#: (name, "label=value" or empty) -> value
Figures = dict[tuple[str, str], float]

log = logging.getLogger(__name__)


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
        self._before: dict[str, tuple[float, Figures]] = {}
        self._processor_before: tuple[float, float] | None = None
        self._hidden: set[str] = set()
        self._try(self._processor)  # usage counts from here on

    def collect(self) -> Batch:
        """Rows of one look; rates are there from the second look on."""
        now = self.clock()
        rows: Figures = {}
        for look in (
            self._processor,
            self._load,
            self._memory,
            self._swap,
            self._disks,
            self._disk_rates,
            self._net_rates,
        ):
            rows |= self._try(look)
        return Batch.of((self._series(*key), now, float(value)) for key, value in rows.items())

    def _try(self, look: Callable[[], Figures]) -> Figures:
        """What one part of the machine says; a container may hide it, and the others go on."""
        try:
            return look()
        except (OSError, RuntimeError, self._psutil.Error) as error:
            if look.__name__ not in self._hidden:
                log.warning("host: %s cannot be read here: %s", look.__name__.strip("_").replace("_", " "), error)
                self._hidden.add(look.__name__)
            return {}

    def _series(self, name: str, label: str) -> Series:
        key, _, value = label.partition("=")
        return Series.of(name, host=self.host, **({key: value} if key else {}))

    def _processor(self) -> Figures:
        # Not psutil.cpu_percent: it counts from the last call of the same thread, and threads change.
        times = self._psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Linux counts the time of guests in `user` and `nice` already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        before, self._processor_before = self._processor_before, (total, idle)
        if before is None or total <= before[0]:
            return {}
        share = 1 - (idle - before[1]) / (total - before[0])
        return {("cpu_usage_percent", ""): 100 * min(1.0, max(0.0, share))}

    def _load(self) -> Figures:
        if not hasattr(os, "getloadavg"):
            return {}
        return {("system_load1", ""): os.getloadavg()[0], ("system_processes", ""): len(self._psutil.pids())}

    def _memory(self) -> Figures:
        memory = self._psutil.virtual_memory()
        return {("mem_used_percent", ""): memory.percent, ("mem_available_bytes", ""): memory.available}

    def _swap(self) -> Figures:
        swap = self._psutil.swap_memory()
        return {("swap_used_percent", ""): swap.percent} if swap.total else {}

    def _disks(self) -> Figures:
        found: Figures = {}
        seen = set()
        # Of a disk mounted in several places the shortest path speaks.
        for part in sorted(self._psutil.disk_partitions(all=False), key=lambda p: (len(p.mountpoint), p.mountpoint)):
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

    def _disk_rates(self) -> Figures:
        totals: Figures = {}
        for device, io in (self._psutil.disk_io_counters(perdisk=True) or {}).items():
            if not device.startswith(_MIRRORS):
                totals["disk_read_bytes_per_s", f"device={device}"] = io.read_bytes
                totals["disk_write_bytes_per_s", f"device={device}"] = io.write_bytes
        return self._rates("disk", totals)

    def _net_rates(self) -> Figures:
        totals: Figures = {}
        for name, io in self._psutil.net_io_counters(pernic=True).items():
            if not name.startswith(_MIRRORS) and name != "lo":
                totals["net_receive_bytes_per_s", f"interface={name}"] = io.bytes_recv
                totals["net_transmit_bytes_per_s", f"interface={name}"] = io.bytes_sent
                totals["net_errors_per_s", f"interface={name}"] = io.errin + io.errout
        return self._rates("net", totals)

    def _rates(self, part: str, totals: Figures) -> Figures:
        """Rates a second of counters since boot, from the second look on."""
        now, before = time.monotonic(), self._before.get(part)
        self._before[part] = now, totals
        if before is None or now <= before[0]:
            return {}
        passed_s, old = now - before[0], before[1]
        # A counter that went back was reset: no rate can be told for this turn.
        return {k: (v - old[k]) / passed_s for k, v in totals.items() if k in old and v >= old[k]}


def _load_psutil() -> Any:
    try:
        import psutil
    except ImportError as error:
        raise PluginError(
            "collector 'host' needs psutil, which has no ready-made package for this machine; "
            "install your system's (Debian: python3-psutil), or build it: pip install psutil"
        ) from error
    return psutil
