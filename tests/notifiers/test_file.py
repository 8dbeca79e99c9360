"""Rules of the notifier that writes into files."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from almenara.model.alarm import Fact, Notice, NoticeKind, State
from almenara.model.errors import NotifyError
from almenara.model.time import NS
from almenara.notifiers.file import FileNotifier
from almenara.testing.alarms import incident, notice

NOW = 1_772_420_700 * NS


def write(path: Path, *notices: Notice, **options: object) -> None:
    notifier = FileNotifier(path=path, clock=lambda: NOW, **options)  # type: ignore[arg-type]
    for one in notices:
        asyncio.run(notifier.notify(one))


def test_each_notice_is_one_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "alarms.log"
    write(path, notice(), notice(incident(State.RESOLVED)))
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["time"], first["kind"], first["incidents"][0]["severity"]) == (
        "2026-03-02T03:05:00Z", "firing", "major",
    )  # fmt: skip
    assert [alarm["labels"]["host"] for alarm in first["incidents"][0]["alarms"]] == ["a", "b"]
    assert (second["kind"], second["incidents"][0]["resolved"]) == ("resolved", "2026-03-02T03:14:05Z")
    assert path.stat().st_mode & 0o777 & ~0o640 == 0


def test_text_is_one_line_whatever_an_alarm_says(tmp_path: Path) -> None:
    path = tmp_path / "alarms.log"
    one = notice()
    said = Notice(1, one.kind, one.incident, "Hot\n2026 forged line", (Fact("Why", "a\r\nb\x1b[31m"),))
    write(path, said, format="text")
    assert path.read_text() == ("2026-03-02T03:05:00Z major firing incident=7 | Hot 2026 forged line | Why: a b [31m\n")


def test_a_test_is_written_too(tmp_path: Path) -> None:
    path = tmp_path / "alarms.log"
    write(path, notice(kind=NoticeKind.TEST), format="text")
    assert " ok test incident=0 | " in path.read_text()


@pytest.mark.real("logrotate")
def test_logrotate_may_move_the_file_at_any_time(tmp_path: Path) -> None:
    path, rules = tmp_path / "alarms.log", tmp_path / "rules"
    notifier = FileNotifier(path=path)
    asyncio.run(notifier.notify(notice()))
    user = "su root root" if os.geteuid() == 0 else ""
    rules.write_text(f"{path} {{\n  rotate 3\n  {user}\n}}\n")
    rules.chmod(0o644)
    state = ["-s", str(tmp_path / "state")]
    subprocess.run(["/usr/sbin/logrotate", "-f", *state, str(rules)], check=True)
    asyncio.run(notifier.notify(notice()))
    assert [len((tmp_path / name).read_text().splitlines()) for name in ("alarms.log", "alarms.log.1")] == [1, 1]


def test_lines_of_several_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "alarms.log"
    threads = [threading.Thread(target=write, args=(path, *[notice()] * 20)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["firing"] * 80


def test_a_full_disk_leaves_no_half_line_and_is_worth_another_try(tmp_path: Path) -> None:
    path = tmp_path / "alarms.log"
    write(path, notice())
    whole = path.read_bytes()
    limits, before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 100, limits[1]))
    try:
        with pytest.raises(NotifyError) as caught:
            write(path, notice())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.retry
    assert path.read_bytes() == whole


def test_no_folder_and_a_pipe_that_nobody_reads_are_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "none" / "x", tmp_path / "pipe", tmp_path):
        with pytest.raises(NotifyError, match=str(path)) as caught:
            write(path, notice())
        assert caught.value.retry
        with pytest.raises(NotifyError):
            asyncio.run(FileNotifier(path=path).check())


def test_check_writes_nothing(tmp_path: Path) -> None:
    asyncio.run(FileNotifier(path=tmp_path / "x").check())
    assert (tmp_path / "x").read_bytes() == b""
