"""The pages of `docs/reference`, made from the program itself:  python -m almenara.cli.reference docs/reference"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from almenara.cli import app
from almenara.config.reference import reference
from almenara.plugin import registry
from almenara.plugin.contracts import KINDS
from almenara.plugin.manual import manual

NOTE = "<!-- Made by `python -m almenara.cli.reference docs/reference`; change the source, not this page. -->\n"


def pages() -> dict[str, str]:
    """File name -> text of every page."""
    found = {"cli.md": _cli(), "config.md": _config(), "plugins.md": _plugins()}
    return {name: NOTE + "\n" + text.rstrip() + "\n" for name, text in found.items()}


def _cli() -> str:
    group: Any = typer.main.get_command(app)
    parts = [
        "# The command line\n",
        "Exit codes: 0 it worked, 1 it failed, 2 it was called wrongly. Errors go to the standard error; nothing is "
        "coloured when piped or with `NO_COLOR` set. `puma-agent` is `almenara agent`.\n",
        "## almenara\n",
        *_parameters(group),
    ]
    for name, command in group.commands.items():
        parts += _verb(name, command, "##")
        for verb, inner in getattr(command, "commands", {}).items():
            parts += _verb(f"{name} {verb}", inner, "###")
    return "\n".join(parts)


def _verb(name: str, command: Any, mark: str) -> list[str]:
    arguments = " ".join(p.metavar for p in command.params if p.param_type_name == "argument")
    return [f"{mark} almenara {name} {arguments}".rstrip() + "\n", command.help + "\n", *_parameters(command)]


def _parameters(command: Any) -> Iterator[str]:
    rows = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            rows.append(f"| `{parameter.metavar}` | {_cell(parameter.help)} | |")
            continue
        names = ", ".join(f"`{name}`" for name in parameter.opts)
        value = f" `{parameter.metavar}`" if parameter.metavar and not parameter.is_flag else ""
        text, default = parameter.help or "", _default(parameter)
        text += f" (environment: `{parameter.envvar}`)" if parameter.envvar else ""
        rows.append(f"| {names}{value} | {_cell(text)} | {default} |")
    if rows:
        yield "| option | meaning | default |\n|---|---|---|"
        yield "\n".join(rows) + "\n"


def _default(parameter: Any) -> str:
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    default = parameter.default
    return "" if parameter.is_flag or default in (None, "") or callable(default) else f"`{default}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|")


def _config() -> str:
    return "# The configuration file\n\n`almenara init` writes one, `almenara check FILE` checks it.\n\n" + reference()


def _plugins() -> str:
    parts = [
        "# Plugins\n",
        "What comes with almenara, by kind. `almenara plugins` lists those of other packages too.\n",
    ]
    for kind, (group, _) in KINDS.items():
        parts.append(f"## {group.partition('.')[2].capitalize()}\n")
        entries = registry.entries(kind)
        ours = [name for name, entry in entries.items() if entry.module.startswith("almenara.")]
        parts += [manual(kind, name) for name in ours] or ["None yet.\n"]
    return "\n".join(parts)


def main(folder: Path) -> None:
    """Write every page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
