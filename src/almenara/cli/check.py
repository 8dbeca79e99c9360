"""`almenara check FILE`: every mistake of a configuration file, with its line, what was found and what is expected."""

from __future__ import annotations

from pathlib import Path

from almenara.cli.terminal import show_error, show_json
from almenara.config import Mistake, load
from almenara.model.errors import ConfigError


def run(file: Path, as_json: bool) -> int:
    """The exit code: 0 right, 1 mistakes."""
    try:
        load(file)
    except ConfigError as error:
        if as_json:
            show_json({"file": str(file), "ok": False, "mistakes": [_plain(p) for p in error.problems]})
        else:
            show_error(error)
        return 1
    if as_json:
        show_json({"file": str(file), "ok": True, "mistakes": []})
    else:
        print(f"{file}: no mistakes")
    return 0


def _plain(problem: object) -> dict[str, object]:
    if not isinstance(problem, Mistake):
        return {"line": 0, "key": "", "message": str(problem), "found": "", "expected": "", "hint": ""}
    names = ("line", "key", "message", "found", "expected", "hint")
    return {name: getattr(problem, name) for name in names}
