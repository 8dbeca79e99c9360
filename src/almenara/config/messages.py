"""What messages about alarms need to know of a hub: its address, its clocks, its units, and how rare a score is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

from almenara.alarm.book import Book
from almenara.alarm.message import About
from almenara.config.load import Config
from almenara.model.alarm import Transition, labels_of
from almenara.model.series import Series
from almenara.pipeline.hub import Pipeline
from almenara.query import match_all


def about_of(config: Config, hub: Pipeline) -> About:
    """What messages say of this hub."""

    def unit_of(series: Series) -> str:
        (id,) = hub.index.find([series.key]).tolist()
        return hub.metadata.of(id).unit

    site = config.site
    return About(site.name, site.url, site.timezone, unit_of, _rarity(hub))


def _rarity(hub: Pipeline) -> Callable[[Transition], float]:
    """A score s says that a usual row gets there with probability p_limit to the power s: once in so many rows."""
    limits: dict[str, tuple[float, float]] = {}
    for watch in hub.options.watches:
        detector = watch.make()
        if (p_limit := getattr(detector, "p_limit", None)) is not None:
            limits[watch.name] = p_limit, getattr(detector, "p_limit_of_s", math.nan)

    def rarity_s(change: Transition) -> float:
        p_limit, of_s = limits.get(change.evidence.detector, (math.nan, math.nan))
        if math.isnan(p_limit):
            return math.nan
        if math.isnan(of_s):
            (id,) = hub.index.find([change.series.key]).tolist()
            of_s = cast(Book, hub.alarms).usual_gap_s(id)
        exponent = -change.evidence.score * math.log10(_of_budget(hub, change, p_limit))
        return of_s * 10.0 ** min(exponent, 300.0)

    return rarity_s


def _of_budget(hub: Pipeline, change: Transition, p_limit: float) -> float:
    """The limit by which the scores of this series are scaled: that of its budget, where it has one."""
    labels = labels_of(change)
    for budget, limit in zip(hub.options.budgets.all, hub.options.budgets.limits.tolist(), strict=True):
        if match_all(budget.matchers, labels):
            return p_limit if math.isnan(limit) else limit
    return p_limit
