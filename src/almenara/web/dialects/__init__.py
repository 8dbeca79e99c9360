"""HTTP interfaces of others that the hub answers, so that their clients work unchanged: one file each.

A file has a function `endpoints(pipeline, ingest, limits)` and one line in `DIALECTS`. What only writes needs no file
here: a codec, and a path in `almenara.web.routes`, are enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from almenara.web.body import Limits
from almenara.web.dialects import elastic, influx, otlp, remote_write
from almenara.web.ingest import Ingest
from almenara.web.openapi import Endpoint

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

#: One `endpoints` a dialect.
DIALECTS: Sequence[Callable[[Pipeline, Ingest, Limits], list[Endpoint]]] = (
    elastic.endpoints,
    influx.endpoints,
    otlp.endpoints,
    remote_write.endpoints,
)


def endpoints(pipeline: Pipeline, ingest: Ingest, limits: Limits) -> list[Endpoint]:
    """The paths of all dialects."""
    return [one for dialect in DIALECTS for one in dialect(pipeline, ingest, limits)]
