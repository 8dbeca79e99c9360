"""`almenara up` as a user runs it: what it says, what it refuses, how it stops."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from almenara.testing.process import HubProcess, wait_until

pytestmark = pytest.mark.timeout(300)


def test_it_says_where_it_is(hub: HubProcess) -> None:
    said = wait_until(lambda: "Ctrl-C" in hub.said() and hub.said(), "the banner")
    assert f"http://127.0.0.1:{hub.http}/" in said
    assert f"127.0.0.1:{hub.mqtt}" in said
    assert str(hub.folder) in said


def test_a_folder_in_use_is_one_clear_line(hub: HubProcess) -> None:
    other = HubProcess(hub.folder)
    ended = subprocess.run(other.command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.strip().splitlines()
    assert "in use by another hub" in line
    assert "--data" in line
    assert hub.get("/-/ready")[0] == 200


def test_a_written_sample_is_found_at_once(hub: HubProcess) -> None:
    for n in range(20):
        assert hub.post("/write", f"once,host=a usage={n}".encode()) == (204, b"")
        assert hub.query("once_usage") == {'once_usage{host="a"}': n}


def test_ctrl_c_stops_it_cleanly_and_a_taken_default_port_is_left_to_its_owner(tmp_path: Path) -> None:
    with contextlib.ExitStack() as holding:
        with contextlib.suppress(OSError):  # somebody has it: as good
            holding.enter_context(socket.create_server(("127.0.0.1", 1883)))
        hub = holding.enter_context(HubProcess(tmp_path / "data", mqtt=False))
        host, _, port = hub.json("/api/v1/status")["addresses"]["mqtt"].rpartition(":")
        assert host == "127.0.0.1"
        assert 1883 < int(port) < 1903
        socket.create_connection((host, int(port)), 5).close()
        said = wait_until(lambda: "Ctrl-C" in hub.said() and hub.said(), "the banner")
        assert f"127.0.0.1:{port}" in said
        assert '[mqtt] url = "mqtt://127.0.0.1:1883"' in said
        began = time.monotonic()
        assert hub.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 10


@pytest.mark.parametrize("option", ["--http", "--mqtt"])
def test_a_port_that_was_asked_for_and_is_taken_is_one_clear_line(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        hub = HubProcess(tmp_path / "data")
        port = taken.getsockname()[1]
        hub.http, hub.mqtt = (port, hub.mqtt) if option == "--http" else (hub.http, port)
        ended = subprocess.run(hub.command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 1
    errors = [line for line in ended.stderr.splitlines() if "error" in line]
    assert len(errors) == 1, ended.stderr
    assert f":{port}" in errors[0]
    assert "Traceback" not in ended.stderr


def test_off_loopback_it_wants_a_token(tmp_path: Path) -> None:
    hub = HubProcess(tmp_path / "data")
    command = [part.replace(f"127.0.0.1:{hub.http}", f"0.0.0.0:{hub.http}") for part in hub.command]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ended.returncode == 1
    assert "token" in ended.stderr
    assert "--listen-all" in ended.stderr


def test_reload_takes_a_good_config_and_keeps_the_old_one_when_the_new_is_bad(tmp_path: Path) -> None:
    with HubProcess(tmp_path / "data", config='[rules.hot]\nexpr = "temp > 30"\n') as hub:
        config = hub.config
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


def test_what_links_bring_is_compiled_beside_its_work(hub: HubProcess) -> None:
    assert hub.get("/-/ready")[0] == 200
    wait_until(lambda: "all readers are compiled" in hub.said(), "the line in the log", 100)
    assert "not compiled ahead" not in hub.said()
