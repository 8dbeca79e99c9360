"""A new plugin to start from: its file, its test and its entry point; they pass the checks of the contract as they are.

Inside a checkout of almenara they are added to it; elsewhere a small package of its own is written.
"""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from almenara.model.errors import PluginError
from almenara.plugin.contracts import KINDS
from almenara.plugin.templates import SOURCES, TEST


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and the commands that come next."""

    files: tuple[Path, ...]
    install: str
    test: str


def write(kind: str, name: str, folder: Path | None = None) -> Written:
    """Write a plugin. Raises PluginError for a kind or name that cannot be, and where a file is there already."""
    if kind not in KINDS:
        raise PluginError(f"{kind!r} is no kind of plugin; expected one of {', '.join(KINDS)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,49}", name) or keyword.iskeyword(name):
        raise PluginError(
            f"{name!r} cannot be the name of a plugin; expected small letters, digits and _, as in heat_pump"
        )
    checkout = _checkout(Path.cwd()) if folder is None else None
    return (
        _into_checkout(kind, name, checkout) if checkout else _package(kind, name, folder or Path(f"almenara-{name}"))
    )


def _checkout(here: Path) -> Path | None:
    """The checkout of almenara that a folder is in."""
    for folder in (here, *here.parents):
        project = folder / "pyproject.toml"
        if (folder / "src/almenara/plugin/contracts.py").exists() and project.exists():
            return folder
    return None


def _into_checkout(kind: str, name: str, root: Path) -> Written:
    group = KINDS[kind][0]
    room = group.partition(".")[2]
    module = root / "src/almenara" / room / f"{name}.py"
    test = root / "tests" / room / f"test_{name}.py"
    project = root / "pyproject.toml"
    heading = f'[project.entry-points."{group}"]\n'
    before, found, after = project.read_text(encoding="utf-8").partition(heading)
    if not found:
        raise PluginError(f"{project} has no section {heading.strip()}")
    _create(
        {
            module: _fill(SOURCES[kind], kind, name, f"{group}.{name}"),
            test: _fill(TEST, kind, name, f"{group}.{name}"),
        }
    )
    line = f'{name} = "{group}.{name}:{class_name(name)}"\n'
    project.write_text(before + heading + line + after, encoding="utf-8")
    return Written((module, test, project), "pip install --no-deps --no-build-isolation -e .", f"pytest {test}")


def _package(kind: str, name: str, folder: Path) -> Written:
    package = f"almenara_{name}"
    files = {
        folder / "pyproject.toml": _fill(PYPROJECT, kind, name, package),
        folder / "src" / package / "__init__.py": _fill(SOURCES[kind], kind, name, package),
        folder / "tests" / f"test_{name}.py": _fill(TEST, kind, name, package),
    }
    _create(files)
    return Written(tuple(files), f"pip install -e {folder}", f"pytest {folder}")


def _create(files: dict[Path, str]) -> None:
    if there := [str(path) for path in files if path.exists()]:
        raise PluginError(f"{', '.join(there)}: there already; nothing was written")
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PluginError(f"{error.filename} cannot be written: {error.strerror}") from error


def class_name(name: str) -> str:
    """`heat_pump` -> `HeatPump`."""
    return "".join(part.capitalize() for part in name.split("_"))


def _fill(text: str, kind: str, name: str, module: str) -> str:
    cls = class_name(name)
    imports = sorted([f"from {module} import {cls}", "from almenara.plugin.checks import check"])
    return Template(text).substitute(
        kind=kind, name=name, module=module, group=KINDS[kind][0], cls=cls, imports="\n".join(imports)
    )


PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "almenara-$name"
version = "0.1.0"
description = "A $kind for almenara"
requires-python = ">=3.11"
dependencies = ["almenara"]

[project.entry-points."$group"]
$name = "$module:$cls"

[tool.hatch.build.targets.wheel]
packages = ["src/$module"]
"""
