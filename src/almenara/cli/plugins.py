"""`almenara plugins`: what is installed, and the manual of one plugin."""

from __future__ import annotations

from typing import Any

from almenara.cli.terminal import show_json, show_rows
from almenara.model.errors import PluginError
from almenara.plugin import registry
from almenara.plugin.contracts import KINDS
from almenara.plugin.manual import manual
from almenara.plugin.options import options_of


def run(name: str, as_json: bool) -> None:
    """List all plugins, or show those of one name. Raises PluginError where there is none."""
    found = [(kind, n) for kind in KINDS for n in registry.names(kind) if name in ("", n)]
    if not found:
        everything = sorted({n for kind in KINDS for n in registry.names(kind)})
        raise PluginError(f"no plugin is called {name!r}; installed: {', '.join(everything) or 'none'}")
    if as_json:
        show_json([describe(kind, n) for kind, n in found])
    elif name:
        print("\n".join(manual(kind, n) for kind, n in found).rstrip())
    else:
        rows = [[p["kind"], p["name"], p["package"], p["problem"] or p["summary"]] for p in map(_described, found)]
        show_rows(["kind", "name", "package", "what it is"], rows)


def _described(found: tuple[str, str]) -> dict[str, Any]:
    return describe(*found)


def describe(kind: str, name: str) -> dict[str, Any]:
    """One plugin as plain values; `problem` says why it cannot be used here, if so."""
    entry = registry.entries(kind)[name]
    found = {"kind": kind, "name": name, "package": registry.package_of(entry), "module": entry.value}
    try:
        plugin = registry.load(kind, name)
        options = [
            {"name": o.name, "type": o.type_text, "required": o.required, "default": o.default_text, "help": o.help}
            for o in options_of(plugin)
        ]
    except PluginError as error:
        return found | {"summary": "", "options": [], "problem": str(error)}
    return found | {"summary": registry.first_line(plugin), "options": options, "problem": ""}
