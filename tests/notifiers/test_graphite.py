"""Rules of writing alarms into Graphite, against a real carbon."""

from __future__ import annotations

import asyncio
import dataclasses
import getpass
import math
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import whisper

from almenara.model.alarm import Alarm, Evidence, Incident, NoticeKind, State
from almenara.model.errors import ConfigError, NotifyError
from almenara.model.time import NS
from almenara.notifiers.graphite import GraphiteNotifier
from almenara.testing.alarms import BEGAN_NS, incident, notice
from receivers import listens, program, running, wait_for

CONF = """[cache]
LOCAL_DATA_DIR = {folder}/data
CONF_DIR = {folder}
STORAGE_DIR = {folder}
LOG_DIR = {folder}
PID_DIR = {folder}
USER =
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {port}
ENABLE_UDP_LISTENER = False
PICKLE_RECEIVER_INTERFACE = 127.0.0.1
PICKLE_RECEIVER_PORT = {more[0]}
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = {more[1]}
MAX_CREATES_PER_MINUTE = inf
MAX_UPDATES_PER_SECOND = 1000
CACHE_WRITE_STRATEGY = naive
ENABLE_TAGS = False
"""


def recent(state: State = State.FIRING) -> Incident:
    of = incident(state)
    now = time.time_ns()
    members = tuple(Alarm(dataclasses.replace(m.last, since=now, time=now), of.id) for m in of.members)
    return dataclasses.replace(of, members=members)


@pytest.mark.real("graphite-carbon")
def test_carbon_keeps_state_severity_score_and_value(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port, more = free_port(), (free_port(), free_port())
    (tmp_path / "carbon.conf").write_text(CONF.format(folder=tmp_path, port=port, more=more))
    (tmp_path / "storage-schemas.conf").write_text("[all]\npattern = .*\nretentions = 1s:10m\n")
    assert getpass.getuser()
    command = [program("carbon-cache"), f"--config={tmp_path}/carbon.conf", "--nodaemon", "start"]
    with running(command, lambda: listens(port), tmp_path):
        asyncio.run(GraphiteNotifier(server=f"127.0.0.1:{port}").notify(notice(recent())))
        files = tmp_path / "data" / "almenara" / "alarm" / "cpu"
        wait_for(lambda: len(list(files.rglob("*.wsp"))) == 8)
        found = {path.stem: last_value(path) for path in files.glob("cpu_usage-host-a-*/*.wsp")}
        assert found == {"state": 2.0, "severity": 3.0, "score": 1.6, "value": 93.25}


def last_value(path: Path) -> float:
    """The only value in a file, once it is written."""
    found: list[float] = []

    def read() -> bool:
        _, values = whisper.fetch(str(path), int(time.time()) - 300)
        found[:] = [value for value in values if value is not None]
        return bool(found)

    wait_for(read)
    return found[-1]


def test_a_resolved_alarm_is_0_and_what_is_no_number_is_left_out() -> None:
    of = incident(State.RESOLVED)
    unknown = Alarm(dataclasses.replace(of.members[0].last, evidence=Evidence(math.nan, math.inf)))
    lines = GraphiteNotifier().lines(notice(dataclasses.replace(of, members=(unknown,))))
    at = BEGAN_NS // NS + 60
    assert [(line.split()[0].rpartition(".")[2], line.split(" ", 1)[1]) for line in lines] == [
        ("state", f"0 {at}\n"),
        ("severity", f"0 {at}\n"),
    ]


def test_labels_may_be_tags_and_cannot_end_a_line() -> None:
    of = incident(hosts=("a b;c\nforged 1 2",))
    lines = GraphiteNotifier(prefix="alarms", tags=True).lines(notice(of))
    assert lines[1].split(" ")[0] == "alarms.severity;host=a_b_c_forged_1_2;rule=cpu;series=cpu_usage"
    assert all(line.count("\n") == 1 and len(line.split()) == 3 for line in lines)
    plain = GraphiteNotifier().lines(notice(of))
    assert all(line.count("\n") == 1 and len(line.split()) == 3 for line in plain)


def test_a_test_writes_nothing_and_nobody_there_is_worth_another_try(free_port: Callable[[], int]) -> None:
    assert GraphiteNotifier().lines(notice(kind=NoticeKind.TEST)) == []
    with pytest.raises(NotifyError, match="Graphite at") as caught:
        asyncio.run(GraphiteNotifier(server=f"127.0.0.1:{free_port()}").check())
    assert caught.value.retry


def test_the_prefix_is_words_with_dots() -> None:
    for prefix in ("", "a b", "a..b", "a;b"):
        with pytest.raises(ConfigError, match="prefix"):
            GraphiteNotifier(prefix=prefix)
