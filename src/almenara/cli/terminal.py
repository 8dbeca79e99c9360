"""What is written to a terminal: tables and errors for people, plain lines and JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from almenara.model.errors import AlmenaraError, ConfigError


def is_terminal() -> bool:
    """Is somebody looking at the standard output?"""
    return sys.stdout.isatty()


def show_json(value: Any) -> None:
    """One JSON document on the standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2 if is_terminal() else None))


def show_rows(heads: list[str], rows: list[list[str]], right: tuple[int, ...] = ()) -> None:
    """A table on a terminal; lines with tabs between the fields when piped. right: columns of numbers."""
    if not is_terminal():
        for row in rows:
            print("\t".join(row))
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for i, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(highlight=False).print(table)


def show_error(error: AlmenaraError) -> None:
    """An error on the standard error: one line for each mistake, the word `error` in red where colours are wanted."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for line in map(str, error.problems) if isinstance(error, ConfigError) else (str(error),):
        console.print(Text.assemble(("error: ", "bold red"), line))
