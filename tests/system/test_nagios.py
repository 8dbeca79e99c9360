"""Debian's nagios4 with real plugins, set up as `almenara help nagios` says, and a hub that is killed meanwhile."""

from __future__ import annotations

import getpass
import grp
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from almenara.model.time import parse_time
from almenara.testing.process import HubProcess, wait_until

pytestmark = [pytest.mark.timeout(300), pytest.mark.real("nagios4-core", "monitoring-plugins-basic")]

PLUGINS = "/usr/lib/nagios/plugins"
CHECKS = {
    "Load": "check_load -w 90,80,70 -c 95,85,75",
    "Disk /": "check_disk -w 5% -c 1% -p /",
    "Dummy": "check_dummy 2 broken",
}
OWN = """
log_file={var}/nagios.log
cfg_file={var}/objects.cfg
cfg_dir={var}/conf.d
object_cache_file={var}/objects.cache
status_file={var}/status.dat
state_retention_file={var}/retention.dat
lock_file={var}/nagios.pid
temp_file={var}/nagios.tmp
temp_path={var}
check_result_path={var}
query_socket={var}/nagios.qh
check_external_commands=0
use_syslog=0
interval_length=1
status_update_interval=1
nagios_user={user}
nagios_group={group}
process_performance_data=0
illegal_macro_output_chars=`~$&|'"<>
"""
OBJECTS = """
define timeperiod {{
    timeperiod_name always
    alias           always
}}
define command {{
    command_name tell_nobody
    command_line /bin/true
}}
define contact {{
    contact_name                  nobody
    host_notification_commands    tell_nobody
    service_notification_commands tell_nobody
}}
define command {{
    command_name alive
    command_line {plugins}/check_dummy 0 up
}}
define host {{
    host_name          web 1
    address            127.0.0.1
    check_command      alive
    check_interval     2
    max_check_attempts 1
}}
"""
SERVICE = """
define command {{
    command_name check_{number}
    command_line {plugins}/{command}
}}
define service {{
    host_name           web 1
    service_description {name}
    check_command       check_{number}
    check_interval      2
    retry_interval      2
    max_check_attempts  1
}}
"""


