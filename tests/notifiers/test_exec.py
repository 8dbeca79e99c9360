"""Rules of running a program for each notice."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import psutil
import pytest

from almenara.model.alarm import Fact, Notice
from almenara.model.errors import ConfigError, NotifyError
from almenara.notifiers.exec import Exec
from almenara.plugin.options import Secret
from almenara.testing.alarms import incident, notice
from receivers import wait_for


def tell(code: str, one: Notice | None = None, **options: object) -> None:
    """Run a program in Python."""
    asyncio.run(Exec(command=[sys.executable, "-c", code], **options).notify(one or notice()))  # type: ignore[arg-type]


def failure(code: str, **options: object) -> NotifyError:
    with pytest.raises(NotifyError) as caught:
        tell(code, **options)
    return caught.value


def test_a_program_gets_the_notice_as_json_and_in_its_environment(tmp_path: Path) -> None:
    copy = "import sys, os, json; json.dump([json.load(sys.stdin), dict(os.environ)], open('out', 'w'))"
    tell(copy, workdir=tmp_path, environment={"TOKEN": Secret("abc")})
    said, environment = json.loads((tmp_path / "out").read_text())
    assert (said["kind"], len(said["incidents"][0]["alarms"])) == ("firing", 2)
    assert environment["ALMENARA_SEVERITY"] == "major"
    assert environment["ALMENARA_TITLE"] == "Major: processors of 2 hosts are busier than usual"
    assert environment["TOKEN"] == "abc"


def test_the_graph_is_a_file_while_the_program_runs(tmp_path: Path) -> None:
    code = "import os, shutil; p = os.environ['ALMENARA_GRAPH_PNG']; shutil.copy(p, 'g'); open('p', 'w').write(p)"
    tell(code, notice(graph_png=b"\x89PNG"), workdir=tmp_path)
    assert (tmp_path / "g").read_bytes() == b"\x89PNG"
    assert not Path((tmp_path / "p").read_text()).exists()


def test_nothing_of_an_alarm_becomes_an_argument_or_is_read_by_a_shell(tmp_path: Path) -> None:
    one = Notice(1, notice().kind, incident(), "--config=/x; $(touch stolen) `touch stolen`\0", (Fact("a", "b"),))
    tell("import sys; open('argv', 'w').write(repr(sys.argv[1:]))", one, workdir=tmp_path)
    assert (tmp_path / "argv").read_text() == "[]"
    assert not (tmp_path / "stolen").exists()


def test_secrets_in_the_environment_of_the_hub_are_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "hidden")
    tell("import os; open('out', 'w').write(' '.join(os.environ))", workdir=tmp_path)
    assert "SMTP_PASSWORD" not in (tmp_path / "out").read_text()


def test_exit_codes_say_whether_another_try_may_help() -> None:
    assert failure("raise SystemExit(75)").retry
    assert failure("import os; os.kill(os.getpid(), 9)").retry
    refused = failure("import sys; sys.exit('no such\\nteam hidden')", environment={"T": Secret("hidden")})
    assert (refused.retry, str(refused)) == (False, f"{Path(sys.executable).name}: exit code 1: no such team ***")


def test_a_program_need_not_read_and_may_complain_at_length() -> None:
    tell("pass", Notice(1, notice().kind, incident(hosts=("a",) * 1000), "t"))
    assert len(str(failure("import sys; sys.stderr.write('x' * 3_000_000); sys.exit(2)"))) < 400


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '600']); open('pid', 'w').write(str(child.pid)); time.sleep(600)"
    )
    error = failure(code, timeout_s=1.0, workdir=tmp_path)
    assert error.retry
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_what_a_program_leaves_running_does_not_hold_us_up(tmp_path: Path) -> None:
    tell("import subprocess; open('p', 'w').write(str(subprocess.Popen(['sleep', '600']).pid))", workdir=tmp_path)
    os.kill(int((tmp_path / "p").read_text()), 9)


def test_a_program_that_is_not_there_is_tried_again() -> None:
    with pytest.raises(NotifyError, match="cannot be started") as caught:
        asyncio.run(Exec(command=["/nowhere/program"]).notify(notice()))
    assert caught.value.retry


def test_a_command_is_a_list_with_a_program_in_it() -> None:
    for command in ([], [""], ["a", "b\0c"]):
        with pytest.raises(ConfigError, match="command"):
            Exec(command=command)
    with pytest.raises(ConfigError, match="environment"):
        Exec(command=["x"], environment={"A=B": Secret("c")})
