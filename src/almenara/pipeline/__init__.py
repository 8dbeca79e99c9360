"""The path of rows through the hub; `Pipeline` is the whole of it. Importing this package imports none of its rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from almenara.pipeline.hub import Pipeline

__all__ = ["Pipeline"]


def __getattr__(name: str) -> Any:
    # Lazy, since the agent's spool uses the log in here and must not need numpy.
    if name == "Pipeline":
        from almenara.pipeline.hub import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
