"""`almenara init`: a commented configuration file, made from the signatures that check it."""

from __future__ import annotations

import os
from pathlib import Path

from almenara.cli.terminal import show_error
from almenara.config import load
from almenara.config.template import template
from almenara.model.errors import AlmenaraError, ConfigError


def run(output: Path, force: bool) -> None:
    """Write the file. Raises AlmenaraError where it is there already and `force` is not given."""
    _write(output, template(), force, 0o666)
    print(f"Wrote {output}. Check it with: almenara check {output}   Use it with: almenara up --config {output}")


def from_mqttwarn(ini: Path, output: Path, force: bool) -> int:
    """Write a file with the notifiers that mqttwarn's file has, and tell what has no counterpart. The exit code: 0, or
    1 where something is to be mended. Raises AlmenaraError."""
    from almenara.cli import _mqttwarn

    found = _mqttwarn.read(ini)
    _write(output, found.toml(ini.name), force, 0o600)
    for line, why in sorted(found.left_out):
        print(f"{ini}:{line}: left out: {why}")
    for name, note in found.notes.items():
        print(f"{output}: [{name}]: {note}")
    if secret := list(_mqttwarn.secrets_in(found.tables)):
        where = ", ".join(secret)
        print(f'{output} holds secrets ({where}), for you alone to read; better: "env:NAME" or "file:PATH".')
    told = sum(name.startswith("notifiers.") for name in found.tables)
    print(f"Wrote {output}: {told} notifiers, {len(found.left_out)} lines left out.")
    try:
        load(output)
    except ConfigError as error:
        show_error(error)
        return 1
    return 0


def _write(output: Path, text: str, force: bool, mode: int) -> None:
    try:
        with open(output, "w" if force else "x", encoding="utf-8", opener=lambda p, f: os.open(p, f, mode)) as file:
            if mode == 0o600:
                os.fchmod(file.fileno(), mode)  # also of a file that was there
            file.write(text)
    except FileExistsError as error:
        raise AlmenaraError(f"{output} is there already; --force overwrites it, --output writes another") from error
    except OSError as error:
        raise AlmenaraError(f"{output} cannot be written: {error.strerror}") from error
