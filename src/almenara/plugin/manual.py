"""Manual pages from signatures and docstrings, as Markdown."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from almenara.plugin import registry
from almenara.plugin.options import Option, options_of


def manual(kind: str, name: str) -> str:
    """What a plugin is and its options. Raises PluginError, MissingExtra."""
    plugin = registry.load(kind, name)
    parts = [f"### {kind} `{name}`\n", description(plugin) + "\n"]
    if options := options_of(plugin):
        parts.append(options_table(options))
    return "\n".join(parts)


def description(plugin: Any) -> str:
    """The docstring without its list of options."""
    doc = inspect.cleandoc(plugin.__doc__ or "")
    before, heading, after = ("\n" + doc).partition("\nOptions:\n")
    if not heading:
        return doc
    rest = after.split("\n\n", 1)[1:]
    return "\n\n".join([before.strip(), *(r.strip() for r in rest)])


def options_table(options: Iterable[Option]) -> str:
    """Name, type, default and meaning of each option, as a Markdown table."""
    lines = ["| option | type | default | meaning |", "|---|---|---|---|"]
    for o in options:
        default = "needed" if o.required else f"`{_cell(o.default_text)}`" if o.default_text else ""
        lines.append(f"| `{o.name}` | {_cell(o.type_text)} | {default} | {_cell(o.help)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
