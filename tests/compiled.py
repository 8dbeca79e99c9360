"""Compiles what a hub compiles, once, before the tests are dealt out to several processes.

In a clean checkout that takes more than a minute of work. Left to the tests, each of their processes and each hub that
they start in that time does it for itself, at the same moment, and answers nobody meanwhile.
"""

from __future__ import annotations

from almenara.config.build import options
from almenara.config.load import load
from almenara.pipeline import warm


def compile_all() -> None:
    """Compile for a hub with its defaults; a moment where that is done."""
    hub = options(load(None))
    for _, do in (*warm.steps(hub), *warm.later(hub)):
        do()


if __name__ == "__main__":
    compile_all()
