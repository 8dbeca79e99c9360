"""Rules of writing to syslog, against a real rsyslog."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from almenara.codecs.syslog import Syslog
from almenara.model.alarm import Fact, Notice, NoticeKind, State
from almenara.model.errors import ConfigError, NotifyError
from almenara.model.time import NS
from almenara.notifiers.syslog import SyslogNotifier
from almenara.plugin.contracts import Context
from almenara.testing.alarms import BEGAN_NS, incident, notice
from certificates import Authority
from receivers import listens, program, running, wait_for

CONF = """
global(workDirectory="{folder}" maxMessageSize="64k" {tls})
module(load="imudp") module(load="imtcp" {streamdriver}) module(load="imuxsock" SysSock.Use="off")
input(type="imudp" address="127.0.0.1" port="{port}")
input(type="imtcp" address="127.0.0.1" port="{port}" maxFrameSize="60000")
input(type="imuxsock" Socket="{folder}/log" CreatePath="on")
template(name="all" type="list") {{
  constant(value="{{") property(outname="level" name="syslogseverity-text" format="jsonf") constant(value=",")
  property(outname="facility" name="syslogfacility-text" format="jsonf") constant(value=",")
  property(outname="app" name="app-name" format="jsonf") constant(value=",")
  property(outname="host" name="hostname" format="jsonf") constant(value=",")
  property(outname="id" name="msgid" format="jsonf") constant(value=",")
  property(outname="data" name="structured-data" format="jsonf") constant(value=",")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf") constant(value=",")
  property(outname="text" name="msg" format="jsonf") constant(value="}}\\n")
}}
*.* action(type="omfile" file="{folder}/out" template="all")
"""
GTLS = (
    'defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{cert}"'
    ' defaultNetstreamDriverKeyFile="{key}"'
)
TLS_ONLY = 'StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.AuthMode="anon"'


@contextlib.contextmanager
def rsyslog(folder: Path, port: int, tls: str = "") -> Iterator[Path]:
    """A running rsyslog; gives the file that it writes a line of JSON into for each message of almenara."""
    conf = CONF.format(folder=folder, port=port, tls=tls, streamdriver=TLS_ONLY if tls else "")
    (folder / "conf").write_text(conf)
    command = [program("rsyslogd"), "-n", "-f", str(folder / "conf"), "-i", str(folder / "pid")]
    with running(command, lambda: listens(port) and (folder / "log").exists(), folder):
        yield folder / "out"


def heard(out: Path, n: int) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []

    def read() -> bool:
        lines = out.read_text().splitlines() if out.exists() else []
        found[:] = [one for line in lines if (one := json.loads(line))["app"] == "almenara"]
        return len(found) >= n

    wait_for(read)
    return found


def tell(of: Notice, **options: Any) -> None:
    asyncio.run(SyslogNotifier(clock=lambda: BEGAN_NS + 123_456_789, **options).notify(of))


@pytest.mark.real("rsyslog")
@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_rsyslog_reads_all_that_we_write(tmp_path: Path, free_port: Callable[[], int], scheme: str) -> None:
    port = free_port()
    with rsyslog(tmp_path, port) as out:
        url = f"{scheme}://127.0.0.1:{port}"
        tell(notice(), url=url, host_name="hub1", facility="local3")
        (first,) = heard(out, 1)
        text = first.pop("text").lstrip(" \ufeff")
        assert first == {
            "level": "err", "facility": "local3", "app": "almenara", "host": "hub1", "id": "firing",
            "time": "2026-03-02T03:04:05.123456Z",
            "data": '[alarm@32473 incident="7" kind="firing" severity="major" rule="cpu" alarms="2"]',
        }  # fmt: skip
        assert text.startswith("Major: processors of 2 hosts are busier than usual | Since: 03:04, a minute ago; cpu")
        tell(notice(incident(State.RESOLVED)), url=url)
        assert heard(out, 2)[1]["level"] == "notice"
        asyncio.run(SyslogNotifier(url=url).check())


@pytest.mark.real("rsyslog")
def test_the_socket_of_this_machine(tmp_path: Path, free_port: Callable[[], int]) -> None:
    with rsyslog(tmp_path, free_port()) as out:
        tell(notice(kind=NoticeKind.TEST), url=f"unix://{tmp_path}/log")
        (one,) = heard(out, 1)
        assert (one["level"], one["facility"], one["app"]) == ("info", "daemon", "almenara")
        assert one["text"].strip().startswith("Major: processors")
        asyncio.run(SyslogNotifier(url=f"unix://{tmp_path}/log").check())
    with pytest.raises(NotifyError, match="syslog") as caught:
        tell(notice(), url=f"unix://{tmp_path}/log")
    assert caught.value.retry


@pytest.mark.real("rsyslog-gnutls", "openssl")
def test_tls_is_verified(tmp_path: Path, free_port: Callable[[], int]) -> None:
    made = Authority(tmp_path / "certificates")
    cert, key = made.sign("server", "127.0.0.1")
    port = free_port()
    tls = GTLS.format(ca=made.file, cert=cert, key=key)
    with rsyslog(tmp_path, port, tls) as out:
        tell(notice(), url=f"tls://127.0.0.1:{port}", ca_file=str(made.file))
        assert heard(out, 1)[0]["level"] == "err"
        with pytest.raises(NotifyError, match=r"(?i)certificate") as caught:
            tell(notice(), url=f"tls://127.0.0.1:{port}")
        assert caught.value.retry


@pytest.mark.real("rsyslog")
def test_long_and_hostile_texts_stay_one_message(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    said = Notice(1, NoticeKind.FIRING, incident(), 'a\n<0>1 forged ] "', (Fact("x", "é" * 9000),))
    with rsyslog(tmp_path, port) as out:
        for scheme in ("udp", "tcp"):
            tell(said, url=f"{scheme}://127.0.0.1:{port}", max_bytes=8000)
        tell(notice(), url=f"tcp://127.0.0.1:{port}")
        found = heard(out, 3)
        assert len(found) == 3
        assert 'a <0>1 forged ] " | x: éé' in found[0]["text"]
        assert not found[0]["text"].endswith("\ufffd")


def test_our_own_codec_reads_it_and_structured_data_is_escaped() -> None:
    of = incident()
    line = SyslogNotifier(url="tcp://127.0.0.1").line(Notice(1, NoticeKind.FIRING, of, "t"), BEGAN_NS)
    decoded = Syslog().decode(line, Context(received_ns=BEGAN_NS))
    assert decoded.rejected == () or not decoded.rejected
    assert len(decoded.events) == 1
    assert decoded.events[0].time // NS == BEGAN_NS // NS


def test_a_stream_socket_ends_each_line_with_nul(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(path))
        server.listen()
        tell(notice(), url=f"unix://{path}")
        with server.accept()[0] as link:
            text = link.recv(10_000)
    assert text.endswith(b"\0")
    assert text.startswith(b"<27>Mar  2 ")


def test_nobody_there_is_worth_another_try(free_port: Callable[[], int]) -> None:
    with pytest.raises(NotifyError, match="syslog tcp://") as caught:
        tell(notice(), url=f"tcp://127.0.0.1:{free_port()}")
    assert caught.value.retry


def test_options_are_checked() -> None:
    for url in ("http://x", "udp://", "tcp://h:99999", "unix://relative", "tcp://h x"):
        with pytest.raises(ConfigError, match="url"):
            SyslogNotifier(url=url)
    with pytest.raises(ConfigError, match="app_name"):
        SyslogNotifier(app_name="a b")
    with pytest.raises(ConfigError, match="ca_file"):
        SyslogNotifier(url="tcp://h", ca_file="/x")
