"""Rules of the host collector: this machine as it is, parts that cannot be read left out."""

from __future__ import annotations

import socket
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from almenara.collectors.host import Host
from almenara.model.batch import Batch
from almenara.model.errors import PluginError


def rows(batch: Batch) -> dict[str, float]:
    return {str(batch.series[i]): v for i, v in zip(batch.id, batch.value, strict=True)}


def busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_look_says_how_this_machine_is() -> None:
    host = Host(host="h")
    host.collect()
    time.sleep(0.1)
    found = rows(host.collect())
    for name in ("cpu_usage_percent", "mem_used_percent"):
        assert 0 <= found[f'{name}{{host="h"}}'] <= 100
    assert found['mem_available_bytes{host="h"}'] > 1e6
    assert found['system_load1{host="h"}'] >= 0
    assert found['system_processes{host="h"}'] >= 1
    assert any(key.startswith("net_receive_bytes_per_s") for key in found) or not psutil.net_io_counters(pernic=True)
    assert not any("loop" in key or 'interface="lo"' in key for key in found)


def test_rows_of_one_look_have_one_time_and_name_the_host() -> None:
    batch = Host(clock=lambda: 42).collect()
    assert set(batch.time) == {42}
    assert all(dict(s.labels)["host"] == socket.gethostname() for s in batch.series)
    assert len(set(batch.id)) == len(batch)


def test_the_load_of_the_processor_is_that_since_the_last_look_whatever_thread_looks() -> None:
    host = Host(host="h")
    host.collect()
    found: list[float] = []
    for work in (busy, busy):
        work(0.3)
        looker = threading.Thread(target=lambda: found.append(rows(host.collect())['cpu_usage_percent{host="h"}']))
        looker.start()
        looker.join()
    least = 100 / (psutil.cpu_count() or 1)
    assert min(found) > least / 2


class Machine:
    """What psutil says of a machine that we set."""

    Error = psutil.Error

    def __init__(self) -> None:
        self.sent, self.used = 1000, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(psutil, name)

    def net_io_counters(self, pernic: bool) -> dict[str, Any]:
        io = SimpleNamespace(bytes_recv=0, bytes_sent=self.sent, errin=0, errout=0)
        return {"eth0": io, "lo": io, "lowpan0": io, "veth12": io, "docker0": io}

    def cpu_times(self) -> Any:
        fields = psutil._pslinux.scputimes._fields if hasattr(psutil, "_pslinux") else ("user", "idle")
        times = dict.fromkeys(fields, 0.0)
        return type("T", (tuple,), {"idle": 100.0, "user": self.used})([*times.values(), 100.0, self.used])

    def disk_partitions(self, all: bool) -> list[Any]:
        return [
            SimpleNamespace(device="/dev/sda1", mountpoint="/var/lib/x", fstype="ext4"),
            SimpleNamespace(device="/dev/sda1", mountpoint="/", fstype="ext4"),
            SimpleNamespace(device="/dev/loop0", mountpoint="/snap/y", fstype="squashfs"),
            SimpleNamespace(device="/dev/gone", mountpoint="/no/such/place", fstype="ext4"),
        ]

    def disk_io_counters(self, perdisk: bool) -> dict[str, Any]:
        raise NotImplementedError("nothing about disks in this container")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    monkeypatch.setattr("almenara.collectors.host._load_psutil", lambda: found)
    return found


def test_rates_are_there_from_the_second_look_and_not_after_a_reset(machine: Machine) -> None:
    host = Host(host="h")
    key = 'net_transmit_bytes_per_s{host="h",interface="eth0"}'
    began = time.monotonic()
    assert key not in rows(host.collect())
    machine.sent += 50_000
    time.sleep(0.05)
    found = rows(host.collect())
    assert 50_000 / (time.monotonic() - began) <= found[key] <= 50_000 / 0.05
    machine.sent = 5
    assert key not in rows(host.collect())
    machine.sent = 6
    assert key in rows(host.collect())


def test_interfaces_that_mirror_others_are_left_out(machine: Machine) -> None:
    host = Host(host="h")
    host.collect()
    found = {k.partition("interface=")[2] for k in rows(host.collect()) if k.startswith("net_receive")}
    assert found == {'"eth0"}', '"lowpan0"}'}


def test_a_disk_counts_once_by_its_shortest_path(machine: Machine) -> None:
    found = [k for k in rows(Host(host="h").collect()) if k.startswith("disk_used_percent")]
    assert found == ['disk_used_percent{host="h",path="/"}']


def test_a_part_that_cannot_be_read_is_left_out_and_told_once(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(host="h")
    for _ in range(3):
        assert 'mem_used_percent{host="h"}' in rows(host.collect())
    assert caplog.text.count("disk rates cannot be read here: nothing about disks in this container") == 1


def test_without_psutil_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(PluginError, match=r"needs psutil.*python3-psutil"):
        Host()
