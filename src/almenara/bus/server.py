"""One run of the NATS server program: its configuration file, its start, its ports, its end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from almenara.bus.refusals import LogTail
from almenara.model.errors import BusError, MissingExtra, PortTaken

_READY_S = 60.0
_STOP_S = 10.0
_LISTENS = re.compile(r"Listening for MQTT clients on \w+://.*:(\d+)")
_FATAL = re.compile(r"\[FTL\] (.*)")

#: Subjects that belong to the broker: whoever could publish there could delete the durable stream.
_RESERVED = '["$JS.>", "$MQTT.>", "$SYS.>", "$KV.>", "$O.>", "$G.>", "_INBOX.>"]'
#: What an MQTT client may not hear. Not more: its own QoS 1 and 2 deliveries run over the other `$MQTT` subjects.
_UNHEARD = '["$JS.>", "$SYS.>", "$MQTT.JSA.>", "_INBOX.>"]'


@dataclass(frozen=True, slots=True)
class Login:
    """A user of the broker and its password; kept out of every message and log."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration file is made of."""

    folder: Path
    host: str
    port: int  # 0: any free one
    hub: Login  # reads and manages the stream, publishes
    tap: Login  # may only listen to what is not the broker's own
    system: Login  # asks the server who is connected
    client: Login  # what MQTT clients from outside log in with
    anonymous: bool  # clients that give no user at all are taken as `client`
    max_disk_bytes: int
    max_payload: int
    max_connections: int


def find_program() -> str:
    """The path of nats-server: beside this Python, or on PATH. Raises MissingExtra."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("nats-server")
    if found is None:
        raise MissingExtra("the embedded MQTT broker (nats-server)", "hub")
    return found


def _quote(text: str) -> str:
    escaped = "".join(
        f"\\x{byte:02x}" if byte < 32 or byte > 126 or byte in b'"\\' else chr(byte) for byte in text.encode()
    )
    return f'"{escaped}"'


def _user(login: Login, kinds: str, permissions: str = "") -> str:
    return (
        f"      {{ user: {_quote(login.user)}, password: {_quote(login.password)}, "
        f"allowed_connection_types: {kinds}{permissions} }}\n"
    )


def _permissions(not_publish: str, not_subscribe: str) -> str:
    return (
        f', permissions: {{ publish: {{ deny: {not_publish} }}, subscribe: {{ allow: ">", deny: {not_subscribe} }} }}'
    )


def config_text(settings: Settings, *, mqtt: bool) -> str:
    """The configuration file; without `mqtt` no MQTT client can connect."""
    folder = settings.folder
    outsider, listener = _permissions(_RESERVED, _UNHEARD), _permissions('">"', _RESERVED)
    users = _user(settings.hub, '["STANDARD", "MQTT"]')
    users += _user(settings.tap, '["STANDARD"]', listener) + _user(settings.client, '["MQTT"]', outsider)
    text = f"""# Written by almenara at each start; changes are lost.
