"""`almenara init`: a commented configuration file, made from the signatures that check it."""

from __future__ import annotations

from pathlib import Path

from almenara.config.template import template
from almenara.model.errors import AlmenaraError


def run(output: Path, force: bool) -> None:
    """Write the file. Raises AlmenaraError where it is there already and `force` is not given."""
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(template())
    except FileExistsError as error:
        raise AlmenaraError(f"{output} is there already; --force overwrites it, --output writes another") from error
    except OSError as error:
        raise AlmenaraError(f"{output} cannot be written: {error.strerror}") from error
    print(f"Wrote {output}. Check it with: almenara check {output}   Use it with: almenara up --config {output}")
