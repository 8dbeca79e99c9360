"""Thresholds that came with a series, for its chart: series of the same labels whose names end in `_warn` or `_crit`.

`NAME_warn` and `NAME_crit` are upper ends, `NAME_warn_low` and `NAME_crit_low` lower ones; with the label
range="inside" the values between the two are the bad ones. Perfdata of Nagios brings them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from almenara.model.series import Series
from almenara.web.select import selection

if TYPE_CHECKING:
    from almenara.pipeline import Pipeline

#: End of the name -> severity that it stands for.
ENDS = {"_warn": "warning", "_warn_low": "warning", "_crit": "critical", "_crit_low": "critical"}
_MS = 1_000_000


async def thresholds(pipeline: Pipeline, series: Series, start: int, end: int, width: int) -> list[dict[str, Any]]:
    """Each threshold with the times in ms from which its values hold; empty where there are none in [start, end)."""
    labels = dict(series.labels)
    wanted = {
        Series.of(series.name + one, **{**labels, **more}).key: ENDS[one]
        for one in ENDS
        for more in ({}, {"range": "inside"})
    }
    ids = pipeline.index.find(list(wanted))
    severities = {int(id): severity for id, severity in zip(ids, wanted.values(), strict=True) if id >= 0}
    if not severities:
        return []
    some = selection(pipeline, np.array(sorted(severities), np.int32))
    rows = await pipeline.read(some, start, end, -(-(end - start) // width), "last")
    id, time, value = (np.asarray(column) for column in (rows.id, rows.time, rows.value))
    return [
        {"severity": severities[one], **_steps(time[id == one], value[id == one])} for one in np.unique(id).tolist()
    ]


def _steps(time: np.ndarray, value: np.ndarray) -> dict[str, Any]:
    """Only where the value changes."""
    at = np.flatnonzero(np.append(True, value[1:] != value[:-1]))
    return {"times": time[at] / _MS, "values": value[at]}