server_name: almenara
listen: "127.0.0.1:-1"
ports_file_dir: {_quote(str(folder))}
pid_file: {_quote(str(folder / "pid"))}
log_file: {_quote(str(folder / "log"))}
logfile_size_limit: 1MB
logfile_max_num: 2
logtime_utc: true
max_payload: {settings.max_payload}
max_connections: {settings.max_connections}
lame_duck_grace_period: "3s"
lame_duck_duration: "30s"
jetstream {{
  store_dir: {_quote(str(folder))}
  max_file: {settings.max_disk_bytes}
  max_mem: {64 << 20}
  sync_interval: "1s"
  max_buffered_msgs: 200000
  max_buffered_size: {256 << 20}
}}
system_account: SYS
accounts {{
  SYS {{ users: [
{_user(settings.system, '["STANDARD"]')}    ] }}
  HUB {{
    jetstream: enabled
    users: [
{users}    ]
  }}
}}
"""
    if mqtt:
        anyone = f"no_auth_user: {_quote(settings.client.user)}, " if settings.anonymous else ""
        text += f"mqtt {{ host: {_quote(settings.host)}, port: {settings.port or -1}, {anyone}"
        text += 'ack_wait: "3s", max_ack_pending: 10000 }\n'
    return text


class Server:
    """A running nats-server. Make one with `Server.start`."""

    def __init__(self, process: asyncio.subprocess.Process, nats_port: int, mqtt_port: int):
        self.process = process
        self.nats_port, self.mqtt_port = nats_port, mqtt_port

    @classmethod
    async def start(cls, settings: Settings, *, mqtt: bool) -> Server:
        """Start the program and wait until it listens. Raises PortTaken, BusError."""
        folder = settings.folder
        config, log = folder / "nats.conf", LogTail(folder / "log")
        _write_private(config, config_text(settings, mqtt=mqtt))
        for old in folder.glob("*.ports"):
            old.unlink(missing_ok=True)
        log.skip()
        with (folder / "stderr").open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *_wrapper(), find_program(), "-c", str(config),
                stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr,
                start_new_session=True,  # Ctrl-C in the terminal is for the hub, which stops us when it has drained
            )  # fmt: skip
        try:
            nats_port, mqtt_port = await _ready(process, settings, log, mqtt)
        except BaseException:
            await _end(process)
            raise
        return cls(process, nats_port, mqtt_port)

    async def stop(self) -> None:
        """Ask it to end, and make it."""
        await _end(self.process)


def _wrapper() -> list[str]:
    """When the hub dies without a word the kernel tells the broker (Linux): SIGUSR2, its lame duck mode. It closes its
    ports at once, has three seconds to say the hub's last will to who is connected, and ends by itself."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "USR2", "--"] if setpriv else []


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


async def _ready(process: asyncio.subprocess.Process, settings: Settings, log: LogTail, mqtt: bool) -> tuple[int, int]:
    lines: list[str] = []
    ports = settings.folder / f"nats-server_{process.pid}.ports"
    deadline = asyncio.get_running_loop().time() + _READY_S
    while asyncio.get_running_loop().time() < deadline:
        ended = process.returncode is not None
        lines += log.lines()
        if ended:
            raise _start_error(settings, lines)
        if any("Server is ready" in line for line in lines) and (nats := _nats_port(ports)):
            port = next((int(m[1]) for line in lines if (m := _LISTENS.search(line))), 0)
            if bool(port) == mqtt:
                return nats, port
        await asyncio.sleep(0.005)
    raise BusError(f"the embedded broker was not ready within {_READY_S:g} s; its log: {settings.folder / 'log'}")


def _nats_port(path: Path) -> int:
    try:
        return int(json.loads(path.read_text())["nats"][0].rpartition(":")[2])
    except (FileNotFoundError, ValueError):  # not there yet, or half written
        return 0


def _start_error(settings: Settings, lines: list[str]) -> BusError:
    fatal = next((m[1] for line in reversed(lines) if (m := _FATAL.search(line))), "")
    if "address already in use" in fatal:
        return PortTaken(settings.host, settings.port)
    said = fatal or (settings.folder / "stderr").read_text(errors="replace").strip()[-500:]
    return BusError(f"the embedded broker did not start: {said or 'it gave no reason'}")


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        try:
            process.send_signal(number)
        except ProcessLookupError:
            return
        try:
            async with asyncio.timeout(_STOP_S):
                await process.wait()
        except TimeoutError:
            continue


async def end_leftover(folder: Path) -> bool:
    """End a broker that an earlier hub left behind in this folder; says whether there was one.

    The number in the pid file may belong to any program by now: only one that runs with our configuration file goes.
    """
    try:
        pid = int((folder / "pid").read_text())
    except (FileNotFoundError, ValueError):
        return False
    if not _is_ours(pid, folder):
        return False
    # One that its hub's death put into lame duck mode does not heed SIGTERM for seconds. What it acknowledged is with
    # the system already, so it may be killed.
    for number, wait_s in ((signal.SIGTERM, 0.3), (signal.SIGKILL, _STOP_S)):
        os.kill(pid, number)
        for _ in range(int(wait_s / 0.02)):
            await asyncio.sleep(0.02)
            if not _is_ours(pid, folder):
                return True
    raise BusError(f"a broker of an earlier run (process {pid}) does not end; end it by hand")


def _is_ours(pid: int, folder: Path) -> bool:
    if Path("/proc/self/cmdline").exists():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        command = subprocess.run(
            ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    return str(folder / "nats.conf") in command