def almenara(*arguments: str) -> str:
    command = [sys.executable, "-m", "almenara.cli", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def printed(spool: Path) -> dict[str, str]:
    """The blocks that `almenara help nagios` prints, by file."""
    parts = re.split(r"^# ---- (\S+) ----.*$", almenara("help", "nagios", "--spool", str(spool)), flags=re.MULTILINE)[
        1:
    ]
    return dict(zip(parts[::2], parts[1::2], strict=True))


@contextmanager
def nagios(var: Path, blocks: dict[str, str]) -> Iterator[None]:
    """Nagios at work, on a configuration of its own with the printed blocks put where they say."""
    (var / "conf.d").mkdir(parents=True)
    group = grp.getgrgid(os.getgid()).gr_name
    own = OWN.format(var=var, user=getpass.getuser(), group=group)
    (var / "nagios.cfg").write_text(own + blocks["/etc/nagios4/nagios.cfg"].replace("interval=5", "interval=1"))
    (var / "conf.d" / "almenara.cfg").write_text(blocks["/etc/nagios4/conf.d/almenara.cfg"])
    services = [
        SERVICE.format(plugins=PLUGINS, number=number, name=name, command=command)
        for number, (name, command) in enumerate(CHECKS.items())
    ]
    (var / "objects.cfg").write_text(OBJECTS.format(plugins=PLUGINS) + "".join(services))
    program = shutil.which("nagios4", path=f"{os.environ['PATH']}:/usr/sbin")
    command = [str(program), str(var / "nagios.cfg")]
    with (var / "said").open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
    try:
        wait_until(lambda: (var / "status.dat").exists() or process.poll() is not None, "nagios4 to work")
        assert process.poll() is None, (var / "said").read_text()
        yield
        assert process.poll() is None, (var / "said").read_text()
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            with_its_workers(process.pid)


def with_its_workers(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def written(files: Iterator[Path]) -> dict[tuple[str, str, int], str]:
    """(service, key, time) -> text, of every line that Nagios wrote; read without the codec."""
    found = {}
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns):  # of one second the last line counts
        for line in path.read_text().splitlines():
            fields = dict(part.split("::", 1) for part in line.split("\t"))
            for key, text in fields.items():
                found[fields.get("SERVICEDESC", ""), key, int(fields["TIMET"])] = text
    return found


def stored(hub: HubProcess, selector: str) -> dict[int, float]:
    return {parse_time(time) // 10**9: value for time, value in hub.rows(selector)}


def test_a_hub_holds_what_nagios_wrote_though_it_was_killed(tmp_path: Path) -> None:
    spool, done, var = tmp_path / "spool", tmp_path / "done", tmp_path / "var"
    spool.mkdir()
    blocks = printed(spool)
    config = blocks["hub.toml"]
    assert tomllib.loads(config) == {"transports": {"nagios": {"spool": str(spool)}}}
    left = lambda: [p for p in spool.iterdir() if "." in p.name]  # noqa: E731
    hub = HubProcess(tmp_path / "data", config=f'{config}done = "{done}"\n', mqtt=False).start()
    try:
        with nagios(var, blocks):
            wait_until(lambda: len(list(done.glob("service-*"))) >= 2, "two files to be read")
            hub.kill()
            wait_until(lambda: len([p for p in left() if "service" in p.name]) >= 2, "files to wait for the hub")
            waiting = {p.name for p in left()}
            hub.start()
            # Nagios goes on: there may be a new one at any moment.
            wait_until(lambda: not waiting & {p.name for p in left()}, "waiting files to be read")
        wait_until(lambda: not left(), "the last files to be read")
        compare(hub, written(done.iterdir()), var)
        source = hub.source(f"nagios:{spool}")
        assert source["rejected"] == {}
        assert source["received"] == source["stored"] + source["duplicate"] + source["overwritten"]
        rules = almenara("help", "nagios", "--rules", "--url", hub.url)
        assert 'nagios_perfdata{service="Load",label="load5"} > 85.0' in rules
        assert hub.stop() == 0
    finally:
        if hub.process is not None and hub.process.poll() is None:
            hub.kill()


def compare(hub: HubProcess, lines: dict[tuple[str, str, int], str], var: Path) -> None:
    """What the hub holds, with what Nagios wrote and logged."""
    perfdata = {at: text for at, text in lines.items() if at[1] == "SERVICEPERFDATA"}
    assert len(perfdata) > 9
    for label in ("load1", "load5", "load15"):
        expected = {
            time: float(re.search(rf"(?:^| ){label}=([\d.]+)", text)[1])  # type: ignore[index]
            for (service, _, time), text in perfdata.items()
            if service == "Load"
        }
        assert stored(hub, f'nagios_perfdata{{service="Load",label="{label}"}}') == expected
    disk = {
        time: [float(x) for x in re.search(r"^/=(\d+)B;(\d+);(\d+);0;(\d+)$", text).groups()]  # type: ignore[union-attr]
        for (service, _, time), text in perfdata.items()
        if service == "Disk /"
    }
    for column, name in enumerate(("", "_warn", "_crit", "_max")):
        got = stored(hub, f'nagios_perfdata{name}{{service="Disk /",label="/"}}')
        assert got == {time: values[column] for time, values in disk.items()}
    chart = hub.json("/api/v1/view", series='nagios_perfdata{service="Disk /",label="/"}')
    limits = {(one["severity"], *one["values"]) for one in chart["thresholds"]}
    assert limits == {("warning", values[1]) for values in disk.values()} | {("critical", v[2]) for v in disk.values()}
    assert chart["unit"] == "B"
    for service, state in (("Load", 0), ("Dummy", 2)):
        times = {time for name, _, time in perfdata if name == service}
        assert stored(hub, f'nagios_check_state{{host="web 1",service="{service}"}}') == dict.fromkeys(times, state)
    assert set(stored(hub, 'nagios_host_state{host="web 1"}').values()) == {0.0}
    assert "SERVICE ALERT: web 1;Dummy;CRITICAL;HARD;1;" in (var / "nagios.log").read_text()
