"""A virtual environment with the base install alone, as an agent has it: no numpy, nothing of the extras.

It is put together without any download: links to exactly the packages that the base requirements need, from the
environment that runs the tests.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackagePath, distribution
from pathlib import Path

from packaging.requirements import Requirement

import almenara


def base_requirements() -> set[str]:
    """Names of all distributions that `pip install almenara` brings."""
    found: set[str] = set()
    todo = ["almenara"]
    while todo:
        name = todo.pop()
        for text in distribution(name).requires or ():
            requirement = Requirement(text)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name not in found:
                found.add(requirement.name)
                todo.append(requirement.name)
    return found


def make(folder: Path) -> Path:
    """Make the environment; gives its Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = folder / "packages"
    packages.mkdir()
    for name in base_requirements():
        one = distribution(name)
        for top in {PackagePath(f).parts[0] for f in one.files or ()} - {"..", "__pycache__"}:
            (packages / top).symlink_to(Path(str(one.locate_file(top))))
    (packages / "almenara").symlink_to(Path(almenara.__file__).parent)
    own = next(f for f in distribution("almenara").files or () if f.name == "METADATA")
    (packages / own.parent.name).symlink_to(Path(str(distribution("almenara").locate_file(own.parent))))
    site = next(folder.glob("lib/python3*/site-packages"))
    (site / "slim.pth").write_text(f"{packages}\n")
    return folder / "bin" / "python"


def add_plugin(folder: Path, group: str, name: str, code: str) -> None:
    """Install a plugin of one file: a class `Plugin` in a module called `name`."""
    packages = folder / "packages"
    (packages / f"{name}.py").write_text(code)
    info = packages / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {name}:Plugin\n")
