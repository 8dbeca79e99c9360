"""`almenara check FILE`: every mistake of a configuration file, with its line, and what tests of its rules find."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from almenara.cli.terminal import show_error, show_json
from almenara.config import Mistake, load
from almenara.model.errors import AlmenaraError, ConfigError, MissingExtra

if TYPE_CHECKING:
    from almenara.config.rule_trials import Failure


def run(file: Path, as_json: bool) -> int:
    """The exit code: 0 right, 1 mistakes, or tests that fail."""
    tests: int | None = None
    failures: list[Failure] = []
    try:
        has_tests, is_config = _holds(file)
        if is_config:
            load(file)
        if has_tests:
            tests, failures = _tested(file)
    except ConfigError as error:
        if as_json:
            show_json({"file": str(file), "ok": False, "mistakes": [_plain(p) for p in error.problems]})
        else:
            show_error(error)
        return 1
    if as_json:
        told = {} if tests is None else {"tests": tests, "failures": [_failure(one) for one in failures]}
        show_json({"file": str(file), "ok": not failures, "mistakes": []} | told)
    else:
        _show(file, tests, failures)
    return 1 if failures else 0


def _holds(file: Path) -> tuple[bool, bool]:
    """(tests of rules, a configuration)."""
    if file.suffix in (".yml", ".yaml"):
        return True, False
    try:
        found = tomllib.loads(file.read_text("utf-8-sig"))
    except (OSError, ValueError):  # told with its line by who reads it
        return False, True
    return bool(found.get("tests")), "version" in found or not found.get("tests")


def _tested(file: Path) -> tuple[int, list[Failure]]:
    try:
        from almenara.config.rule_tests import read_tests
        from almenara.config.rule_trials import run_tests
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("almenara"):
            raise
        raise MissingExtra("running tests of rules", "hub") from error
    tests = read_tests(file)
    try:
        return len(tests.tests), run_tests(tests)
    except AlmenaraError as error:
        raise AlmenaraError(f"{file}: {error}") from error


def _show(file: Path, tests: int | None, failures: list[Failure]) -> None:
    for one in failures:
        print(f"{one.test}: {one.what} are not as expected (- expected, + found):")
        print("\n".join(f"    {line}" for line in one.diff))
    if tests is None:
        print(f"{file}: no mistakes")
    elif failures:
        print(f"{file}: {len(failures)} of what {tests} test{'s' if tests > 1 else ''} of rules expect is not so")
    else:
        print(f"{file}: no mistakes, {tests} test{'s' if tests > 1 else ''} of rules passed")


def _failure(one: Failure) -> dict[str, Any]:
    return {"test": one.test, "what": one.what, "diff": list(one.diff)}


def _plain(problem: object) -> dict[str, object]:
    if not isinstance(problem, Mistake):
        return {"line": 0, "key": "", "message": str(problem), "found": "", "expected": "", "hint": ""}
    names = ("line", "key", "message", "found", "expected", "hint")
    return {name: getattr(problem, name) for name in names}
