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


def imported_names(path: Path) -> set[str]:
    """Modules, and names in modules, that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}", *(f"{node.module}.{a.name}" for a in node.names)}
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_registered_plugin_loads(kind: str) -> None:
    for name in registry.names(kind):
        assert isinstance(registry.load(kind, name), type), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_plugin_file_is_registered(kind: str) -> None:
    """A file in a plural folder is a registered plugin, or one of its neighbours uses it."""
    package = KINDS[kind][0]
    files = {p for p in ROOT.joinpath(package.partition(".")[2]).glob("*.py") if p.name != "__init__.py"}
    registered = {e.module for e in registry.entries(kind).values()}
    unused = {f"{package}.{p.stem}" for p in files} - registered
    for path in (*files, ROOT.joinpath(package.partition(".")[2], "__init__.py")):
        unused -= imported_names(path)
    assert not unused, f"neither an entry point of {package} in pyproject.toml nor used by one"


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
