"""`almenara new KIND NAME`: a plugin to start from, written by `almenara.plugin.scaffold`."""

from __future__ import annotations

from pathlib import Path

from almenara.plugin.scaffold import write


def run(kind: str, name: str, folder: Path | None) -> None:
    """Write it, and say what to do next."""
    written = write(kind, name, folder)
    for path in written.files:
        print(f"wrote {path}")
    print(f"Install it with:  {written.install}\nTest it with:     {written.test}")
