"""Almenara: monitoring in which every sample is judged as it arrives. `import almenara as al` for notebooks.

Names are imported when they are first used, so that an agent needs none of what a notebook needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from almenara._version import __version__

if TYPE_CHECKING:
    from almenara import datasets
    from almenara.client import connect
    from almenara.model.batch import Batch
    from almenara.model.errors import AlmenaraError
    from almenara.model.series import Series, SeriesTable
    from almenara.notebook.detect import detect

__all__ = ["AlmenaraError", "Batch", "Series", "SeriesTable", "__version__", "connect", "datasets", "detect"]

#: Public name -> the module that has it. A name more is a line here, one above and one in tests/test_public_api.py.
_HOMES = {
    "AlmenaraError": "almenara.model.errors",
    "Batch": "almenara.model.batch",
    "Series": "almenara.model.series",
    "SeriesTable": "almenara.model.series",
    "connect": "almenara.client",
    "datasets": "almenara.datasets",  # the module itself
    "detect": "almenara.notebook.detect",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'almenara' has no attribute {name!r}")
    home = import_module(_HOMES[name])
    value = globals()[name] = home if home.__name__ == f"almenara.{name}" else getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
