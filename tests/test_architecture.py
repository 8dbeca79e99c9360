"""The house rules that a machine can check: imports go down, nothing goes round, files and functions stay short.

Floors, from `docs/explanation` and the contracts: a folder may import from lower floors only, never from a neighbour on
its own floor. `testing` may import everything up to the pipeline, and nothing but tests imports it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import almenara

ROOT = Path(almenara.__file__).parent
FLOORS = {
    "model": 0,
    **dict.fromkeys(["analysis", "query", "plot", "plugin"], 1),
    "datasets": 1.5,  # made by analysis
    **dict.fromkeys(["codecs", "transports", "collectors", "detectors", "stores", "tasks", "notifiers"], 2),
    "files": 2.5,  # files of text are read by codecs
    **dict.fromkeys(["bus", "alarm", "job"], 3),
    "pipeline": 4,
    "testing": 4.5,
    "notebook": 4.7,  # judges as the pipeline does
    "config": 5,
    "web": 6,
    "cli": 7,
}
#: Modules beside the folders: what notebooks import.
LOOSE = {"_version": -1, "_compiled": -1, "client": 4, "__init__": 8}

#: What the agent imports; it runs where there is no numpy and no compiler.
AGENT = [
    "almenara",
    "almenara.cli",
    "almenara.codecs.json",
    "almenara.collectors.host",
    "almenara.config",
    "almenara.model.alarm",
    "almenara.model.batch",
    "almenara.model.errors",
    "almenara.model.series",
    "almenara.model.time",
    "almenara.pipeline.log",
    "almenara.plugin.checks",
    "almenara.plugin.contracts",
    "almenara.plugin.options",
    "almenara.plugin.registry",
    "almenara.transports.mqtt",
]
HEAVY = ["numpy", "numba", "pandas", "httpx", "bokeh", "chdb", "orjson", "starlette", "uvicorn", "promql_parser"]

FILES = sorted(p for p in ROOT.rglob("*.py") if "static" not in p.parts)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, at_import_time: bool = False) -> Iterator[str]:
    """Our own modules that a file imports, as dotted names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in run_at_import(tree) if at_import_time else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "almenara")
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that they can be searched for"
            if (node.module or "").split(".")[0] == "almenara":
                inside = [f"{node.module}.{a.name}" for a in node.names]
                modules = [name for name in inside if name in MODULES]
                yield from modules
                if len(modules) < len(inside):
                    yield node.module or ""


def run_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: not those in functions or under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from run_at_import(node)


def floor_of(module: str) -> float:
    parts = module.split(".")
    if len(parts) == 1:
        return LOOSE["__init__"]
    return FLOORS[parts[1]] if parts[1] in FLOORS else LOOSE[parts[1]]


MODULES = {module_of(p) for p in FILES}


def test_every_folder_has_its_floor() -> None:
    assert {p.name for p in ROOT.iterdir() if (p / "__init__.py").exists()} == set(FLOORS)
    assert {p.stem for p in ROOT.glob("*.py")} == set(LOOSE)


def test_imports_only_go_down() -> None:
    wrong = []
    for path in FILES:
        module = module_of(path)
        for other in imports_of(path):
            here, there = module.split(".")[:2], other.split(".")[:2]
            if other != "almenara" and here != there and not floor_of(other) < floor_of(module):
                wrong.append(f"{module} imports {other}")
    assert wrong == []


def test_nobody_but_tests_imports_testing() -> None:
    users = [m for m in map(module_of, FILES) if not m.startswith("almenara.testing")]
    paths = dict(zip(map(module_of, FILES), FILES, strict=True))
    assert [m for m in users if any(i.startswith("almenara.testing") for i in imports_of(paths[m]))] == []


def test_no_imports_go_round() -> None:
    """At import time; inside a function a module may call its neighbour back."""
    graph = {module_of(p): {i for i in imports_of(p, at_import_time=True) if i != module_of(p)} for p in FILES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> list[str]:
        if module in trail:
            return [" -> ".join([*trail[trail.index(module) :], module])]
        if module in done or module not in graph:
            return []
        found = [circle for other in sorted(graph[module]) for circle in visit(other, (*trail, module))]
        done.add(module)
        return found

    assert [circle for module in sorted(graph) for circle in visit(module, ())] == []


def test_files_and_functions_stay_short() -> None:
    long = []
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) > 600:
            long.append(f"{path.name}: {lines} lines, more than 600")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > 80:
                    long.append(f"{path.name}: {node.name} has {lines} lines, more than 80")
    assert long == []


def test_every_module_says_what_it_is() -> None:
    empty = [module_of(p) for p in FILES if p.stat().st_size and not ast.get_docstring(ast.parse(p.read_text()))]
    assert empty == []


@pytest.mark.parametrize("modules", [AGENT], ids=["agent"])
def test_the_agent_needs_nothing_of_the_hub(modules: list[str]) -> None:
    """In a process of its own, with every package of the extras made impossible to import."""
    code = f"""
import sys
for name in {HEAVY}: sys.modules[name] = None
for name in {modules}: __import__(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
