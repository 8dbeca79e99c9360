"""Planted cases: series made from a seed with known faults, for whoever builds or measures a detector.

for case in CASES:
    planted = case.planted(seed=1)
    print(case.name, outcome(case, planted, scores_of(detector(), planted)).broken)
"""

from __future__ import annotations

import numpy as np

from almenara.model.batch import Batch
from almenara.model.series import SeriesTable
from almenara.pipeline.kinds import COUNTER
from almenara.pipeline.rates import as_judged
from almenara.plugin.contracts import Detector
from almenara.testing.planted import changes, hosts, occasions, rough, seasons, states, values
from almenara.testing.planted.case import (
    MERGE,
    Case,
    Fault,
    Outcome,
    Planted,
    alerts,
    outcome,
    planted_of,
    reported_once,
)

GROUPS = {
    "seasons": seasons.CASES,
    "occasions": occasions.CASES,
    "values": values.CASES,
    "changes": changes.CASES,
    "hosts": hosts.CASES,
    "states": states.CASES,
    "rough": rough.CASES,
}
CASES: tuple[Case, ...] = tuple(case for cases in GROUPS.values() for case in cases)


def batch_of(planted: Planted) -> Batch:
    """The rows as a detector gets them from a hub: counters as their rate a second."""
    batch = Batch(SeriesTable(), planted.id, planted.time, planted.value)
    if planted.kind != "counter":
        return batch
    return as_judged(batch, np.full(int(planted.id.max()) + 1, COUNTER))


def scores_of(detector: Detector, planted: Planted) -> np.ndarray:
    """float64[n]: the score of each row, NaN where it was not judged."""
    return np.asarray(detector.step(batch_of(planted)).score)


__all__ = [
    "CASES",
    "GROUPS",
    "MERGE",
    "Case",
    "Fault",
    "Outcome",
    "Planted",
    "alerts",
    "batch_of",
    "outcome",
    "planted_of",
    "reported_once",
    "scores_of",
]
