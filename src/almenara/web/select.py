"""From selectors, as text, to series of the index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from almenara.model.series import Series
from almenara.plugin.contracts import Selection
from almenara.query import Matcher, parse_selector
from almenara.web.errors import HttpError

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

Matchers = tuple[Matcher, ...]


def parse_all(selectors: Sequence[str], *, needed: bool = True) -> list[Matchers]:
    """The matchers of each selector. Raises QuerySyntax, NotSupported; HttpError 400 where one is missing."""
    if needed and not selectors:
        raise HttpError(400, "no match[] parameter provided")
    return [parse_selector(text) for text in selectors]


def ids_of(pipeline: Pipeline, selectors: Sequence[Matchers]) -> np.ndarray:
    """int32[k]: the series that any of the selectors matches, sorted, each once."""
    found = [pipeline.index.select(matchers) for matchers in selectors]
    return found[0] if len(found) == 1 else np.unique(np.concatenate(found)).astype(np.int32)


def selection(pipeline: Pipeline, ids: np.ndarray) -> Selection:
    """Series of the index, for reading."""
    return Selection(pipeline.index, ids)


def one_series(pipeline: Pipeline, text: str) -> int:
    """The id of the one series meant: the series that is written like this, or the only one that it selects.

    Raises HttpError 404 for none and 400 for several.
    """
    ids = pipeline.index.select(parse_selector(text))
    if len(ids) == 0:
        raise HttpError(404, f"no series matches {text[:200]}")
    if len(ids) > 1:
        exact = [id for id in ids[:10_000].tolist() if str(pipeline.index[id]) == text]
        if not exact:
            raise HttpError(
                400, f"{text[:200]} matches {len(ids)} series; expected one, such as {pipeline.index[int(ids[0])]}"
            )
        return exact[0]
    return int(ids[0])


def label_set(series: Series) -> dict[str, str]:
    """A series as Prometheus writes it in JSON."""
    return {"__name__": series.name, **dict(series.labels)}
