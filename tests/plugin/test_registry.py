"""The registry: every plugin file is registered, every registered plugin loads, and a wrong name is answered well."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import almenara
from almenara.model.errors import MissingExtra, PluginError
from almenara.plugin import registry
from almenara.plugin.contracts import KINDS

ROOT = Path(almenara.__file__).parent


def public_classes(path: Path) -> set[str]:
    return {n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.ClassDef) and n.name[0] != "_"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_registered_plugin_loads(kind: str) -> None:
    for name in registry.names(kind):
        assert isinstance(registry.load(kind, name), type), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_plugin_file_is_registered(kind: str) -> None:
    """A module of a plural folder that defines a class holds a plugin, unless its name begins with `_`."""
    folder = ROOT / KINDS[kind][0].partition(".")[2]
    registered = {e.module.rpartition(".")[2] for e in registry.entries(kind).values()}
    files = {p.stem for p in folder.glob("[!_]*.py") if public_classes(p)}
    files |= {p.name for p in folder.glob("[!_]*") if (p / "__init__.py").exists()}
    assert files - {m for m in files if helps_only(folder, m)} <= registered


def helps_only(folder: Path, module: str) -> bool:
    """Does a module only hold what its neighbours use? Then it says so: its docstring begins with `Shared`."""
    path = folder / f"{module}.py" if (folder / f"{module}.py").exists() else folder / module / "__init__.py"
    return (ast.get_docstring(ast.parse(path.read_text())) or "").startswith("Shared")


def test_an_unknown_name_lists_near_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "entries", lambda kind: dict.fromkeys(["chdb", "memory"]))
    with pytest.raises(PluginError, match=r"no store is called 'chbd'; did you mean chdb\?"):
        registry.load("store", "chbd")
    with pytest.raises(PluginError, match=r"no store is called 'zzzzz'; installed: chdb, memory"):
        registry.load("store", "zzzzz")


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(PluginError, match="'codecs' is no kind of plugin; expected one of codec, transport"):
        registry.names("codecs")


def entry(name: str, value: str) -> registry.EntryPoint:
    return registry.EntryPoint(name=name, value=value, group="almenara.stores")


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.setattr(registry, "entries", lambda kind: {"x": entry("x", "almenara.no_numpy:Store")})

    def load(self: object) -> None:
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")

    monkeypatch.setattr(registry.EntryPoint, "load", load)
    with pytest.raises(MissingExtra, match=r"store x needs packages .* pip install 'almenara\[notebook\]'"):
        registry.load("store", "x")


def test_a_broken_plugin_is_no_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"x": entry("x", "almenara.stores.no_such:Store"), "y": entry("y", "almenara.model.batch:NoSuch")}
    monkeypatch.setattr(registry, "entries", lambda kind: found)
    for name in found:
        with pytest.raises(PluginError, match="cannot be imported") as caught:
            registry.load("store", name)
        assert not isinstance(caught.value, MissingExtra)


@pytest.mark.parametrize(
    ("module", "extra"), [("numpy", "notebook"), ("chdb", "hub"), ("promql_parser", "hub"), ("q", "hub")]
)
def test_modules_know_their_extra(module: str, extra: str) -> None:
    assert registry.extra_of(module) == extra
