"""`almenara new`: what it writes passes the checks of its contract, installs, and is found."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from almenara.cli import main
from almenara.model.errors import PluginError
from almenara.plugin.checks import check
from almenara.plugin.contracts import KINDS
from almenara.plugin.scaffold import write

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_keeps_its_contract(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(kind, f"heat_{kind}", tmp_path / "package")
    monkeypatch.syspath_prepend(tmp_path / "package" / "src")
    module = importlib.import_module(f"almenara_heat_{kind}")
    assert check(kind, getattr(module, f"Heat{kind.capitalize()}")) == []


def test_a_new_store_passes_the_suite_of_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from almenara.testing import stores

    write("store", "cellar", tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "src")
    cellar = importlib.import_module("almenara_cellar").Cellar
    for case in stores.CASES:
        case(cellar())


def test_new_plugins_are_tidy(tmp_path: Path) -> None:
    for kind in KINDS:
        write(kind, f"a_{kind}", tmp_path / kind)
    for command in (["check", "--ignore", "I001"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), str(tmp_path)]
        done = subprocess.run(ruff, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_new_package_installs_and_is_found(tmp_path: Path) -> None:
    write("detector", "heat_pump", tmp_path / "package")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(tmp_path / "site"), str(tmp_path / "package")], check=True, timeout=60)
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    asked = [sys.executable, "-m", "almenara.cli", "plugins", "heat_pump", "--json"]
    (found,) = json.loads(subprocess.run(asked, env=env, capture_output=True, text=True, check=True).stdout)
    assert found["problem"] == ""
    assert found["package"] == "almenara-heat_pump 0.1.0"
    assert [o["name"] for o in found["options"]] == ["limit", "ready_after"]
    tested = [sys.executable, "-m", "pytest", "-q", str(tmp_path / "package" / "tests")]
    done = subprocess.run(tested, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_inside_a_checkout_the_plugin_joins_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src/almenara/plugin").mkdir(parents=True)
    shutil.copy(ROOT / "src/almenara/plugin/contracts.py", tmp_path / "src/almenara/plugin")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.chdir(tmp_path / "src")
    written = write("codec", "heat_pump")
    assert [str(p.relative_to(tmp_path)) for p in written.files] == [
        "src/almenara/codecs/heat_pump.py",
        "tests/codecs/test_heat_pump.py",
        "pyproject.toml",
    ]
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    before = tomllib.loads((ROOT / "pyproject.toml").read_text())
    group = project["project"]["entry-points"]["almenara.codecs"]
    assert group.pop("heat_pump") == "almenara.codecs.heat_pump:HeatPump"
    assert project == before


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    write("codec", "heat", tmp_path)
    with pytest.raises(PluginError, match="there already; nothing was written"):
        write("codec", "heat", tmp_path)


@pytest.mark.parametrize("name", ["Heat", "heat-pump", "1heat", "class", "../heat", "", "a" * 60])
def test_a_name_must_fit_python(name: str, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="cannot be the name of a plugin"):
        write("codec", name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["new", "notifier", "bell", "--folder", str(tmp_path / "bell")])
    said = capsys.readouterr().out
    assert f"wrote {tmp_path / 'bell/pyproject.toml'}" in said
    assert f"pip install -e {tmp_path / 'bell'}" in said
    with pytest.raises(SystemExit) as caught:
        main(["new", "notifer", "bell"])
    assert caught.value.code == 1
    assert "'notifer' is no kind of plugin; expected one of codec," in capsys.readouterr().err
