"""Rules of writing alarms into RRD files, read with rrdtool itself."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
from pathlib import Path

import pytest

from almenara.model.alarm import Alarm, Evidence, Incident, NoticeKind, Severity, State
from almenara.model.errors import NotifyError
from almenara.model.time import NS
from almenara.notifiers.rrd import RrdNotifier
from almenara.testing.alarms import BEGAN_NS, incident, notice

BEGAN_S = BEGAN_NS // NS


def at(minutes: int, severity: Severity, state: State = State.FIRING, hosts: tuple[str, ...] = ("a",)) -> Incident:
    of = incident(state, hosts=hosts)
    when = BEGAN_NS + minutes * 60 * NS
    members = tuple(Alarm(dataclasses.replace(m.last, time=when, severity=severity), of.id) for m in of.members)
    return dataclasses.replace(of, members=members, resolved=when if state is State.RESOLVED else 0)


def tell(folder: Path, *incidents: Incident) -> None:
    for of in incidents:
        asyncio.run(RrdNotifier(directory=folder).notify(notice(of)))


def rows(path: Path, minutes: int) -> list[str]:
    """The severity of each whole minute since the incident began, as rrdtool fetches it; "-" unknown."""
    command = ["rrdtool", "fetch", str(path), "MAX", "-r", "60", "-s", str(BEGAN_S), "-e", str(BEGAN_S + minutes * 60)]
    out = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    found = [line.split()[1] for line in out.splitlines() if ": " in line]
    return ["-" if "nan" in text else f"{float(text):g}" for text in found]


@pytest.mark.real("rrdtool")
def test_severity_holds_until_the_next_change(tmp_path: Path) -> None:
    tell(tmp_path, at(1, Severity.MAJOR), at(5, Severity.CRITICAL), at(8, Severity.CRITICAL, State.RESOLVED))
    (path,) = tmp_path.rglob("*.rrd")
    assert path.parent.name == "cpu"
    held = rows(path, 9)
    assert held[2:5] == ["3", "3", "3"]
    assert held[6:8] == ["4", "4"]
    said = subprocess.run(["rrdtool", "lastupdate", str(path)], capture_output=True, check=True, text=True).stdout
    assert said.split()[:3] == ["severity", "score", "value"]
    assert said.splitlines()[-1] == f"{BEGAN_S + 480}: 0 1.6 93.25"


@pytest.mark.real("rrdtool")
def test_a_notice_that_comes_again_and_an_older_one_change_nothing(tmp_path: Path) -> None:
    tell(tmp_path, at(5, Severity.MAJOR))
    (path,) = tmp_path.rglob("*.rrd")
    before = path.read_bytes()
    tell(tmp_path, at(5, Severity.MAJOR), at(1, Severity.CRITICAL))
    assert path.read_bytes() == before


@pytest.mark.real("rrdtool")
def test_many_alarms_and_what_is_no_number(tmp_path: Path) -> None:
    hosts = tuple(f"h {i} --x;'\"" for i in range(300))
    tell(tmp_path, at(1, Severity.MINOR, hosts=hosts))
    assert len(list(tmp_path.rglob("*.rrd"))) == 300
    of = at(2, Severity.MINOR, hosts=hosts[:1])
    last = dataclasses.replace(of.members[0].last, evidence=Evidence(float("nan")))
    tell(tmp_path, dataclasses.replace(of, members=(Alarm(last),)))


@pytest.mark.real("rrdtool")
def test_a_file_with_other_sources_is_named(tmp_path: Path) -> None:
    tell(tmp_path, at(1, Severity.MINOR))
    (path,) = tmp_path.rglob("*.rrd")
    path.unlink()
    subprocess.run(["rrdtool", "create", str(path), "DS:x:GAUGE:9:U:U", "RRA:LAST:0.5:1:9"], check=True)
    with pytest.raises(NotifyError, match=r"rrd: update: .*found extra data"):
        tell(tmp_path, at(9_999_999, Severity.MINOR))


def test_a_program_that_is_not_there_and_a_folder_that_cannot_be_made_are_told(tmp_path: Path) -> None:
    missing = RrdNotifier(directory=tmp_path, program="no-such-rrdtool")
    with pytest.raises(NotifyError, match="no-such-rrdtool") as caught:
        asyncio.run(missing.notify(notice()))
    assert caught.value.retry
    with pytest.raises(NotifyError, match="no program"):
        asyncio.run(missing.check())
    (tmp_path / "file").write_text("")
    with pytest.raises(NotifyError, match="rrd"):
        tell(tmp_path / "file", incident())


def test_a_test_writes_nothing(tmp_path: Path) -> None:
    asyncio.run(RrdNotifier(directory=tmp_path).notify(notice(kind=NoticeKind.TEST)))
    assert list(tmp_path.iterdir()) == []
