"""Rules of sending check results, against the NSCA daemon of Nagios."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import getpass
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from almenara.codecs.nsca import Nsca
from almenara.model.alarm import Alarm, Evidence, Incident, NoticeKind, Severity, State, Transition
from almenara.model.errors import ConfigError, NotifyError
from almenara.model.series import Series
from almenara.notifiers.nsca import NscaNotifier
from almenara.plugin.contracts import Context
from almenara.plugin.options import Secret
from almenara.testing.alarms import incident, notice
from receivers import listens, program, running, wait_for


@contextlib.contextmanager
def nsca(folder: Path, port: int, method: int = 1, password: str = "open sesame") -> Iterator[Path]:
    """The daemon; gives the file that it writes the commands for Nagios into."""
    out = folder / "dump"
    (folder / "nsca.cfg").write_text(
        f"server_address=127.0.0.1\nserver_port={port}\nnsca_user={getpass.getuser()}\ndebug=0\n"
        f"command_file={folder}/none\nalternate_dump_file={out}\nappend_to_file=0\naggregate_writes=0\n"
        f"max_packet_age=30\npassword={password}\ndecryption_method={method}\n"
    )
    command = [program("nsca"), "-f", "-c", str(folder / "nsca.cfg")]
    with running(command, lambda: listens(port), folder):
        yield out


def said(out: Path, lines: int) -> list[str]:
    wait_for(lambda: out.exists() and out.read_text().count("\n") >= lines)
    return [line.partition("] ")[2] for line in out.read_text().splitlines()]


def tell(port: int, of: Any, **options: Any) -> None:
    options = {"password": Secret("open sesame")} | options
    asyncio.run(NscaNotifier(server=f"127.0.0.1:{port}", **options).notify(of))


def one_alarm(severity: Severity, state: State = State.FIRING, **labels: str) -> Incident:
    change = Transition("disk full", Series.of("free", **labels), 1, state, 2, severity, Evidence(5.0, why="a; b | c"))
    return Incident(3, 1, State.FIRING, severity, (Alarm(change, 3),))


@pytest.mark.real("nsca")
@pytest.mark.parametrize(("method", "encryption"), [(0, "none"), (1, "xor")])
def test_nagios_is_told_the_state_of_each_check(
    tmp_path: Path, free_port: Callable[[], int], method: int, encryption: str
) -> None:
    port = free_port()
    with nsca(tmp_path, port, method) as out:
        tell(port, notice(), encryption=encryption)
        output = "CRITICAL - Higher than usual: 93.25, expected 20.5 to 42"
        figures = "value=93.25 score=1.6 yhat=31 lower=20.5 upper=42"
        assert said(out, 2) == [f"PROCESS_SERVICE_CHECK_RESULT;{host};cpu;2;{output}|{figures}" for host in "ab"]
        tell(port, notice(incident(State.RESOLVED)), encryption=encryption)
        assert [line.split(";")[3] for line in said(out, 4)[2:]] == ["0", "0"]


@pytest.mark.real("nsca")
def test_names_come_from_labels_and_cannot_hold_a_command(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    bad = one_alarm(Severity.MINOR, disk="/var;x\n[1] SHUTDOWN_PROGRAM", site="s")
    with nsca(tmp_path, port) as out:
        tell(port, notice(bad), host="{site}-{missing}", service="{rule} {disk}")
        (line,) = said(out, 1)
        assert line.split(";")[:4] == [
            "PROCESS_SERVICE_CHECK_RESULT", "almenara", "disk full /var_x [1] SHUTDOWN_PROGRAM", "1"
        ]  # fmt: skip
        assert line.endswith("WARNING - a; b / c|value=5")
        tell(port, notice(bad), host="{site}", service="")
        assert said(out, 2)[1].startswith("PROCESS_HOST_CHECK_RESULT;s;1;")
        tell(port, notice(kind=NoticeKind.TEST))
        assert said(out, 3)[2].startswith("PROCESS_SERVICE_CHECK_RESULT;almenara;almenara test;0;Major")


@pytest.mark.real("nsca")
def test_the_daemon_drops_what_has_another_password(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    with nsca(tmp_path, port) as out:
        with contextlib.suppress(NotifyError):  # it hangs up at the first packet, and may do so before the second
            tell(port, notice(), password=Secret("wrong"))
        tell(port, notice(one_alarm(Severity.MINOR)))
        assert [line.split(";")[2] for line in said(out, 1)] == ["disk full"]


def test_of_several_alarms_of_one_check_the_worst_counts() -> None:
    of = incident(hosts=("a", "a"))
    first, second = (member.last for member in of.members)
    mixed = (
        Alarm(dataclasses.replace(first, state=State.NO_DATA)),
        Alarm(dataclasses.replace(second, severity=Severity.MINOR)),
    )
    results = NscaNotifier().results(notice(dataclasses.replace(of, members=mixed)))
    assert [(check, result[0]) for check, result in results.items()] == [((b"a", b"cpu"), 1)]


@pytest.mark.parametrize("size", [512, 4096])
def test_packets_are_those_that_our_own_codec_reads_and_long_texts_are_cut(size: Any) -> None:
    long = dataclasses.replace(incident().members[0].last, evidence=Evidence(5.0, why="é" * 5000))
    sender = NscaNotifier(output_bytes=size)
    (check, result), *_ = sender.results(notice(Incident(1, 1, State.FIRING, Severity.MAJOR, (Alarm(long),)))).items()
    packet = sender._packet(*check, *result, 1_772_420_645)
    assert len(packet) == {512: 720, 4096: 4304}[size]
    decoded = Nsca().decode(packet, Context(received_ns=1))
    assert {s.name for s in decoded.batch.series} == {"nagios_check_state", "nagios_perfdata"}


def test_nobody_there_and_one_who_hangs_up_are_worth_another_try(free_port: Callable[[], int]) -> None:
    async def run() -> None:
        port = free_port()
        with pytest.raises(NotifyError, match="NSCA at") as caught:
            await NscaNotifier(server=f"127.0.0.1:{port}").check()
        assert caught.value.retry
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port):
            with pytest.raises(NotifyError, match="hung up"):
                await NscaNotifier(server=f"127.0.0.1:{port}").notify(notice())
        async with await asyncio.start_server(_silent, "127.0.0.1", port):
            with pytest.raises(NotifyError, match="no answer within"):
                await NscaNotifier(server=f"127.0.0.1:{port}", timeout_s=0.2).notify(notice())

    asyncio.run(run())


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says nothing until the other side has gone."""
    try:
        await reader.read()
    finally:
        writer.close()


def test_the_fallback_host_is_a_name() -> None:
    for name in ("", "a;b", "x" * 64):
        with pytest.raises(ConfigError, match="fallback_host"):
            NscaNotifier(fallback_host=name)
