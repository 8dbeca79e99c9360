"""`almenara up` as a user runs it: what it says, what it refuses, how it stops."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from almenara.pipeline.folder import DataFolder
from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(120)


def test_it_starts_says_where_it_is_and_stops_cleanly(tmp_path: Path) -> None:
    with HubProcess(tmp_path / "data") as hub:
        said = hub.said()
        assert f"http://127.0.0.1:{hub.http}/" in said
        assert f"127.0.0.1:{hub.mqtt}" in said
        assert str(tmp_path / "data") in said
        began = time.monotonic()
        assert hub.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 10


def test_it_stops_when_its_terminal_is_closed(tmp_path: Path) -> None:
    ours, terminal = pty.openpty()
    hub = HubProcess(tmp_path / "data")
    with subprocess.Popen(hub.command, stdin=terminal, stdout=subprocess.PIPE, text=True) as process:
        os.close(terminal)
        assert process.stdout is not None
        assert any("Ctrl-C" in line for line in process.stdout)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        assert process.wait(10) == 0


def test_it_stops_while_it_compiles(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    hub = HubProcess(tmp_path / "data")
    with subprocess.Popen(hub.command, env=os.environ | {"NUMBA_CACHE_DIR": str(cache)}) as process:
        wait_until(lambda: any(cache.rglob("*.nbc")), "the first kernel")
        process.terminate()
        assert process.wait(10) == 0
    DataFolder(tmp_path / "data").close()  # given back


def test_a_folder_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with HubProcess(tmp_path / "data") as hub:
        other = HubProcess(tmp_path / "data")
        ended = subprocess.run(other.command, capture_output=True, text=True, timeout=60, check=False)
        assert ended.returncode == 1
        (line,) = ended.stderr.strip().splitlines()
        assert "in use by another hub" in line
        assert "--data" in line
        assert hub.process is not None


@pytest.mark.parametrize("option", ["--http", "--mqtt"])
def test_a_port_that_was_asked_for_and_is_taken_is_one_clear_line(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        hub = HubProcess(tmp_path / "data")
        port = taken.getsockname()[1]
        hub.http, hub.mqtt = (port, hub.mqtt) if option == "--http" else (hub.http, port)
        ended = subprocess.run(hub.command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    errors = [line for line in ended.stderr.splitlines() if "error" in line]
    assert len(errors) == 1, ended.stderr
    assert f":{port}" in errors[0]
    assert "Traceback" not in ended.stderr


def test_off_loopback_it_wants_a_token(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path / "data")
    command = [part.replace(f"127.0.0.1:{hub.http}", f"0.0.0.0:{hub.http}") for part in hub.command]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "token" in ended.stderr
    assert "--listen-all" in ended.stderr


def test_a_written_sample_is_found_at_once(tmp_path: Path) -> None:
    with HubProcess(tmp_path / "data") as hub:
        assert hub.post("/write", b"cpu,host=a usage=3.5") == (204, b"")
        found = hub.json("/api/v1/query?query=cpu_usage%7Bhost=%22a%22%7D")
        assert [r["value"][1] for r in found["data"]["result"]] == ["3.5"]


def test_reload_takes_a_good_config_and_keeps_the_old_one_when_the_new_is_bad(tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text('version = 1\n[rules.hot]\nexpr = "temp > 30"\n')
    with HubProcess(tmp_path / "data", "--config", str(config)) as hub:
        hub.post("/write", b"temp value=35")
        wait_until(lambda: hub.json("/api/v1/alarms")["open"], "the alarm of the first rule")
        config.write_text('version = 1\n[rules.hot]\nexpr = "temp >"\nfro = "5m"\n')
        status, body = hub.post("/-/reload", b"")
        assert status == 400
        assert b"rules.hot.expr" in body
        assert b"rules.hot.fro" in body
        assert hub.json("/api/v1/alarms")["open"], "the old rule still stands"
        config.write_text('version = 1\n[rules.cold]\nexpr = "temp < 40"\n')
        assert hub.process is not None
        hub.process.send_signal(signal.SIGHUP)
        hub.post("/write", b"temp value=34")

        def rules() -> set[str]:
            hub.post("/write", b"temp value=34")
            return {one["rule"] for one in hub.json("/api/v1/alarms")["open"]}

        wait_until(lambda: rules() == {"cold"}, "the new rule alone")
