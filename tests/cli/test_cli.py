"""The command line as its users meet it: what is written where, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from almenara._version import __version__
from almenara.cli import agent_main, main
from almenara.config import load


def call(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(args)
    return int(caught.value.code or 0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"almenara {__version__}\n"


def test_version_is_quick_and_imports_no_numpy() -> None:
    code = "import sys, almenara.cli as c\ntry: c.main(['--version'])\nexcept SystemExit: print('numpy' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of work, 0.2 s; a clock would also tell what else the machine had to do.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2.0


def test_a_wrong_call_exits_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("chek", "hub.toml") == 2
    assert "No such command" in capsys.readouterr().err
    assert call("check") == 2


def test_init_writes_what_check_accepts(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert call("init") == 0
    assert call("check", "hub.toml") == 0
    assert "hub.toml: no mistakes" in capsys.readouterr().out


def test_every_key_of_the_template_stands_at_its_default(folder: Path) -> None:
    assert call("init", "--output", "hub.toml") == 0
    text = Path("hub.toml").read_text()
    live = re.sub(r"(?m)^#(?=[\w\[])", "", text)
    assert tomllib.loads(live) != tomllib.loads(text)
    written, default = load("hub.toml"), load()
    for part in ("site", "http", "mqtt", "data", "publish", "rules", "topics", "collectors", "detectors"):
        assert getattr(written, part) == getattr(default, part)
    Path("live.toml").write_text(re.sub(r'(?m)^url = ""\n', "", live))
    changed = load("live.toml", {"http.token": ""})
    for part in ("site", "http", "data", "publish", "rules"):
        assert getattr(changed, part) == getattr(default, part), part


def test_init_does_not_overwrite(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    Path("hub.toml").write_text("mine")
    assert call("init") == 1
    assert "error: hub.toml is there already; --force overwrites it" in capsys.readouterr().err
    assert Path("hub.toml").read_text() == "mine"
    assert call("init", "--force") == 0
    assert "version = 1" in Path("hub.toml").read_text()


def test_check_tells_every_mistake_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    Path("hub.toml").write_text("version = 1\n[mqtt]\nenabled = 3\nlisten = 'x'\n")
    assert call("check", "hub.toml") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: hub.toml:3: mqtt.enabled: must be true or false; got 3",
        'error: hub.toml:4: mqtt.listen: must be HOST:PORT, such as 127.0.0.1:8642; got "x"',
    ]


def test_check_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("hub.toml").write_text("version = 1\n[mqtt]\nenabled = 3\n")
    assert call("check", "hub.toml", "--json") == 1
    assert json.loads(capsys.readouterr().out) == {
        "file": "hub.toml",
        "ok": False,
        "mistakes": [
            {
                "line": 3,
                "key": "mqtt.enabled",
                "message": "must be true or false; got 3",
                "found": "3",
                "expected": "true or false",
                "hint": "",
            }
        ],
    }


def test_plugins_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plugins", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert all(p["summary"] and not p["problem"] for p in found)
    assert call("plugins") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [[p["kind"], p["name"]] for p in found]
    assert call("plugins", found[0]["name"]) == 0
    assert f"{found[0]['kind']} `{found[0]['name']}`" in capsys.readouterr().out
    assert call("plugins", "no-such") == 1
    assert "no plugin is called 'no-such'; installed: " in capsys.readouterr().err


def test_no_colour_where_nobody_looks(tmp_path: Path) -> None:
    for extra in ({}, {"NO_COLOR": "1"}):
        done = subprocess.run(
            [sys.executable, "-m", "almenara.cli", "check", "none.toml"],
            capture_output=True,
            text=True,
            env={**os.environ, **extra},
            check=False,
        )
        assert done.returncode == 1
        assert "\x1b" not in done.stdout + done.stderr
        assert "error: none.toml: cannot be read: No such file or directory; almenara init" in done.stderr


def test_completion_knows_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    env = {**os.environ, "_ALMENARA_COMPLETE": "complete_bash", "COMP_WORDS": "almenara q", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-m", "almenara.cli"], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.split() == ["query"]


def test_the_agent_has_a_name_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        agent_main(["--help"])
    said = capsys.readouterr().out
    assert "puma-agent" in said
    assert "--hub" in said


BASE_INSTALL = """
import sys
for name in ("numpy", "numba", "pandas", "httpx", "chdb", "orjson", "starlette", "uvicorn", "promql_parser"):
    sys.modules[name] = None
from almenara.cli import main
main()
"""


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["up"], 1, "almenara up needs packages that are not installed: pip install 'almenara[hub]'"),
        (["query", "up"], 1, "almenara query needs packages that are not installed: pip install 'almenara[notebook]'"),
        (["init"], 0, ""),
        (["plugins"], 0, ""),
        (["agent", "--help"], 0, ""),
    ],
)
def test_the_base_install_says_which_extra_is_needed(args: list[str], code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BASE_INSTALL, *args], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.strip() == (f"error: {said}" if said else "")


def test_defaults_are_shown_in_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("up", "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "127.0.0.1:8642" in said
    assert "./almenara-data" in said
